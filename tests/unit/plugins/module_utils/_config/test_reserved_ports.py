# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import reserved_ports


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("", False),
        (None, False),
        ("29500", True),
        ("8080,29500-29510", True),
        ("8080,29500\n", True),
        ("29501-29510,1-2", False),
        ("x-y", False),
        ("29000-29500", True),
    ],
)
def test_which_ports_are_reserved(text, held):
    assert reserved_ports.holds(text, 29500) is held


@pytest.mark.parametrize(("text", "joined"), [("", "29500"), ("8080,9148-9150", "8080,9148-9150,29500")])
def test_a_port_is_added(text, joined):
    assert reserved_ports.joined(text, 29500) == joined


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("29500", ""),
        ("8080,29500", "8080"),
        ("29499-29501,1-2", "29499,29501,1-2"),
        ("29500-29510", "29501-29510"),
        ("8080", "8080"),
        (None, ""),
    ],
)
def test_a_port_is_taken_out(text, left):
    assert reserved_ports.without(text, 29500) == left
