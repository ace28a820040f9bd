# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The logs of fabric managers and of IMEX in a Case, and which nodes need these services."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import fabric
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import gpus, number, text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, dig, once
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._fabric_words import RANKS
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_logs import host_words, node_of, texts

KIND = "fabric_log"
RACK = ("GB200", "GB300", "GH200", "NVL72")
"""Names of GPUs that NVLinks may join to those of other nodes."""


class Event(t.NamedTuple):
    """A record of a file: the node it is of or else the log's own word, the file, and what it says."""

    host: str
    path: str
    record: Data

    @property
    def kind(self) -> str:
        """What it is."""
        return text(self.record, "kind")

    def detail(self, name: str) -> str:
        """What the line says beside."""
        return text(self.record, f"details.{name}")


@once
def events(case: Case) -> tuple[Event, ...]:
    """What every file says; the same text on several nodes is of none of them, but for the machines it names."""
    files: dict[str, tuple[str, str]] = {}
    for name, path, content in texts(case, KIND):
        files[content] = (path, path) if content in files else (name, path)
    found: dict[tuple[str, str, str], Event] = {}
    for content, (holder, path) in files.items():
        for record in fabric.parse(content, host_words(case)):
            word = text(record, "details.address") or text(record, "host")
            event = Event((node_of(case, word) or word) if word else holder, path, record)
            found.setdefault((event.host, event.kind, text(record, "line")), event)
    return tuple(found.values())


def has_fabric(case: Case, host: str) -> bool | None:
    """Whether a node has NVSwitches, or GPUs that are part of a fabric; None where its facts don't tell."""
    if not gpus(case, host):
        return None
    parts = any(text(gpu, "fabric.state") for gpu in gpus(case, host))
    return parts or bool(number(case.gpu.get(host), "fabric_manager.nvswitches"))


def is_guest(case: Case, host: str) -> bool:
    """Whether a node is a virtual machine whose GPUs are part of a fabric, and whose NVSwitches are its host's."""
    outside = dig(case.fabric.get(host), "virtual") and not number(case.gpu.get(host), "fabric_manager.nvswitches")
    return bool(outside and has_fabric(case, host))


def of_rack(case: Case, host: str) -> bool | None:
    """Whether NVLinks may join a node to others; None where its facts don't tell."""
    names = [text(gpu, "name") for gpu in gpus(case, host)]
    return any(word in name for name in names for word in RACK) if names else None


def is_up(case: Case, host: str) -> bool:
    """Whether the driver says now that the fabric of every GPU of a node is set up."""
    states = [(text(gpu, "fabric.state"), text(gpu, "fabric.status")) for gpu in gpus(case, host)]
    return bool(states) and all(state == ("Completed", "Success") for state in states)


def explains(case: Case, host: str) -> bool:
    """Whether a log says why the fabric of a node is not set up, which is more than that it is not."""
    reasons = RANKS[: RANKS.index("in_use")]
    return any(
        event.host == host and event.kind in reasons and text(event.record, "service") == fabric.MANAGER
        for event in events(case)
    )
