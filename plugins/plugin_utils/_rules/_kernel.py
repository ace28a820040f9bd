# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The events of kernel logs in a Case: those that the nodes read themselves, and those of logs of users."""

from __future__ import annotations

import datetime
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import kernel_log as kernel
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    gpus,
    has_gpus,
    has_rdma,
    mapping,
    number,
    rows,
    text,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    INFO,
    WARN,
    Case,
    Data,
    Finding,
    dig,
    once,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_logs import host_words, node_of, texts

KIND = "kernel_log"
# How the processes of jobs are called in a kernel log: at most 15 characters.
RANK = re.compile(r"python|pt_main_thread|pt_elastic|pt_nccl|torchrun|deepspeed|accelerate|ray::|raylet|mpi|train|nccl")


# Why the module is not loaded, in words that the status of the driver uses as well.
NOT_LOADED = {
    "module_rejected": (
        "Secure Boot is on and the NVIDIA kernel module has no signature that this machine trusts: it is not loaded.",
        "mokutil --sb-state tells; enrol the key with which DKMS signs (mokutil --import /var/lib/shim-signed/mok/"
        "MOK.der, then reboot and confirm), or switch Secure Boot off in the firmware.",
    ),
    "module_mismatch": (
        "The NVIDIA kernel module was built for another kernel than the one that runs: it is not loaded.",
        "dkms autoinstall -k $(uname -r) with the headers of that kernel installed, or boot the kernel that it was "
        "built for; then modprobe nvidia.",
    ),
}


class Event(t.NamedTuple):
    """One event: ``host`` is a node or else the log's own word, ``path`` the log of a user, empty if live."""

    host: str
    path: str
    data: Data

    @property
    def kind(self) -> str:
        """What it is."""
        return text(self.data, "kind")

    @property
    def device(self) -> str:
        """The PCI address, interface, disk or server; empty when the line names none."""
        return text(self.data, "device")

    @property
    def times(self) -> int:
        """How often it was logged."""
        return int(number(self.data, "count") or 1)

    @property
    def live(self) -> bool:
        """Whether it is of the machine as it runs now."""
        return not self.path

    def detail(self, name: str) -> str:
        """What the line says beside the device."""
        return text(mapping(self.data, "details"), name)

    def said(self) -> str:
        """The last line as evidence, with how often and where."""
        often = f"{self.times}x, the last: " if self.times > 1 else ""
        return f"{self.path}: {often}{text(self.data, 'line')}" if self.path else often + text(self.data, "line")


@once
def all_events(case: Case) -> tuple[Event, ...]:
    """Every event of every log."""
    live = [
        Event(name, "", data)
        for part in (case.gpu, case.user)
        for name, facts in part.items()
        for data in rows(facts, "kernel_events")
    ]
    logs = [
        Event(_owner(case, name, text(data, "host")), path, data)
        for name, path, content in given(case)
        for data in kernel.parse(content, host_words(case))
    ]
    return (*live, *logs)


def given(case: Case) -> list[tuple[str, str, str]]:
    """(node, path, text) of the logs of users; the same text on several nodes is of none of them."""
    found: dict[str, tuple[str, str, str]] = {}
    for name, path, content in texts(case, KIND):
        found[content] = (path, path, content) if content in found else (name, path, content)
    return list(found.values())


def _owner(case: Case, holder: str, host: str) -> str:
    """Whose line it is: a log names its machine, or is of the node on which it lies."""
    return (node_of(case, host) or host) if host else holder


def events(case: Case, *kinds: str) -> list[Event]:
    """The events of these kinds."""
    return [event for event in all_events(case) if event.kind in kinds]


def has(case: Case, host: str, *kinds: str) -> bool:
    """Whether a host has an event of these kinds."""
    return any(event.host == host for event in events(case, *kinds))


def logs_known(case: Case) -> bool:
    """Whether any kernel log was read, a node's or a user's."""
    live = [dig(facts, "kernel_events") for part in (case.gpu, case.user) for facts in part.values()]
    return any(each is not None for each in live) or any(texts(case, KIND))


def driver_logs_known(case: Case) -> bool:
    """Whether any node has GPUs and told what its kernel says of them, or a user names a log."""
    return any(dig(case.gpu[host], "kernel_events") is not None and gpus(case, host) for host in case.gpu) or any(
        texts(case, KIND)
    )


def device_logs_known(case: Case) -> bool:
    """Whether any node has GPUs or RDMA devices and a kernel log that was read, or a user names a log."""
    return (logs_known(case) and (has_gpus(case) or has_rdma(case))) or any(texts(case, KIND))


def hung_tasks(case: Case) -> dict[tuple[str, str, str], list[Event]]:
    """{(host, path, what they waited for): the processes that hung in the kernel}."""
    found: dict[tuple[str, str, str], list[Event]] = {}
    for event in events(case, "task_hung", "cpu_stuck"):
        found.setdefault((event.host, event.path, event.detail("trace")), []).append(event)
    return found


def hung_finding(case: Case, identity: str, every: t.Sequence[Event], words: tuple[str, str]) -> Finding:
    """A finding of processes that hung for one reason, with their names."""
    names = ", ".join(dict.fromkeys(each.detail("victim") for each in every if each.detail("victim")))
    old = all(long_ago(case, each) for each in every)
    seen = f"{every[-1].said()} ({names})" if names else every[-1].said()
    return of(case, every[-1], identity, INFO if old else WARN, words, seen)


def of(case: Case, event: Event, identity: str, severity: str, words: tuple[str, str], seen: str = "") -> Finding:
    """A finding of an event; in a container the log is that of its host, so that it is no more than a hint."""
    replayed = event.kind in kernel.OF_DRIVER and dig(case.gpu.get(event.host), "replayed_from")
    if event.live and dig(case.fabric.get(event.host), "container") and not replayed:
        severity = INFO
    hosts = (event.host,) if event.host in case.plan["nodes"] else ()
    return Finding(identity, severity, hosts, {event.host: seen or event.said()}, *words)


def is_rank(event: Event) -> bool:
    """Whether the process of an event is one of a job, as far as its name tells."""
    return bool(RANK.search(event.detail("victim")))


def long_ago(case: Case, event: Event) -> bool:
    """Whether a live event is more than a day before the facts were read."""
    return event.live and before_today(case, event.host, text(event.data, "time"))


def before_today(case: Case, host: str, when: str) -> bool:
    """Whether a moment in ISO 8601 is more than a day before the facts were read."""
    now = number(case.fabric.get(host), "clock.epoch")
    try:
        then = datetime.datetime.fromisoformat(when).timestamp()
    except ValueError:
        return False
    return now is not None and now - then > 24 * 3600
