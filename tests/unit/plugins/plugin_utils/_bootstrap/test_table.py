# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown of a first contact."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap import failures, table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.host import Host, Wish
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.host_key import Shown
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.failures import Stop
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import Target


def host(stop: Stop | None = None, changed: bool = False, **target) -> Host:
    made = Host(Target("n1", "10.0.0.1", **target), [], Wish())
    made.client, made.changed = Client("10.0.0.1", 22, "alice", "10.0.0.1"), changed
    made.done = {"host_key": "known", "key": "present", "python": "3.11.2", "sudo": "password"}
    made.stop = stop or made.stop
    return made


def test_a_row_is_on_one_line_and_without_passwords_whatever_the_host_says():
    stop = Stop("auth", "sshd asks:\nis it s3cret or pa55?", "so\r\nit is", "do s3cret")
    row = table.row(host(stop, password="s3cret", become_password="pa55"))
    assert row["line"] == "sshd asks: is it **** or ****?: so it is. Fix: do ****"
    assert not any(secret in repr(row) for secret in ("s3cret", "pa55"))


def test_ready_changed_failed_and_not_tried_hosts_are_counted():
    hosts = {
        "ready": host(),
        "changed": host(changed=True),
        "failed": host(Stop("key", "No space left on device", "the key can't be written", "make room"), changed=True),
        "local": host(untested="its ansible_connection is local", by_ssh=False),
        "unread": host(untested="its variables can't be read"),
        "later": host(failures.later("behind its jump host")),
    }
    rows = {name: table.row(one) for name, one in hosts.items()}
    assert [row["ok"] for row in rows.values()] == [True, True, False, None, False, None]
    text = table.summary(rows, check=False)
    assert "2 of 6 hosts are ready, 2 failed, 2 not tried; 2 changed" in text
    assert "failed: No space left on device: the key can't be written. Fix: make room" in text
    assert "nothing changed on any host" in table.summary({"ready": rows["ready"]}, check=False)
    planned = table.summary({"changed": rows["changed"]}, check=True)
    assert "would be changed" in planned and "ready" not in planned


def test_the_keys_to_confirm_are_shown_with_host_kind_and_fingerprint():
    new = host()
    new.shown = Shown("ssh-ed25519", b"key")
    assert f"n1  10.0.0.1:22  ssh-ed25519  {new.shown.fingerprint}" in table.keys({"n1": new, "known": host()})
