# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import generation


@pytest.mark.parametrize(
    ("devices", "is_open", "is_proprietary"),
    [
        ([0x20B0, 0x20B0], True, True),  # A100
        ([0x1DB1], False, True),  # V100
        ([0x15F8, 0x2204], False, True),  # P100 beside RTX 3090: one driver, the proprietary one
        ([0x2330], True, True),  # H100
        ([0x2342], True, False),  # GH200
        ([0x2901], True, False),  # B200
        ([0x1DB1, 0x2B85], False, False),  # V100 beside RTX 5090
        ([], True, True),
    ],
)
def test_modules_that_fit_all_gpus(devices, is_open, is_proprietary):
    assert generation.modules(devices) == (is_open, is_proprietary)
