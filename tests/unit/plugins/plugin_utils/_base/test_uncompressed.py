# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible's own ssh plugin would start; nothing is contacted."""

from __future__ import annotations

import types

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import uncompressed


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """An ssh connection that has run a command, and the words with which each further one is called."""
    made = connection_loader.get("ssh", PlayContext())

    def start(**options):
        given = {"host": "192.0.2.1", "control_path_dir": str(tmp_path), **options}
        made.set_options(var_options={}, direct=given)
        called = []
        refused = given.pop("refused", False)

        def run(command, in_data=None, sudoable=True):
            called.append(words(made))
            if refused and "Compression=no" in called[-1]:
                raise AnsibleConnectionFailure("Too many authentication failures")
            return 0, b"", b""

        monkeypatch.setattr(made, "exec_command", run)
        monkeypatch.setattr(made, "reset", lambda: called.append(["reset", *words(made)]))
        words(made)
        return made, called

    return start


def words(connection):
    return [word.decode() for word in connection._build_command("ssh", "ssh", "192.0.2.1", "true")]


def place(called):
    (found,) = [word for word in called if word.startswith("ControlPath=")]
    return found.strip().strip('"')


@pytest.mark.parametrize(
    "args",
    ["-C -o ControlMaster=auto -o ControlPersist=60s", "-o Compression=yes -o ControlMaster=auto -o ControlPersist=9"],
)
def test_files_go_through_a_connection_of_their_own_that_is_closed_at_the_end(ssh, args):
    connection, called = ssh(ssh_args=args, ssh_common_args="-o ProxyJump=gate")
    before = words(connection)
    with uncompressed.files(connection):
        during = words(connection)
    assert "-C" not in during and during.index("Compression=no") < during.index("ProxyJump=gate")
    assert "Compression=yes" not in during[: during.index("Compression=no")]
    assert place(during) == place(before) + "-files" and "ControlPersist" in " ".join(during)
    assert called == [during, ["reset", *during]] and words(connection) == before


def test_the_connection_is_closed_after_a_failure_too(ssh):
    connection, called = ssh()
    before = words(connection)
    with pytest.raises(ValueError, match="disk is full"), uncompressed.files(connection):
        raise ValueError("the disk is full")
    assert called[-1][0] == "reset" and words(connection) == before


def test_a_node_that_lets_nobody_in_twice_gets_them_through_the_first(ssh):
    connection, called = ssh(refused=True)
    before = words(connection)
    with uncompressed.files(connection):
        assert words(connection) == before
    assert len(called) == 1


@pytest.mark.parametrize(
    "args", ["-C", "-C -o ControlMaster=auto -o ControlPersist=60s -o ControlPath=/run/own", "-o ControlMaster=no"]
)
def test_without_a_shared_connection_of_ours_nothing_changes(ssh, args):
    connection, called = ssh(ssh_args=args)
    before = words(connection)
    with uncompressed.files(connection):
        assert words(connection) == before
    assert called == [before]


@pytest.mark.parametrize("transport", ["docker", "ssh"])
def test_other_connections_are_left_alone(transport):
    asked = []
    connection = types.SimpleNamespace(transport=transport, exec_command=lambda words, sudoable: asked.append(words))
    with uncompressed.files(connection):
        assert not hasattr(connection, "control_path")
    assert asked == (["true"] if transport == "ssh" else [])
