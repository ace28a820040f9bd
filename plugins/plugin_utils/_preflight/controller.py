# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requirements of the controller, checked before any host is touched.

The same list is in meta/ee-requirements.txt and meta/ee-bindep.txt, for execution environments.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import typing as t

PACKAGES = {
    "paramiko": "for the preflight of every host",
    "yaml": "for inventories and user files",
}
_DISTRIBUTION = {"yaml": "PyYAML"}
_COMMANDS = {"ssh": "openssh-client (Debian, Ubuntu) or openssh-clients (RHEL)"}


def beside_python(command: str) -> str | None:
    """The command beside the interpreter that runs Ansible, as in a virtual environment, or on the path."""
    beside = os.path.join(os.path.dirname(sys.executable), command)
    return beside if os.access(beside, os.X_OK) else shutil.which(command)


def missing(
    installs: bool,
    logs_in: bool,
    has_package: t.Callable[[str], bool] = lambda name: importlib.util.find_spec(name) is not None,
    find: t.Callable[[str], str | None] = beside_python,
) -> list[str]:
    """What is missing on the controller, one sentence each with the command that installs it.

    ``installs``: the run makes Python environments on the nodes; ``logs_in``: some host is reached by ssh.
    """
    pip = f"{sys.executable} -m pip install"
    faults = [
        f"the Python package {_DISTRIBUTION.get(name, name)} is missing on the controller ({purpose}): "
        f"{pip} {_DISTRIBUTION.get(name, name)}"
        for name, purpose in PACKAGES.items()
        if not has_package(name)
    ]
    faults += [
        f"the command {name} is missing on the controller: install {package}"
        for name, package in _COMMANDS.items()
        if logs_in and not find(name)
    ]
    if installs and not find("uv"):
        faults.append(f"uv is missing on the controller (it resolves and installs packages): {pip} uv")
    return faults
