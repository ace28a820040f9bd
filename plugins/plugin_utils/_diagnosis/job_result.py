# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a small training job really ran across the whole cluster.

A launcher's exit status is not proof (DeepSpeed's runner ends with 0 when pdsh is killed), so the
verdict is read from the records that the ranks wrote (see the role launch_config, ``probe_train.py``).
"""

from __future__ import annotations

import signal
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._collective.result import CONSEQUENCE

Data = t.Mapping[str, t.Any]


class Fault(t.TypedDict):
    """One thing that is wrong; ``host`` is empty when it is not one node's.

    ``failure`` is the kind of it: ``error`` (a rank's own), ``launcher`` and ``timeout`` (with the launcher's last
    words), ``killed`` or ``crashed`` (a rank, by signal 9 or another one, before any other ended), ``ended`` (ranks of
    other nodes thereupon, without a record), ``no_record`` (of a rank that should be there), ``unread`` (records) or
    ``unplanned`` (all that a rank did otherwise than planned).
    """

    host: str
    failure: str
    cause: str


class Verdict(t.TypedDict):
    """What a launcher's job came to; ``world_size`` is what the ranks themselves counted,
    ``timed_out`` whether our own time limit ended it."""

    launcher: str
    ok: bool
    world_size: int
    seconds: float
    timed_out: bool
    faults: list[Fault]


def verdict(
    plan: Data,
    launcher: str,
    records_by_node: t.Mapping[str, t.Sequence[Data]],
    rc: int | None,
    first_error: Data,
    seconds: float,
    killed: t.Sequence[Data] = (),
) -> Verdict:
    """Judge one job against the plan of the cluster (V(order), V(nodes), V(world_size), V(gpus)).

    ``records_by_node`` has a node's records under its inventory name; a node that could not be asked
    is missing from it. ``rc`` is None when the job was stopped at its time limit. ``first_error`` is what failed
    first by the launcher's output (V(text), V(node), V(rank), V(own) of launch_job), which goes into the cause
    when no rank could say it. ``killed`` are the ranks that a signal ended first (launch_job).
    """
    faults: list[Fault] = []
    signals = _signals(plan, killed)
    first = 0
    for name in plan["order"]:
        slots = int(plan["nodes"][name]["slots"])
        faults += _node_faults(plan, name, range(first, first + slots), records_by_node.get(name), signals)
        first += slots
    records = [record for group in records_by_node.values() for record in group]
    faults += _job_faults(plan, records, rc, first_error, seconds, bool(faults))
    worlds = [int(record.get("world_size") or 0) for record in records]
    return {
        "launcher": launcher,
        "ok": not faults,
        "world_size": max(worlds, default=0),
        "seconds": seconds,
        "timed_out": rc is None,
        "faults": _worst_first(faults, records_by_node),
    }


def _signals(plan: Data, killed: t.Sequence[Data]) -> dict[str, int]:
    """The signal that ended a rank of a node, by the node's inventory name."""
    names = _names(plan)
    return {names[rank["node"]]: int(rank["signal"]) for rank in killed if rank["node"] in names}


def _names(plan: Data) -> dict[str, str]:
    """The inventory name of a node by all that launchers call it."""
    names: dict[str, str] = {"": plan["order"][0]} if len(plan["order"]) == 1 else {}
    for name in reversed(plan["order"]):
        node = plan["nodes"][name]
        known = (node.get("address"), node.get("fqdn"), *(node.get("names") or ()), node.get("hostname"), name)
        names.update({str(one): name for one in known if one})
    return names


def _node_faults(
    plan: Data, name: str, ranks: range, records: t.Sequence[Data] | None, signals: t.Mapping[str, int]
) -> list[Fault]:
    """What is wrong with the records found on one node."""
    if records is None:
        return [{"host": name, "failure": "unread", "cause": "its records could not be read"}]
    faults: list[Fault] = []

    def add(failure: str, cause: str) -> None:
        faults.append({"host": name, "failure": failure, "cause": cause})

    found = [int(record.get("rank", -1)) for record in records]
    missing = sorted(set(ranks) - set(found))
    if missing and name in signals:
        number = signals[name]
        what = f"signal {number} ({signal.strsignal(number)}) ended a rank here before any other"
        add("killed" if number == signal.SIGKILL else "crashed", f"no record of {_ranks(missing)}: {what}")
    elif missing and signals:
        add("ended", f"no record of {_ranks(missing)}: ended after a rank on {', '.join(signals)} was gone")
    elif missing:
        add("no_record", f"no record of {_ranks(missing)}: it never came so far, or was killed")
    strange = sorted(set(found) - set(ranks))
    if strange:
        add("unplanned", f"{_ranks(strange)} ran here and belongs on another node")
    if len(found) != len(set(found)):
        add("unplanned", "a rank has more than one record")
    for record in records:
        if record.get("error"):  # alone, because the rest follows from it
            add("error", f"rank {record.get('rank')}: {_last_line(str(record['error']))}")
            continue
        for cause in _record_causes(plan, plan["nodes"][name], record):
            add("unplanned", cause)
    return faults


def _record_causes(plan: Data, node: Data, record: Data) -> list[str]:
    """What a rank did otherwise than planned."""
    name = f"rank {record.get('rank')}"
    causes = []
    world = int(plan["world_size"])
    if record.get("world_size") != world:
        causes.append(f"{name} is in a world of {record.get('world_size')} instead of {world}")
    total = record.get("allreduce") or {}
    expected = world * (world + 1) / 2
    if not total.get("ok") or total.get("got") != expected:
        causes.append(f"{name}: the sum over all ranks is {total.get('got')} instead of {expected:.0f}")
    losses = record.get("losses") or []
    if len(losses) < 2 or not losses[-1] < losses[0]:
        causes.append(f"{name}: the loss does not go down: {losses[:1]} to {losses[-1:]}")
    backend = "nccl" if plan["gpus"] else "gloo"
    if backend not in str(record.get("backend")):
        causes.append(f"{name} used {record.get('backend')} instead of {backend}")
    return causes + _network_causes(plan, node, record, name)


def _network_causes(plan: Data, node: Data, record: Data, name: str) -> list[str]:
    """Whether the rank spoke from the address and interface meant for its node.

    With one node there is nothing to speak to. ``addresses_used`` are those of the open connections;
    a cluster over RDMA may have none besides the rendezvous.
    """
    if len(plan["order"]) < 2:
        return []
    used = record.get("addresses_used") or []
    if used and node["address"] not in used:
        return [f"{name} spoke from {', '.join(used)} instead of {node['address']}"]
    interface, wanted = record.get("interface"), node.get("interface")
    if not used and interface and wanted and interface != wanted:
        return [f"{name} reaches the head over {interface} instead of {wanted}"]
    return []


def _job_faults(
    plan: Data, records: t.Sequence[Data], rc: int | None, first: Data, seconds: float, explained: bool
) -> list[Fault]:
    """What is wrong with the job as a whole."""
    if rc == 0:
        none = not records and not explained
        return [{"host": "", "failure": "no_record", "cause": "no rank wrote a record"}] if none else []
    host, words = "", ""
    if not any(record.get("error") for record in records):  # else the ranks have said it themselves
        host, words = _first_error(plan, first)
    failure = "timeout" if rc is None else "launcher"
    text = f"not finished within {seconds:.0f} s" if rc is None else f"the launcher ended with status {rc}"
    return [{"host": host, "failure": failure, "cause": text + words}]


def _first_error(plan: Data, first: Data) -> tuple[str, str]:
    """(the node that failed first, what it said); no node where it may only have lost its connection to another."""
    words = str(first.get("text") or "")[:300]
    node = _names(plan).get(str(first.get("node") or ""), "")
    rank = first.get("rank")
    who = f"rank {rank}" if rank is not None else ""
    place = " on ".join(filter(None, (who, node)))
    told = f": {place}: {words}" if place and words else f": {words}" if words else ""
    return (node if first.get("own") else ""), told


def _worst_first(faults: list[Fault], records_by_node: t.Mapping[str, t.Sequence[Data]]) -> list[Fault]:
    """Errors of ranks before missing ranks before the launcher's status.

    Among the errors those that only say that another rank went away come last.
    """

    def weight(fault: Fault) -> int:
        if not fault["host"] or fault["failure"] in ("launcher", "timeout"):
            return 3
        if fault["failure"] in ("killed", "crashed"):
            return 0
        if fault["failure"] == "ended" or not records_by_node.get(fault["host"]):
            return 2
        return 1 if fault["failure"] == "error" and CONSEQUENCE.search(fault["cause"]) else 0

    return sorted(faults, key=weight)


def _last_line(text: str) -> str:
    """The last line of a traceback: the exception itself."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "failed without a word"


def _ranks(numbers: t.Sequence[int]) -> str:
    """``rank 3`` or ``ranks 3, 4``."""
    return f"rank{'s' if len(numbers) > 1 else ''} {', '.join(str(number) for number in numbers)}"
