# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What DeepSpeed's builds and a cluster's clocks need of a node, and the packages that bring it.

A part counts as there when what it is for is there, whoever has brought it: nothing is installed beside it then.
"""

from __future__ import annotations

import glob
import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import which
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.clock import time_source
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.host import container
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Want

Runner = t.Callable[..., command.Outcome]

PARTS = ("compilers", "ninja", "libaio", "python_headers", "chrony", "limits")
PYTHON_SECONDS = 30.0
PACKAGES: dict[str, dict[str, list[str]]] = {
    "compilers": {"apt": ["gcc", "g++", "make"], "dnf": ["gcc", "gcc-c++", "make"]},
    "ninja": {"apt": ["ninja-build"], "dnf": ["ninja-build"]},
    "libaio": {"apt": ["libaio-dev"], "dnf": ["libaio-devel"]},
    "python_headers": {"apt": ["python{}-dev"], "dnf": ["python{}-devel"]},
    "chrony": {"apt": ["chrony"], "dnf": ["chrony"]},
}
UNITS = {"apt": "chrony.service", "dnf": "chronyd.service"}
TIME_DAEMONS = ("systemd-timesyncd", "ntpsec", "ntp", "openntpd")
"""Of which a distribution allows one; those that don't run may make room for chrony."""

_AIO = ("/usr/include/libaio.h", "/usr/local/include/libaio.h")
_AIO_LIBRARIES = ("/usr/lib*/libaio.so", "/usr/lib/*-linux-gnu/libaio.so", "/usr/local/lib*/libaio.so")
_ASK = (
    "import sys, sysconfig; p = sysconfig.get_paths(); "
    "print('%d.%d' % sys.version_info[:2], sys.prefix, p['include'], p['platinclude'], sep='\\n')"
)


class Python(t.NamedTuple):
    """An interpreter: ``version`` is empty where it does not run; ``headers`` whether Python.h is there."""

    path: str
    version: str
    is_distributions: bool
    headers: bool


def python_at(wanted: str, run: Runner = command.run) -> Python:
    """The interpreter at a path, or of a version such as 3.11."""
    path = wanted if wanted.startswith("/") else which(f"python{wanted}") or f"/usr/bin/python{wanted}"
    lines = run([path, "-I", "-S", "-c", _ASK], PYTHON_SECONDS).out.splitlines()
    if len(lines) != 4:
        return Python(path, "", path.startswith("/usr/bin/"), False)
    return Python(path, lines[0], lines[1] == "/usr", any(os.path.isfile(f"{place}/Python.h") for place in lines[2:]))


def is_there(part: str, python: Python | None, tree: Tree) -> bool:
    """Whether the node has what a part is for."""
    if part == "compilers":
        return all(which(name) for name in ("gcc", "g++", "make"))
    if part == "ninja":
        return bool(which("ninja"))
    if part == "libaio":
        return any(map(os.path.isfile, _AIO)) and any(glob.glob(pattern) for pattern in _AIO_LIBRARIES)
    if part == "python_headers":
        return bool(python and python.headers)
    if time_source(tree):
        return True
    return bool(which("chronyd") and container(tree, os.environ))  # where it can't run


def packages_of(part: str, kind: str, python: Python | None) -> list[list[Want]]:
    """The packages of a part: for each the names that it may have, the preferred one first. Raises Fault."""
    names = PACKAGES[part][kind]
    if part != "python_headers" or python is None:
        return [[Want(name)] for name in names]
    if not python.is_distributions:
        raise Fault(
            f"python_headers: {python.path} is no Python of the distribution and has no Python.h, which no package "
            "brings: install it with its headers, or set trainmesh_python to another one"
        )
    version = python.version or (re.findall(r"\d+\.\d+\Z", python.path) or [""])[0]
    return [[Want(name.format(each)) for each in dict.fromkeys((version, "3"))] for name in names]
