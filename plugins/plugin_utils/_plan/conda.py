# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan knows of conda: whose terms count for its channels, and which Python a lock of it has."""

from __future__ import annotations

import os
import re
import typing as t
import urllib.parse

# Installers that use Anaconda's own channels, and the names and places of these.
_OF_ANACONDA = re.compile(r"(?:miniconda|anaconda)\d?[-_.]", re.IGNORECASE)
_DEFAULTS = re.compile(r"(?:defaults|main|msys2|r|pkgs/(?:main|r|msys2|pro))/?\Z")
_HOST = re.compile(r"(?:\A|\.)(?:repo\.anaconda\.com|repo\.continuum\.io)\Z")

_LOCKED = re.compile(r"/python-(\d+\.\d+)\.[^/\s]*\.(?:conda|tar\.bz2)(?:#\S*)?$", re.MULTILINE)


def locked_python(text: str) -> str:
    """Major.minor of Python in an explicit list of packages; raises ValueError where it is no such list."""
    found = set(_LOCKED.findall(text))
    if "@EXPLICIT" not in text or len(found) != 1:
        raise ValueError(
            "expected a list of packages with one Python as conda list --explicit prints it (@EXPLICIT, and URLs)"
        )
    return str(found.pop())


def terms(installer: str, channels: t.Sequence[str]) -> list[str]:
    """Sentences on whose terms count: of the default channels of Anaconda, or of conda-forge where that is the default.

    ``installer`` is empty for Miniforge; without ``channels`` those of the installer count.
    """
    name = os.path.basename(urllib.parse.urlsplit(installer).path)
    ours = [channel for channel in channels if is_of_anaconda(channel)]
    if ours or (not channels and _OF_ANACONDA.match(name)):
        what = ", ".join(ours) or f"the default channels of {name}"
        return [
            f"conda: {what}: Anaconda's terms of service count, by which organisations of more than 200 people need a "
            "licence; trainmesh_conda_channels: [conda-forge], or no trainmesh_conda_installer, needs none"
        ]
    return [] if installer else ["conda: the newest Miniforge, whose channel conda-forge asks nobody for a licence"]


def is_of_anaconda(channel: str) -> bool:
    """Whether a channel is one of Anaconda's own; a mirror of it has the same terms and is not known by its address."""
    parts = urllib.parse.urlsplit(channel)
    return bool(_HOST.search(parts.hostname or "")) or (not parts.scheme and bool(_DEFAULTS.match(channel)))
