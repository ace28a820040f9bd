# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the ssh client for each of many names, by few questions to ``ssh -G``."""

from __future__ import annotations

import os
import pwd
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command, ssh_config
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.ssh_client import ClientConfig

Runner = t.Callable[..., command.Outcome]
TOLD = (
    *("hostname", "port", "user", "addressfamily", "proxyjump", "proxycommand"),
    *("pubkeyauthentication", "preferredauthentications"),
)
_READING = re.compile(r"(?m)^debug1: Reading configuration data (.+?)\r?$")
_DEBUG = re.compile(r"(?m)^(?:debug\d: |OpenSSH_).*\n?")


class Answer(t.NamedTuple):
    """What ssh said, and the options of TOLD: their first values, which count. Others may have the name in them."""

    outcome: command.Outcome
    options: dict[str, str]


class Options:
    """The answers of ``ssh -G``, one for all names that ssh reads the same lines for.

    ssh itself tells which files it reads, and where HostName leads: what differs from ``config`` has each name asked.
    """

    def __init__(self, config: ClientConfig, limit: float, run: Runner = command.run) -> None:
        self._config, self._limit, self._run = config, limit, run
        self._answers: dict[t.Hashable, Answer] = {}

    def of(self, name: str) -> Answer:
        """The options for a name. No answer in time is asked for again. Threads that ask at once may ask twice."""
        alike = self._config.alike(name)
        known = self._answers.get(alike)
        if known is None:
            known = self._ask(name)
            if not known.outcome.timed_out:
                self._answers[alike] = known
            return known
        if alike == name or not known.outcome.ok:
            return known
        if not self._config.clear:
            return self.of(name)
        return known._replace(options={**known.options, "hostname": self._config.hostname(name).lower()})

    def _ask(self, name: str) -> Answer:
        outcome = self._run(["ssh", "-v", "-G", "--", name], self._limit, cwd="/")
        every = ssh_config.first(outcome.out) if outcome.ok else {}
        options = {option: every[option] for option in TOLD if option in every}
        read = {os.path.normpath(path) for path in _READING.findall(outcome.err)}
        if outcome.ok and (read - self._config.files or options.get("hostname") != self._config.hostname(name).lower()):
            self._config.clear = False
        return Answer(outcome._replace(err=_DEBUG.sub("", outcome.err)), options)


def of_user(limit: float, run: Runner = command.run) -> Options:
    """The options of the user who runs this, whose home ssh takes from the list of users."""
    return Options(ClientConfig(Tree(), pwd.getpwuid(os.geteuid()).pw_dir), limit, run)
