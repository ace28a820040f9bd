# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of the texts of ibstat, ibstatus and ibv_devinfo (rdma-core).

All three come out in one shape, the one that /sys/class/infiniband is read into. They understand the
format line by line, so cut, doubled or polluted output gives what is left of it and never an exception.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import to_int

MAX_LINES = 100_000
_IBSTAT_CA = re.compile(r"^\s*CA '([^']+)'")
_IBSTAT_PORT = re.compile(r"^\s*Port (\d{1,5}):\s*$")
_IBSTATUS = re.compile(r"^\s*Infiniband device '([^']+)' port (\d{1,5}) status:")
_VERBS_HCA = re.compile(r"^\s*hca_id:\s*(\S+)")
_VERBS_PORT = re.compile(r"^\s*port:\s*(\d{1,5})\s*$")
_VERBS_GID = re.compile(r"^\s*GID\[\s*(\d{1,5})\]:\s*([0-9a-fA-F:.]+)(?:,\s*(.*\S))?")
_NUMBER = re.compile(r"\d{1,7}(?:\.\d{1,3})?", re.ASCII)
STATES = {"initializing": "INIT", "armed": "ARMED", "active_defer": "ACTIVE_DEFER"}

# Label in lower case -> key of the device or of the port. The three tools share no label with two meanings.
DEVICE_LABELS = {
    "ca type": "hca_type",
    "firmware version": "fw_ver",
    "fw_ver": "fw_ver",
    "board_id": "board_id",
    "node guid": "node_guid",
    "node_guid": "node_guid",
}
PORT_LABELS = {
    "state": "state",
    "physical state": "phys_state",
    "phys state": "phys_state",
    "phys_state": "phys_state",
    "rate": "rate",
    "link layer": "link_layer",
    "link_layer": "link_layer",
    "base lid": "lid",
    "port_lid": "lid",
    "sm lid": "sm_lid",
    "sm_lid": "sm_lid",
    "active_mtu": "active_mtu",
    "max_mtu": "max_mtu",
}


def empty_device(name: str) -> dict[str, t.Any]:
    """A device of which only the name is known."""
    keys = ("fw_ver", "board_id", "hca_type", "node_guid", "node_type", "pci_address", "driver", "numa_node")
    return {"name": name, **dict.fromkeys(keys), "interfaces": [], "ports": []}


def empty_port(number: int) -> dict[str, t.Any]:
    """A port of which only the number is known."""
    keys = ("state", "phys_state", "rate", "rate_gbps", "link_layer", "lid", "sm_lid", "active_mtu", "max_mtu")
    return {"port": number, **dict.fromkeys(keys), "gids": [], "counters": {}}


def parse(text: str) -> list[dict[str, t.Any]]:
    """The devices in the output of ibstat, ibstatus or ibv_devinfo; an empty list when there is none.

    A device or port that is named again is read on into the first one.
    """
    devices: dict[str, dict[str, t.Any]] = {}
    device: dict[str, t.Any] | None = None
    port: dict[str, t.Any] | None = None
    for line in text.split("\n")[:MAX_LINES]:
        named = _IBSTAT_CA.match(line) or _IBSTATUS.match(line) or _VERBS_HCA.match(line)
        if named:
            device = devices.setdefault(named.group(1), empty_device(named.group(1)))
            port = _port(device, named.group(2)) if named.re is _IBSTATUS else None
            continue
        if device is None:
            continue
        numbered = _IBSTAT_PORT.match(line) or _VERBS_PORT.match(line)
        if numbered:
            port = _port(device, numbered.group(1))
        elif port is None:
            _read_device(device, line)
        else:
            _read_port(port, line)
    return list(devices.values())


def _port(device: dict[str, t.Any], digits: str) -> dict[str, t.Any]:
    number = to_int(digits) or 0
    for port in device["ports"]:
        if port["port"] == number:
            return t.cast("dict[str, t.Any]", port)
    device["ports"].append(empty_port(number))
    return t.cast("dict[str, t.Any]", device["ports"][-1])


def _read_device(device: dict[str, t.Any], line: str) -> None:
    label, colon, value = line.strip().partition(":")
    key = DEVICE_LABELS.get(label.strip().lower()) if colon else None
    if key:
        device[key] = value.strip() or None


def _read_port(port: dict[str, t.Any], line: str) -> None:
    gid = _VERBS_GID.match(line)
    if gid:
        number = to_int(gid.group(1))
        port["gids"].append({"index": number, "gid": gid.group(2), "type": gid.group(3), "interface": None})
        return
    label, colon, raw = line.strip().partition(":")
    key = PORT_LABELS.get(label.strip().lower()) if colon else None
    value = raw.strip()
    if key == "state":
        port["state"] = state(value)
    elif key == "phys_state":
        port["phys_state"] = phys_state(value)
    elif key == "rate":
        port["rate"], port["rate_gbps"] = value or None, rate_gbps(value)
    elif key in ("lid", "sm_lid"):
        port[key] = to_int(value, 0)
    elif key in ("active_mtu", "max_mtu"):
        port[key] = to_int(value.split(" ", 1)[0])
    elif key:
        port[key] = value or None


def state(text: str | None) -> str | None:
    """ "4: ACTIVE", "Active" and "PORT_ACTIVE (4)" as ACTIVE; also DOWN, INIT, ARMED; None for nothing."""
    word = _word(text)
    lowered = word.lower()
    if lowered.startswith("port_"):
        lowered = lowered[5:]
    return STATES.get(lowered, lowered.upper()) or None


def phys_state(text: str | None) -> str | None:
    """ "5: LinkUp", "LinkUp" and "LINK_UP (5)" as LinkUp; Polling, Disabled, ... as they are; None for nothing."""
    word = _word(text)
    if word.replace("_", "").lower() == "linkup":
        return "LinkUp"
    return (word.capitalize() if word.isupper() else word) or None


def _word(text: str | None) -> str:
    head, colon, rest = (text or "").partition(":")
    return (rest if colon and head.strip().isdigit() else text or "").partition("(")[0].strip()


def rate_gbps(text: str | None) -> int | float | None:
    """ "400 Gb/sec (4X NDR)", "400" and "2.5" in Gb/s; None when no number begins the text."""
    found = _NUMBER.match((text or "").strip())
    if not found:
        return None
    number = float(found.group())
    return int(number) if number.is_integer() else number
