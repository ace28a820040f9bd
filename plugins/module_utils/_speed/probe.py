# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast this node's GPUs, or its processors, are by themselves.

Which GPUs are idle is read here, right before; only those are handed to the program that loads them.
"""

from __future__ import annotations

import inspect
import json
import pathlib
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import load
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome, run
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import which
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import smi_reading
from ansible_collections.trainmesh.cluster.plugins.module_utils._speed import measure

Record = dict[str, t.Any]

START_SECONDS = 90.0  # to load torch from a slow disk
GPU_SECONDS = 12.0
CPU_SECONDS = 30.0
LONGEST_SECONDS = 600.0
SMI_SECONDS = 20.0
USED_MIB = 1024.0  # drivers before 510 count what they reserve themselves
BUSY_PERCENT = 10.0
FROM_PROGRAM = ("tflops", "memory_gbps", "host_gbps", "peer_gbps", "peer", "near")


class Wish(t.NamedTuple):
    """What is asked for; ``limit`` in seconds for everything, 0 for one by the number of GPUs."""

    python: str
    device: str
    precision: str
    limit: float


def probe(wish: Wish) -> Record:
    """The answer of the module; it never raises and never takes longer than about its limit."""
    started = time.monotonic()
    found = _cpu(wish) if wish.device == "cpu" else _gpus(wish)
    return {
        **empty(wish),
        "boot": _line("/proc/sys/kernel/random/boot_id"),
        "processor": _cpu_model(),
        **found,
        "seconds": _since(started),
    }


def empty(wish: Wish) -> Record:
    """The answer when nothing is measured."""
    nothing: Record = dict.fromkeys(("reason", "cpu", "load", "torch", "boot", "processor"))
    return {**nothing, "device": wish.device, "precision": wish.precision, "gpus": [], "seconds": 0.0}


def _since(started: float) -> float:
    return round(time.monotonic() - started, 2)


def _line(path: str) -> str | None:
    try:
        return pathlib.Path(path).read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


# --- the program


def events(text: str) -> list[Record]:
    """What the program has said; anything else in its output is left alone."""
    found = []
    for line in text.splitlines():
        if not line.startswith(measure.MARK):
            continue
        try:
            said = json.loads(line[len(measure.MARK) :])
        except ValueError:
            continue  # cut by our time limit
        if isinstance(said, dict):
            found.append(said)
    return found


def _measured(wish: Wish, spec: Record, seconds: float, env: t.Mapping[str, str]) -> tuple[list[Record], Record]:
    """(what the program has said, ``torch``, ``load`` and ``reason``)."""
    program = f"{inspect.getsource(measure)}\nmain({spec!r})\n"
    watch = load.Watch()
    limit = wish.limit or min(LONGEST_SECONDS, START_SECONDS + seconds)
    outcome = run([wish.python, "-uB", "-"], limit, env=env, stdin=program, cwd="/")
    said = events(outcome.out)
    torch = next((each.get("version") for each in said if each.get("e") == "torch"), None)
    return said, {"torch": torch, "load": watch.report(), "reason": _reason(wish, outcome, said, limit)}


def _reason(wish: Wish, outcome: Outcome, said: t.Sequence[Record], limit: float) -> str | None:
    """Why something was not measured that should have been; None when the program came to its end."""
    refused = next((str(each.get("error")) for each in said if each.get("e") == "error"), None)
    if refused:
        return refused
    if outcome.missing:
        return f"{wish.python} can't be run: {outcome.err}"
    if outcome.timed_out:
        return f"not finished within {limit:g} s"
    if outcome.rc != 0:
        last = (outcome.err.strip().splitlines() or [""])[-1][:300]
        return f"{wish.python} ended with status {outcome.rc}: {last}".rstrip(": ")
    return None


# --- processors


def _cpu(wish: Wish) -> Record:
    """The processors, with what could slow them down."""
    before = throttle_count()
    said, about = _measured(wish, {"device": "cpu"}, CPU_SECONDS, {"OMP_WAIT_POLICY": "PASSIVE"})
    found = next((each for each in reversed(said) if each.get("e") == "cpu"), None)
    if found is None:
        return {**about, "reason": about["reason"] or "the program said nothing"}
    after = throttle_count()
    heat = None if before is None or after is None else max(0, after - before)
    keys = ("threads", "gflops", "memory_gbps", "errors")
    governor = _line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    cpu = {**{key: found.get(key) for key in keys}, "governor": governor, "throttled": heat}
    return {**about, "cpu": cpu}


def _cpu_model() -> str | None:
    """The name of the processors."""
    for line in (_line("/proc/cpuinfo") or "").splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() in ("model name", "CPU part", "cpu model"):
            return value.strip()
    return None


def throttle_count(root: str = "/") -> int | None:
    """How often heat has slowed the processors down since boot; None where that is not counted."""
    folder = pathlib.Path(root, "sys/devices/system/cpu")
    counts = [_line(str(path)) for path in folder.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    known = [int(count) for count in counts if count and count.isdigit()]
    return sum(known) if known else None


# --- GPUs


def _gpus(wish: Wish) -> Record:
    """Every GPU: its speed, and how it was while it worked; else why it was not tested."""
    smi = which("nvidia-smi")
    if smi is None:
        return {"reason": "there is no nvidia-smi"}
    outcome = run([smi, "-q", "-x"], SMI_SECONDS, cwd="/")
    before = smi_reading.read(outcome.out)
    if not before:
        return {"reason": "nvidia-smi -q -x did not answer" if outcome.timed_out else "nvidia-smi lists no GPU"}
    rows = [{**_about(index, gpu), "reason": not_idle(gpu)} for index, gpu in enumerate(before)]
    idle = [row for row in rows if row["reason"] is None]
    if not idle:
        return {"gpus": rows}
    chosen = [{"uuid": row["uuid"], "bus_id": row["pci_bus_id"]} for row in idle]
    env = {"CUDA_VISIBLE_DEVICES": ",".join(each["uuid"] for each in chosen), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    spec = {"device": "gpu", "precision": wish.precision, "smi": [smi, "-q", "-x"], "gpus": chosen}
    said, about = _measured(wish, spec, GPU_SECONDS * len(chosen), env)
    by_uuid = {each.get("uuid"): each for each in said if each.get("e") == "gpu"}
    late = about["reason"] or "the program ended before"
    tested = [row if row["reason"] else tested_row(row, by_uuid.get(row["uuid"]), late) for row in rows]
    # with rows, each of which has its own reason, the node has none
    return {**about, "reason": None if by_uuid else late, "gpus": tested}


def _about(index: int, gpu: t.Mapping[str, t.Any]) -> Record:
    nothing: Record = dict.fromkeys((*FROM_PROGRAM, "under_load"))
    keys = ("uuid", "pci_bus_id", "name", "memory_mib", "power_limit_w", "power_default_w")
    return {"index": index, **{key: gpu[key] for key in keys}, **nothing, "errors": {}}


def not_idle(gpu: t.Mapping[str, t.Any]) -> str | None:
    """Why a GPU must not be loaded, or its speed would say nothing; None when it is idle."""
    used, busy = gpu["used_mib"] or 0, gpu["busy_percent"] or 0
    if gpu["fault"]:
        return f"it answers: {gpu['fault']}"
    if not gpu["uuid"] or not gpu["pci_bus_id"]:
        return "it tells no UUID or bus address"
    if str(gpu["mig_mode"]).lower() == "enabled":
        return "it is cut into MIG instances"
    if str(gpu["compute_mode"]).lower() == "prohibited":
        return "its compute mode is Prohibited"
    if gpu["computing"]:
        return f"{gpu['computing']} process{'es' if gpu['computing'] > 1 else ''} compute on it"
    if used > USED_MIB:
        return f"{used:.0f} MiB of its memory are in use"
    return f"it is {busy:.0f} % busy" if busy > BUSY_PERCENT else None


def tested_row(row: Record, said: t.Mapping[str, t.Any] | None, late: str) -> Record:
    """A GPU with what was measured of it."""
    if said is None:
        return {**row, "reason": late}
    errors = dict(said.get("errors") or {})
    found = {**row, **{key: said.get(key) for key in FROM_PROGRAM}, "errors": errors, "reason": errors.pop("all", None)}
    reading = smi_reading.read(str(said.get("sample") or ""))
    if reading:
        found["under_load"] = under_load(reading[0])
        if (reading[0]["computing"] or 0) > 1:
            found["reason"] = "another process began to compute on it"
    return found


def under_load(reading: t.Mapping[str, t.Any]) -> Record:
    """What is worth keeping of a reading."""
    keys = ("sm_mhz", "sm_max_mhz", "memory_mhz", "memory_max_mhz", "power_w", "power_limit_w", "power_default_w")
    return {**{key: reading[key] for key in (*keys, "temperature_c", "throttle_reasons", "pcie")}}
