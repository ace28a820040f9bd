# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask nvidia-smi, within a bound, and say what came of it.

Two calls on every machine (the XML, and one small query for the compute capability), one more for
the wiring where there is something to wire, one more for the links where there are NVLinks.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import topology as topo
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_errors import Failure, classify
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_query import (
    TIERS,
    GpuRow,
    arguments,
    disagreement,
    read_gpus,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_xml import SmiLog, parse
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import first_line

RESERVE = 0.2
"""The share of the time limit that a hanging nvidia-smi leaves for what is read after it."""


INFOROM_CORRUPT = 14
"""An exit status that only warns (nvml.h, NVML_ERROR_CORRUPTED_INFOROM): the answer is there and whole."""


class Answer(t.NamedTuple):
    """What nvidia-smi told: the log, the rows of the query by bus address, wiring, and why not more."""

    log: SmiLog | None
    rows: dict[str | None, GpuRow]
    topology: dict[str, t.Any] | None
    nvlink: list[dict[str, t.Any]] | None
    failures: tuple[Failure, ...]


def ask(machine: Machine, nvswitches: int, has_nics: bool) -> Answer | None:
    """Ask nvidia-smi everything; None when the machine has no nvidia-smi. Never raises."""
    outcome = machine.run("nvidia-smi", "-q", "-x", reserve=RESERVE)
    if outcome is None:
        return None
    log = parse(outcome.out)
    failure = _log_failure(outcome, log)
    if failure or not log.gpus:
        return Answer(log if log.gpus else None, {}, None, None, (failure,) if failure else ())
    rows, failure = _query(machine)
    failure = failure or _contradiction(log, rows)
    topology, nvlink = None, None
    if failure is None and (len(log.gpus) > 1 or has_nics):
        topology, failure = _topology(machine, len(log.gpus))
    if failure is None and (nvswitches or topo.has_nvlink(topology)):
        nvlink, failure = _nvlink(machine, len(log.gpus))
    elif topology:
        nvlink = []
    return Answer(log, {row.pci_bus_id: row for row in rows}, topology, nvlink, (failure,) if failure else ())


def _log_failure(outcome: Outcome, log: SmiLog) -> Failure | None:
    """Why the XML is not a whole and good answer, or None."""
    command = "nvidia-smi -q -x"
    if outcome.rc == INFOROM_CORRUPT and log.defect is None:
        return None
    failed = _run_failure(outcome, command)
    if failed:
        return failed
    if log.defect is None:
        return None
    known = classify(outcome.text, command=command)
    said = first_line(_outside_xml(outcome.text))
    also = f" ({said})" if said else ""
    return known or Failure("unknown", f"the output of {command} cannot be trusted: {log.defect}{also}")


def _outside_xml(text: str) -> str:
    """What was printed around the XML document: warnings and errors."""
    before, _declaration, document = text.partition("<?xml")
    return before + document.partition("</nvidia_smi_log>")[2]


def _run_failure(outcome: Outcome, command: str) -> Failure | None:
    """Why a command did not end well by itself, or None when it did."""
    if outcome.timed_out:
        return Failure("hung", f"{command} did not answer within {outcome.seconds:.1f} s and was killed")
    if outcome.missing:
        return Failure("unknown", f"{command} could not be started: {outcome.err}")
    if outcome.rc:
        said = first_line(_outside_xml(outcome.text)) or "nothing"
        return classify(outcome.text, outcome.rc, command) or Failure(
            "unknown", f"{command} ended with status {outcome.rc} and says: {said}"
        )
    return None


def _query(machine: Machine) -> tuple[tuple[GpuRow, ...], Failure | None]:
    """Ask the tiers of fields until one is accepted; no rows and no failure when none of them is."""
    failed = None
    for fields in TIERS:
        outcome = machine.run("nvidia-smi", *arguments(fields), reserve=RESERVE)
        if outcome is None:
            break
        failed = _run_failure(outcome, "nvidia-smi --query-gpu")
        if failed is None:
            rows, defect = read_gpus(outcome.out, fields)
            if defect:
                failed = Failure("unknown", f"the output of nvidia-smi --query-gpu cannot be trusted: {defect}")
            return rows, failed
        if failed.status != "unknown":
            break
    return (), failed


def _contradiction(log: SmiLog, rows: t.Sequence[GpuRow]) -> Failure | None:
    difference = disagreement(log.gpus, rows) if rows else None
    return Failure("unknown", f"nvidia-smi contradicts itself: {difference}") if difference else None


def _topology(machine: Machine, gpus: int) -> tuple[dict[str, t.Any] | None, Failure | None]:
    """The wiring, or None where it is not whole: virtual machines often have none to show."""
    outcome = machine.run("nvidia-smi", "topo", "-m", reserve=RESERVE)
    if outcome is None or not outcome.ok:
        return None, _hung(outcome, "nvidia-smi topo -m")
    found = topo.parse(outcome.out)
    return (found if found and len(found["gpus"]) == gpus else None), None


def _nvlink(machine: Machine, gpus: int) -> tuple[list[dict[str, t.Any]] | None, Failure | None]:
    outcome = machine.run("nvidia-smi", "nvlink", "-s", reserve=RESERVE)
    if outcome is None or not outcome.ok:
        return None, _hung(outcome, "nvidia-smi nvlink -s")
    found = topo.parse_nvlink(outcome.out)
    return (found if found and len(found) == gpus else None), None


def _hung(outcome: Outcome | None, command: str) -> Failure | None:
    return _run_failure(outcome, command) if outcome is not None and outcome.timed_out else None
