# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How bad an Xid is, and what to do; the numbers stand in the table of the Xid catalogue."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.xid import RECOVERY
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import FAIL, INFO, WARN, Data, dig

_ACTION = re.compile(r"recovery action changed from .{1,60} to 0x[0-9a-fA-F]+ \(([^)]{1,40})\)")
# behind the line of an NVSwitch that says how bad it is: "20034, Severity 1 ...", "20034, Data {0x..."
_DATA = re.compile(r"\bSXid \([^)]{1,40}\): \d{1,6}, (?:Severity \d|Data \{)")
# Xid 45 is what the driver does to the programs on a GPU: "Ch 00000001 caused by previous Xid 149"
_BEFORE = re.compile(r"caused by previous Xid (\d{1,4})\b")
_NONFATAL = re.compile(r"\bNon-?fatal\b", re.IGNORECASE)


def recovery(action: str) -> tuple[str, str]:
    """(cause, remedy) of what the driver asks for, by the words of nvidia-smi and of Xid 154; empty for nothing."""
    word = action.strip().lower().removesuffix(" required").removeprefix("gpu ").removeprefix("node ")
    known = table("xids")["recovery"]
    if word in ("", "none", "n/a"):
        return "", ""
    remedy = known.get("imex" if "imex" in word else word, known["other"])
    return f"The driver asks for a recovery of a GPU: {action.strip()}.", remedy


def to_judge(events: t.Sequence[Data]) -> list[Data]:
    """The events without those that only give the data of one before, or whose place a later one takes."""
    last = {text(event, "bus_id"): at for at, event in enumerate(events) if _is_recovery(event)}
    told = {(text(event, "bus_id"), str(dig(event, "xid"))) for event in events}
    return [
        event
        for at, event in enumerate(events)
        if not (_is_recovery(event) and at != last[text(event, "bus_id")])
        and not (text(event, "kind") == "sxid" and _DATA.search(text(event, "line")))
        and (text(event, "bus_id"), _before(event)) not in told
    ]


def _before(event: Data) -> str:
    """The Xid that one is a consequence of; empty where the line names none."""
    said = _BEFORE.search(text(event, "line")) if text(event, "kind") == "xid" else None
    return said.group(1) if said else ""


def _is_recovery(event: Data) -> bool:
    return text(event, "kind") == "xid" and dig(event, "xid") == RECOVERY


def off_bus(event: Data) -> bool:
    """Whether it says that a GPU fell off the bus, with or without its Xid."""
    return text(event, "kind") == "fallen_off_bus" or (text(event, "kind") == "xid" and dig(event, "xid") == 79)


def reason(event: Data) -> tuple[str, str, str] | None:
    """(severity, cause, remedy) of one event; None for one that this rule does not judge."""
    known = table("xids")
    kind, code = text(event, "kind"), dig(event, "xid")
    if off_bus(event):
        return FAIL, "The kernel logged that a GPU has fallen off the bus.", known["remedies"]["power"]
    if kind == "sxid":
        fatal = ", Fatal" in text(event, "line")
        return (
            FAIL if fatal else INFO,
            f"An NVSwitch logged the {'fatal' if fatal else 'non-fatal'} error SXid {code}.",
            known["remedies"]["link" if fatal else "watch"],
        )
    if kind != "xid":
        return None
    code = _before(event) or code
    entry = known["xids"].get(str(code), {"severity": INFO, "meaning": "not in the table", "remedy": "unknown"})
    action = _ACTION.search(text(event, "line")) if code == RECOVERY else None
    if action:
        cause, remedy = recovery(action.group(1))
        over = f"The GPU driver logged Xid {code}: a GPU needs no recovery any more."
        return (FAIL, cause, remedy) if cause else (INFO, over, known["remedies"]["application"])
    if str(code) in map(str, known["nvlink"]) and _NONFATAL.search(text(event, "line")):
        return WARN, f"The GPU driver logged Xid {code}: NVLink error that is not fatal.", known["remedies"]["watch"]
    return (
        entry["severity"],
        f"The GPU driver logged Xid {code}: {entry['meaning']}.",
        known["remedies"][entry["remedy"]],
    )
