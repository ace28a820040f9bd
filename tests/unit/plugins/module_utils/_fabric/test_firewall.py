# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which firewalls are really in force."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import (
    filtered,
    firewall,
    iptables_rules,
    nft_rules,
)

NOTHING = firewall.Rules(None, None, None)
OPEN = firewall.Rules([], [], ["-P INPUT ACCEPT"])
UFW = ["-P INPUT DROP", "-A INPUT -j ufw-before-logging-input", "-A INPUT -j ufw-before-input"]


def chain(table: str, name: str, family: str = "inet", **more: t.Any) -> dict[str, t.Any]:
    return {"chain": {"family": family, "table": table, "name": name, **more}}


def rule(table: str, name: str, *expression: t.Any, family: str = "inet") -> dict[str, t.Any]:
    return {"rule": {"family": family, "table": table, "chain": name, "expr": list(expression)}}


def nft(*objects: t.Any) -> str:
    return json.dumps({"nftables": [{"metainfo": {"json_schema_version": 1}}, *objects]})


def tree(root: Path, *paths: str, **texts: str) -> Tree:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("")
    for path, text in texts.items():
        place = root / path.replace("__", "/").replace("_dot_", ".")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return Tree(str(root))


def services(root: Path, *names: str) -> None:
    place = root / "run/systemd/units"
    place.mkdir(parents=True, exist_ok=True)
    for name in names:
        (place / f"invocation:{name}").symlink_to("0123")


def test_a_node_without_any_firewall_has_an_empty_list(tmp_path: Path) -> None:
    assert firewall.firewalls(Tree(str(tmp_path)), 1) == []


@pytest.mark.parametrize("running", [True, False])
def test_firewalld_is_active_while_its_service_runs(tmp_path: Path, running: bool) -> None:
    files = tree(tmp_path, "usr/sbin/firewalld")
    services(tmp_path, *(["firewalld.service"] if running else []))
    found = firewall.firewalld(files, NOTHING)
    assert found is not None
    assert found["active"] is running


@pytest.mark.parametrize(
    ("rules", "config", "flushed"),
    [
        (firewall.Rules([], [], []), "", True),
        (firewall.Rules([], ["filter_INPUT_ZONES"], None), "", False),
        (firewall.Rules([], ["filter_INPUT_POLICIES"], None), "", False),
        (firewall.Rules([], ["filter_INPUT_POLICIES_pre", "filter_INPUT_ZONES"], None), "", False),
        (firewall.Rules([], ["ufw-before-input", "MY_POLICIES"], None), "", True),
        (firewall.Rules([], [], ["-A INPUT -j INPUT_ZONES"]), "\nFirewallBackend=iptables\n", False),
        (firewall.Rules([], [], ["-A INPUT -j INPUT_POLICIES"]), "\nFirewallBackend=iptables\n", False),
        (firewall.Rules([], [], None), "\nFirewallBackend=iptables\n", False),
        (NOTHING, "", False),
    ],
)
def test_firewalld_whose_rules_are_gone(tmp_path: Path, rules: firewall.Rules, config: str, flushed: bool) -> None:
    files = tree(tmp_path, "usr/sbin/firewalld", etc__firewalld__firewalld_dot_conf=config)
    services(tmp_path, "firewalld.service")
    found = firewall.firewalld(files, rules) or {}
    assert (found["active"], found.get("flushed", False)) == (not flushed, flushed)


def test_ufw_whose_rules_are_gone(tmp_path: Path) -> None:
    files = tree(tmp_path, "usr/sbin/ufw", etc__ufw__ufw_dot_conf="ENABLED=yes\n")
    services(tmp_path, "ufw.service")
    assert (firewall.ufw(files, OPEN) or {}).get("flushed") is True
    assert "flushed" not in (firewall.ufw(files, firewall.Rules(None, None, UFW)) or {})


def test_without_systemd_firewalld_is_known_by_its_process(tmp_path: Path) -> None:
    files = tree(tmp_path, "usr/sbin/firewalld", run__firewalld_dot_pid="9\n", proc__9__comm="firewalld\n")
    assert (firewall.firewalld(files, NOTHING) or {})["active"] is True
    (tmp_path / "proc/9/comm").write_text("bash\n")
    assert (firewall.firewalld(files, NOTHING) or {})["active"] is False


@pytest.mark.parametrize(
    ("config", "rules", "active"),
    [
        ("ENABLED=yes\n", firewall.Rules(None, None, UFW), True),
        ("ENABLED=yes\n", firewall.Rules([], ["ufw-before-input"], None), True),
        ("ENABLED=yes\n", OPEN, False),
        ("ENABLED=no\n", firewall.Rules(None, None, UFW), True),
        ("ENABLED=no\n", NOTHING, False),
        ("# ENABLED=yes\n", NOTHING, False),
        ('enabled="yes"\n', NOTHING, True),
    ],
)
def test_ufw_is_judged_by_its_chains_and_else_by_its_service(
    tmp_path: Path, config: str, rules: firewall.Rules, active: bool
) -> None:
    files = tree(tmp_path, "usr/sbin/ufw", etc__ufw__ufw_dot_conf=config)
    services(tmp_path, "ufw.service")
    assert (firewall.ufw(files, rules) or {})["active"] is active


def test_ufw_that_was_removed_is_not_active(tmp_path: Path) -> None:
    files = tree(tmp_path, etc__ufw__ufw_dot_conf="ENABLED=yes\n")
    assert (firewall.ufw(files, NOTHING) or {})["active"] is False
    assert firewall.ufw(Tree(str(tmp_path / "nowhere")), OPEN) is None


def test_ufw_without_root_and_without_systemd_is_unknown(tmp_path: Path) -> None:
    files = tree(tmp_path, "usr/sbin/ufw", etc__ufw__ufw_dot_conf="ENABLED=yes\n")
    assert (firewall.ufw(files, NOTHING) or {})["active"] is None


def test_nft_rules_of_its_own_that_drop_are_found() -> None:
    text = nft(
        chain("filter", "input", hook="input", policy="drop", prio=0),
        chain("filter", "forward", hook="forward", policy="drop"),
        rule("filter", "input", {"match": {}}, {"accept": None}),
        rule("filter", "other", {"reject": {"type": "icmpx"}}),
    )
    assert firewall.parse_nft(text) == (
        [("inet", "filter", "input", "policy drop"), ("inet", "filter", "other", "reject")],
        [],
    )


def test_tables_of_firewalld_and_iptables_are_not_nftables_own() -> None:
    text = nft(
        chain("firewalld", "filter_INPUT", hook="input", policy="accept"),
        rule("firewalld", "filter_INPUT", {"reject": None}),
        chain("filter", "INPUT", "ip", hook="input", policy="drop"),
        rule("filter", "INPUT", {"counter": {}}, {"jump": {"target": "ufw-before-input"}}, family="ip"),
        chain("docker-bridges", "filter-FORWARD", "ip", hook="forward", policy="drop"),
    )
    assert firewall.parse_nft(text) == ([], ["ufw-before-input"])


def test_an_ip_table_named_filter_but_written_by_hand_is_nftables_own() -> None:
    text = nft(chain("filter", "input", "ip", hook="input", policy="drop"))
    assert (firewall.parse_nft(text) or ([], []))[0] == [("ip", "filter", "input", "policy drop")]


def test_the_chain_that_blocks_is_named(tmp_path: Path) -> None:
    rules = firewall.Rules([firewall.Block("inet", "my table", "in: put", "drop")], [], [])
    assert firewall.nftables(Tree(str(tmp_path)), rules) == {
        "name": "nftables",
        "active": True,
        "evidence": "table inet my table chain in: put: drop",
        "blocking": ["inet", "my table", "in: put"],
    }


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"nftables": 3}', '{"nftables": [{"chain": {"hook": "input"}}]}', "null", "\0"]
)
def test_what_is_no_ruleset_is_unknown(text: str) -> None:
    assert firewall.parse_nft(text) is None


def test_nftables_without_root_is_unknown_never_inactive(tmp_path: Path) -> None:
    assert firewall.nftables(Tree(str(tmp_path)), NOTHING) is None
    files = tree(tmp_path, "usr/sbin/nft")
    assert (firewall.nftables(files, NOTHING) or {})["active"] is None
    assert (firewall.nftables(files, OPEN) or {})["active"] is False
    services(tmp_path, "nftables.service")
    assert "nftables.service is active" in (firewall.nftables(files, NOTHING) or {})["evidence"]


@pytest.mark.parametrize(
    ("lines", "active"),
    [
        (["-P INPUT ACCEPT"], False),
        ([], False),
        (["-P INPUT DROP"], True),
        (["-P INPUT ACCEPT", "-A INPUT -s 10.0.0.0/8 -j REJECT --reject-with icmp-host-prohibited"], True),
        (["-P INPUT ACCEPT", "-A INPUT -p tcp -j f2b-sshd"], None),
        (["-P INPUT ACCEPT", "-A INPUT -i lo -j ACCEPT"], False),
        (UFW, False),
        (["-P INPUT ACCEPT", "-A INPUT -j INPUT_ZONES", "-A INPUT -j REJECT"], False),
        (["-P INPUT ACCEPT", "-A INPUT -j INPUT_POLICIES", "-A INPUT -j REJECT"], False),
    ],
)
def test_iptables_is_active_if_a_rule_of_its_own_blocks(tmp_path: Path, lines: list[str], active: bool | None) -> None:
    found = firewall.iptables(Tree(str(tmp_path)), firewall.Rules(None, None, lines))
    assert (found or {})["active"] is active


BANS = "-P INPUT ACCEPT\n-N f2b\n-A INPUT -p tcp -j f2b\n-A f2b -s 10.0.0.13/32 -j DROP"


@pytest.mark.parametrize(
    ("text", "active"),
    [
        (BANS, False),
        (f"{BANS}\n-A INPUT -m conntrack --ctstate INVALID -j DROP", False),
        (f"{BANS}\n-A f2b -j DROP", True),
        (f"{BANS}\n-A f2b -m recent --update --name x --rsource -j DROP", None),
    ],
)
def test_rules_against_some_are_no_firewall_against_strangers(tmp_path: Path, text: str, active: bool | None) -> None:
    lines = [line for line in text.splitlines() if line.split()[1] == "INPUT"]
    rules = firewall.Rules(None, None, lines, iptables_rules.iptables(text))
    assert (firewall.iptables(Tree(str(tmp_path)), rules) or {})["active"] is active


@pytest.mark.parametrize(("policy", "active"), [("accept", False), ("drop", True)])
def test_nftables_that_bans_some_is_no_firewall_against_strangers(tmp_path: Path, policy: str, active: bool) -> None:
    compare = {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.0.0.13"}
    head = chain("guard", "in", type="filter", hook="input", prio=0, policy=policy)
    text = nft(head, rule("guard", "in", {"match": compare}, {"drop": None}))
    blocking, marks = firewall.parse_nft(text) or ([], [])
    rules = firewall.Rules(blocking, marks, None, nft_rules.nftables(text))
    assert (firewall.nftables(Tree(str(tmp_path)), rules) or {})["active"] is active


class Commands:
    """Stands for the real commands: what is installed, and what each prints."""

    def __init__(self, installed: dict[str, str], outputs: dict[str, Outcome]) -> None:
        self.installed, self.outputs = installed, outputs
        self.asked: list[str] = []

    def run(self, argv: list[str], limit: float) -> Outcome:
        self.asked.append(argv[0])
        return self.outputs[argv[0]]

    def which(self, name: str, path: str) -> str | None:
        return f"/usr/sbin/{name}" if name in self.installed else None

    def realpath(self, path: str) -> str:
        return self.installed[path.rsplit("/", 1)[1]]


def as_root(monkeypatch: pytest.MonkeyPatch, commands: Commands, tables: str) -> firewall.Rules:
    monkeypatch.setattr(firewall.os, "geteuid", lambda: 0)
    monkeypatch.setattr(firewall, "run", commands.run)
    monkeypatch.setattr(firewall.shutil, "which", commands.which)
    monkeypatch.setattr(firewall.os.path, "realpath", commands.realpath)
    files = Tree()
    monkeypatch.setattr(files, "text", lambda path: tables)
    return firewall.read_rules(files, 1)


def done(out: str, rc: int | None = 0) -> Outcome:
    return Outcome(rc, out, "", rc is None, False, 0.0)


def test_the_old_iptables_is_not_asked_when_that_would_load_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands({"iptables": "/usr/sbin/xtables-legacy-multi"}, {})
    assert as_root(monkeypatch, commands, "") == firewall.Rules(None, None, [])
    assert commands.asked == []


def test_the_old_iptables_is_asked_when_its_table_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"iptables": "/usr/sbin/xtables-nft-multi", "iptables-legacy": "/usr/sbin/xtables-legacy-multi"}
    outputs = {"/usr/sbin/iptables-legacy": done("-P INPUT DROP\n"), "/usr/sbin/iptables": done("-P INPUT ACCEPT\n")}
    rules = as_root(monkeypatch, Commands(installed, outputs), "nat\nfilter\n")
    assert rules.iptables == ["-P INPUT DROP", "-P INPUT ACCEPT"]
    assert sorted(rules.chains or {}) == ["iptables INPUT", "iptables-legacy -t nat INPUT", "iptables-legacy INPUT"]
    assert not (rules.chains or {})["iptables-legacy -t nat INPUT"].hook


def test_the_old_iptables_is_asked_for_each_of_its_tables_that_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"nft": "/usr/sbin/nft", "iptables-legacy": "/usr/sbin/xtables-legacy-multi"}
    spoofed = "-P PREROUTING ACCEPT\n-P INPUT ACCEPT\n-A PREROUTING -s 10.0.0.0/8 -j DROP\n"
    outputs = {"/usr/sbin/nft": done(nft()), "/usr/sbin/iptables-legacy": done(spoofed)}
    commands = Commands(installed, outputs)
    rules = as_root(monkeypatch, commands, "mangle\n")
    assert commands.asked == ["/usr/sbin/nft", "/usr/sbin/iptables-legacy"]
    assert rules.iptables == []
    rows = filtered.rows(rules.chains, {"10.0.0.12": ("10.0.0.11", "eth0")}, None) or []
    undo = "iptables-legacy -t mangle -D PREROUTING -s 10.0.0.0/8 -j DROP"
    assert {(row["undo"], row["chain"]) for row in rows} == {(undo, "iptables-legacy -t mangle PREROUTING")}


def test_the_rules_for_ipv6_are_read_beside_those_for_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"iptables": "/usr/sbin/xtables-nft-multi", "ip6tables": "/usr/sbin/xtables-nft-multi"}
    outputs = {"/usr/sbin/iptables": done("-P INPUT ACCEPT\n"), "/usr/sbin/ip6tables": done("-P INPUT DROP\n")}
    rules = as_root(monkeypatch, Commands(installed, outputs), "")
    assert rules.iptables == ["-P INPUT ACCEPT"]
    ways = {"10.0.0.12": ("10.0.0.11", "eth0"), "fd00::12": ("fd00::11", "eth0")}
    rows = filtered.rows(rules.chains, ways, None) or []
    assert {(row["rule"], row["undo"]) for row in rows} == {("-P INPUT DROP", "ip6tables -P INPUT ACCEPT")}
    assert all(row["peers"] == ["fd00::12"] for row in rows)


def test_a_tool_that_fails_or_hangs_leaves_its_rules_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"nft": "/usr/sbin/nft", "iptables": "/usr/sbin/xtables-nft-multi"}
    outputs = {"/usr/sbin/nft": done(nft(), None), "/usr/sbin/iptables": done("", 4)}
    assert as_root(monkeypatch, Commands(installed, outputs), "") == NOTHING


def test_nothing_is_asked_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(firewall, "run", None)
    assert firewall.read_rules(Tree(), 1) == NOTHING


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["input", "drop", "ip", "filter"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["chain", "rule", "family", "table", "hook", "policy", "expr", "jump", "name"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@settings(max_examples=200, deadline=None, database=None)
@given(JSON)
def test_random_rulesets_never_raise(value: t.Any) -> None:
    firewall.parse_nft(json.dumps({"nftables": value}))
    firewall.parse_nft(json.dumps(value))
