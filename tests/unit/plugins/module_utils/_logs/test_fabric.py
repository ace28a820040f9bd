# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of the fabric manager and of IMEX, systemctl's words on them, and the domain as nvidia-imex-ctl shows it."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.fabric import parse

DAEMON = "Nov 05 13:55:26 gpu1 nv-fabricmanager[10]: "
SYSTEMD = "Nov 05 13:55:26 gpu1 systemd[1]: "
OWN = "[Jul 23 2024 07:53:55] [{}] [tid 841] {}\n"
MISMATCH = (
    "fabric manager NVIDIA GPU driver interface version 550.127.05 don't match with driver version 550.120. Please"
)
NOTHING = "request to query NVSwitch device information from NVSwitch driver failed with error:WARNING Nothing to do "
NOTHING += "[NV_WARN_NOTHING_TO_DO]"
READY = "Successfully configured all the available NVSwitches to route GPU NVLink traffic."


def kinds(text: str) -> list[tuple[str, str, str]]:
    return [(each["host"], each["service"], each["kind"]) for each in parse(text, {"gpu1", "gpu2"})]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (MISMATCH, "version"),
        (MISMATCH.replace("don't", "doesn't"), "version"),
        (NOTHING, "nothing"),
        ("fabric manager config file item: FABRIC_NODE_CONFIG_FILE has an invalid value", "config"),
        ("failed to acquire required privileges to access NVSwitch devices.", "access"),
        (
            "detected number of NVSwitches don't match with any supported system topology, aborting fabric manager",
            "topology",
        ),
        ("failed to bind to port 6666: Address already in use", "in_use"),
        ("ib_umad kernel module is not loaded", "modules"),
        (
            "detected NVSwitch fatal error 20034 on fid 0 on NVSwitch pci bus id 00000000:86:00.0 port 33",
            "switch_error",
        ),
        ("Fabric Manager detected GPU NVL Non Fatal error on :", "gpu_error"),
        ("failed to find the GPU handle 54 in the multicast team request setup 61.", "multicast"),
        ("Trunk port failure detected for switch GUID 0xb0 and switch chassis sn 18, slot 7 port number 61", "links"),
        ("NVLink 3 of GPU 2 failed to train", "links"),
        ("something that nobody knows", "error"),
    ],
)
def test_lines_of_the_fabric_manager(line: str, kind: str) -> None:
    assert kinds(OWN.format("ERROR", line)) == [("", "fabricmanager", kind)]
    assert kinds(OWN.format("INFO", line)) == []
    if kind != "error":
        assert kinds(f"{DAEMON}{line}\n") == [("gpu1", "fabricmanager", kind)]


def test_versions() -> None:
    (event,) = parse(f"{DAEMON}{MISMATCH}\n")
    assert event["details"] == {"own": "550.127.05", "driver": "550.120"}


def test_what_a_later_start_puts_an_end_to() -> None:
    failed = f"{SYSTEMD}Starting NVIDIA fabric manager service...\n{DAEMON}{MISMATCH}\n{SYSTEMD}Failed to start NVIDIA "
    failed += "fabric manager service.\n"
    assert [kind for _host, _service, kind in kinds(failed)] == ["version", "ended"]
    assert kinds(f"{failed}{SYSTEMD}Starting NVIDIA fabric manager service...\n{DAEMON}{READY}\n") == []
    assert [kind for *_rest, kind in kinds(failed + failed)] == ["version", "ended"]


STATUS = "{} nvidia-{}.service - NVIDIA service\n     Loaded: loaded (/usr/lib/x; enabled)\n     Active: {} since Fri\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STATUS.format("×", "fabricmanager", "failed (Result: exit-code)"), [("", "fabricmanager", "stopped")]),
        (STATUS.format("○", "imex", "inactive (dead)"), [("", "imex", "stopped")]),
        (STATUS.format("●", "fabricmanager", "active (running)") + f"{DAEMON}{MISMATCH}\n", []),
        (
            STATUS.format("●", "fabricmanager", "active (running)")
            + OWN.format("ERROR", "detected NVSwitch fatal error 20034"),
            [("", "fabricmanager", "switch_error")],
        ),
        (
            STATUS.format("×", "fabricmanager", "failed (Result: exit-code)") + f"{DAEMON}{MISMATCH}\n",
            [("gpu1", "fabricmanager", "version"), ("gpu1", "fabricmanager", "stopped")],
        ),
        ("gpu2: Unit nvidia-fabricmanager.service could not be found.\n", [("gpu2", "fabricmanager", "stopped")]),
    ],
)
def test_what_systemctl_says(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert kinds(text) == expected


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("No matching network interface found for any IP addresses in the node configuration file", "imex_interface"),
        ("Node configuration mapping mismatch with node 3", "imex_map"),
        ("Version mismatch with node 3", "imex_version"),
        ("Failed to open IMEX channel 0", "imex_channel"),
        ("Failed to get export ref for UUID: 1-2 for request from node id 0", "imex_memory"),
    ],
)
def test_lines_of_imex(line: str, kind: str) -> None:
    assert kinds("IMEX Log initializing at: 3/26/2025\n" + OWN.format("ERROR", line)) == [("", "imex", kind)]


LEGEND = "!V! - Version mismatch, communication disabled.\n!M! - Node map mismatch, communication disabled.\n\nNodes:\n"


def domain(states: str, rows: str, state: str, versions: str = "570.172 570.172 570.172") -> str:
    nodes = "".join(
        f"Node #{at}   - 10.0.0.1{at}    - {word}                - Version: {version}\n"
        for at, (word, version) in enumerate(zip(states.split(), versions.split(), strict=True))
    )
    matrix = "".join(f"       {at}        {row}\n" for at, row in enumerate(rows.split("/")))
    return f"{LEGEND}{nodes}\n Nodes From\\To  0   1   2\n{matrix}\nDomain State: {state}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (domain("READY READY READY", "C C C/C C C/C C C", "UP"), []),
        (domain("READY UNAVAILABLE READY", "C N C/I I I/C N C", "DEGRADED"), [("imex_node", "10.0.0.11")]),
        (
            domain("READY READY READY", "C !V! C/!V! C !V!/C !V! C", "DOWN", "570.172 570.124 570.172"),
            [("imex_version", "10.0.0.11")],
        ),
        (domain("READY READY READY", "C C !M!/C C !M!/!M! !M! C", "DOWN"), [("imex_map", "10.0.0.12")]),
        (domain("READY READY READY", "C C N/C C N/N N C", "DEGRADED"), [("imex_peer", "10.0.0.12")]),
        (domain("READY READY READY", "C C C/C C C/C C C", "DEGRADED"), [("imex_domain", None)]),
    ],
)
def test_the_domain(text: str, expected: list[tuple[str, str | None]]) -> None:
    assert [(each["kind"], each["details"].get("address")) for each in parse(text)] == expected


def test_the_domain_as_json() -> None:
    peers = {"0": {"host": "10.0.0.10", "status": "CONNECTED"}, "1": {"host": "10.0.0.11", "status": "NEVER_CONNECTED"}}
    nodes = {"0": {"status": "READY", "host": "10.0.0.10", "connections": peers},
             "1": {"status": "UNAVAILABLE", "host": "10.0.0.11"}}  # fmt: skip
    found = parse(json.dumps({"nodes": nodes, "status": "DOWN"}))
    assert [(each["kind"], each["details"]["address"]) for each in found] == [("imex_node", "10.0.0.11")]
    nodes["1"] = {"status": "READY", "host": "10.0.0.11", "connections": peers}
    peers["1"]["status"] = "CONNECTED"
    assert parse(json.dumps({"nodes": nodes, "status": "UP"})) == []


@pytest.mark.parametrize("word", ["UNAVAILABLE", "WAITING_FOR_PEERS", "INITIALIZING"])
def test_the_state_of_one_machine(word: str) -> None:
    assert kinds(f"gpu1: READY\ngpu2: {word}\n") == [("gpu2", "imex", "imex_node")]
    assert kinds(f"{word}\nand more\n") == []


WORDS = (
    "Node #1 - 10.0.0.1 - READY",
    "Active: failed",
    "● nvidia-imex.service - x",
    "{",
    "Domain State: DOWN",
    "\n",
    " 0 C !V!",
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), max_size=40).map(" ".join))
def test_any_text(text: str) -> None:
    assert all(each["service"] in ("imex", "fabricmanager") for each in parse(text))


@pytest.mark.parametrize(
    "text", [" " * 60000, "Node #1 " * 8000, "NVLink " * 9000, " 0 C" * 15000, OWN.format("ERROR", "x") * 1500]
)
def test_floods_are_read_in_time(text: str) -> None:
    start = time.monotonic()
    assert len(parse(text)) <= 60
    assert time.monotonic() - start < 5
