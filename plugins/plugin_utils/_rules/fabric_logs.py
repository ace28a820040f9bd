# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the logs of what sets NVLink fabrics up: the fabric manager within a node, IMEX between nodes."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import fabric
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import key
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import gpus, shortened, text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Finding,
    dig,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._fabric_logs import (
    KIND,
    Event,
    events,
    has_fabric,
    is_guest,
    is_up,
    of_rack,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._fabric_words import (
    GUEST,
    IMEX,
    MANAGER,
    NOTHING,
    RANKS,
    Words,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_logs import files_there
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._xids import reason


@rule(
    About(
        "gpu-imex",
        layer="gpu",
        severity=FAIL,
        also=(WARN, INFO),
        title="IMEX does not join the NVLinks of the nodes",
        symptom="`MNNVL ... not working on this system`, `Domain State: DOWN`",
        source="NVIDIA IMEX Service for NVLink Networks",
    ),
    "drv-fabricmanager",
    applies=files_there(KIND),
)
def services(case: Case) -> t.Iterator[Answer]:
    """Why a service did not start or ended, the heaviest cause of each host; what follows from it is not told again."""
    found: dict[tuple[str, str], list[Event]] = {}
    for event in events(case):
        if event.kind in RANKS:
            found.setdefault((event.host, text(event.record, "service")), []).append(event)
    for (host, service), every in found.items():
        first = min(every, key=lambda event: RANKS.index(event.kind))
        needed = (of_rack if service == fabric.IMEX else has_fabric)(case, host)
        words = _words(case, first, service, needed)
        if words:
            yield _finding(case, first, "gpu-imex" if service == fabric.IMEX else "drv-fabricmanager", words)


def _words(case: Case, event: Event, service: str, needed: bool | None) -> Words | None:
    """How bad an event is, and what to say of it, on a node that needs the service, does not, or may."""
    if event.kind in ("stopped", "nothing", "ended") and needed is False and service == fabric.MANAGER:
        return NOTHING if event.kind == "nothing" else None
    if event.kind == "nothing" and is_guest(case, event.host) and not is_up(case, event.host):
        return GUEST
    if event.kind in ("ended", "stopped") and (
        needed is False or (needed and service == fabric.MANAGER and _live(case, event))
    ):
        return None
    known = IMEX if service == fabric.IMEX else MANAGER
    newer = event.kind == "version" and key(event.detail("own")) > key(event.detail("driver") or event.detail("own"))
    words = known.get("newer" if newer else event.kind, known["error"])
    if service == fabric.MANAGER and is_up(case, event.host):
        return Words(INFO, f"{words.cause}: so it was, the fabric is set up now", words.remedy)
    if event.kind == "stopped" and event.detail("state") != "failed" and needed is None:
        return words._replace(severity=WARN)
    return words


def _live(case: Case, event: Event) -> bool:
    """Whether the facts of the node itself tell that its fabric is not set up: the log says no more."""
    return bool(gpus(case, event.host)) and not is_up(case, event.host)


def _finding(case: Case, event: Event, identity: str, words: Words) -> Finding:
    hosts = (event.host,) if event.host in case.plan["nodes"] else ()
    details = dig(event.record, "details", {})
    names = {"own": "?", "driver": "VERSION", "item": "the item", "state": "", "branch": "BRANCH", "version": "?"}
    names.update({name: str(value) for name, value in details.items()})
    if details.get("driver"):
        names["branch"] = str(details["driver"]).partition(".")[0]
    seen = f"{event.path}: {shortened(text(event.record, 'line'))}"
    cause, remedy = words.cause.format(**names), words.remedy.format(**names)
    return Finding(identity, words.severity, hosts, {event.host: seen}, f"{cause}.", f"{remedy}.")


@rule("gpu-nvlink", "gpu-xid", applies=files_there(KIND))
def hardware(case: Case) -> t.Iterator[Answer]:
    """Errors of NVSwitches and NVLinks that the fabric manager has seen."""
    remedy = (
        "nvidia-smi nvlink -s and nvidia-smi nvlink -e there, reset all GPUs or reboot; if it comes back, have the "
        "board checked; on a rack look at the port of the switch tray that the line names, and its cable cartridge"
    )
    for event in events(case):
        word = event.detail("word").lower()
        if event.kind == "switch_error":
            line = f"SXid, {'Fatal' if word == 'fatal' else 'Non-fatal'}"
            why = reason({"kind": "sxid", "xid": event.detail("code"), "line": line})
            if why:
                yield _finding(case, event, "gpu-xid", Words(why[0], why[1].rstrip("."), why[2].rstrip(".")))
        elif event.kind == "gpu_error":
            fatal = word == "fatal"
            cause = f"The fabric manager saw a{' fatal' if fatal else 'n'} NVLink error of a GPU"
            cause += "" if fatal else " that is not fatal"
            yield _finding(case, event, "gpu-nvlink", Words(FAIL if fatal else WARN, cause, remedy))
        elif event.kind == "links":
            cause = "The fabric manager saw NVLinks fail or not come up: NCCL hangs, fails or is slow over them"
            yield _finding(case, event, "gpu-nvlink", Words(FAIL, cause, remedy))
