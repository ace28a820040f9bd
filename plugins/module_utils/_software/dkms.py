# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the driver's kernel module with dkms, and say why that failed."""

from __future__ import annotations

import glob
import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import path_of
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault

SOURCES = "/usr/src"
TREE = "/var/lib/dkms"
_ERROR = re.compile(r"(?i)\b(?:fatal )?error\b|No rule to make|not found|No space left|\*\*\* .*Stop\.")
_SHOWN = 3


class Source(t.NamedTuple):
    """A module that dkms can build, as dkms calls it."""

    name: str
    version: str


def sources(version: str, place: str = SOURCES) -> list[Source]:
    """The driver's sources of this version."""
    found = []
    for path in sorted(glob.glob(f"{place}/*-{version}/dkms.conf")):
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
        name = re.search(r"""(?m)^PACKAGE_NAME=["']?([\w.+-]+)""", text)
        if name and "nvidia" in name.group(1):
            found.append(Source(name.group(1), version))
    return found


def install(version: str, kernel: str, limit: float, run: t.Callable[..., command.Outcome] = command.run) -> None:
    """Build and install the modules of this version for a kernel; raises Fault."""
    found = sources(version)
    if not found:
        raise Fault(f"no source of the module {version} is in {SOURCES}, and none for {kernel} is installed")
    for source in found:
        words = ["install", "--force", "-m", source.name, "-v", source.version, "-k", kernel]
        _check(run([path_of("dkms"), *words], limit), kernel, TREE, limit)


def trial(unpack: t.Callable[[str, str], None], packages: t.Sequence[str], version: str, kernel: str, directory: str,
          limit: float, run: t.Callable[..., command.Outcome] = command.run) -> None:  # fmt: skip
    """Build the module out of packages that are not installed yet, beside those of the node; raises Fault."""
    for path in packages:
        try:
            unpack(path, directory)
        except Fault as error:
            raise Fault(f"{os.path.basename(path)} could not be unpacked: {error}") from None
    place, tree = f"{directory}{SOURCES}", f"{directory}/dkms"
    os.makedirs(tree, exist_ok=True)
    for source in sources(version, place):
        words = ["-m", source.name, "-v", source.version, "--sourcetree", place, "--dkmstree", tree]
        run([path_of("dkms"), "add", *words], limit)
        _check(run([path_of("dkms"), "build", *words, "-k", kernel], limit), kernel, tree, limit)


def _check(outcome: command.Outcome, kernel: str, tree: str, limit: float) -> None:
    if outcome.timed_out:
        raise Fault(f"building the module for kernel {kernel} did not end within {limit:.0f} s")
    if not outcome.ok:
        raise Fault(f"the module could not be built for kernel {kernel}: {reason(tree, outcome.text)}")


def reason(tree: str, text: str) -> str:
    """The lines of the newest build log that say why, else the last of what was printed."""
    last = [line.strip()[:300] for line in text.splitlines() if line.strip()][-_SHOWN:]
    return "; ".join(_logged(f"{tree}/*/*")[:_SHOWN] or last) or "dkms does not say why"


def failure(version: str, tree: str = TREE) -> str:
    """Why the build failed that the packages of this version have started; empty where none did."""
    lines = _logged(f"{tree}/*/{version}")
    return f" (the module could not be built: {'; '.join(lines[:_SHOWN])})" if lines else ""


def _logged(place: str) -> list[str]:
    """The lines of the newest build log below ``place`` that tell of an error."""
    logs = glob.glob(f"{place}/build/make.log") + glob.glob(f"{place}/*/*/log/make.log")
    for path in sorted(logs, key=os.path.getmtime)[-1:]:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return [line.strip()[:300] for line in stream if _ERROR.search(line)]
    return []
