# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where shared libraries and the commands of a search path lie on a node."""

from __future__ import annotations

import fnmatch
import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree

_USUAL = (
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/cuda/lib64",
)
_MOST_CONF_FILES = 64
_CUDA = re.compile(r"(libcudart|libcublas|libcublasLt)\.so\.([\d.]*\d)\Z")


def split_path(value: str | None) -> list[str]:
    """The absolute directories of a PATH-like variable, each once; empty and relative ones left out."""
    return list(dict.fromkeys(part for part in (value or "").split(":") if part.startswith("/")))


def which(tree: Tree, name: str, path: str | None) -> str | None:
    """The first executable file of that name on ``path``, or None."""
    for directory in split_path(path):
        candidate = os.path.join(directory, name)
        if executable(tree, candidate):
            return candidate
    return None


def executable(tree: Tree, path: str) -> bool:
    """True when ``path`` is a file that may be run."""
    try:
        return os.path.isfile(tree.path(path)) and os.access(tree.path(path), os.X_OK)
    except ValueError:
        return False


def real(tree: Tree, path: str) -> str:
    """``path`` with every link resolved, still as seen from the root of the node."""
    try:
        resolved = os.path.realpath(tree.path(path))
    except (OSError, ValueError):
        return path
    root = os.path.realpath(tree.root)
    return resolved if root == "/" or not resolved.startswith(root + "/") else resolved[len(root) :]


def system_directories(tree: Tree) -> list[str]:
    """Where the dynamic linker looks: /etc/ld.so.conf with its includes, and the usual directories."""
    found: list[str] = []
    files = ["/etc/ld.so.conf"]
    for file in files:  # grows while it runs: an included file may include others
        for line in (tree.text(file) or "").splitlines():
            entry = line.partition("#")[0].strip()
            if entry.startswith("include"):
                files += [name for name in _matching(tree, entry[len("include") :]) if name not in files]
                del files[_MOST_CONF_FILES:]
            elif entry.startswith("/"):
                found += split_path(re.sub(r"[\s,]+", ":", entry))
    return list(dict.fromkeys(found + list(_USUAL)))


def _matching(tree: Tree, patterns: str) -> list[str]:
    """The files that the ``include`` of /etc/ld.so.conf names; wildcards only in the last part."""
    names = []
    for pattern in patterns.split():
        directory, _slash, last = os.path.join("/etc", pattern).rpartition("/")
        names += [f"{directory}/{name}" for name in tree.names(directory) if fnmatch.fnmatch(name, last)]
    return names


def files_named(tree: Tree, directories: t.Iterable[str], pattern: str) -> list[str]:
    """The files whose name matches the regular expression, one path for each real file.

    Links to the same file (``libnccl.so`` to ``libnccl.so.2`` to ``libnccl.so.2.28.3``) count once,
    under the first name found.
    """
    regex = re.compile(pattern)
    found: dict[str, str] = {}
    for directory in dict.fromkeys(directories):
        for name in tree.names(directory, regex):
            path = os.path.join(directory, name)
            found.setdefault(real(tree, path), path)
    return list(found.values())


def cuda_in(tree: Tree, directories: t.Iterable[str]) -> list[dict[str, t.Any]]:
    """The CUDA libraries in these directories: ``library``, ``path`` and ``version``.

    The version is that in the name of the real file, which of libcudart is the toolkit's (11.4.148); one
    directory has several names of one file, and the first counts.
    """
    found = []
    for path in files_named(tree, directories, _CUDA.pattern):
        match = _CUDA.match(os.path.basename(real(tree, path))) or _CUDA.match(os.path.basename(path))
        if match:
            found.append({"library": match.group(1), "path": path, "version": match.group(2)})
    return found
