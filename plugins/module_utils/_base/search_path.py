# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where root finds programs.

Root's PATH may lead through directories of the job user: conda init, /etc/environment, sudo without
secure_path. A program there is not run as root.
"""

from __future__ import annotations

import os
import stat

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.root_path import others_may_write

# The system's own, then where drivers put nvidia-smi in WSL, on NixOS and on images without a package manager.
DIRECTORIES = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/local/nvidia/bin",
    "/usr/lib/wsl/lib",
    "/run/current-system/sw/bin",
)
MAX_LINKS = 40


def which(name: str) -> str | None:
    """The path of a program, or None: on PATH where that may be trusted, and in the system's directories."""
    trusts_path = os.geteuid() != 0
    path = [each for each in os.environ.get("PATH", "").split(os.pathsep) if each.startswith("/")]
    for directory in dict.fromkeys([*path, *DIRECTORIES]):
        found = os.path.join(directory, name)
        trusted = trusts_path or directory in DIRECTORIES
        if os.path.isfile(found) and os.access(found, os.X_OK) and (trusted or only_roots(found)):
            return found
    return None


def path_of(name: str) -> str:
    """The path of a program; where it is not there, one that nothing can be started from."""
    return which(name) or f"/usr/bin/{name}"


def required(module: AnsibleModule, name: str) -> str:
    """The path of a program without which the module fails."""
    found = which(name)
    if not found:
        module.fail_json(msg=f"there is no program {name} on this node: expected it on root's PATH or in /usr/bin")
    return str(found)


def only_roots(path: str) -> bool:
    """Whether nobody but root can put something else in the place of a file: it and all directories above it.

    In a directory with the sticky bit, such as /tmp, others can't rename or remove what is root's.
    """
    for _link in range(MAX_LINKS):
        if not _is_roots(path):
            return False
        if not os.path.islink(path):
            return _is_roots(os.path.realpath(path))
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    return False


def _is_roots(path: str) -> bool:
    while True:
        try:
            info = os.stat(path)
        except OSError:
            return False
        sticky = stat.S_ISDIR(info.st_mode) and bool(info.st_mode & stat.S_ISVTX)
        if info.st_uid != 0 or (others_may_write(info) and not sticky):
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)
