# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How bad an Xid is, and what to do; the numbers stand in the table of the Xid catalogue."""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import FAIL, INFO, Data, dig


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
    entry = known["xids"].get(str(code), {"severity": INFO, "meaning": "not in the table", "remedy": "application"})
    return (
        entry["severity"],
        f"The GPU driver logged Xid {code}: {entry['meaning']}.",
        known["remedies"][entry["remedy"]],
    )
