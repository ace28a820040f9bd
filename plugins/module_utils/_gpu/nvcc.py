# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the compiler of a CUDA toolkit says of itself."""

from __future__ import annotations

import re

_RELEASE = re.compile(r"release (\d{1,3}\.\d{1,3}), V(\d{1,3}\.\d{1,3}\.\d{1,5})")


def nvcc_version(text: str) -> tuple[str, str] | None:
    """(release, version) from ``nvcc --version``, such as ("12.6", "12.6.85"); None when not said."""
    match = _RELEASE.search(text)
    return (match.group(1), match.group(2)) if match else None
