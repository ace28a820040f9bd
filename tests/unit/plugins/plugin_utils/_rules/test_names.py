# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.names import malformed
from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import findings, one, told
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import (
    NAMES,
    answer,
    fail_logins,
    healthy_case,
    login,
    towards,
)


def test_the_host_name_of_another_node():
    case = healthy_case()
    case.fabric["node3"]["hostname"] = "node1"
    fail_logins(case, towards("node3", "itself"), "wrong_machine", answered_as="node1")
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("name-duplicate-hostname", "fail", ("node3",))
    assert "as on node1" in found.evidence["node3"]


def test_nodes_that_nobody_named():
    case = healthy_case()
    for name in ("node2", "node3"):
        case.fabric[name].update(hostname="localhost.localdomain", hostname_file=None)
        case.plan["nodes"][name]["hostname"] = "localhost.localdomain"
    assert told(case) == {("name-duplicate-hostname", "fail"): ("node2", "node3")}
    case.fabric["node3"]["hostname"] = "node3"
    case.plan["nodes"]["node3"]["hostname"] = "node3"
    assert told(case) == {("name-duplicate-hostname", "fail"): ("node2",)}


def test_cloned_machines():
    case = healthy_case()
    for name in ("node1", "node2"):
        case.fabric[name]["machine_id"] = "c" * 32
    assert told(case) == {}, "containers of one image share it"
    for name in NAMES:
        case.fabric[name]["container"] = None
    assert told(case) == {("name-duplicate-hostname", "warn"): ("node1", "node2")}


@pytest.mark.parametrize(
    ("written", "now", "severity"),
    [("HOSTNAME=node2", "node2", "warn"), ("HOSTNAME=node2", "HOSTNAME=node2", "fail"), ("oldname", "node2", "warn")],
)
def test_what_etc_hostname_holds(written, now, severity):
    case = healthy_case()
    case.fabric["node2"].update(hostname_file=written, hostname=now)
    assert told(case) == {("name-etc-hostname-format", severity): ("node2",)}
    assert "hostnamectl set-hostname node2" in one(case).remedy


def test_etc_hostname_of_a_container_or_with_the_domain_is_fine():
    case = healthy_case()
    case.fabric["node2"].update(hostname_file="image", hostname_file_mounted=True)
    case.fabric["node3"]["hostname_file"] = "node3.example.org"
    assert told(case) == {}


def test_a_machine_under_another_name():
    case = healthy_case()
    case.fabric["node3"].update(hostname="gpu-07", hostname_file="gpu-07")
    fail_logins(case, towards("node3"), "wrong_machine", answered_as="gpu-07")
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("name-hostname-differs", "warn", ("node3",))
    assert found.remedy.startswith("hostnamectl set-hostname node3, or trainmesh_hostname: gpu-07")
    case.fabric["node3"]["can_set_hostname"] = False
    assert one(case).remedy.startswith("trainmesh_hostname: gpu-07")


def test_the_own_name_on_loopback():
    case = healthy_case()
    case.fabric["node2"]["resolution"]["node2"] = answer("127.0.1.1", "10.0.0.12")
    case.fabric["node2"]["hosts_entries"].append({"line": 1, "address": "127.0.1.1", "names": ["node2"]})
    case.mesh["node2"]["node2"]["ssh"]["node2"] = login(False, "loopback", "node2 is 127.0.1.1")
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("name-loopback-127-0-1-1", "fail", ("node2",))
    assert "/etc/hosts line 1" in found.evidence["node2"]
    case.mesh["node2"]["node2"]["ssh"]["node2"] = login()
    case.plan["env"]["GLOO_SOCKET_IFNAME"] = "eth0"
    assert told(case) == {("name-loopback-127-0-1-1", "warn"): ("node2",)}


def test_the_name_of_a_peer_on_loopback():
    case = healthy_case()
    case.mesh["node1"]["node3"]["ssh"]["node3"] = login(False, "loopback", "node3 is 127.0.1.1")
    assert told(case) == {("name-loopback-127-0-1-1", "fail"): ("node1",)}


def test_localhost_may_be_loopback():
    case = healthy_case()
    case.fabric["node1"]["resolution"]["localhost"] = answer("127.0.0.1")
    assert told(case) == {}


def test_a_name_that_is_missing_or_leads_elsewhere():
    missing, wrong, probed = healthy_case(), healthy_case(), healthy_case()
    missing.fabric["node1"]["resolution"]["node3"] = answer(error="Name or service not known")
    missing.mesh["node1"]["node3"]["ssh"]["node3"] = login(False, "name", "Name or service not known")
    wrong.fabric["node1"]["resolution"]["node3"] = answer("10.0.0.99")
    wrong.mesh["node1"]["node3"]["ssh"]["node3"] = login(False, "wrong_address", "node3 is 10.0.0.99")
    probed.mesh["node1"]["node3"]["ssh"]["node3"] = login(False, "name", "Name or service not known")
    for case in (missing, wrong, probed):
        found = one(case)
        assert (found.rule, found.severity, found.hosts) == ("name-hosts-typo", "fail", ("node1",))
        assert "10.0.0.13 node3.example.org node3" in found.remedy


def test_a_second_address_of_the_node_is_no_typo_and_unmanaged_names_need_not_resolve():
    second, unmanaged = healthy_case(), healthy_case()
    row = {"address": "192.168.9.13", "prefix": 24, "family": "ipv4", "scope": "global"}
    second.fabric["node3"]["interfaces"].append({"name": "eth1", "kind": "veth", "mtu": 1500, "addresses": [row]})
    second.fabric["node1"]["resolution"]["node3"] = answer("192.168.9.13")
    unmanaged.plan.update(managed=False, launchers=["torchrun"])
    unmanaged.fabric["node1"]["resolution"]["node3"] = answer(error="Name or service not known")
    assert told(second) == told(unmanaged) == {}


def test_the_heads_full_name_is_unknown_to_the_others():
    case = healthy_case()
    case.fabric["node1"]["fqdn"] = "node1.lab.invalid"
    assert told(case) == {}, "nobody was asked"
    case.fabric["node2"]["resolution"]["node1.lab.invalid"] = answer(error="Name or service not known")
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("name-fqdn-unresolvable", "warn", ("node1",))
    assert "node2" in found.evidence["node1"]


@pytest.mark.parametrize("value", ["5", "0.0.0.5", "127.0.0.1", "", "localhost", "0.0.0.0", "user@host", "224.0.0.1"])
def test_addresses_that_are_no_master(value):
    assert malformed(value, True)
    case = healthy_case()
    case.plan["master"]["address"] = value
    assert told(case) == {("master-addr-malformed", "fail"): ("node1",)}


@pytest.mark.parametrize("value", ["10.0.0.11", "fd00::11", "node1", "node1.example.org"])
def test_addresses_that_are_a_master(value):
    case = healthy_case()
    case.plan["env"]["MASTER_ADDR"] = value
    assert findings(case, "fail") == []


def test_one_node_alone_may_use_loopback():
    assert malformed("127.0.0.1", False) == ""


def test_a_name_that_begins_another_one_is_told_as_well():
    case = healthy_case(12)
    case.fabric["node2"]["resolution"]["node12"] = answer(error="unknown")
    case.mesh["node2"]["node1"]["ssh"]["node1"] = login(False, "name", "Name or service not known")
    found = findings(case, "fail")
    assert [(item.rule, item.hosts) for item in found] == [("name-hosts-typo", ("node2",))] * 2
    assert [item.evidence["node2"].split(":")[0] for item in found] == ["node12", "node1"]


def passed_over(case, host, *lost, **more):
    """The resolver of a node leaves /etc/hosts out: ``lost`` are the names that stand there."""
    names = {}
    for number, name in enumerate(lost, 2):
        address = next(iter(case.fabric[host]["resolution"][name]["addresses"]))
        names[name] = {"line": number, "address": address}
        case.fabric[host]["resolution"][name] = answer(error="Name or service not known")
    switch = {"line": 7, "text": "hosts: dns", "sources": ["dns"]}
    case.fabric[host]["name_service"] = {
        "names": names,
        "mode": "0644",
        "switch": switch,
        "resolved_reads_hosts": True,
        "nscd": False,
        **more,
    }


def switched(*sources):
    return {"line": 7, "text": f"hosts: {' '.join(sources)}", "sources": list(sources)}


@pytest.mark.parametrize("managed", [True, False])
def test_three_names_in_hosts_that_do_not_resolve_are_one_finding(managed):
    case = healthy_case(managed=managed)
    passed_over(case, "node1", "node1", "node2", "node3", "node3.example.org")
    fail_logins(case, [("node1", "node2")], "name", "Could not resolve hostname node2")
    found = one(case)
    assert (found.rule, found.hosts) == ("name-hosts-unused", ("node1",))
    assert "/etc/nsswitch.conf line 7: hosts: dns" in found.evidence["node1"]
    assert found.remedy.startswith("sed -i 's/^hosts:.*/hosts: files dns/' /etc/nsswitch.conf")


@pytest.mark.parametrize(
    ("more", "fix"),
    [
        ({"switch": None}, "echo 'hosts: files dns' >> /etc/nsswitch.conf"),
        ({"switch": switched("dns", "[NOTFOUND=return]", "files")}, "sed -i"),
        ({"switch": switched("resolve", "files", "dns"), "resolved_reads_hosts": False}, "Set ReadEtcHosts=yes"),
        ({"switch": switched("files", "dns"), "nscd": True}, "nscd -i hosts"),
        ({"switch": switched("resolve", "[!UNAVAIL=return]", "files"), "nscd": True}, "nscd -i hosts"),
        ({"switch": switched("files", "dns")}, "getent -s files hosts NAME"),
        ({"mode": "0600"}, "chmod 644 /etc/hosts"),
    ],
)
def test_why_the_resolver_passes_the_file_over(more, fix):
    case = healthy_case()
    passed_over(case, "node3", "node1", **more)
    found = one(case)
    assert (found.rule, found.hosts) == ("name-hosts-unused", ("node3",))
    assert found.remedy.startswith(fix)


def test_a_file_that_the_user_may_not_read_is_told_by_logins():
    case = healthy_case()
    passed_over(case, "node2", mode="0600")
    fail_logins(case, [("node2", "node1"), ("node2", "node3")], "name", "Could not resolve hostname")
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("name-hosts-unused", "fail", ("node2",))


def test_a_file_that_the_user_may_not_read_is_told_where_ssh_needs_it_not():
    case = healthy_case()
    passed_over(case, "node2", mode="0640")
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("name-hosts-unused", "warn", ("node2",))
    assert found.remedy == "chmod 644 /etc/hosts"
    case.plan["user"] = "root"
    assert told(case) == {}


def test_another_good_address_than_in_hosts_is_no_fault():
    case = healthy_case()
    passed_over(case, "node2", "node1")
    case.fabric["node2"]["resolution"]["node1"] = answer("10.0.0.11")
    case.fabric["node2"]["name_service"]["names"]["node1"]["address"] = "192.0.2.1"
    assert told(case) == {}


def test_cloud_init_that_takes_the_names_back():
    case = healthy_case()
    line = "/etc/cloud/cloud.cfg line 4: manage_etc_hosts: true"
    case.fabric["node2"]["cloud_init"] = {"writes_hosts": True, "hosts_line": line, "keeps_name": True, "given": False}
    case.fabric["node2"]["cloud_init"]["needs"] = ["manage_etc_hosts: false"]
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("name-cloud-init-resets", "warn", ("node2",))
    assert found.evidence["node2"] == line and found.remedy.startswith("trainmesh_cloud_init: keep_ours")
    case.plan["managed"], case.fabric["node2"]["cluster_block"] = False, {"id": "abcdef12"}
    assert one(case).remedy.startswith("printf 'manage_etc_hosts: false\\n")
    case.plan["managed"] = True
    case.fabric["node2"]["cloud_init"].update(given=True, needs=[])
    assert one(case).remedy.startswith("sed -i '/update[_-]etc[_-]hosts/") and "the cloud gives" in one(case).remedy
    case.fabric["node2"]["cloud_init"]["writes_hosts"] = False
    assert told(case) == {}
