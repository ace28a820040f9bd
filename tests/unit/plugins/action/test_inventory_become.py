# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.action.inventory_check import (
    become_faults,
    becomes,
    rotates,
    rotation_faults,
)

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


@pytest.mark.parametrize(
    ("wanted", "variables", "does", "faults"),
    [
        (True, {}, True, 0),
        ("yes", {"ansible_run_tags": ["ssh_mesh"]}, True, 0),
        (True, {"ansible_limit": "a"}, True, 1),
        (False, {"ansible_limit": "a"}, False, 0),
        (True, {"ansible_run_tags": ["hosts"], "ansible_limit": "a"}, False, 0),
        (True, {"ansible_skip_tags": ["ssh_mesh"]}, False, 0),
    ],
)
def test_keys_are_made_anew_where_all_nodes_are_told_of_them(wanted, variables, does, faults):
    hosts = {"a": {"trainmesh_rotate_keys": wanted}, "b": {}}
    assert rotates(hosts, variables) is does
    assert len(rotation_faults(hosts, variables)) == faults
