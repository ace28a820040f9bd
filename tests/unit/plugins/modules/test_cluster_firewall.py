# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules are read from the firewall, and only what differs is changed."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import cluster_firewall as apply_cluster_firewall
from ansible_collections.trainmesh.cluster.plugins.module_utils._base import search_path
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import firewall as config_firewall
from ansible_collections.trainmesh.cluster.plugins.modules import cluster_firewall
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

HEX = b"trainmesh.cluster".hex()
FIREWALL = """#!/bin/sh
echo "$*" >>"$0.calls"
case "$*" in
    "show added") cat "$0.rules" ;;
    *--get-zone-of-interface=eth1) echo training ;;
    *--get-zone-of-interface=*) exit 2 ;;
    --get-default-zone) echo public ;;
esac
"""


@pytest.fixture
def firewall(tmp_path, monkeypatch):
    """ufw and firewall-cmd without a rule of ours; gives what they were called with, reading calls left out."""
    for name in ("ufw", "firewall-cmd"):
        (tmp_path / name).write_text(FIREWALL)
        (tmp_path / name).chmod(0o755)
        (tmp_path / f"{name}.rules").touch()
    monkeypatch.setattr(search_path, "which", lambda name: str(tmp_path / name))
    monkeypatch.setattr(config_firewall, "UFW_RULES", (str(tmp_path / "user.rules"), str(tmp_path / "user6.rules")))

    def changes(name):
        calls = (tmp_path / f"{name}.calls").read_text().splitlines()
        return [
            call for call in calls if not call.startswith("show") and "--get-" not in call and "--list-" not in call
        ]

    return changes


def test_an_address_is_let_in_ahead_of_other_rules(firewall, capsys):
    answer = modules.run(cluster_firewall, capsys, backends=["ufw"], addresses=["10.0.0.2"])
    assert answer["changed"]
    assert firewall("ufw") == ["prepend allow proto tcp from 10.0.0.2 comment trainmesh.cluster"]
    assert (answer["diff"][0]["before"], answer["diff"][0]["after"]) == ("", "10.0.0.2\n")


def test_a_rule_that_is_there_is_left_alone(firewall, capsys, tmp_path):
    (tmp_path / "ufw.rules").write_text("ufw allow from 10.0.0.2 to any proto tcp comment 'trainmesh.cluster'\n")
    answer = modules.run(cluster_firewall, capsys, backends=["ufw"], addresses=["10.0.0.2"])
    assert (answer["changed"], answer["commands"], answer["diff"], firewall("ufw")) == (False, [], [], [])


@pytest.mark.parametrize(
    ("texts", "asked"),
    [
        ({}, True),
        ({"user.rules": "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n"}, False),
        ({"user.rules": "### tuple ### allow any any 0.0.0.0/0 any 10.0.0.9 in comment=6f6e65\n"}, False),
        ({"user.rules": "", "user6.rules": f"### tuple ### allow tcp any ::/0 any fd00::2 in comment={HEX}\n"}, True),
        ({"user.rules": f"### tuple ### allow tcp any 0.0.0.0/0 any 10.0.0.2 in comment={HEX.upper()}\n"}, True),
    ],
)
def test_ufw_is_asked_where_its_files_may_hold_a_rule_of_ours(firewall, capsys, tmp_path, texts, asked):
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    answer = modules.run(cluster_firewall, capsys, backends=["ufw"], addresses=["10.0.0.2"])
    assert answer["changed"] and len(firewall("ufw")) == 1
    assert ("show added" in (tmp_path / "ufw.calls").read_text()) is asked


@pytest.mark.parametrize("backend", ["ufw", "firewalld"])
def test_check_mode_reads_only(firewall, capsys, backend):
    answer = modules.run(cluster_firewall, capsys, backends=[backend], addresses=["10.0.0.2"], check=True)
    assert answer["changed"] and answer["commands"]
    assert firewall("ufw" if backend == "ufw" else "firewall-cmd") == []


@pytest.mark.parametrize(("interface", "zone"), [("eth1", "training"), ("eth0", "public"), ("", "public")])
def test_the_zone_is_that_of_the_data_interface_or_the_default(firewall, capsys, interface, zone):
    modules.run(cluster_firewall, capsys, backends=["firewalld"], addresses=["fd00::2"], interface=interface)
    running, stored = firewall("firewall-cmd")
    assert f"--zone={zone} " in running and "--permanent" in stored and 'family="ipv6"' in stored


def test_a_firewall_that_is_not_there_is_named(capsys, monkeypatch):
    monkeypatch.setattr(search_path, "which", lambda _name: None)
    answer = modules.run(cluster_firewall, capsys, backends=["ufw"], addresses=["10.0.0.2"])
    assert answer["failed"] and "no program ufw on this node" in answer["msg"]


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(cluster_firewall, monkeypatch)


ZONES = """#!/bin/sh
echo "$*" >>"$0.calls"
case "$*" in
    --state) exit "$(cat "$0.state")" ;;
    --get-zones) echo public training ;;
    *--zone=training*--list-rich-rules)
        echo 'rule priority="-2950" family="ipv4" source address="10.0.0.2" protocol value="tcp" accept' ;;
esac
"""


def test_every_zone_is_freed_of_rules_of_ours(firewall, capsys, tmp_path):
    (tmp_path / "firewall-cmd").write_text(ZONES)
    (tmp_path / "firewall-cmd.state").write_text("0")
    answer = modules.run(cluster_firewall, capsys, backends=["firewalld", "ufw"], addresses=[])
    running, stored = [call for call in firewall("firewall-cmd") if call != "--state"]
    for call in (running, stored):
        assert "--zone=training" in call and "--remove-rich-rule=" in call and "10.0.0.2" in call
    assert answer["changed"] and answer["diff"][0]["after"].strip() == ""


@pytest.mark.parametrize("ours", [True, False])
def test_a_firewalld_that_does_not_run_is_told_only_with_rules_of_ours(firewall, capsys, tmp_path, monkeypatch, ours):
    (tmp_path / "firewall-cmd").write_text(ZONES)
    (tmp_path / "firewall-cmd.state").write_text("252")
    (tmp_path / "public.xml").write_text(f'<rule priority="{-2950 if ours else -1}" family="ipv4">')
    monkeypatch.setattr(apply_cluster_firewall, "ZONES", str(tmp_path / "*.xml"))
    warned = []
    monkeypatch.setattr(cluster_firewall.AnsibleModule, "warn", lambda _self, text: warned.append(text))
    assert modules.run(cluster_firewall, capsys, backends=["firewalld"], addresses=[])["changed"] is False
    assert bool(warned) is ours


def test_what_is_not_installed_has_no_rules_to_remove(capsys, monkeypatch):
    monkeypatch.setattr(search_path, "which", lambda _name: None)
    assert modules.run(cluster_firewall, capsys, backends=["firewalld", "ufw"], addresses=[])["changed"] is False
