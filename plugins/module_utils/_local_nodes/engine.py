# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""See to it that a Docker Engine answers, and stop the one that we started."""

from __future__ import annotations

import json
import os
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import (
    Host,
    LocalNodesError,
    find_tool,
    reason,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.model import LABEL

STATE_DIR = "/var/lib/trainmesh-local"
RECORD = f"{STATE_DIR}/engine.json"  # what we did to this machine, so that it can be undone
LOG = f"{STATE_DIR}/dockerd.log"
PID_FILE = "/var/run/docker.pid"  # dockerd's own default
START_LIMIT = 60.0
# The engine's package in the distribution, by the tool that installs it.
PACKAGES = {"apt-get": "docker.io", "dnf": "moby-engine"}


class EnginePlan(t.NamedTuple):
    """What must be done before an engine answers."""

    install: str | None
    start: str | None  # "systemd" or "background"

    @property
    def changed(self) -> bool:
        """True when anything must be done."""
        return bool(self.install or self.start)


def plan_engine(*, answers: bool, installed: bool, manager: str | None, systemd: bool) -> EnginePlan:
    """Decide what to do; raises :class:`LocalNodesError` when this machine has no package manager that we know."""
    if answers:
        return EnginePlan(None, None)
    start = "systemd" if systemd else "background"
    if installed:
        return EnginePlan(None, start)
    if manager is None:
        raise LocalNodesError(
            "there is no Docker Engine on this machine and neither apt-get nor dnf to install one: install it yourself"
        )
    return EnginePlan(manager, start)


def ensure_engine(host: Host, *, apply: bool) -> tuple[bool, str]:
    """Make a Docker Engine answer; returns (anything changed, the engine's version or an empty text)."""
    version = host.engine_version()
    manager = next((name for name in PACKAGES if find_tool(name)), None)
    systemd = os.path.isdir("/run/systemd/system")
    plan = plan_engine(answers=bool(version), installed=bool(find_tool("dockerd")), manager=manager, systemd=systemd)
    if not plan.changed or not apply:
        return plan.changed, version or ""
    if host.root_prefix is None:
        raise LocalNodesError(
            "no Docker Engine answers and this user may not install or start one: run this as root, with a sudo"
            " that asks for no password, or as a member of the group 'docker' of a running engine"
        )
    # Written first, so that an interrupted start can be cleaned up as well.
    _record(host, {"installed": PACKAGES[plan.install] if plan.install else "", "started": plan.start})
    if plan.install:
        install_package(host, PACKAGES[plan.install])
    version = host.engine_version()  # some packages start the engine themselves
    if not version:
        _start(host, plan.start or "background")
        version = _wait(host)
    return True, version


def install_package(host: Host, package: str) -> None:
    """Install a package of the distribution; raises :class:`LocalNodesError` with the last words of the tool."""
    if find_tool("apt-get"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        options = ("-q", "-o", "DPkg::Lock::Timeout=120")
        # A foreign source that does not answer makes "update" fail though ours was read: the install tells.
        host.root("apt-get", *options, "update", limit=300, env=quiet)
        argv = ["apt-get", *options, "install", "-y", "--no-install-recommends", package]
    else:
        quiet, argv = {}, ["dnf", "install", "-y", package]
    outcome = host.root(*argv, limit=900, env=quiet)
    if not outcome.ok:
        raise LocalNodesError(f"could not install the package {package}: {reason(outcome, 900)}")


def _record(host: Host, data: dict[str, str | None]) -> None:
    """Remember what we did; a first record stays, as it tells the state that we found."""
    if not os.path.exists(RECORD):
        host.root("mkdir", "-p", STATE_DIR)
        host.root("tee", RECORD, stdin=json.dumps(data) + "\n")


def started_here() -> bool:
    """True when an engine was started on this machine by us, whether it still runs or not."""
    return os.path.exists(RECORD)


def _start(host: Host, how: str) -> None:
    """Start the engine with systemd, or in a session of its own with a log."""
    if how == "systemd":
        outcome = host.root("systemctl", "start", "docker.service", limit=START_LIMIT + 30)
    else:
        command = f'exec "$0" >>{LOG} 2>&1 </dev/null'
        outcome = host.root("setsid", "--fork", "sh", "-c", command, find_tool("dockerd") or "dockerd")
    if not outcome.ok:
        raise LocalNodesError(f"could not start the Docker Engine: {reason(outcome, START_LIMIT)}")


def _wait(host: Host) -> str:
    """Wait until the engine answers and return its version."""
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        version = host.engine_version(limit=5)
        if version:
            return version
        time.sleep(0.5)
    log = host.root("tail", "-n", "1", LOG).out.strip() or "see its log"
    raise LocalNodesError(f"the Docker Engine does not answer {START_LIMIT:.0f} s after its start: {log}")


def stop_engine(host: Host, *, apply: bool) -> tuple[bool, str]:
    """Stop the engine if we started it and nobody else uses it; returns (changed, what is left as it is)."""
    try:
        with open(RECORD, encoding="utf-8") as stream:
            record = json.load(stream)
    except (OSError, ValueError):
        return False, ""
    others = _foreign_containers(host)
    if others:
        return False, f"the Docker Engine that was started here keeps running: {others} other containers use it"
    if apply:
        _stop(host, record.get("started", ""))
        host.root("rm", "-rf", STATE_DIR)
    package = record.get("installed")
    return True, f"the package {package} that was installed here stays" if package else ""


def _foreign_containers(host: Host) -> int:
    """Return the number of containers that are not ours; 0 when the engine does not answer."""
    if not host.engine_version():
        return 0
    everything = set(host.need("list the containers", "ps", "-aq").split())
    return len(everything - set(host.need("list the containers", "ps", "-aq", "--filter", f"label={LABEL}").split()))


def _stop(host: Host, how: str) -> None:
    """Stop the engine and wait until its process is gone."""
    if how == "systemd":
        host.root("systemctl", "stop", "docker.socket", "docker.service", limit=90)
        return
    pid = host.root("cat", PID_FILE).out.strip()
    if not pid.isdigit() or host.root("cat", f"/proc/{pid}/comm").out.strip() != "dockerd":
        return
    host.root("kill", pid)
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.2)
