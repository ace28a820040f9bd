# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.action.inventory_check import become_faults, becomes

NAMED = {"trainmesh_user": "train"}


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ({}, False),
        ({"ansible_become": True}, False),
        (NAMED, True),
        ({**NAMED, "ansible_become": "yes"}, True),
        ({**NAMED, "ansible_become": False}, False),
        ({**NAMED, "ansible_become": "false"}, False),
    ],
)
def test_become_leads_to_another_job_user_only(host, wanted):
    assert becomes(host) is wanted


@pytest.mark.parametrize("given", [{}, {"ansible_become": "false"}, {"ansible_become_password": "x"}])
def test_a_command_line_that_makes_nobody_root_is_good(given):
    assert become_faults({"a": {}}, given) == []


def test_a_command_line_may_make_root_only_where_the_job_user_has_a_name():
    given = {"ansible_become": "true"}
    assert become_faults({"a": NAMED, "b": {"ansible_user": "root"}}, given) == []
    (fault,) = become_faults({"a": NAMED, "b": {}}, given)
    assert "-e ansible_become=true" in fault and "trainmesh_user" in fault
