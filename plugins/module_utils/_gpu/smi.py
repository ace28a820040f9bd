# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask nvidia-smi, within a bound, and say what came of it.

Two calls on every machine (the XML, and one small query for the compute capability, which no XML schema carries),
one more for the wiring where there is something to wire, one more for the links where there are NVLinks.
"""

from __future__ import annotations

import csv
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import topology as topo
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_errors import Failure, classify
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_xml import SmiLog, parse
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import (
    bus_id,
    first_line,
    integer,
    is_broken,
    model,
    value,
    version,
)

RESERVE = 0.2
"""The share of the time limit that a hanging nvidia-smi leaves for what is read after it."""

INFOROM_CORRUPT = 14
"""An exit status that only warns (nvml.h, NVML_ERROR_CORRUPTED_INFOROM): the answer is there and whole."""

_KNOWN_TO_ALL = ("index", "uuid", "pci.bus_id", "name", "driver_version")
TIERS: tuple[tuple[str, ...], ...] = ((*_KNOWN_TO_ALL, "compute_cap"), _KNOWN_TO_ALL)
"""Fields to ask for, best first. compute_cap is listed by driver 510; the rest by 375 already.

One field that the driver does not know fails the whole query.
"""

_CAPABILITY = re.compile(r"\d{1,2}\.\d\Z")


class GpuRow(t.NamedTuple):
    """One GPU as the query sees it; each value is None when nvidia-smi has none."""

    number: int | None
    uuid: str | None
    pci_bus_id: str | None
    name: str | None
    driver_version: str | None
    compute_capability: str | None


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
    count = len(log.gpus)
    rows, failure = _query(machine)
    difference = disagreement(log.gpus, rows) if rows else None
    if failure is None and difference:
        failure = Failure("unknown", f"nvidia-smi contradicts itself: {difference}")
    topology, nvlink = None, None
    if failure is None and (count > 1 or has_nics):
        # None where it is not whole: virtual machines often have none to show.
        found, failure = _wiring(machine, topo.parse, "topo", "-m")
        topology = found if found and len(found["gpus"]) == count else None
    if failure is None and (nvswitches or topo.has_nvlink(topology)):
        found, failure = _wiring(machine, topo.parse_nvlink, "nvlink", "-s")
        nvlink = found if found and len(found) == count else None
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
        words = (f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
        outcome = machine.run("nvidia-smi", *words, reserve=RESERVE)
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


def _wiring(machine: Machine, read: t.Callable[[str], t.Any], *words: str) -> tuple[t.Any, Failure | None]:
    """What one more call tells; None where it fails, which is worth a word only when it hangs."""
    outcome = machine.run("nvidia-smi", *words, reserve=RESERVE)
    if outcome is None or not outcome.ok:
        hung = _run_failure(outcome, f"nvidia-smi {' '.join(words)}") if outcome and outcome.timed_out else None
        return None, hung
    return read(outcome.out), None


def read_table(text: str, fields: t.Sequence[str]) -> tuple[list[dict[str, str]], int]:
    """The rows of a CSV output without header, values as printed, and how many have another width. Never raises."""
    lines = [line for line in text.replace("\0", "").splitlines() if line.strip()]
    try:
        records = [[cell.strip() for cell in record] for record in csv.reader(lines, skipinitialspace=True)]
    except csv.Error:
        return [], len(lines)
    rows = [dict(zip(fields, record)) for record in records if len(record) == len(fields)]
    return rows, len(records) - len(rows)


def read_gpus(text: str, fields: t.Sequence[str]) -> tuple[tuple[GpuRow, ...], str | None]:
    """The GPUs of a query without header, and a clause that says why not to trust them, or None."""
    rows, ragged = read_table(text, fields)
    gpus = tuple(
        GpuRow(
            integer(row.get("index")),
            value(row.get("uuid")),
            bus_id(row.get("pci.bus_id")),
            model(row.get("name")),
            version(row.get("driver_version")),
            capability if (capability := value(row.get("compute_cap"))) and _CAPABILITY.match(capability) else None,
        )
        for row in rows
    )
    return gpus, _defect(text, gpus, ragged, len(fields))


def _defect(text: str, gpus: t.Sequence[GpuRow], ragged: int, columns: int) -> str | None:
    """Why this cannot be the whole and only answer of nvidia-smi."""
    if not gpus:
        return "it holds no GPU"
    if ragged:
        return f"{ragged} of its lines do not have {columns} columns"
    if is_broken(text):
        return "it holds bytes that are not text"
    addresses = [gpu.pci_bus_id for gpu in gpus]
    if None in addresses:
        return "it holds a GPU without a bus address"
    if len(addresses) != len(set(addresses)):
        return "it holds two GPUs at one bus address"
    return None


def disagreement(listed: t.Sequence[dict[str, t.Any]], queried: t.Sequence[GpuRow]) -> str | None:
    """What ``nvidia-smi -q -x`` and the query say differently about the same machine, or None."""
    if len(listed) != len(queried):
        return f"nvidia-smi -q -x lists {len(listed)} GPUs, the query {len(queried)}"
    rows = {row.pci_bus_id: row for row in queried}
    for gpu in listed:
        row = rows.get(gpu["pci_bus_id"])
        if row is None:
            return f"the query does not know the GPU at {gpu['pci_bus_id']}"
        for key in ("uuid", "name"):
            mine, other = gpu[key], getattr(row, key)
            if mine and other and mine != other:
                return f"the GPU at {gpu['pci_bus_id']} has the {key} {mine} in one output and {other} in the other"
    return None
