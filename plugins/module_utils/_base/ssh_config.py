# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ssh has against its own configuration."""

from __future__ import annotations

import re

PERMISSIONS, TRAILING, SYNTAX = "permissions", "trailing", "syntax"
# OpenSSH 7 to 10, readconf.c; old releases know no comment behind a value.
_KINDS = (
    (PERMISSIONS, r"Bad owner or permissions"),
    (TRAILING, r"garbage at end of line|extra arguments at end of line|keyword .* extra arguments|Bad number|Bad port"),
)


def config_error(stderr: str) -> str:
    """``permissions`` (others may write to it), ``trailing`` (something stands behind a value), else ``syntax``."""
    return next((kind for kind, pattern in _KINDS if re.search(pattern, stderr, re.IGNORECASE)), SYNTAX)
