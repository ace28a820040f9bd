# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a job of the user's failed, as the logs of its launchers tell it: one finding a job, the root cause.

A job of which NCCL's own lines tell more is left to the rules on those (logs.py).
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import job_root, nccl_failure
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_failure import ENDED, ROOT
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
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import _job_sources as job_sources
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._job_cause import Cause
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._job_causes import (
    CAUSES,
    FAILED,
    killed,
    of_kind,
    out_of_memory,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_remedies import ADVICE
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common

MOST_CHARACTERS = 600
LESS = {"interrupted": INFO, "stopped": INFO, "warned": INFO, "build_waits": WARN, "lock_waits": WARN}
# What a process says of somebody else: nobody at hand has to be changed.
OF_OTHERS = frozenset(
    (
        *("clients_missing", "first_rank_waits", "ray_waits", "watchdog_stuck", "wait_gloo", "lost", "aborted"),
        *("store_connection", "gloo_mesh", "horovod_meets", "foreign_store", "ssh_lost", "rdma_retries"),
    )
)
# What the node that launches has to change, though it names another one.
OF_LAUNCHER = frozenset(
    (
        *("ssh_host_key", "ssh_key_changed", "ssh_failed", "ssh_fabric", "ssh_own_files", "ssh_config", "ssh_tries"),
        *("pdsh_missing", "pdsh_module", "hostfile_words", "no_address"),
    )
)
# What the node that was not reached has to change.
OF_TARGET = frozenset(
    ("refused", "connect_timeout", "master_silent", "no_route", "ray_head", "ssh_refused", "ssh_timeout")
)
# What is no difference between the nodes where all of them say it.
ALIKE_EVERYWHERE = frozenset(("module_missing", "file_missing", "model_missing", "syntax", "command_missing"))
_TARGET = re.compile(
    r"(?:connect(?:ed|ing)? to(?: any network address of| GCS(?: \(ray head\))? at(?: address)?)?|remote=) ?"
    r"[\[(]?(?:::ffff:)?(?P<host>[\w.:-]*[\w-])"
)
_SSH = re.compile(r"connect to host (?P<host>\S+)|@(?P<user_at>[\w.-]+): Permission denied")
IDS = tuple(dict.fromkeys((*(cause.rule for cause in CAUSES.values()), *(advice.rule for advice in ADVICE.values()))))


@rule(
    About(
        "job-session-closed",
        layer="job",
        severity=FAIL,
        title="A job ended with the session that started it",
        symptom="`Received Signals.SIGHUP death signal` in spite of nohup",
        source="SparK#19, ChatGLM2-6B#238, LlamaFactory#3036, LlamaFactory#5297",
    ),
    About(
        "job-stopped",
        layer="job",
        severity=INFO,
        title="A job was stopped from outside",
        symptom="`KeyboardInterrupt`, `Received 15 death signal`",
        source="signal(7), torch.distributed.elastic",
    ),
    About(
        "build-op-failed",
        layer="versions",
        severity=FAIL,
        title="An operator could not be built when the job started",
        symptom="`Error building extension`",
        source="DS#3223, DS#2902, torch.utils.cpp_extension",
    ),
    About(
        "path-not-permitted",
        layer="launcher",
        severity=FAIL,
        title="The job may not use a path",
        symptom="`PermissionError: [Errno 13]`",
        source="path_resolution(7)",
    ),
    About(
        "app-arguments",
        layer="job",
        severity=FAIL,
        title="The training script refuses its arguments",
        symptom="`error: unrecognized arguments`",
        source="argparse, HfArgumentParser",
    ),
    About(
        "app-shape-mismatch",
        layer="job",
        severity=FAIL,
        title="Model, checkpoint and data do not fit",
        symptom="`size mismatch for`, `device-side assert triggered`",
        source="torch.nn.Module.load_state_dict, torch.nn.Embedding",
    ),
    About(
        "ckpt-local-disk",
        layer="precision",
        severity=FAIL,
        title="Checkpoints on disks of single nodes",
        symptom="`FileNotFoundError` on the second node, shards missing later",
        source="TR#27925, TR#28119, TR#20988, axolotl#948, LlamaFactory#1979, gpt-neox#765, Lightning#11947",
    ),
    *IDS,
    applies=common.given("job_log"),
)
def job_logs(case: Case) -> t.Iterator[Answer]:
    """The root cause of each job whose logs were given."""
    for job in job_sources.jobs(case):
        if job.root is not None and not job.nccl:
            yield _finding(case, job.sources, job.root)


def _finding(case: Case, sources: t.Sequence[job_root.Source], root: job_root.Root) -> Finding:
    """The finding of a job: attributed to the nodes that have to be changed, the consequences in its evidence."""
    evidence: dict[str, str] = {}
    for at, place in enumerate(root.places):
        name = _node(case, sources, place)
        said = evidence.get(name or place.path, "")
        more = [] if at else [*_followed(root), *_read_in_part(sources)]
        if said.count("line ") < 4:
            evidence[name or place.path] = "; ".join(
                filter(None, [said, _told(place, name, 120 if said else 300), *more])
            )
    nodes = tuple(name for name in case.order if name in evidence)
    hosts = _attributed(case, sources, root, nodes)
    if hosts and not set(hosts) & set(evidence):
        evidence = dict.fromkeys(hosts, next(iter(evidence.values())))
    cause = _cause(case, root, nodes)
    cut = {name: said[:MOST_CHARACTERS] for name, said in evidence.items()}
    return Finding(cause.rule, _severity(root), hosts, cut, cause.cause, cause.remedy)


def _severity(root: job_root.Root) -> str:
    advice = ADVICE.get(root.kind.partition(":")[2])
    return advice.severity if advice else LESS.get(root.kind, FAIL)


def _node(case: Case, sources: t.Sequence[job_root.Source], place: job_root.Place) -> str:
    """The node of a process; where no log tells, the one on which the plan starts its rank in a job of this size."""
    name = common.node_of(case, place.node) if place.node else ""
    if name or place.rank is None:
        return name or place.node
    whole = int(dig(case.plan, "world_size", 0) or 0)
    seen = max((max(source.log.ranks, default=-1) + 1 for source in sources), default=0)
    worlds = {source.log.world for source in sources} - {None}
    unknown = worlds <= {seen} and seen <= whole and not any(source.node for source in sources)
    if worlds == {whole} or unknown:
        first = 0
        for name in case.order:
            first += int(dig(case.node(name), "slots", 0))
            if place.rank < first:
                return name
    return place.node


def _told(place: job_root.Place, name: str, most: int) -> str:
    """One process in words."""
    who = f"rank {place.rank}: " if place.rank is not None and f"rank {place.rank}" not in place.text[:40] else ""
    word = f" ({place.node})" if place.node and place.node != name else ""
    return f"{place.path} line {place.line}{word}: {who}{place.text[:most]}"


def _followed(root: job_root.Root) -> list[str]:
    return [f"what follows from it: {', '.join(root.follows)}"] if root.follows else []


def _read_in_part(sources: t.Sequence[job_root.Source]) -> t.Iterator[str]:
    """What of the files was not read or does not count."""
    for source in sources:
        if source.log.begins > 1:
            yield f"the last run of {source.path} counts, from line {source.log.begins}"
        if source.log.left_out:
            yield f"{source.log.left_out} lines in the midst of {source.path} were not read"


def _attributed(
    case: Case, sources: t.Sequence[job_root.Source], root: job_root.Root, nodes: tuple[str, ...]
) -> tuple[str, ...]:
    """The nodes that have to be changed."""
    if root.kind in OF_LAUNCHER:
        writers = {source.node for source in sources if source.path == root.places[0].path and source.node}
        return tuple(name for name in case.order if name in writers)
    text = root.places[0].text
    peer = common.node_of(case, nccl_failure.details(text)["peer"] or "")
    advice = ADVICE.get(root.kind.partition(":")[2])
    if root.kind in OF_OTHERS:
        return ()
    if advice and advice.attributed_to == "both":
        return tuple(dict.fromkeys([*nodes[:1], *filter(None, [peer])]))
    if advice and root.kind in ("nccl:watchdog_timeout", "nccl:remote_error"):
        return ()
    if advice and advice.attributed_to in ("peer", "peer_only"):
        unknown = root.weight > ROOT or advice.attributed_to == "peer_only"
        return (peer,) if peer else () if unknown else nodes
    if root.kind in OF_TARGET:
        return _targets(case, root)
    if root.kind == "ssh_denied" and "@" in text:
        return _targets(case, root) or nodes
    if root.kind == "loopback" and "as fallback" not in text and len(nodes) < len(case.order):
        return tuple(name for name in case.order if name not in nodes) if len(case.order) == 2 else ()
    if root.kind == "node_rank_twice" and len(nodes) > 1:
        return nodes[1:]  # one of them is right: the first in the order of ranks
    return nodes


def _targets(case: Case, root: job_root.Root) -> tuple[str, ...]:
    """The nodes that could not be reached."""
    found: dict[str, None] = {}
    for place in root.places:
        for match in (_SSH if _SSH.search(place.text) else _TARGET).finditer(place.text):
            told = match["host"] or match.groupdict().get("user_at") or ""
            name = common.node_of(case, told) or common.node_of(case, re.sub(r":\d{1,5}$", "", told))
            found.update({name: None} if name else {})
    return tuple(name for name in case.order if name in found)


def _cause(case: Case, root: job_root.Root, nodes: tuple[str, ...]) -> Cause:
    """The rule, the cause and the fix of a kind, in the words that this job needs."""
    first = root.places[0]
    if root.kind == "killed":
        return killed(bool(nodes) and out_of_memory(case, nodes[0]))
    cause = of_kind(root.kind)
    if cause is not FAILED:
        if root.kind in ALIKE_EVERYWHERE and set(nodes) == set(case.order):
            return Cause(FAILED.rule, f"On every node alike: {cause.cause[0].lower()}{cause.cause[1:]}", cause.remedy)
        return cause._replace(remedy=cause.remedy.replace("{detail}", root.detail))
    read = f"less +{first.line} {first.path} shows it"
    if root.weight == ENDED or root.kind == "aborted":
        why = "A process ended first, and no log at hand says why"
        return Cause(FAILED.rule, why, f"{read}; torchrun --tee 3 --log-dir DIR keeps what each rank prints")
    why = "The rank that failed first ended with an error of its own, which no check knows"
    return Cause(FAILED.rule, why, f"{read}, with the traceback before it")
