# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on files and directories that have to be the same on every node."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import rows, text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Finding,
    Untested,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import (
    ACCELERATE,
    DEEPSPEED,
    TORCHRUN,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common

LAUNCH_ONLY = frozenset(
    (
        *("hostfile", "launch_script", "ssh_config", "deepspeed_env", "accelerate"),
        *("nccl_log", "job_log", "ds_report", "collect_env", "kernel_log", "node_report", "fabric_log", "dcgm"),
    )
)
"""Kinds of files that the launching node alone reads, or whose differences a rule of their own judges."""

EVERYWHERE = frozenset(("deepspeed_json",))
"""Kinds of files that every rank opens on its own node."""

MODEL_ARGUMENTS = (
    "model_name_or_path", "model_path", "model", "model_dir", "pretrained_model_name_or_path", "pretrained_model_path",
    "tokenizer_name_or_path", "tokenizer_path", "data_path", "dataset_path", "train_file", "data_dir", "checkpoint",
)  # fmt: skip
PER_NODE = re.compile(
    r"etc/node\.env|etc/openmpi-mca-params\.conf|etc/accelerate/(?:deepspeed_standard|multi_gpu|cpu)\.yaml"
)
"""Files of ours that name the node, so that they differ (plugin_utils/_launch_files.py)."""


def _common_paths(case: Case) -> list[str]:
    """The paths asked for that every node needs."""
    alone = {str(dig(file, "path")) for file in rows(case.plan, "files") if text(file, "kind") in LAUNCH_ONLY}
    found: dict[str, None] = {}
    for host in case.order:
        found.update(dict.fromkeys(common.part(case, host, "asked")))
    return [path for path in found if path not in alone]


def _rows(case: Case, path: str) -> dict[str, Data]:
    """What each node has at a path, those left out that could not tell; what is closed to the user is there."""
    found: dict[str, Data] = {}
    for host in case.order:
        row = common.part(case, host, "asked").get(path)
        closed = dig(row, "exists") is None and dig(row, "denied") is True
        if isinstance(row, dict) and (closed or row.get("exists") is not None):
            found[host] = {**row, "exists": True, "readable": False} if closed else row
    return found


def _compared(case: Case) -> bool:
    return bool(_common_paths(case) or _handed_in(case))


def _managed(case: Case) -> bool:
    return bool(dig(case.plan, "managed", False))


def _model_paths(case: Case) -> set[str]:
    """The paths that training scripts are given as models or data."""
    found = set()
    for _copy, _script, command in common.commands(case, DEEPSPEED, ACCELERATE, TORCHRUN):
        found |= {value for name in MODEL_ARGUMENTS if (value := command.argument(name))}
    return found


def majority(values: t.Mapping[str, str]) -> str:
    """The value that most hosts have; with as many for one as for another, that of the first host."""
    known = list(values.values())
    return max(known, key=known.count, default="")


@rule(
    About(
        "path-differs",
        layer="launcher",
        severity=FAIL,
        title="A path is missing or differs on some nodes",
        symptom="`No such file or directory`, `can't open file`",
        source="field notes, Megatron-DeepSpeed#125, DeepSpeedExamples#889",
    ),
    About(
        "model-only-on-launch-node",
        layer="launcher",
        severity=FAIL,
        title="The model or data is on one node only",
        symptom="`FileNotFoundError`, or it is downloaded again on the others",
        source="field notes",
    ),
    needs=("user",),
    applies=_compared,
)
def missing(case: Case) -> t.Iterator[Answer]:
    """Paths that some nodes have and others do not, or that the user cannot read there."""
    models = _model_paths(case)
    cause = "Launchers copy nothing: every rank opens the model and the data itself, on its own node."
    remedy = "Copy it to the same path on every node, or put it on a file system that all nodes share."
    for path in _common_paths(case):
        found = _rows(case, path)
        there = [host for host, row in found.items() if row["exists"]]
        for host, row in found.items():
            absent = f"{path} is not there, but on {', '.join(there[:3])}"
            if not row["exists"] and there:
                alone = there == list(case.order[:1]) and (path in models or dig(found[there[0]], "kind") == "dir")
                if alone:
                    yield finding("model-only-on-launch-node", FAIL, host, absent, cause, remedy)
                else:
                    yield _differs(host, absent)
            elif row["exists"] and row.get("readable") is False:
                yield _differs(host, f"{path} is there, but {dig(case.plan, 'user', 'the user')} cannot read it")
        if found and not there:
            for host in found:
                yield _differs(host, f"{path} is not there, nor on any other node")
    for host, what in _not_readable(case):
        yield _differs(host, what)


def _differs(host: str, evidence: str) -> Finding:
    cause = "Every rank opens the same path on its own node, and stops with `No such file or directory`."
    remedy = "Bring it to the same absolute path on every node, readable for the user: rsync -a PATH NODE:PATH."
    return finding("path-differs", FAIL, host, evidence, cause, remedy)


def _handed_in(case: Case) -> dict[str, dict[str, Data]]:
    """What each node has of each user file, by path."""
    places: dict[str, dict[str, Data]] = {}
    for host in case.order:
        for file in rows(case.user.get(host), "files"):
            places.setdefault(str(dig(file, "path")), {})[host] = file
    return places


def _not_readable(case: Case) -> t.Iterator[tuple[str, str]]:
    """(node, what is wrong) of user files: nobody has them, or not everybody what every rank opens."""
    for path, found in _handed_in(case).items():
        have = [host for host, file in found.items() if isinstance(dig(file, "text"), str)]
        others = f"not there, but on {', '.join(have[:3])}" if have else "not there, nor on any other node"
        for host, file in found.items():
            if host not in have and (not have or text(file, "kind") in EVERYWHERE):
                yield host, f"{path}: {dig(file, 'error') or others}"


@rule(
    About(
        "code-out-of-sync",
        layer="launcher",
        severity=FAIL,
        title="The code differs between nodes",
        symptom="shapes differ, a hang at the first exchange",
        source="field notes",
    ),
    needs=("user",),
    applies=_compared,
)
def out_of_sync(case: Case) -> t.Iterator[Answer]:
    """Files and directories whose content differs."""
    texts = {
        path: {host: text(file, "text") for host, file in found.items() if text(file, "kind") in EVERYWHERE}
        for path, found in _handed_in(case).items()
    }
    for path, contents in texts.items():
        yield from _compare(path, {host: content for host, content in contents.items() if content})
    for path in _common_paths(case):
        found = _rows(case, path)
        if path not in texts:
            yield from _compare(path, {host: str(row["digest"]) for host, row in found.items() if row.get("digest")})
        blind = tuple(host for host, row in found.items() if row["exists"] and not row.get("digest"))
        if blind and len(found) > 1:
            why = dig(found[blind[0]], "error") or "it could not be read"
            yield Untested("code-out-of-sync", blind, f"{path}: {why}")


def _compare(path: str, contents: t.Mapping[str, str]) -> t.Iterator[Finding]:
    """The nodes whose content is not that of the majority."""
    cause = "Ranks that run other code or other data than their peers wait in collectives that nobody else enters."
    remedy = "Bring all nodes to one state: rsync -a --delete PATH/ NODE:PATH/."
    usual = majority(contents)
    same = [host for host, content in contents.items() if content == usual]
    for host, content in contents.items():
        if content != usual:
            evidence = f"{path} differs from that on {', '.join(same[:3])}"
            yield finding("code-out-of-sync", FAIL, host, evidence, cause, remedy)


@rule(
    About(
        "managed-file-changed",
        layer="launcher",
        severity=WARN,
        title="A managed file differs between nodes",
        symptom="settings differ from the plan",
        source="docs/architecture.md",
    ),
    needs=("user",),
    applies=_managed,
)
def managed_changed(case: Case) -> t.Iterator[Answer]:
    """Files of this collection that somebody changed, or that an older run left on some nodes."""
    if not dig(case.plan, "managed", False):
        return
    files = {
        host: common.part(case, host, "managed.files")
        for host in case.order
        if dig(case.user.get(host), "managed.exists") is True and dig(case.node(host), "reachable", True)
    }
    for name in sorted({name for own in files.values() for name in own if not PER_NODE.fullmatch(name)}):
        values = {host: str(own.get(name, "absent")) for host, own in files.items()}
        usual = majority(values)
        same = [host for host, value in values.items() if value == usual]
        for host, value in values.items():
            if value != usual:
                what = "is absent" if value == "absent" else "differs"
                yield finding(
                    "managed-file-changed",
                    WARN,
                    host,
                    f"{name} {what}, unlike on {', '.join(same[:3])}",
                    "site.yml writes these files, the same on every node: somebody changed them, or an "
                    "older run left them.",
                    "Run site.yml over all nodes.",
                )
