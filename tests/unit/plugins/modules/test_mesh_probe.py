# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three modules of the probes together, each as a process of its own, as a play runs them."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import threading

import pytest

from ansible_collections.trainmesh.cluster.plugins.modules import mesh_probe
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import timed
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented

# Several test runs on one machine share the names of the control sockets.
TOKEN = secrets.token_hex(8)


def run(module, tmp_path, **arguments):
    """The module's exit status and answer."""
    given = tmp_path / "arguments.json"
    given.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    name = f"ansible_collections.trainmesh.cluster.plugins.modules.{module}"
    done = subprocess.run(
        [sys.executable, "-m", name, str(given)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, json.loads(done.stdout)


def free_ports(count):
    held = [socket.socket() for _number in range(count)]
    for probe in held:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in held]
    for probe in held:
        probe.close()
    return ports


def refused(address, port):
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 111


def test_what_is_the_same_for_all_targets_is_returned_once(tmp_path):
    targets = [
        {"name": name, "address": f"127.0.0.{number}", "hostname": f"{name}.lan", "ssh_names": [f"{name}.lan"]}
        for number, name in enumerate("abc", 2)
    ]
    rc, whole = run("mesh_probe", tmp_path, targets=targets, log_in=False)
    assert rc == 0 and [*whole["row"]] == ["a", "b", "c"] and "alike" not in whole
    rc, answer = run("mesh_probe", tmp_path, targets=targets, log_in=False, fold=True)
    # nothing that grows with the nodes
    assert {*answer} - {"invocation"} == {"changed", "folded"} and not answer.get("invocation")
    folded = json.loads(answer["folded"])
    own = {target["name"]: (target["hostname"], target["address"]) for target in targets}
    assert (rc, folded["row"]) == (0, {}) and timed.restored(folded["alike"], own) == whole["row"]
    port = free_ports(1)[0]
    rc, answer = run("mesh_probe", tmp_path, targets=targets, log_in=False, fold=True, ports=[port])
    odd = json.loads(answer["folded"])
    assert {row["tcp"][str(port)]["failure"] for row in odd["row"].values()} == {"refused"} and len(odd["row"]) >= 2


def test_listen_probe_measure_and_free_the_ports(tmp_path):
    ports = free_ports(2)
    nodes = {"a": "127.0.0.1", "b": "127.0.0.2"}
    try:
        for name, address in nodes.items():
            wish = {"name": name, "address": address, "ports": ports, "link_port": ports[1], "callers": 1}
            rc, answer = run("port_listener", tmp_path, token=TOKEN, **wish)
            assert (rc, answer.get("changed"), answer.get("problems")) == (0, False, {}), answer
        targets = [
            {"name": name, "address": address, "hostname": name, "ssh_names": [], "ports": ports}
            for name, address in nodes.items()
        ]
        # On loopback the kernel speaks to every 127.x address from that very address.
        _rc, answer = run("mesh_probe", tmp_path, token=TOKEN, address="127.0.0.1", targets=targets)
        for name, found in answer["row"].items():
            assert found["session"] is None and found["ssh"] == {}
            assert [found["tcp"][str(port)]["seen_as"] for port in ports] == [nodes["a"]] * 2, name
        assert answer["row"]["a"]["mtu"] is None and answer["row"]["b"]["mtu"]["ok"]
        wish = {"token": TOKEN, "port": ports[1], "targets": targets, "seconds": 0.05}
        _rc, answer = run("link_probe", tmp_path, name="a", **wish)
        assert answer["streams"] == 1 and list(answer["row"]) == ["b"] and answer["row"]["b"]["ok"]
    finally:
        stopped = [run("port_listener", tmp_path, state="stopped", name=name, token=TOKEN) for name in nodes]
    assert [answer["stopped"] for _rc, answer in stopped] == [True, True]
    assert all(refused(address, port) for address in nodes.values() for port in ports)


def test_what_is_needed_is_said(tmp_path):
    rc, answer = run("port_listener", tmp_path, name="a", token=TOKEN)
    assert rc == 1 and "address, ports, callers" in answer["msg"]
    rc, answer = run("port_listener", tmp_path, name="a", token="two words", address="127.0.0.1", ports=[1], callers=1)
    assert rc == 1 and "blanks" in answer["msg"]
    pair = [{"name": "b", "address": "127.0.0.2"}]
    rc, answer = run("link_probe", tmp_path, name="a", token=TOKEN, port=1, targets=pair)
    assert rc == 1 and "must contain this node, a" in answer["msg"]
    rc, answer = run("link_probe", tmp_path, name="a", token=TOKEN, port=1, targets=[{"name": "a"}])
    assert rc == 1 and "needs a name and an address" in answer["msg"]


@pytest.mark.parametrize("log_in", [True, False])
def test_who_is_not_meant_to_log_in_tries_ports_alone(tmp_path, log_in):
    free = free_ports(2)
    aim = {"name": "b", "address": "127.0.0.2", "hostname": "b", "ssh_names": ["127.0.0.2"], "ports": free}
    limits = {"timeout": 3, "login_timeout": 5}
    rc, answer = run("mesh_probe", tmp_path, token=TOKEN, address="127.0.0.1", targets=[aim], log_in=log_in, **limits)
    found = answer["row"]["b"]
    assert (rc, list(found["ssh"])) == (0, ["127.0.0.2"] if log_in else [])
    assert set(found["tcp"]) == {str(port) for port in free}


def test_machines_that_may_be_off_are_asked_while_the_others_are_tried(monkeypatch):
    begun, tried = threading.Event(), threading.Event()

    def look_at_all(places):
        begun.set()
        return {place.name: tried.wait(30) for place in places}

    def probe(*_arguments):
        tried.set()
        return begun.wait(30)

    monkeypatch.setattr(mesh_probe.probe_unreached, "look_at_all", look_at_all)
    monkeypatch.setattr(mesh_probe.mesh, "probe", probe)
    given = {"targets": [], "log_in": True, "address": "", "token": "", "python": "", "commands": [], "workers": 1}
    given |= {"timeout": 1, "login_timeout": 1, "slow_seconds": 1.0, "fold": False}
    answer = mesh_probe.look({**given, "unreached": [{"name": "off", "addresses": [], "port": 22}]})
    assert answer["row"] is True and answer["unreached"] == {"off": True}


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(mesh_probe, monkeypatch)
