# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that write ssh and hosts files write nothing of a line that is more than it seems to be."""

from __future__ import annotations

import os
import pwd

import pytest

from ansible_collections.trainmesh.cluster.plugins.modules import hosts_entries, ssh_mesh

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0m0xH9nVfY2m3cX3n8Q8zZk5uFq0bXkqkXWJ5m1q2r"
NOT_YET = "ssh-ed25519 (made on the node by the run) trainmesh node1"


class Done(Exception):
    """exit_json; the result is its argument."""


class Refused(Exception):
    """fail_json."""


class Module:
    """As much of AnsibleModule as the two modules use."""

    def __init__(self, params, tmpdir, check_mode=False):
        self.params, self.tmpdir, self.check_mode = params, str(tmpdir), check_mode

    def exit_json(self, **result):
        raise Done(result)

    def fail_json(self, msg):
        raise Refused(msg)

    def get_bin_path(self, _name, required):
        return "ssh"

    def run_command(self, _words):
        return 0, "", ""

    def set_default_selinux_context(self, _path, _changed):
        return False


def write_hosts(monkeypatch, tmp_path, entries, **more):
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n")
    params = {"entries": entries, "cluster": "", "head": "", "path": str(path), "backup": False, **more}
    monkeypatch.setattr(hosts_entries, "AnsibleModule", lambda **_spec: Module(params, tmp_path))
    with pytest.raises((Done, Refused)) as done:
        hosts_entries.main()
    return done.type is Done, path.read_text(), str(done.value)


@pytest.mark.parametrize(
    ("entry", "more"),
    [
        ({"address": "10.0.0.1", "names": ["node1\n10.0.0.9 node2"]}, {}),
        ({"address": "10.0.0.1 node1\n10.0.0.9", "names": ["node2"]}, {}),
        ({"address": "0.0.0.0", "names": ["node1"]}, {}),
        ({"address": "10.0.0.1", "names": ["node1"]}, {"cluster": "abcdef12, head a\n10.0.0.9 node2 #"}),
        ({"address": "10.0.0.1", "names": ["node1"]}, {"cluster": "abcdef12", "head": "a\n10.0.0.9"}),
    ],
)
def test_the_hosts_file_is_left_as_it_is(monkeypatch, tmp_path, entry, more):
    written, text, message = write_hosts(monkeypatch, tmp_path, [entry], **more)
    assert (written, text) == (False, "127.0.0.1 localhost\n") and "\n" not in message


def test_the_hosts_file_gets_right_entries(monkeypatch, tmp_path):
    entry = {"address": "fe80::1%eth0", "names": ["node1.example.com", "node1"]}
    written, text, _message = write_hosts(monkeypatch, tmp_path, [entry], cluster="abcdef12", head="node1")
    assert written and "fe80::1%eth0\tnode1.example.com node1\n" in text


def join(monkeypatch, tmp_path, keys, hosts, check_mode=False):
    params = {"authorized_keys": keys, "known_hosts": hosts, "config": "Host node1\n", "user": None, "backup": False}
    user = pwd.getpwuid(os.geteuid())
    home = pwd.struct_passwd((*user[:5], str(tmp_path), user[6]))
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: home)
    monkeypatch.setattr(ssh_mesh, "AnsibleModule", lambda **_spec: Module(params, tmp_path, check_mode))
    with pytest.raises((Done, Refused)) as done:
        ssh_mesh.main()
    return done.type is Done


@pytest.mark.parametrize(
    ("keys", "hosts"),
    [
        ([f"{KEY} a\n{KEY}"], []),
        ([f"{KEY} a", f'from="*" {KEY} b'], []),
        ([NOT_YET], []),
        ([f"{KEY} a"], [f"* {KEY}"]),
        ([f"{KEY} a"], [f"node1 {KEY}\n* {KEY}"]),
    ],
)
def test_no_ssh_file_is_written(monkeypatch, tmp_path, keys, hosts):
    assert not join(monkeypatch, tmp_path, keys, hosts)
    assert not (tmp_path / ".ssh").exists()


def test_ssh_files_get_right_lines(monkeypatch, tmp_path):
    assert join(monkeypatch, tmp_path, [f'restrict,pty,from="10.0.0.1" {KEY} a'], [f"node1,10.0.0.1 {KEY}"])
    assert KEY in (tmp_path / ".ssh/authorized_keys").read_text()


def test_check_mode_shows_the_key_that_is_still_to_be_made(monkeypatch, tmp_path):
    assert join(monkeypatch, tmp_path, [NOT_YET], [], check_mode=True)
