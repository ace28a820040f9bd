# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what dcgmi has printed: its diagnosis, its health checks, the GPUs and NVLinks that it sees."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import dcgm
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    gpus,
    in_mig_mode,
    number,
    rows,
    shortened,
    text,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Finding,
    Untested,
    once,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._dcgm_words import OWN, Meaning, meaning
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._fabric_logs import of_rack
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_logs import (
    files_there,
    host_words,
    node_of,
    texts,
)

KIND = "dcgm"
_ENGINE = "dcgmi could not reach nv-hostengine: systemctl start nvidia-dcgm there, then run it once more"
# Which GPUs have NVLinks at all, by their names; any other may have a bridge.
_WITH_LINKS = ("SXM", "HBM3", "GB200", "GB300", "B200", "B300", "HGX")


class Said(t.NamedTuple):
    """A record of a file: whose it is, and where it stands."""

    host: str
    path: str
    record: Data

    def seen(self, what: str) -> str:
        """A text as evidence."""
        return f"{self.path}: {shortened(what)}"


@once
def said(case: Case) -> tuple[Said, ...]:
    """What every file says; the same text on several nodes is of none of them."""
    files: dict[str, tuple[str, str]] = {}
    for name, path, content in texts(case, KIND):
        files[content] = (path, path) if content in files else (name, path)
    return tuple(
        Said((node_of(case, word) or word) if word else holder, path, record)
        for content, (holder, path) in files.items()
        for record in dcgm.parse(content, host_words(case))
        for word in [text(record, "host")]
    )


def _finding(case: Case, each: Said, why: Meaning, seen: str) -> Finding:
    hosts = (each.host,) if each.host in case.plan["nodes"] else ()
    return Finding(
        why.rule,
        why.severity,
        hosts,
        {each.host: each.seen(seen)},
        f"{why.cause.rstrip('.')}.",
        f"{why.remedy.rstrip('.')}.",
    )


@rule(
    About(
        OWN,
        layer="gpu",
        severity=FAIL,
        also=(WARN, INFO),
        title="A test of DCGM fails on a GPU",
        symptom="`Fail` in the output of dcgmi diag or dcgmi health",
        source="NVIDIA DCGM, dcgmlib/dcgm_errors.h",
    ),
    *("gpu-lost-from-bus", "gpu-row-remap", "gpu-retired-pages", "gpu-ecc", "gpu-recovery", "gpu-xid", "gpu-nvlink"),
    *("gpu-throttle", "gpu-power-cap", "gpu-pcie-narrow", "gpu-persistence", "gpu-nouveau", "pcie-errors"),
    *("p2p-acs-iommu", "drv-fabricmanager", "gpu-imex"),
    applies=files_there(KIND),
)
def results(case: Case) -> t.Iterator[Answer]:
    """The tests that failed, each GPU by what DCGM says of it; one that only other programs disturbed tells nothing."""
    bad = [each for each in said(case) if text(each.record, "what") == "result" and _failed(each)]
    for each in bad:
        entity, test = text(each.record, "entity"), text(each.record, "test")
        messages = [text(message, "text") for message in rows(each.record, "messages")]
        if not any(messages) and any(other is not each and _follows(each, other) for other in bad):
            continue  # the line of the whole test, below which its GPUs stand
        told: set[tuple[str, str]] = set()
        for message in messages or [""]:
            why = meaning(message, text(each.record, "status"))
            who = dcgm.entity_of(message) or entity
            if (why.rule, who) in told or _of_no_weight(case, each, why, message):
                continue
            told.add((why.rule, who))
            seen = f"{who or 'all GPUs'}: {test} {text(each.record, 'status')}"
            if why.rule:
                yield _finding(case, each, why, f"{seen}; {message}" if message else seen)
            elif each.host in case.plan["nodes"]:
                yield Untested(OWN, (each.host,), f"{each.seen(seen)}: {why.cause}; {why.remedy}".rstrip("; "))


def _failed(each: Said) -> bool:
    return text(each.record, "status") in ("fail", "warn")


def _follows(whole: Said, part: Said) -> bool:
    """Whether a result is one of the GPUs of a test, or of the systems below the health of all."""
    same = (whole.host, whole.path) == (part.host, part.path)
    test = text(whole.record, "test")
    of_it = test in ("health", text(part.record, "test"))
    return same and of_it and bool(text(part.record, "entity") or rows(part.record, "messages"))


def _of_no_weight(case: Case, each: Said, why: Meaning, message: str) -> bool:
    """What DCGM says of any GPU without NVLinks, or of a node that no NVLink joins to others."""
    if why.rule == "gpu-nvlink" and "down" in message:
        return _has_links(case, each.host) is False
    return why.rule == "gpu-imex" and of_rack(case, each.host) is False


def _has_links(case: Case, host: str) -> bool | None:
    """Whether the GPUs of a node have NVLinks; None where its facts don't tell."""
    names = [text(gpu, "name") for gpu in gpus(case, host)]
    active = any(number(link, "active") for link in rows(case.gpu.get(host), "nvlink"))
    return (active or any(word in name for name in names for word in _WITH_LINKS)) if names else None


@rule(OWN, applies=files_there(KIND))
def not_run(case: Case) -> t.Iterator[Answer]:
    """dcgmi that could not ask or not test, and fewer GPUs than the driver has."""
    problems: dict[tuple[str, str], list[str]] = {}
    for each in said(case):
        what, words = text(each.record, "what"), text(each.record, "text")
        known = each.host in case.plan["nodes"]
        if what == "problem" and known and not any(in_mig_mode(gpu) for gpu in gpus(case, each.host)):
            problems.setdefault((each.host, each.path), []).append(words)
        have = len(gpus(case, each.host))
        if what == "found" and int(number(each.record, "gpus") or 0) < have:
            cause = f"DCGM sees fewer GPUs than the driver, which has {have}"
            remedy = "systemctl restart nvidia-dcgm there: nv-hostengine may be older than the driver or the last reset"
            yield _finding(case, each, Meaning(OWN, WARN, cause, remedy), words)
    for (host, path), every in problems.items():
        why = f"{path}: {shortened(' '.join(every))}"
        yield Untested(OWN, (host,), f"{why}; {_ENGINE}" if "connect" in why.lower() else why)


@rule("gpu-nvlink", applies=files_there(KIND))
def links(case: Case) -> t.Iterator[Answer]:
    """NVLinks that are down; where every link of every GPU is, only GPUs that must have some are judged."""
    every = [each for each in said(case) if text(each.record, "what") == "links"]
    up = {(each.host, each.path) for each in every if number(each.record, "up")}
    for each in every:
        down, there = int(number(each.record, "down") or 0), (each.host, each.path) in up
        if not down or not (there or _has_links(case, each.host)):
            continue
        seen = f"{text(each.record, 'entity')}: {down} NVLinks down, {int(number(each.record, 'up') or 0)} up"
        if there:
            yield _finding(case, each, meaning("NvLink is down", "fail"), seen)
        else:
            yield _finding(case, each, meaning("fabric manager", "fail"), seen)
