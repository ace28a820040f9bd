# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker on this machine: call its client, see to it that an engine answers, and stop the one that we started.

The client is driven rather than a library: it is on every machine that has Docker, its output formats
are stable, and sudo can run it. Every call has a time limit.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome, run
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.nodes import LABEL

TOOL_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"])
STATE_DIR = "/var/lib/trainmesh-local"
RECORD = f"{STATE_DIR}/engine.json"  # what we did to this machine, so that it can be undone
LOG = f"{STATE_DIR}/dockerd.log"
PID_FILE = "/var/run/docker.pid"  # dockerd's own default
START_LIMIT = 60.0
# The engine's package in the distribution, by the tool that installs it.
PACKAGES = {"apt-get": "docker.io", "dnf": "moby-engine"}


# "Error: No such object: ID" of a container, "Error response from daemon: network ID not found".
_GONE = re.compile(r"\bno such (?:object|container|network): |\bnetwork \S+ not found$", re.IGNORECASE)


class LocalNodesError(Exception):
    """One sentence for the user: what is missing or went wrong, and what to do."""


def find_tool(name: str) -> str | None:
    """The path of a command, also when the directories of the administrator are not in C(PATH)."""
    return shutil.which(name, path=TOOL_PATH)


def reason(outcome: Outcome, limit: float = 60) -> str:
    """Why a command failed, in one line: its last words, or that it took too long."""
    if outcome.timed_out:
        return f"it did not end within {limit:.0f} s"
    lines = [line.strip() for line in outcome.text.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {outcome.rc}"


class Host:
    """This machine: which commands may run as root, and how Docker is called.

    ``root_prefix`` is empty for root, ``["sudo", "-n"]`` where sudo asks for no password, and None
    where neither is so.
    """

    def __init__(self) -> None:
        self.root_prefix: list[str] | None = None
        if os.geteuid() == 0:
            self.root_prefix = []
        elif run(["sudo", "-n", "true"], 10).ok:
            self.root_prefix = ["sudo", "-n"]
        self.docker_prefix: list[str] = []

    def root(self, *argv: str, limit: float = 60, stdin: str = "", env: t.Mapping[str, str] | None = None) -> Outcome:
        """Run a command as root; raises :class:`LocalNodesError` where that is not permitted."""
        if self.root_prefix is None:
            raise LocalNodesError(f"'{argv[0]}' needs root: run this as root or with a sudo that asks for no password")
        settings = [f"{name}={value}" for name, value in (env or {}).items()]
        command = [*self.root_prefix, *(["env", *settings] if settings else []), *argv]
        return run(command, limit, stdin=stdin, env={"PATH": TOOL_PATH})

    def docker(self, *argv: str, limit: float = 60, stdin: str = "") -> Outcome:
        """Run the Docker client and return what came of it."""
        return run([*self.docker_prefix, "docker", *argv], limit, stdin=stdin, env={"PATH": TOOL_PATH})

    def need(self, doing: str, *argv: str, limit: float = 60, stdin: str = "") -> str:
        """Run the Docker client and return its output; raises :class:`LocalNodesError` when it fails.

        ``doing`` completes the sentence "could not ...".
        """
        outcome = self.docker(*argv, limit=limit, stdin=stdin)
        if not outcome.ok:
            raise LocalNodesError(f"could not {doing}: {reason(outcome, limit)}")
        return outcome.out

    def inspect(self, doing: str, *argv: str) -> str:
        """The JSON text of those that are still there of what was listed; raises :class:`LocalNodesError` as need().

        Between the list and this call another program, or the engine itself, may have removed one.
        """
        outcome = self.docker(*argv)
        told = [line.strip() for line in outcome.err.splitlines() if line.strip()]
        if not outcome.ok and not (told and all(map(_GONE.search, told))):
            raise LocalNodesError(f"could not {doing}: {reason(outcome._replace(out=''))}")
        return outcome.out

    def engine_version(self, limit: float = 20) -> str | None:
        """The version of the Docker Engine that answers, None when none does.

        Where only root may talk to it, the calls that follow go through sudo.
        """
        for prefix in ([], self.root_prefix) if self.root_prefix else ([],):
            self.docker_prefix = prefix
            outcome = self.docker("version", "--format", "{{.Server.Version}}", limit=limit)
            if outcome.ok and outcome.out.strip():
                return outcome.out.strip()
        self.docker_prefix = []
        return None


def ensure_engine(host: Host, *, apply: bool) -> tuple[bool, str]:
    """Make a Docker Engine answer; returns (anything changed, the engine's version or an empty text)."""
    version = host.engine_version()
    if version:
        return False, version
    package: str | None = ""
    if not find_tool("dockerd"):
        package = next((package for tool, package in PACKAGES.items() if find_tool(tool)), None)
    if package is None:
        raise LocalNodesError(
            "there is no Docker Engine on this machine and neither apt-get nor dnf to install one: install it yourself"
        )
    if not apply:
        return True, ""
    if host.root_prefix is None:
        raise LocalNodesError(
            "no Docker Engine answers and this user may not install or start one: run this as root, with a sudo"
            " that asks for no password, or as a member of the group 'docker' of a running engine"
        )
    how = "systemd" if os.path.isdir("/run/systemd/system") else "background"
    # Written first, so that an interrupted start can be cleaned up as well; an earlier record tells what we found.
    if not os.path.exists(RECORD):
        host.root("mkdir", "-p", STATE_DIR)
        host.root("tee", RECORD, stdin=json.dumps({"installed": package, "started": how}) + "\n")
    if package:
        install_package(host, package)
    if not find_tool("docker"):
        install_package(host, "docker-cli")  # Debian 13 and Fedora pack the client by itself
    return True, host.engine_version() or _start(host, how)  # some packages start the engine themselves


def install_package(host: Host, package: str) -> None:
    """Install a package of the distribution; raises :class:`LocalNodesError` with the last words of the tool."""
    quiet, argv = {}, ["dnf", "install", "-y", package]
    if find_tool("apt-get"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]
        # A foreign source that does not answer makes "update" fail though ours was read: the install tells.
        host.root(*apt, "update", limit=300, env=quiet)
        argv = [*apt, "install", "-y", "--no-install-recommends", package]
    outcome = host.root(*argv, limit=900, env=quiet)
    if not outcome.ok:
        raise LocalNodesError(f"could not install the package {package}: {reason(outcome, 900)}")


def _start(host: Host, how: str) -> str:
    """Start the engine with systemd, or in a session of its own with a log; returns the version that answers."""
    argv = ["systemctl", "start", "docker.service"]
    if how == "background":
        argv = ["setsid", "--fork", "sh", "-c", f'exec "$0" >>{LOG} 2>&1 </dev/null', find_tool("dockerd") or "dockerd"]
    outcome = host.root(*argv, limit=START_LIMIT + 30)
    if not outcome.ok:
        raise LocalNodesError(f"could not start the Docker Engine: {reason(outcome, START_LIMIT + 30)}")
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
    if host.engine_version():
        ours = host.need("list the containers", "ps", "-aq", "--filter", f"label={LABEL}").split()
        others = set(host.need("list the containers", "ps", "-aq").split()) - set(ours)
        if others:
            return (
                False,
                f"the Docker Engine that was started here keeps running: {len(others)} other containers use it",
            )
    if apply:
        _stop(host, record.get("started", ""))
        host.root("rm", "-rf", STATE_DIR)
    package = record.get("installed")
    return True, f"the package {package} that was installed here stays" if package else ""


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
