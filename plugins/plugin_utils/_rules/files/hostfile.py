# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the user's hostfiles. Source: DeepSpeed 0.19.6 launcher/runner.py."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import formats
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_logs import handed_in
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_worlds import unready_jobs, versions
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common

# NVIDIA/nccl issue 2385: the start hangs where nodes have unequal numbers of ranks
HANGS_UNEQUAL = "2.31."
LINE = "Write each line as `name slots=N`, the name being one that ssh knows on every node."


def _parsed(case: Case) -> list[tuple[common.Copy, formats.Hostfile]]:
    return [(copy, formats.hostfile(copy.text)) for copy in common.copies(case, "hostfile")]


@rule(
    About(
        "hostfile-bad-line",
        layer="launcher",
        severity=FAIL,
        also=(WARN,),
        title="A hostfile line cannot be parsed",
        symptom="`Hostfile contains a bad entry`",
        source="DeepSpeed launcher/runner.py:266, Yi#392",
    ),
    needs=("user",),
    applies=common.given("hostfile"),
)
def bad_line(case: Case) -> t.Iterator[Answer]:
    """Lines that DeepSpeed refuses, or reads otherwise than they look."""
    odd = {
        "name": (FAIL, "DeepSpeed takes the sign behind the name for a part of it: `Could not resolve hostname`."),
        "slots": (WARN, "DeepSpeed reads the digits behind slots= alone, and passes over what comes behind them."),
    }
    cause = "DeepSpeed stops at it: bad entry, or hostfile is empty or not formatted correctly."
    for copy, hosts in _parsed(case):
        for problem in hosts.problems:
            if problem.what == "bad":
                yield finding(
                    "hostfile-bad-line", FAIL, copy.host, f"{copy.at(problem.line)}: {problem.text!r}", cause, LINE
                )
            elif problem.what in odd:
                severity, why = odd[problem.what]
                seen = f"{copy.at(problem.line)}: {problem.text!r}"
                yield finding("hostfile-bad-line", severity, copy.host, seen, why, LINE)
            elif problem.what == "empty":
                yield finding("hostfile-bad-line", FAIL, copy.host, f"{copy.path} names no host", cause, LINE)


@rule(
    About(
        "hostfile-duplicate",
        layer="launcher",
        severity=FAIL,
        title="A host is listed twice in a hostfile",
        symptom="`multiple entries`, or two launchers on one node",
        source="DeepSpeed launcher/runner.py:262",
    ),
    needs=("user",),
    applies=common.given("hostfile"),
)
def duplicate(case: Case) -> t.Iterator[Answer]:
    """A machine that is named twice, by one name or by two."""
    for copy, hosts in _parsed(case):
        known: dict[str, formats.Slot] = {}
        for host in hosts.hosts:
            place = common.node_of(case, host.name) or host.name
            if place in known:
                same = known[place].name == host.name
                also = "" if same else f", which is the same machine as {known[place].name} in line {known[place].line}"
                yield finding(
                    "hostfile-duplicate",
                    FAIL,
                    copy.host,
                    f"{copy.at(host.line)}: {host.name}{also or ' again'}",
                    "DeepSpeed refuses a host that is named twice; under two names it would start two "
                    "launchers on one machine.",
                    "Keep one line for each machine.",
                )
            known.setdefault(place, host)


@rule(
    About(
        "hostfile-user-at-ip",
        layer="launcher",
        severity=WARN,
        title="A hostfile or an address contains user@",
        symptom="parsed wrongly, the master address is invalid",
        source="DeepSpeedExamples#575, ACC#1317",
    ),
    needs=("user",),
    applies=common.given("hostfile", "accelerate"),
)
def user_at(case: Case) -> t.Iterator[Answer]:
    """user@address in the place of a name."""
    cause = "The text with the @ becomes the name of the host, in filters and in the master's address, too."
    remedy = "Write the plain name, and put the user into ~/.ssh/config: Host NAME, User USER."
    for copy, hosts in _parsed(case):
        for host in hosts.hosts:
            if "@" in host.name:
                yield finding(
                    "hostfile-user-at-ip", WARN, copy.host, f"{copy.at(host.line)}: {host.name}", cause, remedy
                )
    for copy, data in common.mappings(case, "accelerate"):
        if "@" in str(data.get("main_process_ip")):
            yield finding(
                "hostfile-user-at-ip",
                WARN,
                copy.host,
                f"{copy.path}: main_process_ip: {data['main_process_ip']}",
                cause,
                remedy,
            )


@rule(
    About(
        "hostfile-zero-slots",
        layer="launcher",
        severity=FAIL,
        title="A hostfile gives a node zero slots",
        symptom="a hang at the start",
        source="DeepSpeed launcher/runner.py",
    ),
    needs=("user",),
    applies=common.given("hostfile"),
)
def zero_slots(case: Case) -> t.Iterator[Answer]:
    """A host without a slot."""
    for copy, hosts in _parsed(case):
        for host in hosts.hosts:
            if host.slots == 0:
                yield finding(
                    "hostfile-zero-slots",
                    FAIL,
                    copy.host,
                    f"{copy.at(host.line)}: {host.name} slots=0",
                    "The host is started without a rank; as the first one it is the master that nobody "
                    "serves, and all hang.",
                    "Take the line out, or give the host its real slots.",
                )


@rule(
    About(
        "hostfile-bom-or-range",
        layer="launcher",
        severity=FAIL,
        title="A hostfile has a byte-order mark or a host range",
        symptom="ssh to a name that does not exist, or a wrong world size",
        source="DeepSpeed launcher/runner.py",
    ),
    needs=("user",),
    applies=common.given("hostfile"),
)
def bom_or_range(case: Case) -> t.Iterator[Answer]:
    """A byte-order mark, or several hosts in brackets."""
    cause = "The mark becomes a part of the first name; a range is one host for DeepSpeed, but several for pdsh."
    remedy = "Save the file as UTF-8 without a mark (sed -i '1s/^\\xEF\\xBB\\xBF//' FILE), with one name a line."
    for copy, hosts in _parsed(case):
        for problem in hosts.problems:
            if problem.what in ("bom", "range"):
                line = f"{copy.at(problem.line)}: {problem.text!r}"
                seen = line if problem.what == "range" else f"{copy.path} begins with a byte-order mark"
                yield finding("hostfile-bom-or-range", FAIL, copy.host, seen, cause, remedy)


@rule("hostfile-slots-exceed-gpus", "gpus-unused-by-slots", needs=("user", "gpu"), applies=common.given("hostfile"))
def slots_and_gpus(case: Case) -> t.Iterator[Answer]:
    """Slots against the GPUs that there are; the node that is meant is named."""
    gpus = common.gpus_of(case)
    for copy, hosts in _parsed(case):
        for host in hosts.hosts:
            node = common.node_of(case, host.name)
            if node is None or node not in gpus or host.slots == 0:
                continue
            text = f"{gpus[node]} GPUs, {host.slots} slots in {copy.path} of {copy.host}"
            if host.slots > gpus[node]:
                yield finding(
                    "hostfile-slots-exceed-gpus",
                    FAIL,
                    node,
                    text,
                    "Ranks without a GPU stop with `invalid device ordinal`, and the others wait for them.",
                    "Write the number of nvidia-smi -L as slots=N.",
                )
            elif host.slots < gpus[node]:
                yield finding(
                    "gpus-unused-by-slots",
                    WARN,
                    node,
                    text,
                    "The hostfile has fewer slots than the node has GPUs: the others stay idle.",
                    "Write slots=N with all GPUs; to leave some out, use --include NAME:0,1.",
                )


@rule(
    About(
        "ds-unequal-slots-rank",
        layer="launcher",
        severity=WARN,
        title="Slots differ between nodes: local ranks may be wrong",
        symptom="wrong local rank, assertions in Megatron",
        source="DS#3408",
    ),
    needs=("user",),
    applies=common.given("hostfile"),
)
def unequal_slots(case: Case) -> t.Iterator[Answer]:
    """Hosts with unlike numbers of slots; some versions of NCCL do not even start so, whatever the launcher."""
    cause = "DeepSpeed takes the local rank as rank modulo slots, so rank 0 of a node need not have local rank 0."
    remedy = "Give every host the same slots, or start with torchrun."
    seen = _hangs(case)
    version = next(iter(seen.values()), "") or _hanging_nccl(case)
    if version:
        cause = f"{cause[:-1]}; with NCCL {version} this also hangs before the first exchange, whatever the launcher."
        remedy = "Write the same slots=N for every host (the smallest), or install another NCCL than " + f"{version}."
    for copy, numbers in common.unequal_hostfiles(case):
        text = f"{copy.path}: " + ", ".join(f"{name} {slots}" for name, slots in numbers.items())
        yield finding("ds-unequal-slots-rank", WARN, copy.host, "; ".join([text, *seen]), cause, remedy)


def _hangs(case: Case) -> dict[str, str]:
    """{what a log of NCCL shows: the version} of jobs of such hostfiles whose ranks began and were never ready."""
    found = {}
    for log, world in unready_jobs(handed_in(case)):
        if not common.of_unequal_hostfile(case, dig(world, "nranks")):
            continue
        began, every = len(dig(world, "started", {})), dig(world, "nranks")
        found[f"{log.path}: {began} of {every} ranks began, none was ready"] = versions(world)
    return found


def _hanging_nccl(case: Case) -> str:
    """The version of NCCL on the nodes if it is one that is known to hang with unequal ranks."""
    known = [str(dig(facts, "torch.nccl", "") or "") for facts in case.stack.values()]
    return next((version for version in known if version.startswith(HANGS_UNEQUAL)), "")
