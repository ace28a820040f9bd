# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the job user, and so each job, is root for the asking."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command as base_command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import which

_LIST = " may run the following commands on "
_RULE = re.compile(r"\s+\(([^):]*)[^)]*\)\s+(.*)")
_TAG = re.compile(r"([A-Z_]+):\s*(.*)")

Runner = t.Callable[..., base_command.Outcome]


def root_without_password(name: str, uid: int, run: Runner, limit: float) -> bool | None:
    """Whether the user is root or may run everything as root without a password; None when that is not known.

    Root asks sudo for the list of the user's rights: this runs nothing as the user and needs no password.
    """
    if uid == 0:
        return True
    if os.geteuid() != 0:
        return None  # sudo would log the question as an attempt of the user
    sudo = which("sudo")
    return parse(run([sudo, "-n", "-l", "-U", name], limit, cwd="/").text) if sudo else False


def parse(text: str) -> bool | None:
    """Whether the list of ``sudo -l`` gives everything without a password. The last rule that matches decides."""
    defaults, listed, rules = text.partition(_LIST)
    if not listed:
        return False if " is not allowed to run sudo on " in text else None
    by_default = bool(re.search(r"(?:^|[\s,])!authenticate(?:[\s,]|$)", defaults))
    given = False
    for users, commands in _RULE.findall(re.sub(r"\n\s+(?=[^\s(])", " ", rules)):
        if not {"ALL", "root"} & set(users.replace(",", " ").split()):
            continue
        free = by_default
        for item in commands.split(","):
            command = item.strip()
            while tag := _TAG.match(command):
                free = {"NOPASSWD": True, "PASSWD": False}.get(tag[1], free)
                command = tag[2]
            if command in ("ALL", "!ALL"):
                given = free and command == "ALL"
    return given
