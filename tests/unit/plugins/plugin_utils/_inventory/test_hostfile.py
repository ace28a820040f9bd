# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostfiles of three launchers, inventories that look like one, and lines that are none."""

from __future__ import annotations

import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import hostfile


@pytest.fixture
def read(tmp_path):
    def reads(text, name="cluster.hostfile"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return hostfile.read(str(path))

    return reads


def of(found):
    assert found is not None and not found.faults, found
    return {host.name: host.variables for host in found.hosts}


@pytest.mark.parametrize(
    ("line", "name", "variables"),
    [
        ("gpu1 slots=8", "gpu1", {"trainmesh_slots": 8}),
        ("\t gpu1\tslots=8\t", "gpu1", {"trainmesh_slots": 8}),
        ("gpu1 slots = 8", "gpu1", {"trainmesh_slots": 8}),
        ("gpu1 slots=8 # rack 3", "gpu1", {"trainmesh_slots": 8}),
        ("gpu1 slots=8// rack 3", "gpu1", {"trainmesh_slots": 8}),
        ("gpu1 slots=4 max_slots=8", "gpu1", {"trainmesh_slots": 4}),
        ("gpu1 slots=4 max-slots=4", "gpu1", {"trainmesh_slots": 4}),
        ("gpu1 max_slots=6", "gpu1", {"trainmesh_slots": 6}),
        ("gpu1 slots-max=6", "gpu1", {"trainmesh_slots": 6}),
        ("gpu1 max_slots=8 slots=2", "gpu1", {"trainmesh_slots": 2}),
        ("gpu1 cpu=2 cores=64", "gpu1", {"trainmesh_slots": 2}),
        ("gpu1:8", "gpu1", {"trainmesh_slots": 8}),
        ("gpu1:8 binding=rr user=bob", "gpu1", {"trainmesh_slots": 8, "ansible_user": "bob"}),
        ("gpu1", "gpu1", {}),
        ("GPU-1.Example.org slots=1", "GPU-1.Example.org", {"trainmesh_slots": 1}),
        ("gpu_1 slots=1", "gpu_1", {"trainmesh_slots": 1}),
        ("bob@10.0.0.3 slots=2", "10.0.0.3", {"trainmesh_slots": 2, "ansible_user": "bob"}),
        ("bob@gpu3:2", "gpu3", {"trainmesh_slots": 2, "ansible_user": "bob"}),
        ("gpu1 slots=2 username=bob port=2222", "gpu1",
         {"trainmesh_slots": 2, "ansible_user": "bob", "ansible_port": 2222}),
        ("2001:db8::1 slots=8", "2001:db8::1", {"trainmesh_slots": 8}),
        ("2001:db8::1:8", "2001:db8::1:8", {}),
        ("[2001:db8::1]:8", "2001:db8::1", {"trainmesh_slots": 8}),
        ("[2001:db8::1]", "2001:db8::1", {}),
        ("bob@2001:db8::1 slots=8", "2001:db8::1", {"trainmesh_slots": 8, "ansible_user": "bob"}),
        ("fe80::1%eth0 slots=8", "fe80::1%eth0", {"trainmesh_slots": 8}),
    ],
)  # fmt: skip
def test_one_line(read, line, name, variables):
    assert of(read(f"{line}\n")) == {name: variables}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("gpu1 8", "found '8' behind the host"),
        ("gpu1 slots", "found 'slots' behind the host"),
        ("gpu1 slots=", "found 'slots=' behind the host"),
        ("gpu1 slots=eight", "expected a line such as 'gpu1 slots=8', found 'slots=eight'"),
        ("gpu1 slots=8abc", "found 'slots=8abc'"),
        ("gpu1 slots=-1", "found 'slots=-1'"),
        ("gpu1 slots=0", "a whole number from 1 to 1024, found 'slots=0'"),
        ("gpu1 slots=99999999999999999999", "a whole number from 1 to 1024"),
        ("gpu1 slots=８", "found 'slots=８'"),
        ("gpu1 SLOTS=8", "found 'SLOTS=8'"),
        ("gpu1 slot=8", "found 'slot=8'"),
        ("gpu1 slots=8 slots=8", "besides 8"),
        ("gpu1:8 slots=8", "besides 8"),
        ("gpu1 slots=8 max_slots=4", "expected at most max_slots, 4, found slots=8"),
        ("gpu1 gpu2 slots=8", "found 'gpu2' behind the host"),
        ("gpu1:2222", "a whole number from 1 to 1024, found 'gpu1:2222'"),
        ("gpu1 port=99999 slots=1", "expected a TCP port"),
        ("gpu[1-4] slots=8", "(no range)"),
        ("gpu[1:4] slots=8", "expected"),
        ("gpu1,gpu2 slots=8", "expected one host name or address"),
        ("nöde1 slots=8", "expected one host name or address"),
        ("-oProxyCommand=x slots=8", "expected one host name or address"),
        ("-oProxyCommand=x@gpu1 slots=8", "expected a user name, found '-oProxyCommand=x'"),
        ("gpu1 slots=8 user=-x", "expected a user name, found '-x'"),
        ("@gpu1 slots=8", "expected a user name, found ''"),
        ("a@b@c slots=8", "expected"),
        ("+n1 slots=8", "expected one host name or address"),
        ("^gpu1 slots=8", "expected one host name or address"),
        (": slots=8", "expected a line such as"),
        ("=8", "expected"),
    ],
)
def test_a_line_that_is_none_is_named_with_what_was_expected(read, line, told, tmp_path):
    found = read(f"# nodes\n\nok1 slots=8\n{line}\n")
    assert found is not None and len(found.faults) == 1
    assert found.faults[0].startswith(f"{tmp_path}/cluster.hostfile:4: expected") and told in found.faults[0]


@pytest.mark.parametrize("again", ["gpu1 slots=8", "GPU1 slots=8", "bob@gpu1", "gpu1:4"])
def test_a_host_that_stands_twice(read, again):
    found = read(f"gpu1 slots=8\ngpu2 slots=8\n{again}\n")
    assert [fault.partition("hostfile:")[2] for fault in found.faults] == [
        f"3: {again.rpartition('@')[2].split()[0].removesuffix(':4')} already stands in line 1: "
        "expected one line for each host"
    ]


@pytest.mark.parametrize("text", ["", "# gpu1 slots=8\n", "\n\r\n"])
def test_no_host_at_all(read, text):
    assert [fault.rpartition("hostfile: ")[2] for fault in read(text).faults] == [
        "it names no host: expected a line such as 'gpu1 slots=8'"
    ]


@pytest.mark.parametrize(
    "text",
    [b"\xef\xbb\xbfgpu1 slots=8\r\ngpu2 slots=8", b"gpu1 slots=8\rgpu2 slots=8\r", "gpu1\xa0slots=8\ngpu2 slots=8"],
)
def test_marks_and_ends_of_lines(read, text):
    assert of(read(text)) == {"gpu1": {"trainmesh_slots": 8}, "gpu2": {"trainmesh_slots": 8}}


def test_ten_thousand_lines(read):
    assert len(of(read("".join(f"gpu{number} slots=8\n" for number in range(10000))))) == 10000
    assert len(read("gpu1 8\n" * 10000).faults) == 20


@pytest.mark.parametrize(
    "name", ["hostfile", "my.hostfile", "hostfile_4nodes", "Hostfile.txt", "machinefile", "hosts_machine_file"]
)
def test_a_file_that_is_called_a_hostfile_is_one(read, name):
    assert of(read("gpu1\ngpu2:8\n", name)) == {"gpu1": {}, "gpu2": {"trainmesh_slots": 8}}
    assert read("gpu1 slots=eight\n", name).faults


@pytest.mark.parametrize("name", ["hosts", "nodes.txt", "job.list"])
def test_a_file_of_another_name_is_one_if_all_lines_give_slots(read, name):
    assert of(read("# all\ngpu1 slots=8\ngpu2 slots = 4 max_slots=8\n", name)) == {
        "gpu1": {"trainmesh_slots": 8},
        "gpu2": {"trainmesh_slots": 4},
    }
    for text in ("gpu1\ngpu2\n", "gpu1:22\n", "gpu1 slots=8\ngpu2\n", "gpu1 slots=eight\n", "gpu[1:3] slots=8\n", "",
                 "# gpu1 slots=8\n", "gpu1 slots=8 rack=2\n", "gpu1:22 slots=8\n"):  # fmt: skip
        assert read(text, name) is None, text


@pytest.mark.parametrize("name", ["hostfile", "hosts"])
@pytest.mark.parametrize(
    "text",
    [
        "[trainers]\ngpu1 slots=8\n",
        "[a100] # the old ones\ngpu1 slots=8\n",
        "gpu1 slots=8\n[all:vars]\nrack=1\n",
        "gpu1 slots=8 ansible_host=10.0.0.1\n",
        "gpu1 trainmesh_slots = 8\n",
        "all:\n  hosts:\n    gpu1:\n",
        "---\n- gpu1\n",
        '{"all": {"hosts": ["gpu1"]}}\n',
        "#!/bin/sh\necho gpu1 slots=8\n",
        b"\xff\xfeg\x00p\x00u\x001\x00",
        b"\x7fELF\x00\xff",
    ],
)
def test_an_inventory_of_another_kind_is_never_taken(read, name, text):
    assert read(text, name) is None


@pytest.mark.parametrize("name", ["hostfile.ini", "hostfile.yml", "x.hostfile.yaml", "hostfile.json", "hostfile.TOML"])
def test_an_extension_of_another_kind_is_believed(read, name):
    assert read("gpu1 slots=8\n", name) is None


def test_what_is_no_file_is_left_alone(tmp_path):
    os.mkfifo(tmp_path / "hostfile")
    assert hostfile.read(str(tmp_path / "hostfile")) is None and hostfile.read("gpu1,gpu2,") is None
    assert hostfile.read(str(tmp_path / "none.hostfile")) is None and hostfile.read(str(tmp_path)) is None


def test_what_another_plugin_made_of_it_is_told(read):
    found = read("gpu1 slots=8\nbob@gpu2\ngpu3\n")
    good = {"gpu1": {"trainmesh_slots": 4}, "gpu2": {"ansible_user": "x"}, "gpu3": {}}
    assert hostfile.unread("f", found, good, ["ini"]) == []
    (told,) = hostfile.unread("f", found, {**good, "gpu1": {"slots": 8}}, ["host_list", "ini"])
    assert told.startswith("f: this is a hostfile") and "the slots of gpu1 mean" in told
    assert "export ANSIBLE_INVENTORY_ENABLED=trainmesh.cluster.hostfile,host_list,ini," in told
    lost = {"bob@gpu2": {}, "gpu1": {"trainmesh_slots": 4}, "gpu3": {}}
    (told,) = hostfile.unread("f", found, lost, [hostfile.PLUGIN, "ini"])
    assert "gpu2" in told and told.count(hostfile.PLUGIN) == 2
