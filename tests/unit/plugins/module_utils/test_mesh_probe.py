# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils import _mesh_probe, _port_listener
from ansible_collections.trainmesh.cluster.plugins.module_utils._bounded import Outcome


def outcome(rc=0, out="", err="", timed_out=False, missing=False):
    return Outcome(rc, out, err, timed_out, missing, 0.1)


@pytest.mark.parametrize(
    ("err", "layer"),
    [
        ("ssh: Could not resolve hostname n: Name or service not known", "name"),
        ("ssh: connect to host n port 22: Connection refused", "refused"),
        ("ssh: connect to host n port 22: No route to host", "no_route"),
        ("ssh: connect to host n port 22: Connection timed out", "timeout"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "hostkey_changed"),
        ("No ED25519 host key is known for n and you have requested strict checking.", "hostkey_unknown"),
        ("me@n: Permission denied (publickey).", "permission"),
        ("kex_exchange_identification: Connection closed by remote host", "closed"),
        ("something new", "other"),
    ],
)
def test_the_layer_that_failed_is_told_apart(err, layer):
    assert _mesh_probe.ssh_verdict(outcome(255, err=err), "n")["layer"] == layer


def test_a_login_that_answers_as_expected_is_ok():
    assert _mesh_probe.ssh_verdict(outcome(out="trainmesh-probe n\n"), "n")["ok"]


def test_another_machine_behind_the_name_is_noticed():
    assert _mesh_probe.ssh_verdict(outcome(out="trainmesh-probe m\n"), "n")["layer"] == "wrong_machine"


def test_noise_is_noticed():
    verdict = _mesh_probe.ssh_verdict(outcome(out="welcome!\ntrainmesh-probe n\n"), "n")
    assert verdict["layer"] == "noise" and "welcome" in verdict["evidence"]


def test_no_answer_is_a_timeout():
    assert _mesh_probe.ssh_verdict(outcome(None, timed_out=True), "n")["layer"] == "timeout"


def test_every_node_begins_behind_itself():
    targets = [_mesh_probe.Target(name, "10.0.0.1", name, [], []) for name in "abc"]
    assert [target.name for target in _mesh_probe.turned(targets, "b")] == ["c", "a", "b"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_listener_greets_every_caller_and_goes_away():
    port = free_port()
    assert _port_listener.start(_port_listener.Wish("127.0.0.1", [port], "n", "tok", 1, 20)) == {}
    assert _mesh_probe.try_tcp("127.0.0.1", port, "trainmesh tok n", 5)["ok"]
    time.sleep(1)
    assert _mesh_probe.try_tcp("127.0.0.1", port, "trainmesh tok n", 5)["layer"] == "refused"


def test_a_taken_port_is_reported_and_a_stranger_noticed():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        problems = _port_listener.start(_port_listener.Wish("127.0.0.1", [port], "n", "tok", 1, 5))
        assert problems[port][1] == "Address already in use"
        other.settimeout(5)
        assert _mesh_probe.try_tcp("127.0.0.1", port, "trainmesh tok n", 1)["layer"] == "timeout"
