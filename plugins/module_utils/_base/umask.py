# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several users of a node read is readable, whatever umask the login brought."""

from __future__ import annotations

import contextlib
import os
import typing as t


@contextlib.contextmanager
def readable() -> t.Iterator[None]:
    """New files and directories, those of child processes too, may be read by all; hardened hosts have 027 or 077."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)
