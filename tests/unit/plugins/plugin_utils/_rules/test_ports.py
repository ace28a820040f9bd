# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import attribute
from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import findings, one, told, untested
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import (
    HIGH,
    MASTER,
    NAMES,
    call,
    fail_calls,
    healthy_case,
    towards,
)

ALL = [(source, target) for source in NAMES for target in NAMES if source != target]


@pytest.mark.parametrize(
    ("bad", "tie", "blamed"),
    [
        ([("node1", "node3"), ("node2", "node3")], "target", ["node3"]),
        ([("node3", "node1"), ("node3", "node2")], "target", ["node3"]),
        ([("node1", "node3")], "target", ["node3"]),
        ([("node1", "node3")], "source", ["node1"]),
        ([("node1", "node3")], "both", ["node1", "node3"]),
        ([pair for pair in ALL if "node2" in pair], "both", ["node2"]),
        (ALL, "target", list(NAMES)),
        ([("node2", "node2")], "target", ["node2"]),
        ([], "both", []),
    ],
)
def test_whom_bad_pairs_accuse(bad, tie, blamed):
    found = attribute(bad, ALL, tie)
    assert sorted(found) == blamed
    assert {pair for pairs in found.values() for pair in pairs} == set(bad)


def test_of_two_nodes_the_target_is_blamed_or_both():
    pairs = [("node1", "node2"), ("node2", "node1")]
    assert list(attribute(pairs[:1], pairs, "target")) == ["node2"]
    assert sorted(attribute(pairs, pairs, "target")) == ["node1", "node2"]
    assert sorted(attribute(pairs[:1], pairs, "both")) == ["node1", "node2"]


@pytest.mark.parametrize(
    ("failure", "rule"),
    [
        ("no_route", "rdzv-errno-113"),
        ("refused", "rdzv-errno-111"),
        ("timeout", "rdzv-errno-110"),
        ("other", "rdzv-connect-failed"),
    ],
)
def test_ports_that_a_node_keeps_closed(failure, rule):
    case = healthy_case()
    fail_calls(case, towards("node2"), failure)
    assert told(case) == {(rule, "fail"): ("node2",)}
    only_master = healthy_case()
    fail_calls(only_master, towards("node2"), failure, [MASTER])
    assert told(only_master) == {(rule, "fail"): ("node2",)}


@pytest.mark.parametrize(
    ("name", "blocking", "command"),
    [
        (
            "firewalld",
            None,
            "firewall-cmd --permanent --zone=trusted --add-source=10.0.0.11 --add-source=10.0.0.12",
        ),
        ("ufw", None, "ufw allow from 10.0.0.11 && ufw allow from 10.0.0.12"),
        ("nftables", ["inet", "my", "in"], "nft insert rule inet my in ip saddr '{ 10.0.0.11, 10.0.0.12 }'"),
        ("iptables", None, "iptables -I INPUT -s 10.0.0.11 -j ACCEPT"),
    ],
)
def test_the_remedy_names_the_firewall_that_is_active(name, blocking, command):
    case = healthy_case()
    case.fabric["node3"]["firewalls"] = [{"name": name, "active": True, "blocking": blocking}]
    fail_calls(case, towards("node3"), "timeout")
    found = one(case)
    assert command in found.remedy
    assert f"active there: {name}" in found.evidence["node3"]
    assert (f"trainmesh_firewall: {name}" in found.remedy) == (name in ("firewalld", "ufw"))


def test_without_an_active_firewall_the_network_is_named():
    case = healthy_case()
    fail_calls(case, towards("node3"), "timeout")
    assert "security groups" in one(case).remedy


def test_only_high_ports_are_blocked():
    case = healthy_case()
    fail_calls(case, towards("node2"), "timeout", [HIGH])
    found = one(case)
    assert (found.rule, found.hosts) == ("fw-ephemeral-blocked", ("node2",))
    assert "ufw allow from 10.0.0.11" in found.remedy


def test_one_source_alone_is_dropped_by_the_target():
    case = healthy_case()
    fail_calls(case, [("node1", "node3")], "timeout")
    found = one(case)
    assert (found.rule, found.hosts) == ("rdzv-errno-110", ("node3",))
    assert "10.0.0.11" in found.remedy and "10.0.0.12" not in found.remedy


def test_a_node_that_gets_nowhere():
    case, lost = healthy_case(), healthy_case()
    fail_calls(case, [("node1", "node2"), ("node1", "node3")], "timeout")
    assert told(case) == {("rdzv-errno-110", "fail"): ("node1",)}
    fail_calls(lost, [("node1", "node3")], "no_route")
    lost.fabric["node1"]["routes"]["10.0.0.13"]["reachable"] = False
    assert told(lost) == {("rdzv-errno-113", "fail"): ("node1",)}


def test_the_firewall_that_is_opened_is_not_the_one_that_is_on():
    case, blocked = healthy_case(), healthy_case()
    for item in (case, blocked):
        item.plan["firewall"] = "ufw"
    assert told(case) == {("fw-wrong-tool", "warn"): ("node1",)}
    case.fabric["node1"]["filtered"] = []
    assert told(case) == {("fw-wrong-tool", "warn"): ("node1",)}, "it lets in the nodes of now"
    case.fabric["node1"]["firewalls"] = [{"name": "nftables", "active": True, "evidence": "table inet own"}]
    assert told(case) == {}, "rules by hand that let all in"
    fail_calls(blocked, towards("node1"), "no_route")
    assert told(blocked) == {("fw-wrong-tool", "fail"): ("node1",)}
    assert "firewall-cmd" in one(blocked).remedy


def test_no_firewall_at_all_is_worth_knowing():
    found = [item for item in findings(healthy_case()) if item.rule == "fw-disabled-entirely"]
    assert [(item.severity, item.hosts) for item in found] == [("info", ("node3",))]
    unknown = healthy_case()
    unknown.fabric["node3"]["firewalls"][0]["active"] = None
    assert [item for item in findings(unknown) if item.rule == "fw-disabled-entirely"] == []


def test_the_port_of_the_rendezvous_is_taken():
    case = healthy_case()
    case.listeners["node1"] = {MASTER: [98, "Address already in use"]}
    case.user["node1"]["port_owners"] = {MASTER: {"pid": 77, "user": "ann", "command": "python -m http.server"}}
    for source, target in towards("node1"):
        case.mesh[source][target]["tcp"][MASTER] = call(False, "stranger", "something else answers")
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("rdzv-errno-98", "fail", ("node1",))
    assert "pid 77 of ann: python -m http.server" in found.evidence["node1"]
    assert "kill 77" in found.remedy and "trainmesh_master_port" in found.remedy


@pytest.mark.parametrize("run", ["check-20260102-030405-torchrun", None])
def test_a_check_run_of_ours_is_no_stranger(run):
    case = healthy_case()
    case.listeners["node1"] = {MASTER: [98, "Address already in use"]}
    case.user["node1"]["port_owners"] = {MASTER: {"pid": 77, "user": "ann", "command": "python", "check": run}}
    found = one(case)
    assert (f"trainmesh-stop {run} on node1" in found.remedy) is bool(run)
    assert ("kill 77" in found.remedy) is not bool(run)


@pytest.mark.parametrize("run", ["20260102-030405", None])  # of trainmesh run, and typed as tutorials say
@pytest.mark.parametrize("host", ["node1", "node2"])
def test_a_job_that_runs_is_no_fault_and_the_jobs_are_not_tested(run, host):
    case = healthy_case()
    case.listeners[host] = {MASTER: [98, "Address already in use"]}
    launcher = {"pid": 77, "user": "ann", "kind": "torchrun", "run_id": run, "age_seconds": 9000}
    case.user["node1"]["processes"] = [{**launcher, "pid": 7}]
    case.user[host]["processes"] = [*case.user[host]["processes"], launcher]
    case.user[host]["port_owners"] = {MASTER: {"pid": 77, "user": "ann", "command": "torchrun train.py"}}
    assert told(case) == {}
    (only,) = untested(case)
    assert (only.rule, only.hosts) == ("rdzv-errno-98", (host,))
    assert "a job runs" in only.why and "77 of ann: torchrun train.py" in only.why


def test_a_stranger_on_a_port_that_was_free():
    case = healthy_case()
    case.mesh["node2"]["node3"]["tcp"][MASTER] = call(False, "stranger", "something else answers there")
    assert told(case) == {("rdzv-errno-98", "fail"): ("node3",)}


def test_a_taken_port_elsewhere_is_no_fault_of_the_rendezvous():
    case = healthy_case()
    case.listeners.update(node2={MASTER: [98, "in use"]}, node3={HIGH: [98, "in use"]})
    assert told(case) == {("rdzv-errno-98", "warn"): ("node2",)}
    assert [(item.rule, item.hosts) for item in untested(case)] == [("fw-ephemeral-blocked", ("node3",))]


@pytest.mark.parametrize(("number", "rule"), [(13, "rdzv-errno-13"), (99, "rdzv-errno-99")])
def test_a_port_that_may_not_be_had(number, rule):
    case = healthy_case()
    case.listeners["node1"] = {MASTER: [number, "some error"]}
    assert told(case) == {(rule, "fail"): ("node1",)}


@pytest.mark.parametrize(
    ("epoch", "severity"), [(1000.0, None), (1003.5, "warn"), (990.0, "warn"), (4600.0, "fail"), (-2600.0, "fail")]
)
def test_a_clock_that_is_off(epoch, severity):
    case = healthy_case()
    case.reach["node3"]["clock"]["epoch"] = epoch
    assert told(case) == ({("rdzv-clock-skew", severity): ("node3",)} if severity else {})


def test_how_long_the_gathering_took_accuses_nobody():
    case = healthy_case()
    for number, name in enumerate(NAMES):
        begun = 1000.0 + 60 * number
        case.reach[name]["clock"].update(started=begun, epoch=begun + 20, ended=begun + 50)
    assert told(case) == {}


def test_a_controller_with_a_wrong_clock_accuses_nobody():
    case = healthy_case()
    for name in NAMES:
        case.reach[name]["clock"]["epoch"] += 3600
    assert told(case) == {}
    case.reach["node2"]["clock"]["epoch"] -= 3600
    assert told(case) == {("rdzv-clock-skew", "fail"): ("node2",)}


def test_a_clock_that_was_not_compared_is_untested_and_a_free_one_worth_knowing():
    case = healthy_case()
    case.reach["node1"]["clock"] = None
    assert [(item.rule, item.hosts) for item in untested(case)] == [("rdzv-clock-skew", ("node1",))]
    case.fabric["node2"]["container"] = None
    found = [item for item in findings(case) if item.rule == "rdzv-clock-skew"]
    assert [(item.severity, item.hosts) for item in found] == [("info", ("node2",))]


def test_a_listener_that_was_not_there_names_no_firewall():
    case = healthy_case()
    fail_calls(case, towards("node3"), "refused")
    assert set(told(case)) == {("rdzv-errno-111", "fail")}
    fail_calls(case, [("node3", "node3")], "no_listener")
    assert told(case) == {}
    assert {(item.rule, item.hosts) for item in untested(case)} == {("rdzv-connect-failed", ("node3",))}


def test_a_firewall_that_closes_a_port_to_its_own_node_too_is_told():
    case = healthy_case()
    fail_calls(case, towards("node3", "itself"), "timeout", [MASTER])
    assert set(told(case)) == {("rdzv-errno-110", "fail")}


def test_a_connection_on_which_nothing_was_said_is_not_tested():
    case = healthy_case()
    fail_calls(case, [("node1", "node3")], "silent")
    assert told(case) == {} and untested(case)[0].hosts == ("node1", "node3")


def test_connections_to_a_node_that_is_held_from_its_processors_are_not_tested():
    case = healthy_case()
    fail_calls(case, towards("node3"), "timeout")
    assert set(told(case)) == {("rdzv-errno-110", "fail")}
    held = dataclasses.replace(case, load={"node3": {"mesh": {"throttled": 0.7}}})
    assert told(held) == {} and "throttled for 70%" in untested(held)[0].why


@pytest.mark.parametrize("load", [{"stolen": 0.4}, {"load1": 9.0, "cores": 2}])
def test_a_load_or_stolen_time_excuses_no_port_that_gives_no_answer(load):
    case = healthy_case()
    fail_calls(case, towards("node3"), "timeout")
    assert set(told(dataclasses.replace(case, load={"node3": {"mesh": load}}))) == {("rdzv-errno-110", "fail")}


def kept(direction="out", answers=False, peers=None, rule="-A OUTPUT -j DROP", sure=True, ports=((1, 65535),), **more):
    """A row of what a node says that its rules keep back."""
    row = {"direction": direction, "answers": answers, "peers": peers, "rule": rule, "sure": sure}
    undo = {"undo": "iptables -D OUTPUT -j DROP", "tool": "iptables", "chain": "x"}
    return {**row, "ports": [list(span) for span in ports], **undo, **more}


def test_output_rules_of_the_source_are_read_before_the_target_is_named():
    case = healthy_case()
    case.fabric["node1"]["filtered"] = [kept(peers=["10.0.0.13"])]
    case.fabric["node3"]["filtered"] = []
    fail_calls(case, [("node1", "node3")], "timeout")
    found = one(case)
    assert (found.rule, found.hosts) == ("rdzv-errno-110", ("node1",))
    assert "-A OUTPUT -j DROP" in found.evidence["node1"]
    assert found.remedy.startswith("iptables -D OUTPUT -j DROP")


def test_a_rule_about_other_ports_or_peers_explains_nothing():
    case = healthy_case()
    case.fabric["node1"]["filtered"] = [kept(peers=["10.0.0.12"]), kept(ports=((22, 22),))]
    fail_calls(case, [("node1", "node3")], "timeout")
    assert one(case).hosts == ("node3",)


def test_of_two_nodes_the_one_whose_answers_stay_in_is_named_once():
    case = healthy_case(2)
    case.fabric["node1"]["filtered"] = [kept(), kept(answers=True)]
    fail_calls(case, [("node1", "node2"), ("node2", "node1")], "timeout")
    assert one(case).hosts == ("node1",)


def test_a_rule_of_the_target_that_is_certain_goes_before_one_of_the_source_that_is_not():
    case = healthy_case()
    case.fabric["node1"]["filtered"] = [kept(sure=False)]
    case.fabric["node3"]["filtered"] = [kept("in", rule="-A INPUT -j REJECT")]
    case.fabric["node3"]["firewalls"] = [{"name": "iptables", "active": True, "evidence": "x"}]
    fail_calls(case, towards("node3"), "no_route")
    found = one(case)
    assert (found.rule, found.hosts) == ("rdzv-errno-113", ("node3",))
    assert "-A INPUT -j REJECT" in found.evidence["node3"]


def test_a_rule_of_the_source_that_let_others_through_is_not_named():
    case = healthy_case()
    for name in NAMES:
        case.fabric[name]["filtered"] = [kept(sure=False)]
    fail_calls(case, towards("node3"), "timeout")
    assert one(case).hosts == ("node3",)
    fail_calls(case, [("node1", "node2")], "timeout")
    found = next(item for item in findings(case, "fail") if item.hosts == ("node1",))
    assert "node1 may keep back outgoing packets" in found.evidence["node1"]


def test_one_rule_that_keeps_out_calls_and_answers_is_one_fault_with_one_command():
    case = healthy_case()
    line = "-A guard -s 10.0.0.0/8 ! -i tun0 -j DROP"
    rows = [kept("in", rule=line, chain="iptables guard"), kept("in", True, rule=line, chain="iptables guard")]
    case.fabric["node2"]["filtered"] = rows
    case.fabric["node2"]["firewalls"] = [{"name": "iptables", "active": None, "evidence": "x"}]
    fail_calls(case, [*towards("node2"), ("node2", "node1"), ("node2", "node3")], "timeout")
    found = one(case)
    assert (found.rule, found.hosts) == ("rdzv-errno-110", ("node2",))
    assert found.remedy.startswith(
        "On node2: iptables -I guard -s 10.0.0.11 -j ACCEPT && iptables -I guard -s 10.0.0.13 -j ACCEPT"
    )


def test_the_rule_that_keeps_nodes_out_goes_before_the_firewall_that_is_active():
    case = healthy_case()
    case.fabric["node2"]["firewalls"] = [{"name": "ufw", "active": True, "evidence": "x"}]
    case.fabric["node2"]["filtered"] = [kept("in", chain="iptables INPUT", rule="-A INPUT -s 10.0.0.0/24 -j DROP")]
    fail_calls(case, towards("node2"), "timeout")
    assert one(case).remedy.startswith("On node2: iptables -I INPUT -s 10.0.0.11 -j ACCEPT && ")
    chain = "table inet mine chain in"
    case.fabric["node2"]["filtered"] = [kept("in", chain=chain, rule="inet mine in: drop", tool="nftables")]
    assert one(case).remedy.startswith(
        "On node2: nft insert rule inet mine in ip saddr '{ 10.0.0.11, 10.0.0.13 }' accept"
    )


def test_a_firewall_that_lets_the_nodes_in_is_not_told_to_open():
    case = healthy_case()
    case.plan["firewall"] = "firewalld"
    for name in NAMES:
        case.fabric[name]["filtered"] = []
    case.fabric["node2"]["firewalls"] = [{"name": "nftables", "active": True, "blocking": ["ip", "kube-proxy", "x"]}]
    fail_calls(case, towards("node2"), "timeout")
    found = next(item for item in findings(case, "fail"))
    assert (found.rule, found.hosts) == ("rdzv-errno-110", ("node2",))
    assert found.remedy.startswith("No rule or route of node2 or of node1, node3 keeps these packets back")


def test_each_chain_that_keeps_nodes_out_has_to_let_them_in():
    case = healthy_case()
    old = kept("in", chain="iptables-legacy INPUT", rule="-A INPUT -s 10.0.0.0/24 -j DROP")
    new = kept("in", chain="iptables INPUT", rule="-P INPUT DROP")
    banned = kept("in", chain="iptables f2b-all", rule="-A f2b-all -s 10.0.0.0/24 -j DROP")
    case.fabric["node2"]["filtered"] = [old, new, banned]
    fail_calls(case, towards("node2"), "timeout")
    remedy = one(case).remedy
    for words in (
        "fail2ban-client unban ",
        "iptables-legacy -I INPUT -s 10.0.0.11",
        "; iptables -I INPUT -s 10.0.0.11",
    ):
        assert words in remedy


def test_a_rule_that_may_keep_nodes_out_is_tried_out_and_not_denied():
    case = healthy_case()
    line = "-A INPUT -p tcp -m connlimit --connlimit-above 8 -j REJECT"
    for name in NAMES:
        case.fabric[name].update(filtered=[], firewalls=[])
    case.fabric["node2"]["filtered"] = [kept("in", sure=False, chain="iptables INPUT", rule=line)]
    fail_calls(case, towards("node2"), "refused")
    found = one(case)
    assert found.hosts == ("node2",)
    assert found.remedy.startswith("On node2: iptables -I INPUT -s 10.0.0.11 -j ACCEPT && iptables -I INPUT ")
    assert f"whether {line} is about these packets" in found.remedy
    assert "No rule or route" not in found.remedy


def test_a_rule_of_a_table_before_the_filter_is_undone_in_that_table():
    case = healthy_case()
    line = "-A PREROUTING -s 10.0.0.0/8 -j DROP"
    case.fabric["node2"]["filtered"] = [kept("in", chain="iptables-legacy -t raw PREROUTING", rule=line)]
    fail_calls(case, towards("node2"), "timeout")
    assert one(case).remedy.startswith("On node2: iptables-legacy -t raw -I PREROUTING -s 10.0.0.11 -j ACCEPT && ")


@pytest.mark.parametrize(
    ("chain", "rule", "fix"),
    [
        ("iptables f2b-sshd", "-A f2b-sshd -s 10.0.0.11/32 -j REJECT", "fail2ban-client unban 10.0.0.11 10.0.0.13;"),
        ("table inet f2b-table chain f2b-chain", "ip saddr @addr-set-sshd drop", "fail2ban-client unban "),
        (
            "table ip crowdsec chain crowdsec-chain",
            "ip saddr @blacklists drop",
            "cscli decisions delete --ip 10.0.0.11",
        ),
        ("iptables CROWDSEC_CHAIN", "-A CROWDSEC_CHAIN -j DROP", "cscli decisions delete --ip 10.0.0.11"),
        (
            "iptables ts-input",
            "-A ts-input -s 100.64.0.0/10 ! -i tailscale0 -j DROP",
            "tailscale set --netfilter-mode=off",
        ),
        ("iptables cali-fh-eth0", "-A cali-fh-eth0 -j DROP", "calicoctl get hostendpoint -o wide"),
        (
            "table inet nixos-fw chain input",
            "inet nixos-fw input: policy drop",
            "networking.firewall.extraInputRules = ",
        ),
        ("iptables sshguard", "-A sshguard -j DROP", "put 10.0.0.11 10.0.0.13 into /etc/sshguard/whitelist"),
        ("iptables LOCALINPUT", "-A DENYIN -s 10.0.0.11/32 -j DROP", "csf -a 10.0.0.11"),
    ],
)
def test_a_program_that_writes_its_own_rules_is_told(chain, rule, fix):
    case = healthy_case()
    case.fabric["node2"]["filtered"] = [kept("in", chain=chain, rule=rule)]
    fail_calls(case, towards("node2"), "refused")
    found = one(case)
    assert found.hosts == ("node2",) and rule in found.evidence["node2"]
    assert found.remedy.startswith(f"On node2: {fix}")


@pytest.mark.parametrize(
    ("error", "refused", "fix"),
    [
        ("Invalid argument", "10.0.0.12/32", "ip route del blackhole 10.0.0.12/32"),
        ("Permission denied", "10.0.0.0/28", "ip route del prohibit 10.0.0.0/28"),
        ("No route to host", "10.0.0.12/32", "ip route del unreachable 10.0.0.12/32"),
        ("Invalid argument", None, "ip rule; ip route show table all match 10.0.0.12"),
        ("Network is unreachable", None, "ip route get 10.0.0.12"),
    ],
)
def test_a_route_that_refuses_explains_both_directions(error, refused, fix):
    case = healthy_case()
    case.fabric["node1"]["routes"]["10.0.0.12"] = {"reachable": False, "error": error, "refused_by": refused}
    fail_calls(case, [("node1", "node2")], "other")
    fail_calls(case, [("node2", "node1")], "timeout")
    found = one(case)
    assert (found.rule, found.hosts) == ("rdzv-errno-113", ("node1",))
    assert found.remedy.startswith(fix)


def test_a_strict_reverse_path_filter_where_answers_leave_by_another_card():
    case = healthy_case()
    case.fabric["node2"]["strict_reverse_path"] = ["eth0", "eth1"]
    fail_calls(case, towards("node2"), "timeout")
    assert "rp_filter" not in one(case).evidence["node2"]
    for name in ("10.0.0.11", "10.0.0.13"):
        case.fabric["node2"]["routes"][name]["interface"] = "eth1"
    found = one(case)
    assert (found.rule, found.hosts) == ("rdzv-errno-110", ("node2",))
    assert "10.0.0.12 on eth0, where rp_filter is 1, and its route to node1 leads by eth1" in found.evidence["node2"]
    assert found.remedy.startswith("sysctl -w net.ipv4.conf.all.rp_filter=2 on node2")
    case.fabric["node2"]["strict_reverse_path"] = ["eth1"]
    assert "rp_filter" not in one(case).evidence["node2"]


@pytest.mark.parametrize(("failure", "rule"), [("timeout", "rdzv-errno-110"), ("no_route", "rdzv-errno-113")])
def test_a_strict_reverse_path_filter_keeps_answers_out_too(failure, rule):
    case = healthy_case()
    case.fabric["node2"]["strict_reverse_path"] = ["eth0"]
    case.fabric["node2"]["routes"]["10.0.0.11"]["leaves_by"] = "eth1"
    fail_calls(case, [("node1", "node2"), ("node2", "node1")], failure)
    found = one(case)
    assert (found.rule, found.hosts) == (rule, ("node2",))
    assert "rp_filter" in found.remedy


@pytest.mark.parametrize(("accepts", "vrf"), [(False, True), (True, False)])
def test_a_data_card_in_a_vrf(accepts, vrf):
    case = healthy_case()
    case.fabric["node2"]["interfaces"][1]["master"] = "mgmt"
    case.fabric["node2"]["interfaces"].append({"name": "mgmt", "kind": "vrf", "up": True, "addresses": []})
    case.fabric["node2"]["vrf_accepts"] = accepts
    assert told(case) == {}
    fail_calls(case, towards("node2"), "refused")
    found = one(case)
    assert (found.rule, found.hosts) == ("rdzv-errno-111", ("node2",))
    assert found.remedy.startswith("ip link set dev eth0 nomaster on node2") is vrf


def test_a_node_in_a_vrf_has_no_route_of_the_main_table():
    case = healthy_case()
    case.fabric["node2"]["interfaces"][1]["master"] = "vrf-data"
    case.fabric["node2"]["interfaces"].append({"name": "vrf-data", "kind": "vrf", "up": True, "addresses": []})
    for route in case.fabric["node2"]["routes"].values():
        route.update(reachable=False, error="Network is unreachable")
    fail_calls(case, [("node2", "node1"), ("node2", "node3")], "no_route")
    fail_calls(case, towards("node2"), "refused")
    found = one(case)
    assert found.hosts == ("node2",) and "which is in the VRF vrf-data" in found.evidence["node2"]


@pytest.mark.parametrize(
    ("bridge", "fix"),
    [
        ("docker0", '"bip": '),
        ("br-0a1b2c", "docker network"),
        ("virbr0", "virsh net-list"),
        ("cni0", "ip link set"),
    ],
)
def test_a_bridge_that_has_the_network_of_other_nodes(bridge, fix):
    case = healthy_case()
    address = {"address": "10.0.0.1", "prefix": 16, "family": "ipv4", "scope": "global"}
    case.fabric["node2"]["interfaces"].append({"name": bridge, "kind": "bridge", "up": True, "addresses": [address]})
    for route in case.fabric["node2"]["routes"].values():
        route.update(interface=bridge, source="10.0.0.1")
    fail_calls(case, [*towards("node2"), ("node2", "node1"), ("node2", "node3")], "no_route")
    found = next(item for item in findings(case, "fail"))
    assert (found.rule, found.hosts) == ("rdzv-errno-113", ("node2",))
    assert found.remedy.startswith(fix) and f"leads into {bridge} (10.0.0.1/16)" in found.evidence["node2"]
    assert len(findings(case, "fail")) == 1


def test_a_bridge_with_a_cable_in_it_is_a_way():
    case = healthy_case()
    case.fabric["node2"]["interfaces"] += [
        {"name": "br0", "kind": "bridge", "up": True, "addresses": [{"address": "10.0.0.112", "prefix": 24}]},
        {"name": "eno1", "kind": "physical", "up": True, "addresses": [], "master": "br0"},
    ]
    for route in case.fabric["node2"]["routes"].values():
        route["leaves_by"] = "br0"
    fail_calls(case, towards("node2"), "timeout")
    assert "leads into br0" not in next(item for item in findings(case, "fail")).evidence["node2"]


@pytest.mark.parametrize(
    ("more", "fix"),
    [
        ({"name": "eth7", "xdp": True}, "bpftool net show; ip link set dev eth7"),
        ({"name": "cilium_host"}, "cilium"),
    ],
)
def test_programs_in_the_kernel_that_no_list_of_rules_shows(more, fix):
    case = healthy_case()
    for name in NAMES:
        case.fabric[name].update(filtered=[], firewalls=[])
    case.fabric["node2"]["interfaces"].append({"kind": "physical", "up": True, "addresses": [], **more})
    fail_calls(case, towards("node2"), "timeout")
    assert one(case).remedy.startswith(fix)


def test_a_network_that_lets_nothing_through_is_one_finding():
    case = healthy_case()
    for name in NAMES:
        case.fabric[name].update(filtered=[], firewalls=[])
    fail_calls(case, ALL, "timeout")
    found = one(case)
    assert (found.rule, found.hosts) == ("rdzv-errno-110", NAMES)
    assert found.remedy.startswith("Allow all TCP between the nodes in their security group")
    case.fabric["node2"]["filtered"] = [kept("in", rule="-P INPUT DROP")]
    assert "security group" not in next(item for item in findings(case, "fail") if "node2" in item.hosts).remedy


def test_saved_rules_are_told_with_the_command_that_keeps_those_of_now():
    case = healthy_case()
    line = "-A INPUT -j REJECT --reject-with icmp-host-prohibited"
    saved = {"file": "/etc/iptables/rules.v4", "unit": "netfilter-persistent.service"}
    saved.update(save="netfilter-persistent save", rows=[kept("in", rule=line)])
    case.fabric["node2"].update(filtered=[], filtered_at_boot=saved)
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("fw-comes-back-at-boot", "warn", ("node2",))
    assert line in found.evidence["node2"] and found.remedy.startswith("netfilter-persistent save")
    case.fabric["node2"]["filtered"] = [kept("in", rule=line)]
    case.fabric["node2"]["firewalls"] = [{"name": "iptables", "active": True, "evidence": line}]
    fail_calls(case, towards("node2"), "no_route")
    now = one(case)
    assert (now.rule, now.hosts) == ("rdzv-errno-113", ("node2",))
    assert line in now.evidence["node2"] and "&& netfilter-persistent save" in now.remedy
    assert "site.yml does not change it" in now.remedy


def test_rules_of_nftables_are_kept_by_nft():
    case = healthy_case()
    saved = {"file": "/etc/nftables.conf", "unit": "nftables.service", "save": "(x) > /etc/nftables.conf", "rows": []}
    row = kept("in", rule="inet filter input: policy drop", tool="nftables", chain="table inet filter chain input")
    case.fabric["node2"].update(filtered=[row], filtered_at_boot=saved)
    fail_calls(case, towards("node2"), "timeout")
    assert "accept && (x) > /etc/nftables.conf. nftables.service loads" in one(case).remedy
    case.fabric["node2"]["filtered"] = [kept("in", rule="-A INPUT -j DROP", chain="iptables INPUT")]
    assert "(x)" not in one(case).remedy


def test_a_firewall_whose_rules_were_flushed():
    case = healthy_case()
    gone = {"name": "ufw", "active": False, "evidence": "its rules are not loaded", "flushed": True}
    case.fabric["node2"]["firewalls"] = [gone]
    assert told(case) == {("fw-flushed", "warn"): ("node2",)}
    left = {"name": "iptables", "active": True, "evidence": "-P INPUT DROP"}
    case.fabric["node2"]["firewalls"] = [gone, left]
    fail_calls(case, towards("node2"), "timeout")
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("fw-flushed", "fail", ("node2",))
    assert found.remedy.startswith("iptables -P INPUT ACCEPT && iptables -F && iptables -X && ufw disable")
