# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that are loaded at the next boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import packet_filter as pf
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import saved_rules

DROPS = """{"nftables": [{"chain": {"family": "inet", "table": "mine", "name": "c", "hook": "input", "prio": 0,
 "policy": "drop", "type": "filter"}}]}"""
OUT = pf.Packet(pf.OUT, False, "10.0.0.11", "10.0.0.12", "eth0", 1000)


def boot(tmp_path: Path, file: str, unit: str, text: str) -> Tree:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(text)
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / unit).symlink_to("nowhere")
    return Tree(str(tmp_path))


SAVED = """# Generated
*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -j DROP
COMMIT
*filter
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [570:431651]
:Mine - [0:0]
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
COMMIT
"""


@pytest.mark.parametrize(
    ("file", "unit"),
    [("etc/iptables/rules.v4", "netfilter-persistent.service"), ("etc/sysconfig/iptables", "iptables.service")],
)
def test_saved_rules_that_a_service_loads(tmp_path: Path, file: str, unit: str) -> None:
    found = saved_rules.saved(boot(tmp_path, file, unit, SAVED))
    assert found is not None and found[0].file == f"/{file}"
    hits = pf.blocked(found[1], OUT._replace(direction=pf.IN))
    assert [(hit.rule.text, hit.ports) for hit in hits] == [
        ("-A INPUT -j REJECT --reject-with icmp-host-prohibited", ((1, 21), (23, 65535)))
    ]


def test_saved_rules_for_ipv6_come_with_those_for_ipv4(tmp_path: Path) -> None:
    tree = boot(tmp_path, "etc/iptables/rules.v4", "netfilter-persistent.service", SAVED)
    reject = "-A INPUT -j REJECT --reject-with icmp6-adm-prohibited"
    (tmp_path / "etc/iptables/rules.v6").write_text(f"*filter\n:INPUT ACCEPT [0:0]\n{reject}\nCOMMIT\n")
    found = saved_rules.saved(tree)
    packet = pf.Packet(pf.IN, False, "fd00::11", "fd00::12")
    assert found and [hit.rule.text for hit in pf.blocked(found[1], packet)] == [reject]


def test_saved_rules_of_the_tables_before_the_filter(tmp_path: Path) -> None:
    text = SAVED.replace("*nat", "*raw").replace("-A PREROUTING -j DROP", "-A PREROUTING -s 10.0.0.0/8 -j DROP")
    found = saved_rules.saved(boot(tmp_path, "etc/iptables/rules.v4", "netfilter-persistent.service", text))
    hits = pf.blocked(found[1], OUT._replace(direction=pf.IN)) if found else []
    assert "-A PREROUTING -s 10.0.0.0/8 -j DROP" in [hit.rule.text for hit in hits]


def test_saved_rules_that_nobody_loads(tmp_path: Path) -> None:
    assert saved_rules.saved(boot(tmp_path, "etc/iptables/rules.v4", "other.service", SAVED)) is None
    assert saved_rules.saved(Tree(str(tmp_path / "nowhere"))) is None


def test_rules_that_the_service_of_nftables_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_rules.shutil, "which", lambda name, path: f"/usr/bin/{name}")
    tree = boot(tmp_path, "etc/nftables.conf", "nftables.service", "x")
    asked: list[list[str]] = []

    def ask(argv: list[str], limit: float) -> Outcome:
        asked.append(argv)
        return Outcome(0, DROPS, "", False, False, 0.0)

    found = saved_rules.saved_nft(tree, 1, ask)
    assert found and (found[0].file, found[0].unit) == ("/etc/nftables.conf", "nftables.service")
    assert [hit.rule.text for hit in pf.blocked(found[1], OUT._replace(direction=pf.IN))] == [
        "inet mine c: policy drop"
    ]
    assert asked[0][:2] == ["/usr/bin/unshare", "-n"] and asked[0][-1] == "/etc/nftables.conf"
    assert saved_rules.saved_nft(tree, 1, lambda argv, limit: Outcome(1, "", "no", False, False, 0.0)) is None
    (tmp_path / "etc/nftables.conf").unlink()
    assert saved_rules.saved_nft(tree, 1, ask) is None
    assert saved_rules.saved_nft(Tree(str(tmp_path / "nowhere")), 1, ask) is None
