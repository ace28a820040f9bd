# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of routing by source."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.source_rules import told_apart

HELD = ("10.0.0.11", "10.0.0.12", "10.0.0.13")


@pytest.mark.parametrize(
    ("rules", "apart"),
    [
        (["10.0.0.11/32", "10.0.0.12/32"], True),
        (["10.0.0.11/32", "10.0.0.12/32", "10.0.0.13"], True),
        (["10.0.0.12/31", "10.0.0.11"], False),
        (["10.0.0.0/24"], False),
        (["10.0.0.11/32"], False),
        (["nonsense", None, "fd00::/8"], False),
        ([], False),
    ],
)
def test_each_address_but_one_has_a_rule_of_its_own(rules, apart):
    assert told_apart(rules, HELD) is apart
    assert told_apart(rules, HELD[:1])
