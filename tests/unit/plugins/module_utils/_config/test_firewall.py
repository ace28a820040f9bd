# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import firewall

UFW = """Added user rules (see 'ufw status' for running firewall):
ufw allow from 10.0.0.13 proto tcp comment 'trainmesh.cluster'
ufw allow from 10.0.0.12 to any proto tcp comment 'trainmesh.cluster'
ufw allow from 10.0.0.99 proto tcp
ufw allow 2222/tcp
"""


def test_reads_only_our_own_ufw_rules_in_both_spellings():
    assert firewall.ufw_addresses(UFW) == ["10.0.0.12", "10.0.0.13"]


def test_ufw_adds_what_is_missing_and_takes_out_what_left():
    plan = firewall.plan_ufw(["10.0.0.12", "10.0.0.13"], ["10.0.0.13", "10.0.0.14"])
    assert plan.commands == [
        ["ufw", "prepend", "allow", "proto", "tcp", "from", "10.0.0.14", "comment", "trainmesh.cluster"],
        ["ufw", "delete", "allow", "proto", "tcp", "from", "10.0.0.12"],
    ]


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ([f"10.0.0.{number}" for number in range(11, 43)],
         ["10.0.0.11", "10.0.0.12/30", "10.0.0.16/28", "10.0.0.32/29", "10.0.0.40/31", "10.0.0.42"]),
        (["10.0.0.9", "fd00::3", "10.0.0.11", "fd00::2"], ["10.0.0.9", "10.0.0.11", "fd00::2/127"]),
        (["10.0.0.7", "10.0.0.8"], ["10.0.0.7", "10.0.0.8"]),
        ([], []),
    ],
)  # fmt: skip
def test_addresses_that_fill_a_block_are_one_and_no_other_gets_in(addresses, expected):
    assert firewall.blocks(addresses) == expected
    inside = {str(each) for block in expected for each in ipaddress.ip_network(block)}
    assert inside == {str(ipaddress.ip_address(each)) for each in addresses}


def test_rules_of_single_addresses_make_room_for_the_block_after_it_is_there():
    plan = firewall.plan_ufw(["10.0.0.12", "10.0.0.13"], ["10.0.0.12", "10.0.0.13"])
    assert [[*command[1:3], command[-3] if "comment" in command else command[-1]] for command in plan.commands] == [
        ["prepend", "allow", "10.0.0.12/31"],
        ["delete", "allow", "10.0.0.12"],
        ["delete", "allow", "10.0.0.13"],
    ]
    kept = firewall.ufw_addresses("ufw allow from 10.0.0.12/31 proto tcp comment 'trainmesh.cluster'\n")
    assert firewall.plan_ufw(kept, ["10.0.0.12", "10.0.0.13"]).commands == []


def test_ufw_changes_nothing_when_all_is_there():
    assert firewall.plan_ufw(["10.0.0.12"], ["10.0.0.12"]).commands == []


def test_firewalld_changes_running_and_permanent_rules_without_a_reload():
    plan = firewall.plan_firewalld([], ["10.0.0.12"], ["10.0.0.12"], "public")
    rule = firewall.rich_rule("10.0.0.12")
    assert plan.commands == [["firewall-cmd", "--quiet", "--zone=public", f"--add-rich-rule={rule}"]]


def test_firewalld_rules_of_others_are_not_read_as_ours():
    text = 'rule family="ipv4" source address="10.0.0.50" accept\n' + firewall.rich_rule("fd00::2")
    assert firewall.firewalld_addresses(text) == ["fd00::2"]


def test_firewalld_takes_out_an_address_that_left():
    plan = firewall.plan_firewalld(["10.0.0.12"], ["10.0.0.12"], [], "public")
    assert [command[2] for command in plan.commands] == ["--zone=public", "--permanent"]
    assert all("--remove-rich-rule=" in command[-1] for command in plan.commands)
