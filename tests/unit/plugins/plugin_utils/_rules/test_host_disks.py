# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import shlex

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import one, told
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import GIB, healthy_case

MIB = 2**20


def gpus(case, name, count=8):
    case.gpu[name] = {"status": "ok", "gpus": [{"index": index} for index in range(count)]}
    case.fabric[name]["limits"] = {"memlock": -1, "nofile": 1024, "hard": {"memlock": -1, "nofile": 1048576}}
    case.fabric[name]["shm"] = {"total_bytes": 64 * GIB, "free_bytes": 64 * GIB}


@pytest.mark.parametrize(
    ("cache", "change", "severity"),
    [
        ("hf", {"free_bytes": 4 * GIB}, "warn"),
        ("hf", {"free_bytes": 0, "writable": False}, "fail"),
        ("tmp", {"free_bytes": 2 * GIB}, None),
        ("tmp", {"free_bytes": GIB - 1}, "warn"),
        ("tmp", {"inodes_free": 0}, "fail"),
        ("tmp", {"inodes_free": 5000}, "warn"),
        ("tmp", {"inodes_free": 0, "fs_type": "btrfs"}, None),
        ("tmp", {"inodes_free": None, "free_bytes": None}, None),
    ],
)
def test_full_disks(cache, change, severity):
    case = healthy_case()
    case.user["node2"]["caches"][cache].update(change)
    assert told(case) == ({("disk-full", severity): ("node2",)} if severity else {})


def test_the_disk_of_the_prefix_is_full():
    case = healthy_case()
    case.fabric["node3"]["disks"]["/opt/trainmesh"]["free_bytes"] = 10 * MIB
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("disk-full", "fail", ("node3",))
    assert "/opt/trainmesh (ext4): 10 MiB free" in found.evidence["node3"]
    assert told(dataclasses.replace(case, thresholds={"disk_fail_bytes": 1, "disk_warn_bytes": 1})) == {}


def test_a_cache_that_belongs_to_root_is_one_fault():
    case = healthy_case()
    for name in ("hf", "torch_extensions", "pip"):
        case.user["node3"]["caches"][name].update(writable=False, existing="/home/trainer/.cache")
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("cache-unwritable", "fail", ("node3",))
    assert found.remedy.startswith("chown -hR trainer: /home/trainer/.cache (or")


def test_nothing_outside_the_home_is_handed_over():
    elsewhere, tmp, optional = healthy_case(), healthy_case(), healthy_case()
    elsewhere.user["node1"]["caches"]["triton"].update(writable=False, existing="/", path="/scratch/triton")
    assert one(elsewhere).remedy.startswith("Unset TRITON_CACHE_DIR, or set in trainmesh_env a directory")
    tmp.user["node1"]["caches"]["tmp"]["writable"] = False
    assert one(tmp).remedy.startswith("chmod 1777 /tmp")
    optional.user["node1"]["caches"]["hf"]["writable"] = False
    assert one(optional).severity == "warn"


@pytest.mark.parametrize("place", ["/etc", "/var", "/etc/cron.d", "/", "/home", "/home/trainer/../../etc", "/a; $(id)"])
@pytest.mark.parametrize("name", ["tmp", "hf", "triton", "pip"])
def test_no_directory_of_the_system_is_opened_or_given_away(name, place):
    case = healthy_case()
    case.user["node1"]["caches"][name].update(writable=False, existing=place, path=place)
    assert one(case).remedy.startswith("Unset ")


def test_a_path_is_one_word_of_the_command():
    case, path = healthy_case(), "/home/trainer/a b'; $(id) \\"
    case.user["node1"]["home"] = "/home/trainer"
    case.user["node1"]["caches"]["hf"].update(writable=False, existing=path, path=path)
    command = one(case).remedy.partition(" (or, in trainmesh_env")[0]
    assert shlex.split(command) == ["chown", "-hR", f"{case.user['node1']['name']}:", path]


def test_a_home_that_is_the_systems_is_not_given_away():
    case = healthy_case()
    case.user["node1"]["home"] = "/etc"
    case.user["node1"]["caches"]["home"].update(writable=False, existing="/etc", path="/etc")
    assert one(case).remedy.startswith("Give ")


def test_compiled_operations_on_a_network_file_system():
    case = healthy_case()
    for name in ("torch_extensions", "triton"):
        case.user["node2"]["caches"][name].update(local=False, fs_type="nfs4")
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("build-ext-cache-nfs", "warn", ("node2",))
    assert "nfs4" in found.evidence["node2"] and "TORCH_EXTENSIONS_DIR" in found.remedy


def test_caches_from_which_nothing_may_be_loaded():
    case = healthy_case()
    case.user["node2"]["caches"]["torch_extensions"].update(noexec=True)
    assert told(case) == {("cache-noexec", "warn"): ("node2",)}
    gpus(case, "node2")
    found = one(case)
    assert found.severity == "fail" and found.remedy.startswith("Set TORCH_EXTENSIONS_DIR in trainmesh_env")
    for name in ("home", "pip", "hf"):
        case.user["node3"]["caches"][name].update(noexec=True)
    assert one(case).hosts == ("node2",)


def test_a_tmp_without_programs_matters_unless_compilers_go_elsewhere():
    case = healthy_case()
    case.user["node2"]["caches"]["tmp"].update(noexec=True)
    assert told(case) == {("cache-noexec", "warn"): ("node2",)}
    case.stack["node2"]["login_environment"]["variables"]["TORCHINDUCTOR_CACHE_DIR"] = "/data/cache"
    assert told(case) == {}


@pytest.mark.parametrize(("age", "severity"), [(60, None), (1000, "warn"), (86400, "fail")])
def test_the_lock_of_a_build_that_is_over(age, severity):
    case = healthy_case()
    path = "/home/trainer/.cache/torch_extensions/py311_cu126/cpu_adam/lock"
    case.user["node3"]["caches"]["torch_extensions"]["locks"] = [{"path": path, "age_s": age}]
    assert told(case) == ({("build-lock-stale", severity): ("node3",)} if severity else {})
    if severity:
        assert one(case).remedy.startswith(f"rm {path} on node3")


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        ("Stale file handle", "umount -l /home/trainer && mount /home/trainer"),
        ("Transport endpoint is not connected", "umount -l /home/trainer && mount /home/trainer"),
        ("the file system did not answer within 2 seconds", "showmount -e SERVER"),
        ("Required key not available", "kinit, or a keytab for trainer"),
        ("Input/output error", "dmesg -T"),
    ],
)
def test_a_file_system_whose_other_end_is_gone(error, fix):
    case = healthy_case()
    for name in ("node1", "node2"):
        home = case.user[name]["caches"]["home"]
        home.update(fs_type="nfs4", local=False, error=error, free_bytes=None, writable=None)
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("fs-not-answering", "fail", ("node1", "node2"))
    assert found.remedy.startswith(fix) and error in found.evidence["node1"]


def test_a_file_system_that_could_not_be_asked_is_not_accused():
    case = healthy_case()
    case.user["node2"]["caches"]["hf"].update(error="the file system could not be asked", writable=None)
    assert told(case) == {}


def test_a_read_only_file_system_is_not_mended_by_an_owner():
    case = healthy_case()
    case.user["node2"]["caches"]["home"].update(readonly=True, writable=False)
    case.user["node2"]["caches"]["triton"].update(readonly=True, writable=False)
    found = one(case)
    assert (found.rule, found.hosts) == ("cache-unwritable", ("node2",))
    assert "chown" not in found.remedy and found.remedy.startswith("dmesg -T") and "TRITON_CACHE_DIR" in found.remedy
