# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what a node has with what the controller wants, without sending it.

The key is the controller's, new in each run and never kept: without it nobody finds a secret by trying
values, and what was read for another run equals nothing.
"""

from __future__ import annotations

import hmac
import json
import typing as t


def keyed(key: str, value: t.Any) -> str:
    """The digest of plain data under this key."""
    if not key:
        raise ValueError("a digest without a key could be tried by anybody")
    text = json.dumps(value, sort_keys=True)
    return hmac.new(key.encode(), text.encode(), "sha256").hexdigest()[:32]
