# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rule says of a job's failure."""

from __future__ import annotations

import typing as t


class Cause(t.NamedTuple):
    """The rule of a text, why such a thing happens, and what to do."""

    rule: str
    cause: str
    remedy: str
