# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Call the Docker client, and the few commands that need root.

The client is driven rather than a library: it is on every machine that has Docker, and its output
formats are stable. Every call has a time limit.
"""

from __future__ import annotations

import os
import shutil
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome, run

TOOL_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"])


class LocalNodesError(Exception):
    """One sentence for the user: what is missing or went wrong, and what to do."""


def find_tool(name: str) -> str | None:
    """Return the path of a command, also when the directories of the administrator are not in C(PATH)."""
    return shutil.which(name, path=TOOL_PATH)


class Host:
    """This machine: which commands may run as root, and how Docker is called.

    ``root_prefix`` is empty for root, ``["sudo", "-n"]`` where sudo asks for no password, and None
    where neither is so.
    """

    def __init__(self) -> None:
        self.root_prefix: list[str] | None = _root_prefix()
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

    def engine_version(self, limit: float = 20) -> str | None:
        """Return the version of the Docker Engine that answers, None when none does.

        Where only root may talk to it, the calls that follow go through sudo.
        """
        for prefix in ([], self.root_prefix):
            if prefix is None or (prefix == [] and self.docker_prefix):
                continue
            self.docker_prefix = prefix
            outcome = self.docker("version", "--format", "{{.Server.Version}}", limit=limit)
            if outcome.ok and outcome.out.strip():
                return outcome.out.strip()
        self.docker_prefix = []
        return None


def _root_prefix() -> list[str] | None:
    """Return what must stand before a command to run it as root, None when nothing does."""
    if os.geteuid() == 0:
        return []
    return ["sudo", "-n"] if run(["sudo", "-n", "true"], 10).ok else None


def reason(outcome: Outcome, limit: float) -> str:
    """Return why a command failed, in one line: its last words, or that it took too long."""
    if outcome.timed_out:
        return f"it did not end within {limit:.0f} s"
    if outcome.missing:
        return outcome.err
    lines = [line.strip() for line in outcome.text.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {outcome.rc}"
