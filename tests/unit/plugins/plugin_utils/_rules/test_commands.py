# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command of a report is typed by root: what a node or a user chose is one word of it, whatever it holds."""

from __future__ import annotations

import shlex

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import _let_in, pdsh, sshd_ports
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import healthy_case

WORDS = ("x;reboot", "$(reboot)", "`reboot`", "a'b\"c", "two words", "x\nreboot")


@pytest.mark.parametrize("word", WORDS)
def test_the_unit_of_sshd(word):
    (_first, command) = sshd_ports.restart({"systemd": True, "unit": word}).split(" && ")
    assert shlex.split(command) == ["systemctl", "restart", word]


@pytest.mark.parametrize("word", [*WORDS, "in: put"])
def test_the_chain_of_nftables(word):
    case = healthy_case()
    blocking = ["inet", "filter", word]
    case.fabric["node2"]["firewalls"] = [{"name": "nftables", "active": True, "blocking": blocking}]
    command = _let_in.open_up(case, "node2", ["node1"]).partition(": ")[2].partition(" (and keep")[0]
    assert shlex.split(command)[:6] == ["nft", "insert", "rule", "inet", "filter", word]


@pytest.mark.parametrize("word", WORDS)
def test_the_name_of_a_run(word):
    case = healthy_case()
    left = {"pid": 7, "user": "joe", "kind": "torchrun", "run_id": word, "age_seconds": 60, "command": "x"}
    case.user["node2"]["processes"] = [left]
    (finding,) = [each for each in pdsh.abandoned(case) if each.hosts == ("node2",)]
    assert shlex.split(finding.remedy.partition(" on the head")[0])[1:] == [word]


def test_what_is_no_number_is_no_process():
    assert "reboot" not in sshd_ports.restart({"systemd": False, "pid": "7; reboot"})
    assert sshd_ports.restart({"systemd": False, "pid": 7}) == "sshd -t && kill -HUP 7"
