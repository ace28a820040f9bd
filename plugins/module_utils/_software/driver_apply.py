# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the driver on the node, and take everything back where that fails."""

from __future__ import annotations

import dataclasses
import json
import os
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command, file_write
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import path_of, which
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.manager import Manager
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Transaction
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import (
    dkms,
    driver_plan,
    driver_present,
    files,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_plan import Choice, Order
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_present import Present
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_sources import ROOM

RECORD = "/var/lib/trainmesh/gpu-driver.json"


@dataclasses.dataclass
class Result:
    """What was, or would be, done."""

    changed: bool
    version: str | None = None
    module: str | None = None
    packages: list[str] = dataclasses.field(default_factory=list)
    held: list[str] = dataclasses.field(default_factory=list)
    reboot_reason: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)
    diff: list[dict[str, str]] = dataclasses.field(default_factory=list)


def record(path: str = "") -> dict[str, t.Any]:
    """What an earlier run has installed; empty for nothing."""
    try:
        with open(path or RECORD, encoding="utf-8") as stream:
            content = json.load(stream)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def install(
    manager: Manager,
    order: Order,
    steps: Transaction,
    changes: t.Mapping[str, files.Content],
    present: Present,
    limit: float,
    result: Result,
    ours: t.Mapping[str, t.Any],
) -> None:
    """Install, and take everything back where that fails."""
    choice, old, keys = order.choice, dict(steps.before), manager.keys()
    kept = manager.keep_old(old, f"{ROOM}/old") if old else []
    held = sorted(set(ours.get("held", [])) & manager.held())
    try:
        files.write(changes)
    except OSError as error:
        raise Fault(f"{error.filename or 'a file'} could not be written: {error.strerror}") from None
    try:
        _install(manager, order)
        _have_module(choice, present, limit)
        _hold(manager, held, result.held)
        _remember(choice, steps, changes, result.held, manager.keys() - keys, ours)
    except Fault as error:
        # its log goes with the packages
        why = "" if choice.recipe.prebuilt or "could not be built" in str(error) else dkms.failure(choice.version)
        files.restore(changes)
        back = _taken_back(manager, steps, old, kept, held, manager.keys() - keys)
        raise Fault(f"{error}{why}{back}") from None
    _start(present, choice, result, limit)


def _install(manager: Manager, order: Order) -> None:
    try:
        manager.install(order.wanted, order.drops)
    except Fault as error:
        raise Fault(f"the packages could not be installed: {error}") from None


def _taken_back(
    manager: Manager,
    steps: Transaction,
    old: t.Mapping[str, str],
    kept: t.Sequence[str],
    held: t.Sequence[str],
    keys: t.Collection[str],
) -> str:
    """Undo an installation; what is still to be said about it."""
    try:
        if kept:
            manager.put_back(kept)
        _remove_new(manager, sorted(manager.left_of(list(steps.new))))
        manager.hold(held)
        manager.forget_keys(keys)
    except Fault as error:
        return f". Not all of it could be taken back: {error}"
    if old and not kept:
        return f". The old {', '.join(sorted(old)[:3])} is no longer offered, and could not be put back"
    return ""


def _remove_new(manager: Manager, names: t.Sequence[str]) -> None:
    """Remove what has come along; raises Fault where more would go with it, such as a driver not put back."""
    others = sorted(set(manager.removal(names).removed) - set(names))
    if others:
        raise Fault(f"{', '.join(names)} stays, which {', '.join(others[: driver_plan.SHOWN])} need by now")
    manager.remove(names)


def _have_module(choice: Choice, present: Present, limit: float) -> None:
    """Make sure that the module for the kernel is there, of the version of the library; raises Fault."""
    version, _kind = driver_present.installed_module(Machine(), present.kernel)
    if version != choice.version and not choice.recipe.prebuilt:
        dkms.install(choice.version, present.kernel, limit)
        version, _kind = driver_present.installed_module(Machine(), present.kernel)
    if version != choice.version:
        have = f"is of driver {version}" if version else "is missing"
        raise Fault(f"the module for kernel {present.kernel} {have}, and the library of {choice.version}")


def _hold(manager: Manager, before: t.Sequence[str], after: t.Sequence[str]) -> None:
    """Hold the packages of the new driver, and none of the old one any more."""
    manager.hold(manager.releasable([name for name in before if name not in after]), is_held=False)
    manager.hold(after)


def _remember(
    choice: Choice,
    steps: Transaction,
    changes: t.Mapping[str, files.Content],
    held: t.Sequence[str],
    keys: t.Collection[str],
    ours: t.Mapping[str, t.Any],
) -> None:
    """Write down what is to go with the driver one day; raises Fault."""
    added = sorted({*ours.get("added", []), *steps.new})
    content = {
        "version": choice.version,
        "packages": [name for name in added if driver_plan.is_driver(name)],
        "added": added,
        "held": held,
        "keys": sorted({*ours.get("keys", []), *keys}),
        "files": sorted({*ours.get("files", []), *changes}),
    }
    try:
        os.makedirs(os.path.dirname(RECORD), mode=0o755, exist_ok=True)
        file_write.replace(RECORD, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n", 0o644)
    except OSError as error:
        raise Fault(f"{RECORD} could not be written: {error.strerror}") from None


def _initramfs(kernel: str) -> list[str]:
    """The command that makes the initramfs anew; empty where the node has none of those known here."""
    if program := which("update-initramfs"):
        return [program, "-u", "-k", kernel]
    if program := which("dracut"):
        return [program, "--force", "--kver", kernel]
    return []


def _start(present: Present, choice: Choice, result: Result, limit: float) -> None:
    """Rebuild the initramfs where nouveau may be in it, load the module, and start the services."""
    systemctl = which("systemctl")
    words = _initramfs(present.kernel) if present.nouveau else []
    if words:
        outcome = command.run(words, limit)
        if not outcome.ok:
            reason = outcome.text.strip()[-300:] or f"it did not end within {limit:.0f} s"
            name = os.path.basename(words[0])
            result.notes.append(f"nouveau may come back at the next boot: {name} failed: {reason}")
    services = ["nvidia-persistenced", *(["nvidia-fabricmanager"] if present.nvswitches else [])]
    if present.devices and not present.loaded and not present.nouveau and present.kernel == present.running:
        outcome = command.run([path_of("modprobe"), "nvidia"], 120)
        if not outcome.ok:
            result.notes.append(f"the module could not be loaded: {outcome.text.strip()[-300:]}")
    after = driver_present.read(Machine(), present.kernel)
    result.reboot_reason = driver_plan.reboot_reason(after, choice.version)
    works = after.loaded == choice.version
    for service in services if systemctl else ():
        words = ["enable", *(["--now"] if works else []), service]
        outcome = command.run([str(systemctl), *words], 120)
        if not outcome.ok:
            result.notes.append(f"{service} could not be enabled: {outcome.text.strip()[-200:]}")
