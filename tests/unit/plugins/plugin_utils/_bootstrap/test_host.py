# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The readers of the first contact with one host."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap import failures
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.host import good_version, without_password
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.shell import Answer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import PROMPT

CLIENT = Client("10.0.0.1", 22, "alice", "10.0.0.1")


@pytest.mark.parametrize(
    ("said", "version"),
    [("@3.11.2@/usr/bin/python3@", "3.11.2"), ("@3.6.8@/usr/bin/python3@", ""), ("nonsense", ""), ("", "")],
)
def test_a_python_that_ansible_can_not_use_is_none(said, version):
    assert good_version(Answer(0, f"TRAINMESH python {said}\n" if said else "")) == version


def test_the_become_command_without_its_password():
    assert without_password(("sudo", "-H", "-k", "-S", "-p", PROMPT, "-u", "root")) == (
        *("sudo", "-H", "-k", "-n"),
        *("-u", "root"),
    )
    assert without_password(("sudo", "-n", "-u", "root")) == ("sudo", "-n", "-u", "root")


@pytest.mark.parametrize(
    ("evidence", "remedy"),
    [
        ("cat: write error: No space left on device", "make room"),
        ("Disk quota exceeded", "make room"),
        ("mkdir: cannot create directory: Read-only file system", "read-only"),
        ("mktemp: Permission denied", "ls -ld"),
    ],
)
def test_a_key_that_was_not_written_has_a_fix_for_its_reason(evidence, remedy):
    stop = failures.key_not_written(CLIENT, evidence, "/home/alice/.ssh/authorized_keys")
    assert stop.step == "key" and remedy in stop.remedy and "ssh alice@10.0.0.1" in stop.remedy


def test_a_login_shell_that_refuses_and_a_password_that_must_be_changed_are_told_apart():
    assert "login shell" in failures.no_shell(CLIENT, "This account is currently not available.").cause
    assert "must be changed" in failures.no_shell(CLIENT, "Password change required but no TTY available.").cause
