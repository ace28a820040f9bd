# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case
from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import answers, findings, one, told, untested
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import (
    NAMES,
    fail_calls,
    fail_logins,
    healthy_case,
    login,
    plan,
    towards,
)

EVERY = [(source, target) for source in NAMES for target in NAMES]


def test_a_healthy_cluster_is_accused_of_nothing():
    case = healthy_case()
    assert told(case) == {}
    assert {item.rule for item in answers(case)} <= {"fw-disabled-entirely"}


def test_rules_say_nothing_of_what_is_not_known():
    assert told(Case(plan={"order": list(NAMES), "nodes": {}})) == {}
    empty = {name: {} for name in NAMES}
    case = healthy_case(fabric=empty, gpu=empty, stack=empty, user=empty, mesh=empty, links=empty, listeners=empty)
    assert told(case) == {}
    nothing = dict.fromkeys(NAMES)
    rows = {source: dict.fromkeys(NAMES) for source in NAMES}
    assert told(healthy_case(fabric=nothing, gpu=nothing, stack=nothing, user=nothing, mesh=rows, links=rows)) == {}


@pytest.mark.parametrize("part", ["fabric", "user", "stack", "mesh", "links"])
def test_a_fact_that_is_missing_breaks_no_rule(part):
    for name in getattr(healthy_case(), part)["node2"]:
        case = healthy_case()
        fail_logins(case, [("node1", "node2"), ("node3", "node2")], "permission")
        fail_logins(case, [("node2", "node3")], "refused")
        getattr(case, part)["node2"][name] = None
        assert findings(case, "fail"), name


@pytest.mark.parametrize("failure", ["permission", "refused", "timeout", "hostkey_changed", "noise", "closed", "other"])
def test_a_node_that_left_the_run_is_not_accused(failure):
    case = healthy_case()
    fail_logins(case, towards("node3", "itself"), failure)
    fail_calls(case, towards("node3"), "timeout")
    case.links["node1"]["node3"] = {"ok": False, "failure": "stalled"}
    assert told(dataclasses.replace(case, lost={"node3": "it froze"})) == {}
    assert told(dataclasses.replace(case, reach={"node3": {"ok": False, "step": "tcp_timeout"}})) == {}
    untested = dataclasses.replace(case, reach={"node3": {"ok": False, "step": "untested"}})
    assert told(untested), "a host that the controller did not try may well be accused"


def test_a_key_that_is_missing_on_the_target():
    case = healthy_case()
    case.user["node3"]["authorized_keys"] = case.user["node3"]["authorized_keys"][1:]
    fail_logins(case, [("node1", "node3")], "permission", "Permission denied (publickey)")
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("ssh-key-missing-pair", "fail", ("node3",))
    assert "the key of node1 is not in /home/trainer/.ssh/authorized_keys" in found.evidence["node3"]
    assert "ssh-copy-id trainer@node3" in found.remedy


def test_a_key_that_is_missing_in_a_file_outside_of_the_home():
    case = healthy_case()
    case.user["node3"]["authorized_keys"] = case.user["node3"]["authorized_keys"][1:]
    case.user["node3"]["paths"]["authorized_keys"]["path"] = "/etc/ssh/keys/trainer"
    fail_logins(case, [("node1", "node3")], "permission", "Permission denied (publickey)")
    remedy = one(case).remedy
    assert "/home/trainer/.ssh/authorized_keys >> /etc/ssh/keys/trainer" in remedy and "ssh-copy-id" not in remedy


def test_a_node_that_may_not_log_in_to_itself():
    case = healthy_case()
    del case.user["node2"]["authorized_keys"][1]
    fail_logins(case, [("node2", "node2")], "permission")
    assert told(case) == {("ssh-self-login-missing", "fail"): ("node2",)}


def test_a_source_without_any_key_is_to_blame_itself():
    case = healthy_case()
    case.user["node1"]["own_keys"] = []
    fail_logins(case, [("node1", name) for name in NAMES], "permission")
    assert told(case) == {("ssh-key-missing-pair", "fail"): ("node1",)}


def test_a_key_that_is_admitted_from_another_address_only():
    case = healthy_case()
    case.user["node2"]["authorized_keys"][0]["options"] = 'from="192.0.2.9",no-agent-forwarding'
    fail_logins(case, [("node1", "node2")], "permission")
    found = one(case)
    assert (found.rule, found.hosts) == ("ssh-key-missing-pair", ("node2",))
    assert 'from="192.0.2.9"' in found.evidence["node2"]


@pytest.mark.parametrize(
    ("place", "mode", "command"),
    [
        ("home", "0777", "as trainer: chmod 755 /home/trainer"),
        ("ssh_dir", "0770", "as trainer: chmod 700 /home/trainer/.ssh"),
        ("authorized_keys", "0666", "as trainer: chmod 600 /home/trainer/.ssh/authorized_keys"),
    ],
)
def test_modes_that_sshd_does_not_trust(place, mode, command):
    case = healthy_case()
    case.user["node2"]["paths"][place].update(mode=mode, others_write=True)
    fail_logins(case, towards("node2", "itself"), "permission")
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("ssh-perms-too-open", "fail", ("node2",))
    assert mode in found.evidence["node2"]
    assert found.remedy == command


def test_without_strict_modes_the_modes_do_not_matter():
    case = healthy_case()
    case.user["node2"]["paths"]["home"].update(mode="0777", others_write=True)
    case.user["node2"]["sshd"]["strictmodes"] = False
    fail_logins(case, towards("node2"), "permission", "Permission denied")
    assert told(case) == {("ssh-login-refused", "fail"): ("node2",)}


def test_a_private_key_that_others_may_read_is_not_used():
    case = healthy_case()
    case.user["node3"]["own_keys"][0]["mode"] = "0644"
    fail_logins(case, [("node3", name) for name in NAMES], "permission")
    found = one(case)
    assert (found.rule, found.hosts) == ("ssh-perms-too-open", ("node3",))
    assert found.remedy == "as trainer: chmod 600 /home/trainer/.ssh/id_ed25519"


def test_files_of_another_user():
    case = healthy_case()
    case.user["node3"]["paths"]["authorized_keys"]["owner"] = "stranger"
    fail_logins(case, towards("node3", "itself"), "permission")
    found = one(case)
    assert (found.rule, found.hosts) == ("ssh-wrong-user-keydir", ("node3",))
    assert "belongs to stranger" in found.evidence["node3"]


def test_a_source_that_logs_in_as_another_user():
    case = healthy_case()
    for target in case.user["node1"]["ssh_client"]["targets"].values():
        target["user"] = "root"
    fail_logins(case, [("node1", "node2"), ("node1", "node3")], "permission")
    assert told(case) == {("ssh-wrong-user-keydir", "fail"): ("node1",)}


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"pubkeyauthentication": False}, "PubkeyAuthentication no"),
        ({"allowusers": ["root"]}, "AllowUsers root"),
        ({"denyusers": ["train*"]}, "DenyUsers train*"),
    ],
)
def test_an_sshd_that_keeps_the_user_out(options, seen):
    case = healthy_case()
    case.user["node2"]["sshd"].update(options)
    fail_logins(case, towards("node2", "itself"), "permission")
    found = one(case)
    assert (found.rule, found.hosts) == ("sshd-refuses-user", ("node2",))
    assert seen in found.evidence["node2"]


def test_root_is_kept_out():
    case = healthy_case(plan={**plan(NAMES), "user": "root"})
    for facts in case.user.values():
        for target in facts["ssh_client"]["targets"].values():
            target["user"] = "root"
    case.user["node2"]["sshd"]["permitrootlogin"] = "no"
    fail_logins(case, towards("node2"), "permission")
    assert told(case) == {("sshd-refuses-user", "fail"): ("node2",)}


def test_a_refusal_without_a_visible_reason_names_selinux():
    case = healthy_case()
    case.fabric["node2"]["selinux"] = "enforcing"
    fail_logins(case, towards("node2"), "permission", "Permission denied")
    found = one(case)
    assert (found.rule, found.hosts) == ("ssh-login-refused", ("node2",))
    assert "restorecon -Rv ~/.ssh" in found.remedy and "Permission denied" in found.evidence["node2"]


def test_an_unknown_host_key_is_the_sources_fault():
    case = healthy_case()
    fail_logins(case, [("node1", "node3")], "hostkey_unknown")
    found = one(case)
    assert (found.rule, found.hosts, found.remedy) == (
        "ssh-hostkey-unknown",
        ("node1",),
        "Run site.yml over all nodes.",
    )
    case.plan.update(managed=False, launchers=["torchrun"])
    assert "for name in node3 node3.example.org 10.0.0.13; do ssh -p 22 " in one(case).remedy


def test_a_changed_host_key_is_stale_on_one_node_or_new_on_the_other():
    stale, new = healthy_case(), healthy_case()
    fail_logins(stale, [("node1", "node3")], "hostkey_changed")
    fail_logins(new, towards("node2", "itself"), "hostkey_changed")
    assert told(stale) == {("ssh-hostkey-changed", "fail"): ("node1",)}
    assert told(new) == {("ssh-hostkey-changed", "fail"): ("node2",)}
    assert "ssh-keygen -R '[10.0.0.12]:2222' -f ~/.ssh/trainmesh/known_hosts" in one(new).remedy


def test_another_machines_sshd_on_the_port():
    case, changed = healthy_case(), healthy_case()
    fail_logins(case, towards("node3", "itself"), "wrong_machine", answered_as="bighost")
    changed.fabric["node3"].update(sshd={"ports": [], "source": None}, listening_ports=[])
    fail_logins(changed, towards("node3"), "hostkey_changed")
    for item in (case, changed):
        found = one(item)
        assert (found.rule, found.hosts) == ("ctr-sshd-port-clash", ("node3",))
        assert "trainmesh_ssh_port" in found.remedy


def test_an_sshd_on_another_port():
    case = healthy_case()
    case.fabric["node3"]["sshd"].update(ports=[2200], config_ports=[2200])
    case.fabric["node3"]["listening_ports"] = [2200]
    fail_logins(case, towards("node3", "itself"), "refused", "Connection refused")
    found = one(case)
    assert (found.rule, found.hosts) == ("ssh-port-mismatch", ("node3",))
    assert "listens on 2200, the nodes try 22" in found.evidence["node3"]
    assert "trainmesh_ssh_port: 2200" in found.remedy


def test_a_client_configuration_with_another_port():
    case = healthy_case()
    case.user["node1"]["ssh_client"]["targets"]["node3"]["port"] = 33
    case.mesh["node1"]["node3"]["ssh"]["node3"] = login(False, "refused", "port 33: Connection refused")
    found = one(case)
    assert (found.rule, found.hosts) == ("ssh-port-mismatch", ("node1",))
    assert "Port 22" in found.remedy


def test_an_sshd_that_does_not_listen_where_its_configuration_says():
    case = healthy_case()
    case.fabric["node2"]["sshd"].update(ports=[22], config_ports=[2222])
    case.fabric["node2"]["listening_ports"] = [22]
    quiet = told(case)
    fail_logins(case, towards("node2", "itself"), "refused")
    assert quiet == {("sshd-not-listening", "warn"): ("node2",)}
    assert told(case) == {("sshd-not-listening", "fail"): ("node2",)}
    assert "systemctl restart ssh.service" in one(case).remedy
    case.fabric["node2"]["sshd"].update(systemd=False, unit=None)
    assert "kill -HUP 66" in one(case).remedy and "systemctl" not in one(case).remedy


def test_a_firewall_before_sshd_is_told_once():
    case = healthy_case()
    fail_logins(case, towards("node3"), "timeout", "no answer")
    assert told(case) == {("ssh-port-blocked", "fail"): ("node3",)}
    fail_calls(case, towards("node3"), "timeout")
    assert told(case) == {("rdzv-errno-110", "fail"): ("node3",)}


def test_a_directory_above_the_keys_that_others_may_write_to():
    case = healthy_case()
    above = {"path": "/data", "mode": "0775", "owner": "root", "others_write": True}
    case.user["node3"]["paths"]["above_keys"] = above
    fail_logins(case, towards("node3"), "permission", "Permission denied (publickey)")
    found = one(case)
    assert (found.rule, found.hosts) == ("ssh-perms-too-open", ("node3",))
    assert found.evidence["node3"] == "/data has mode 0775"
    assert found.remedy == "as root: chmod go-w /data"


def test_the_rule_that_bans_nodes_from_sshd_is_named():
    case = healthy_case()
    rule = "-A f2b-sshd -s 10.0.0.0/24 -j REJECT --reject-with icmp-port-unreachable"
    row = {"direction": "in", "answers": False, "peers": None, "sure": True, "ports": [[22, 22]], "tool": "iptables"}
    case.fabric["node3"]["filtered"] = [{**row, "chain": "iptables f2b-sshd", "rule": rule, "undo": "x"}]
    fail_logins(case, towards("node3"), "refused", "Connection refused")
    found = one(case)
    assert (found.rule, found.hosts) == ("ssh-port-blocked", ("node3",))
    assert rule in found.evidence["node3"]
    assert found.remedy.startswith("On node3: fail2ban-client unban 10.0.0.11 10.0.0.12; and ignoreip = ")


def test_sources_that_sshd_shuts_out_for_a_while_are_among_the_reasons():
    case = healthy_case()
    case.user["node3"]["sshd"]["persourcepenalties"] = "crash:90 authfail:5 noauth:1"
    fail_logins(case, towards("node3"), "closed", "Connection closed by remote host")
    assert "PerSourcePenaltyExemptList" in one(case).remedy
    case.user["node3"]["sshd"]["persourcepenalties"] = "no"
    assert "PerSourcePenalt" not in one(case).remedy


def test_an_sshd_whose_program_was_replaced():
    case = healthy_case()
    case.fabric["node1"]["sshd"]["binary_deleted"] = True
    assert told(case) == {("sshd-upgraded-not-restarted", "warn"): ("node1",)}
    fail_logins(case, towards("node1"), "closed", "Connection closed by remote host")
    assert told(case) == {("sshd-upgraded-not-restarted", "fail"): ("node1",)}


def test_client_configurations_that_ssh_does_not_take():
    comment, option = healthy_case(), healthy_case()
    text = "/home/trainer/.ssh/config: line 9: keyword port extra arguments at end of line"
    comment.user["node1"]["ssh_client"].update(problem=text, problem_kind="trailing")
    fail_logins(comment, [("node1", name) for name in NAMES], "config", "terminating, 1 bad configuration options")
    fail_logins(option, [("node2", "node1")], "config", "Bad configuration option: hostnam")
    assert told(comment) == {("ssh-config-inline-comment", "fail"): ("node1",)}
    assert told(option) == {("ssh-config-invalid", "fail"): ("node2",)}


def test_a_configuration_that_others_may_write_to():
    case = healthy_case()
    fail_logins(case, [("node2", name) for name in NAMES], "config", config_error="permissions")
    assert told(case) == {("ssh-perms-too-open", "fail"): ("node2",)}


def test_trailing_comments_in_a_configuration_that_was_handed_in():
    case = healthy_case()
    text = "# whole lines are fine\nHost a\n  Port 33 # the container\n  IdentityFile ~/.ssh/key#1\n"
    case.user["node1"]["files"] = [{"kind": "ssh_config", "path": "/home/trainer/.ssh/config", "text": text}]
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("ssh-config-inline-comment", "warn", ("node1",))
    assert "line 3" in found.evidence["node1"] and "line 4" not in found.evidence["node1"]


def test_values_that_ssh_refuses_in_a_configuration_that_was_handed_in():
    case = healthy_case()
    text = "Host node2\n  Port twenty\n  BatchMode yes\n"
    case.user["node2"]["files"] = [{"kind": "ssh_config", "path": "/home/trainer/.ssh/config", "text": text}]
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("ssh-config-invalid", "fail", ("node2",))
    assert "line 2: port twenty, in the place of a number from 1 to 65535" in found.evidence["node2"]


def test_a_shell_that_prints_is_the_targets_fault():
    case = healthy_case()
    fail_logins(case, towards("node3", "itself"), "noise", "the login prints 'Welcome'")
    assert told(case) == {("ssh-login-noise", "fail"): ("node3",)}


def test_slow_logins():
    target, source = healthy_case(), healthy_case()
    for name in NAMES:
        target.mesh[name]["node3"]["ssh"]["node3"] = login(True, "slow", "16 s", 16.1)
        source.mesh["node2"][name]["ssh"][name] = login(True, "", "", 12.0)
    assert told(target) == {("ssh-login-slow", "warn"): ("node3",)}
    assert told(source) == {("ssh-login-slow", "warn"): ("node2",)}
    lenient = dataclasses.replace(source, thresholds={"ssh_slow_s": 20})
    assert told(lenient) == {}


def test_the_environment_of_a_login_matters_where_our_scripts_do_not_run():
    case = healthy_case()
    for name in NAMES:
        case.mesh[name]["node2"]["session"]["commands"] = {"python3": None, "ninja": None}
    assert told(case) == {}
    case.plan["managed"] = False
    found = [item for item in findings(case, "warn") if item.rule == "ssh-noninteractive-env"]
    assert [item.hosts for item in found] == [("node2",)]
    case.plan["gpus"] = True
    found = [item for item in findings(case, "warn") if item.rule == "ssh-noninteractive-env"]
    assert {item.hosts for item in found} == {("node2",), NAMES}


@pytest.mark.parametrize(("failure", "host"), [("closed", "node2"), ("other", "node2"), ("ssh_missing", "node1")])
def test_logins_that_fail_otherwise(failure, host):
    case = healthy_case()
    fail_logins(case, [("node1", "node2")], failure, "a word of ssh")
    assert told(case) == {("ssh-login-failed", "fail"): (host,)}
    assert "a word of ssh" in one(case).evidence[host]


def test_every_failed_login_is_explained_by_somebody():
    failures = "name loopback wrong_address refused no_route timeout hostkey_unknown hostkey_changed permission closed"
    for failure in [*failures.split(), "config", "noise", "wrong_machine", "ssh_missing", "other"]:
        case = healthy_case()
        fail_logins(case, [("node1", "node2")], failure, answered_as="bighost")
        assert [item.severity for item in findings(case, "fail")] == ["fail"], failure


def test_an_sshd_that_answers_late_is_no_firewall():
    case = healthy_case()
    fail_logins(case, towards("node3"), "no_answer", "connected, but no login within 30 s")
    assert told(case) == {("ssh-login-failed", "fail"): ("node3",)}
    assert "accepts connections" in one(case).cause and "firewall" not in one(case).remedy


def test_our_own_time_limits_are_not_tested_and_no_fault():
    case = healthy_case()
    case.user["node2"]["ssh_client"]["untested"] = "ssh -G node1 gave no answer within 5 s"
    fail_logins(case, [("node1", "node3")], "not_met", "ssh -G node3 gave no answer within 10 s")
    assert told(case) == {}
    left = {item.rule: item for item in untested(case)}
    assert "within 5 s" in left["ssh-config-invalid"].why and left["ssh-config-invalid"].hosts == ("node2",)
    assert "within 10 s" in left["ssh-login-failed"].why and left["ssh-login-failed"].hosts == ("node1", "node3")


def busy(case, name, **more):
    load = {"load1": 0.3, "cores": 2, "throttled": 0.0, "stolen": 0.0, **more}
    return dataclasses.replace(case, load={name: {"mesh": load}})


@pytest.mark.parametrize("more", [{"load1": 30.0}, {"throttled": 0.5}, {"stolen": 0.4}])
def test_logins_to_a_busy_node_are_not_tested(more):
    late, silent = healthy_case(), healthy_case()
    for row in late.mesh.values():
        for target in NAMES:
            for alias in row[target]["ssh"]:
                row[target]["ssh"][alias] = login(True, "slow", "", 12.0 if target == "node3" else 6.0)
    fail_logins(silent, towards("node3"), "no_answer", "connected, but no login within 30 s")
    assert set(told(late)) == {("ssh-login-slow", "warn")} and set(told(silent)) == {("ssh-login-failed", "fail")}
    for case, rule in ((late, "ssh-login-slow"), (silent, "ssh-login-failed")):
        case = busy(case, "node3", **more)
        assert told(case) == {}
        assert {item.rule for item in untested(case)} == {rule} and "node3: " in untested(case)[0].why


def test_a_login_far_slower_than_all_others_has_its_own_reason_on_a_loaded_node():
    case = healthy_case()
    for name in NAMES:
        case.mesh[name]["node3"]["ssh"]["node3"] = login(True, "slow", "", 12.5)
    assert told(busy(case, "node3", load1=4.0)) == {("ssh-login-slow", "warn"): ("node3",)}


def star():
    """A healthy cluster in which the head alone logs in."""
    case = healthy_case()
    for name in ("node2", "node3"):
        case.plan["nodes"][name]["logs_in"] = False
        for target in NAMES:
            case.mesh[name][target].update(ssh={}, session=None)
        case.user[name]["authorized_keys"] = [key for key in case.user[name]["authorized_keys"] if "node1" in str(key)]
        case.user[name]["ssh_client"]["targets"] = {}
    return case


def test_in_a_star_the_workers_logins_are_nobodys_fault():
    case = star()
    assert told(case) == {} and untested(case) == untested(healthy_case())
    case.user["node2"]["ssh_client"]["problem"] = "/home/trainer/.ssh/config line 3: Bad configuration option: x"
    case.user["node3"]["ssh_client"]["untested"] = "ssh -G took too long"
    assert told(case) == {} and untested(case) == untested(healthy_case())
    case.user["node1"]["ssh_client"]["problem"] = "/home/trainer/.ssh/config line 3: Bad configuration option: x"
    assert told(case) == {("ssh-config-invalid", "fail"): ("node1",)}


def test_in_a_star_the_heads_logins_are_judged():
    case = star()
    case.user["node3"]["authorized_keys"] = []
    fail_logins(case, [("node1", "node3")], "permission")
    assert told(case) == {("ssh-key-missing-pair", "fail"): ("node3",)}


def test_in_a_star_slow_logins_everywhere_are_the_heads():
    everywhere, somewhere = star(), star()
    for name in NAMES:
        everywhere.mesh["node1"][name]["ssh"][name] = login(True, "slow", "16 s", 16.1)
    somewhere.mesh["node1"]["node3"]["ssh"]["node3"] = login(True, "slow", "16 s", 16.1)
    assert told(everywhere) == {("ssh-login-slow", "warn"): ("node1",)}
    assert told(somewhere) == {("ssh-login-slow", "warn"): ("node3",)}


@pytest.mark.parametrize(
    ("addresses", "named"),
    [
        (["127.0.0.1", "::1"], True),
        (["192.168.7.3"], True),
        (["0.0.0.0", "::"], False),
        (["10.0.0.13"], False),
        ([], False),
    ],
)
def test_an_sshd_that_listens_on_other_addresses_alone(addresses, named):
    case = healthy_case()
    case.fabric["node3"]["sshd"]["addresses"] = addresses
    assert told(case) == {}
    fail_logins(case, towards("node3"), "refused", "ssh: connect to host node3 port 22: Connection refused")
    found = one(case)
    assert (found.rule, found.hosts) == ("sshd-not-listening" if named else "ssh-port-blocked", ("node3",))
    assert not named or found.remedy.startswith("grep -rni ListenAddress /etc/ssh/sshd_config")


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("sshd -T: /etc/ssh/sshd_config: line 5: Bad configuration option: PermitRootLogn", "sshd -t on node2 names"),
        ("sshd -T: /etc/ssh/sshd_config.d/9.conf line 1: Directive 'Port' is not allowed within a Match", "sshd -t on"),
        ("sshd -T: sshd: no hostkeys available -- exiting.", "ssh-keygen -A on node2"),
    ],
)
def test_a_configuration_with_which_sshd_does_not_start_again(said, fix):
    case = healthy_case()
    case.user["node2"]["sshd"]["problem"] = said
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("sshd-config-invalid", "warn", ("node2",))
    assert found.remedy.startswith(fix)
    case.fabric["node2"]["sshd"].update(ports=[], source="process")
    fail_logins(case, towards("node2"), "refused", "Connection refused")
    assert told(case) == {("sshd-config-invalid", "fail"): ("node2",)}


@pytest.mark.parametrize(
    "said",
    [
        "sshd -T: no answer within 5 s",
        "sshd -T: Missing privilege separation directory: /run/sshd",
        "there is no sshd here",
    ],
)
def test_an_sshd_that_did_not_tell_accuses_nobody(said):
    case = healthy_case()
    case.user["node2"]["sshd"]["problem"] = said
    assert told(case) == {}
