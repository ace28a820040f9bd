# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what sets NVLink fabrics up: logs and states of the fabric manager, of NVLSM and of IMEX.

Takes /var/log/fabricmanager.log and nvidia-imex.log, the journal and ``systemctl status`` of their services, and the
tables of nvidia-imex-ctl; of one machine or several. Drivers 450 to 610. How bad an event is, is not decided here.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import kernel_log, per_host

Record = dict[str, t.Any]

MANAGER, IMEX = "fabricmanager", "imex"

# "[Jul 23 2024 07:53:55] [ERROR] [tid 841] ..."
_LEVEL = re.compile(r"\[(INFO|DEBUG|WARNING|ERROR|CRITICAL|FATAL)\] \[tid \d{1,9}\] ?")
_OF_IMEX = re.compile(r"imex|memory reference|export ref\b|import response", re.IGNORECASE)
_OF_MANAGER = re.compile(r"fabric ?manager|nvlsm|NVSwitch|NVLink", re.IGNORECASE)
_STATE = re.compile(
    r"\s*Active: (?P<state>active|inactive|failed|activating|deactivating)\b(?: \((?P<how>[^)]{1,40})\))?"
)
_ABSENT = re.compile(r"Unit (?P<unit>nvidia-(?:fabricmanager|imex))\.service could not be found|Loaded: not-found")
_START = re.compile(
    r"Log initializing at|is running with the following configuration|Starting .{0,60}(?:[Ff]abric|IMEX)|"
    r"Starting nvidia-(?:fabricmanager|imex)"
)
_READY = re.compile(
    r"Successfully configured all the available|Started .{0,60}(?:[Ff]abric ?[Mm]anager|IMEX)|"
    r"Started nvidia-(?:fabricmanager|imex)"
)
_NOISE = ("INFO", "DEBUG")


def _kind(kind: str, pattern: str) -> tuple[str, re.Pattern[str]]:
    return kind, re.compile(pattern)


# The first that fits names a line: what is to be changed before what follows from it.
_PATTERNS: t.Sequence[tuple[str, re.Pattern[str]]] = (
    _kind("version", r"interface version (?P<own>\S+) (?:don't|doesn't|does not|do not) match"
                     r"(?: with driver version (?P<driver>[\d.]*\d))?"),
    _kind("config", r"config(?:uration)? file item:? (?P<item>\w+) has an invalid value|(?:failed|unable) to (?:open|"
                    r"parse|read) .{0,40}config(?:uration)? file|[Ii]nvalid (?:config|option)"),
    _kind("access", r"required privileges|[Pp]ermission denied|Operation not permitted"),
    _kind("nothing", r"NV_WARN_NOTHING_TO_DO"),
    _kind("topology", r"number of NVSwitches don't match|any supported (?:system )?topology|topology file"),
    _kind("in_use", r"[Aa]ddress already in use|already running|another instance"),
    _kind("modules", r"(?:ib_umad|mlx5_ib|[Ii]nfini[Bb]and|NVSwitch LPF|management port).{0,60}(?:not (?:found|loaded|"
                     r"present|available)|missing|failed)|(?:[Nn]o|[Ff]ailed to (?:find|open)).{0,40}(?:ib_umad|"
                     r"mlx5_ib|umad port|[Ii]nfini[Bb]and devices?|NVSwitch LPF)"),
    _kind("switch_error", r"NVSwitch (?P<word>fatal|non-fatal) error (?P<code>\d{1,6})"),
    _kind("gpu_error", r"GPU NVL (?P<word>Fatal|Non[ -]?Fatal) error"),
    _kind("multicast", r"multicast (?:team|group)"),
    _kind("imex_interface", r"[Nn]o matching network interface found"),
    _kind("imex_version", r"[Vv]ersion mismatch"),
    _kind("imex_map", r"[Nn]ode (?:configuration mapping|map) mismatch"),
    _kind("imex_channel", r"(?:imex|IMEX).{0,20}channel.{0,80}(?:fail|not |error)|(?:[Ff]ailed|[Uu]nable).{0,60}"
                          r"(?:imex|IMEX).{0,20}channel"),
    _kind("imex_memory", r"memory reference|export ref\b|import response .{0,80}failure"),
    _kind("links", r"(?:[Tt]runk|[Aa]ccess) (?:port|link)s?\b.{0,40}fail|N[Vv][Ll]inks?\b.{0,100}(?:fail|down|degraded|"
                   r"not (?:active|trained|up))|[Ff]ail\w* to train|[Tt]raining (?:has )?failed|port down event"),
)  # fmt: skip
# The service ended, whatever it said before.
_ENDED = re.compile(
    r"(?:Main|Control) process exited, code=(?:killed|dumped)|process exited, code=exited, status=[1-9]|"
    r"Failed with result|Failed to start|failed! Exit code|aborting (?:fabric manager|IMEX)|"
    r"start operation timed out|start request repeated"
)
_MANY = 60

# "Node #1   - 172.31.48.98    - READY                - Version: 570.172"
_NODE = re.compile(
    r"Node #(?P<number>\d{1,4})\s+- (?P<address>\S+)\s+- (?:(?P<host>[\w.-]+)\s+- )?(?P<state>[A-Z_]{2,40})\b"
    r"(?:\s+- Version: (?P<version>\S+))?"
)
# what nvidia-imex-ctl -q prints: one word
_OWN_STATE = re.compile(
    r"\s*(INITIALIZING|STARTING_AUTH_SERVER|WAITING_FOR_\w{3,20}|INIT_GPU|READY|SHUTTING_DOWN|UNAVAILABLE)\s*\Z"
)
_DOMAIN = re.compile(r"Domain State: (?P<state>\w+)")
_MATRIX = re.compile(r"\s*(?P<number>\d{1,4})(?P<cells>(?:\s+(?:[INRDAC]|!V!|!M!))+)\s*\Z")


def parse(text: str, nodes: t.Container[str] = ()) -> list[Record]:
    """What is wrong, as each machine's text says since its service started last.

    Each record has ``host`` (empty where nothing names it), ``service`` (fabricmanager or imex), ``kind``, ``line`` and
    ``details``. Kinds beside those of the lines: ``ended`` (the service did), ``stopped`` (it does not run), ``error``
    (a line of no known kind), ``imex_node`` (a node of the domain that is not ready: ``address``, ``state``),
    ``imex_peer`` (nodes that are not connected) and ``imex_domain`` (its ``state``).
    """
    found = []
    for word, body in per_host.split(text, nodes):
        rows = body.splitlines()
        domain = _of_domain(rows) or _of_own_state(rows)
        found += [{"host": word, "service": IMEX, **record} for record in domain]
        if not domain and not any(_NODE.search(row) for row in rows):
            found += [{**record, "host": record["host"] or word} for record in _of_logs(body)]
    return found[:_MANY]


def _of_logs(text: str) -> list[Record]:
    """The events of the last start of each service of each host, those of one kind once."""
    events: dict[tuple[str, str], dict[tuple[str, ...], Record]] = {}
    states: dict[tuple[str, str], Record] = {}
    service, host = (IMEX if _OF_IMEX.search(text) and not _OF_MANAGER.search(text) else MANAGER), ""
    for line in kernel_log.lines(text, tags=None):
        row = line.text
        if "●" in row or row.lstrip().startswith(("×", "○")) or ".service - " in row:
            service, host = _service(row, service), line.host
        own = _service(f"{line.tag} {row}", service) if line.tag != "kernel" else service
        key = (line.host or host, own)
        found = events.setdefault(key, {})
        state = _STATE.match(row) or _ABSENT.search(row)
        if state:
            states[key] = _state(row, state.groupdict())
        elif _READY.search(row) or _START.search(row):
            found.clear()
        else:
            _note(found, row)
    for key in [each for each in states if not each[0]]:  # systemctl names no machine, its lines of the journal do
        named = [each for each in events if each[0] and each[1] == key[1]]
        if len(named) == 1:
            states[named[0]] = states.pop(key)
    return [
        {"host": key[0], "service": key[1], **record}
        for key in {**events, **states}
        for record in _with_state(list(events.get(key, {}).values()), states.get(key))
    ]


def _service(row: str, before: str) -> str:
    """Whose line it is."""
    if _OF_IMEX.search(row):
        return IMEX
    return MANAGER if _OF_MANAGER.search(row) else before


def _state(row: str, said: t.Mapping[str, str | None]) -> Record:
    state = said.get("state") or "not installed"
    return {"kind": "stopped", "line": kernel_log.shown(row), "details": {"state": state, "how": said.get("how") or ""}}


def _with_state(found: list[Record], state: Record | None) -> list[Record]:
    """Events beside what systemctl says now: of a service that runs only errors of the hardware are left."""
    if state is None:
        return found
    if state["details"]["state"] in ("active", "activating"):
        return [each for each in found if each["kind"] in _LASTING]
    return [*found, state]


_LASTING = ("switch_error", "gpu_error", "multicast", "links")


def _note(found: dict[tuple[str, ...], Record], row: str) -> None:
    """Keep a line, the last one of its kind; lines of information are of no weight."""
    level = _LEVEL.search(row)
    if level and level.group(1) in _NOISE:
        return
    for kind, pattern in _PATTERNS:
        said = pattern.search(row)
        if said:
            details = {name: value for name, value in said.groupdict().items() if value}
            key = (kind, details.get("word", ""), details.get("code", ""))
            found[key] = {"kind": kind, "line": kernel_log.shown(row), "details": details}
            return
    kind = "ended" if _ENDED.search(row) else "error" if level and level.group(1) != "WARNING" else ""
    if kind:
        found[(kind,)] = {"kind": kind, "line": kernel_log.shown(row), "details": {}}


def _of_domain(rows: t.Sequence[str]) -> list[Record]:
    """What nvidia-imex-ctl -N tells (as a table or as JSON): nodes that are not ready or not connected."""
    data = _domain_json("\n".join(rows))
    if data:
        nodes, cells, state = data
    else:
        said = [match for match in map(_NODE.search, rows) if match]
        nodes = {each.group("number"): each.groupdict() for each in said}
        lines = [match for match in map(_MATRIX.match, rows) if match] if nodes else []
        cells = {each.group("number"): each.group("cells").split() for each in lines}
        state = next((match.group("state") for match in map(_DOMAIN.search, rows) if match), "")
    found: list[Record] = []
    for number, node in nodes.items():
        if node["state"] != "READY":
            line = f"Node #{number} - {node['address']} - {node['state']}"
            details = {"address": node["address"], "state": node["state"]}
            found.append({"kind": "imex_node", "line": line, "details": details})
    for cell, kind in (("!V!", "imex_version"), ("!M!", "imex_map")):
        odd = _odd_ones(cells, cell)
        found += [_peer(kind, nodes, number, cell) for number in odd if number in nodes]
    ready = {number for number, node in nodes.items() if node["state"] == "READY"}
    for number in _odd_ones(cells, *"INRD") if not found else ():
        if number in ready:
            found.append(_peer("imex_peer", nodes, number, "not connected"))
    if state not in ("", "UP") and not found:
        found.append({"kind": "imex_domain", "line": f"Domain State: {state}", "details": {"state": state}})
    return found


def _of_own_state(rows: t.Sequence[str]) -> list[Record]:
    """What nvidia-imex-ctl -q tells of the machine it runs on."""
    words = [match.group(1) for match in map(_OWN_STATE.match, rows) if match]
    if len(words) != 1 or len([row for row in rows if row.strip()]) > 1 or words[0] == "READY":
        return []
    return [{"kind": "imex_node", "line": f"nvidia-imex-ctl -q: {words[0]}", "details": {"state": words[0]}}]


def _peer(kind: str, nodes: t.Mapping[str, t.Any], number: str, what: str) -> Record:
    address = nodes[number]["address"]
    version = nodes[number].get("version") or ""
    line = f"Node #{number} - {address} - {version} {what}"
    return {"kind": kind, "line": " ".join(line.split()), "details": {"address": address, "version": version}}


def _odd_ones(cells: t.Mapping[str, t.Sequence[str]], *letters: str) -> list[str]:
    """The nodes whose rows and columns hold such a letter more often than those of most others; all if none does."""
    order = list(cells)
    counts = dict.fromkeys(order, 0)
    for number, row in cells.items():
        for other, cell in zip(order, row):
            if cell in letters and other != number:
                counts[number] += 1
                counts[other] += 1
    most = max(counts.values(), default=0)
    return [number for number, count in counts.items() if most and count == most]


def _domain_json(text: str) -> tuple[dict[str, t.Any], dict[str, list[str]], str] | None:
    """(nodes, letters of the connections, state) of nvidia-imex-ctl -N -j."""
    begin = text.find("{")
    try:
        data, _end = json.JSONDecoder().raw_decode(text[begin:]) if begin >= 0 else (None, 0)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), dict):
        return None
    nodes: dict[str, t.Any] = {}
    cells: dict[str, list[str]] = {}
    for number, node in data["nodes"].items():
        if isinstance(node, dict):
            nodes[number] = {"address": str(node.get("host") or ""), "state": str(node.get("status") or ""),
                             "version": str(node.get("version") or "")}  # fmt: skip
            peers = node.get("connections")
            peers = peers if isinstance(peers, dict) else {}
            cells[number] = [_letter(peers.get(other)) for other in data["nodes"]]
    return nodes, cells, str(data.get("status") or "")


def _letter(peer: t.Any) -> str:
    word = str(peer.get("status") if isinstance(peer, dict) else "")
    if "VERSION" in word:
        return "!V!"
    return "!M!" if "MAP" in word else "C" if word in ("CONNECTED", "") else word[:1]
