# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every NCCL library of a node with the version that the library itself says.

``torch.cuda.nccl.version()`` and the metadata of a wheel may both differ from the file that is
loaded, and NCCL does not notice when ranks run different versions: they hang. So each file is
loaded in a child process and asked (``ncclGetVersion`` needs no GPU and no driver); a file that
cannot be loaded here is searched for the banner that NCCL prints.
"""

from __future__ import annotations

import mmap
import os
import re
import sys
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, to_int
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack.libraries import files_named

Runner = t.Callable[..., command.Outcome]
Record = dict[str, t.Any]

_BANNER = re.compile(rb"NCCL version (\d{1,2}\.\d{1,2}\.\d{1,2})(?:\+cuda\d)?")
_DEFINE = re.compile(r"^\s*#\s*define\s+NCCL_(MAJOR|MINOR|PATCH)\s+(\d{1,3})\s*$", re.MULTILINE)
_NAME = r"libnccl\.so(?:\.\d+)*\Z"
_LARGEST = 4 << 30

# One process for each library, because a broken one may abort or hang; both end in five seconds.
_CHILD = """
import ctypes, os, signal, sys
for number, path in enumerate(sys.argv[1:]):
    if os.fork() == 0:
        signal.alarm(5)
        try:
            code = ctypes.c_int()
            if ctypes.CDLL(path).ncclGetVersion(ctypes.byref(code)) == 0:
                os.write(1, b"nccl %d %d\\n" % (number, code.value))
        finally:
            os._exit(0)
for path in sys.argv[1:]:
    os.wait()
"""


def decode(code: int | None) -> str | None:
    """The version in NCCL's number (src/nccl.h.in): 2708 is 2.7.8, 21003 is 2.10.3, 23007 is 2.30.7."""
    if code is None or not 1000 <= code <= 999999:
        return None
    major, rest = divmod(code, 1000 if code < 10000 else 10000)
    return f"{major}.{rest // 100}.{rest % 100}"


def header_version(text: str) -> str | None:
    """The version in nccl.h, such as ``2.30.7``."""
    parts = dict(_DEFINE.findall(text))
    return f"{parts['MAJOR']}.{parts['MINOR']}.{parts['PATCH']}" if len(parts) == 3 else None


def answers(text: str) -> dict[int, str]:
    """The versions that our child process printed, by the position of the library."""
    found: dict[int, str] = {}
    for line in text.splitlines():
        word, _blank, rest = line.partition(" ")
        number, _blank, code = rest.partition(" ")
        index, version = to_int(number), decode(to_int(code))
        if word == "nccl" and index is not None and version:
            found[index] = version
    return found


def ask(paths: t.Sequence[str], run: Runner, limit: float) -> dict[int, str]:
    """Load each library in a child and ask it; position -> version, missing where it gave no answer."""
    if not paths:
        return {}
    return answers(run([sys.executable, "-I", "-S", "-B", "-c", _CHILD, *paths], limit, cwd="/").out)


def search(path: str) -> str | None:
    """The version in the banner text inside the library file; reads the file, loads nothing."""
    try:
        with open(path, "rb") as file:
            if not 0 < os.fstat(file.fileno()).st_size <= _LARGEST:
                return None
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                match = _BANNER.search(content)
                return match.group(1).decode("ascii") if match else None
    except (OSError, ValueError):
        return None


def find(
    tree: Tree, sites: t.Sequence[str], prefix: str | None, library_path: t.Sequence[str], system: t.Sequence[str]
) -> list[Record]:
    """Every libnccl.so of the node, each file once, with the kind of place it lies in."""
    places = {
        "wheel": [f"{site}/nvidia/nccl/lib" for site in sites],
        "torch": [f"{site}/torch/lib" for site in sites],
        "library_path": list(library_path),
        "environment": [f"{prefix}/lib"] if prefix else [],
        "system": list(system),
    }
    kinds = {directory: kind for kind in reversed(list(places)) for directory in places[kind]}
    ordered = [directory for directories in places.values() for directory in directories]
    return [
        {"path": path, "place": kinds[os.path.dirname(path)], "version": None, "source": None}
        for path in files_named(tree, ordered, _NAME)
        if os.path.isfile(tree.path(path))
    ]


def with_versions(tree: Tree, found: list[Record], run: Runner, limit: float) -> list[Record]:
    """The same records with ``version`` and its ``source``: library, file or header."""
    asked = ask([tree.path(one["path"]) for one in found], run, limit)
    for index, one in enumerate(found):
        include = os.path.join(os.path.dirname(os.path.dirname(one["path"])), "include/nccl.h")
        version, source = asked.get(index), "library"
        if not version:
            version, source = search(tree.path(one["path"])), "file"
        if not version:
            version, source = header_version(tree.text(include) or ""), "header"
        one.update(version=version, source=source if version else None)
    return found
