# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs of the user's whose logs were given, and what each failed of.

Several files of one job are read together: the same path on several nodes, or names that differ in the node alone.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import job_log, job_root, nccl
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_failure import ROOT
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.nccl_failure import WARNING
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import rows
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, dig, once
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common

KIND = "job_log"
_NUMBER = re.compile(r"(?<=[._-])(\d{1,4})(?=(?:\.[A-Za-z]{1,4})?\Z)")
_RANK_FILE = re.compile(r"(?i)(rank|node|worker|attempt)[-_.]?\d+|(?<=/)\d+(?=/)")


class NcclPart(t.NamedTuple):
    """What NCCL's reader makes of a log of a job."""

    path: str
    holder: str
    said: Data


class Job(t.NamedTuple):
    """A job: its logs, and its root cause, None without one. ``nccl``: its logs where NCCL's own lines tell more."""

    sources: tuple[job_root.Source, ...]
    root: job_root.Root | None
    nccl: tuple[NcclPart, ...]


@once
def jobs(case: Case) -> tuple[Job, ...]:
    """The jobs; the same text on several nodes is one file that all of them see."""
    holders: dict[tuple[str, str], list[str]] = {}
    for copy in common.copies(case, KIND):
        holders.setdefault((copy.path, copy.text), []).append(copy.host)
    words = _words(case) if holders else {}
    numbered = _numbered(case, [(path, hosts) for (path, _text), hosts in holders.items()])
    found: dict[str, list[tuple[job_root.Source, str, str]]] = {}
    for (path, text), hosts in holders.items():
        hint, key = _hint(words, path)
        log = job_log.parse(text, words)
        writer = hint or (hosts[0] if len(hosts) == 1 and not _of_several(case, hosts[0], log) else "")
        found.setdefault(numbered.get(path, key), []).append((job_root.Source(path, writer, log), hosts[0], text))
    return tuple(_job(parts) for parts in found.values())


def _of_several(case: Case, host: str, log: job_log.Log) -> bool:
    """Whether more ranks have written into a log than the node that has it can hold: it has the lines of several."""
    slots = int(dig(case.node(host), "slots", 0) or 0)
    return bool(slots) and bool(log.ranks) and max(log.ranks) - min(log.ranks) >= slots


def _numbered(case: Case, files: t.Iterable[tuple[str, list[str]]]) -> dict[str, str]:
    """Paths that differ in a small number at their end (job.0, job.1), each on another node: the logs of one job."""
    groups: dict[str, list[tuple[str, list[str]]]] = {}
    for path, hosts in files:
        match = _NUMBER.search(path)
        if match and int(match[1]) <= len(case.order):
            groups.setdefault(_NUMBER.sub("#", path), []).append((path, hosts))
    apart = {key: group for key, group in groups.items() if len(group) == len({host for _p, h in group for host in h})}
    return {path: key for key, group in apart.items() if len(group) > 1 for path, _hosts in group}


def _job(parts: t.Sequence[tuple[job_root.Source, str, str]]) -> Job:
    sources = tuple(source for source, _holder, _text in parts)
    root = job_root.root(sources)
    if root is not None and root.weight == ROOT and not root.kind.startswith("nccl:"):
        return Job(sources, root, ())
    read = [(source, holder, nccl.parse(text)) for source, holder, text in parts if " NCCL " in text]
    told = tuple(NcclPart(source.path, holder, said) for source, holder, said in read if _tells(source.log, said))
    return Job(sources, root, told)


def _tells(log: job_log.Log, said: Data) -> bool:
    """Whether NCCL's lines name a cause, or show that its ranks were never ready; a shortened log lacks such lines."""
    worlds = rows(said, "worlds")
    if not dig(said, "lines", 0):
        return False  # torch alone quotes NCCL
    causes = [cause for world in worlds for cause in rows(world, "causes")]
    if any(dig(cause, "weight", 1) <= 0 or dig(cause, "kind") == WARNING for cause in causes):
        return True
    begun = any(dig(world, "started") and not dig(world, "ready") for world in worlds)
    return begun and not (log.left_out or log.trained or log.finished)


def _words(case: Case) -> dict[str, str]:
    """All names and addresses of the nodes, each with the node that it means."""
    words = dict(zip(case.order, case.order))
    for name in case.order:
        node = case.node(name)
        told = [dig(node, key) for key in ("address", "hostname", "fqdn")] + list(dig(node, "names", []))
        words.update({str(word): words.get(str(word), name) for word in told if word})
    return words


def _hint(words: t.Mapping[str, str], path: str) -> tuple[str, str]:
    """(the node that a path names, the path without what differs between nodes and ranks)."""
    hint, key = "", path
    for word in sorted(words, key=len, reverse=True):
        pattern = re.compile(rf"(?<![\w.]){re.escape(word)}(?![0-9A-Za-z-])|(?<=_){re.escape(word)}(?![0-9A-Za-z-])")
        if pattern.search(key):
            hint = hint or words[word]
            key = pattern.sub("*", key)
    return hint, _RANK_FILE.sub("#", key)
