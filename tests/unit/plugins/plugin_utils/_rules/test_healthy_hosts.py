# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that are set up in an unusual way and work: no check may accuse them."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import filtered, iptables_rules
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine, options
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import (
    address,
    gpu_case,
    healthy_case,
    interface,
    number_of,
)

ROW = {"file": "/etc/x", "line": 1, "text": "x", "peers": None}


def told(case):
    """(rule, hosts) of all that all checks say and that is worse than info."""
    found = engine.judge(case, options.Options()).findings
    return [(item.rule, item.hosts) for item in found if item.severity != "info"]


def every(change):
    """The same change of the facts of the network and host, of the user, and of what they find, on every node."""

    def whole(case):
        for name in case.order:
            change(case, name, case.fabric[name], case.user[name])

    whole.__name__ = change.__name__
    return whole


def of_rules(facts, *lines, program="iptables"):
    """What the reader makes of rules that let the nodes in."""
    peers = {address(f"node{number}"): ("10.0.0.99", "eth0") for number in (1, 2, 3)}
    facts["filtered"] = filtered.rows(iptables_rules.iptables("\n".join(lines), program), peers, 1000)


@every
def a_bond_by_lacp(case, name, facts, user):
    ports = [{"name": f"eno{number}", "up": True, "aggregator": 1} for number in (1, 2)]
    bond = {"mode": "802.3ad", "partner": "02:11:22:33:44:55", "ports": ports}
    facts["interfaces"][1].update(kind="bond", bond=bond)


@every
def a_bond_with_one_cable(case, name, facts, user):
    ports = [{"name": "eno1", "up": True, "aggregator": 1}, {"name": "eno2", "up": False, "aggregator": 2}]
    bond = {"mode": "802.3ad", "partner": "00:00:00:00:00:00", "ports": ports}
    facts["interfaces"][1].update(kind="bond", bond=bond)


@every
def a_bond_that_stands_by(case, name, facts, user):
    ports = [{"name": "eno1", "up": True, "aggregator": None}, {"name": "eno2", "up": False, "aggregator": None}]
    facts["interfaces"][1].update(kind="bond", bond={"mode": "active-backup", "partner": None, "ports": ports})


@every
def all_of_it_in_a_vrf_with_sshd(case, name, facts, user):
    facts["interfaces"][1]["master"] = "mgmt"
    facts["interfaces"].append({"name": "mgmt", "kind": "vrf", "up": True, "addresses": []})
    facts["vrf_accepts"] = False


@every
def a_strict_filter_with_one_card(case, name, facts, user):
    facts["strict_reverse_path"] = ["eth0"]


@every
def a_data_address_on_loopback(case, name, facts, user):
    """As hosts with BGP to two switches have it: routes leave by the cards, which have no address of their own."""
    facts["interfaces"][0]["addresses"].append(
        {"address": address(name), "prefix": 32, "family": "ipv4", "scope": "global"}
    )
    facts["interfaces"][1]["addresses"] = []
    facts["strict_reverse_path"] = []
    for route in facts["routes"].values():
        route.update(interface="lo", leaves_by="eth0")


@every
def a_host_whose_card_is_in_a_bridge(case, name, facts, user):
    """A hypervisor, or a host with LXC: the bridge has the address."""
    facts["interfaces"][1].update(kind="bridge", name="br0")
    facts["interfaces"].append({"name": "eno1", "kind": "physical", "up": True, "addresses": [], "master": "br0"})
    case.plan["nodes"][name]["interface"] = "br0"
    for route in facts["routes"].values():
        route["interface"] = "br0"


@every
def networks_of_compose(case, name, facts, user):
    case.plan["env"]["NCCL_SOCKET_IFNAME"] = "=eth0"
    for number in (18, 19, 20):
        facts["interfaces"].append(interface(f"br-{number}abc", f"172.{number}.0.1", kind="bridge"))


@every
def tailscale_beside(case, name, facts, user):
    facts["interfaces"].append(interface("tailscale0", f"100.64.0.{number_of(name)}", kind="tun", mtu=1280))
    lines = (
        "-P INPUT ACCEPT",
        "-N ts-input",
        "-A INPUT -j ts-input",
        "-A ts-input -s 100.64.0.0/10 ! -i tailscale0 -j DROP",
    )
    of_rules(facts, *lines)


@every
def bans_of_strangers(case, name, facts, user):
    lines = [f"-A f2b-sshd -s 203.0.113.{number}/32 -j REJECT" for number in range(200)]
    of_rules(facts, "-P INPUT ACCEPT", "-N f2b-sshd", "-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd", *lines)


@every
def a_limit_on_new_logins(case, name, facts, user):
    recent = "-A INPUT -p tcp --dport 22 -m recent --update --seconds 60 --hitcount 4 --name ssh -j DROP"
    of_rules(facts, "-P INPUT ACCEPT", recent)


@every
def spoofed_addresses_dropped_but_ours(case, name, facts, user):
    lines = ("-P PREROUTING ACCEPT", "-A PREROUTING -s 10.0.0.0/24 -j ACCEPT", "-A PREROUTING -s 10.0.0.0/8 -j DROP")
    of_rules(facts, *lines, program="iptables-legacy -t mangle")


@every
def an_sshd_on_the_data_address_alone(case, name, facts, user):
    facts["sshd"]["addresses"] = [address(name)]


@every
def an_sshd_that_admits_one_group(case, name, facts, user):
    user["sshd"].update(allowgroups=["cluster"], permitrootlogin="no", maxsessions=1, maxstartups="2:30:5")
    user["account"] = {"password": "locked", "groups": ["users"], "nologin": None}


@every
def rsa_keys_of_old_days(case, name, facts, user):
    user["own_keys"][0].update(type="ssh-rsa", bits=2048)
    user["sshd"]["requiredrsasize"] = 3072


@every
def a_list_of_revoked_keys_that_nobody_made(case, name, facts, user):
    user["sshd"].update(revokedkeys="/etc/ssh/revoked", revokedkeys_missing=True)


@every
def an_agent_and_passwords_first(case, name, facts, user):
    user["ssh_client"]["without_keys"] = {"elsewhere": "preferredauthentications password"}


@every
def keys_kept_by_root(case, name, facts, user):
    user["paths"]["authorized_keys"].update(path="/etc/ssh/keys/trainer", owner="root", mode="0644")


@every
def keys_that_group_and_sshd_read(case, name, facts, user):
    user["paths"]["authorized_keys"].update(owner="root", mode="0640")


@every
def pam_that_asks_slurm(case, name, facts, user):
    user["account"] = {"groups": ["trainer"], "pam": [{**ROW, "module": "pam_slurm_adopt"}], "hosts_access": {**ROW}}


@every
def homes_on_nfs(case, name, facts, user):
    for place in ("home", "hf", "pip"):
        user["caches"][place].update(fs_type="nfs4", local=False, readonly=False)


@every
def homes_on_autofs(case, name, facts, user):
    user["caches"]["home"].update(fs_type="autofs", local=False, free_bytes=None, inodes_free=None)


@every
def an_image_with_a_read_only_root(case, name, facts, user):
    """As ostree and Flatcar have it: homes and the prefix are elsewhere."""
    facts["disks"]["/"] = {**facts["disks"]["/opt/trainmesh"], "path": "/usr", "readonly": True}


@every
def a_clock_of_the_hypervisor(case, name, facts, user):
    facts["clock"] = {"source": None, "synchronised": True, "epoch": 1000.5}
    facts["virtual"] = "microsoft"


@every
def a_resolver_that_knows_mdns_first(case, name, facts, user):
    switch = {"line": 8, "text": "hosts: files mdns4_minimal [NOTFOUND=return] dns", "sources": ["files"], "file": "x"}
    facts["name_service"] = {"names": {}, "mode": "0644", "switch": switch, "nscd": False, "resolved_reads_hosts": True}


@every
def addresses_of_its_own_alone(case, name, facts, user):
    """As Hetzner, Scaleway and Google give them: /32, and all by the gateway."""
    facts["interfaces"][1]["addresses"][0]["prefix"] = 32


@every
def vlans_on_one_card(case, name, facts, user):
    facts["interfaces"][1].update(kind="vlan", name="eth0")
    facts["interfaces"].append({"name": "eno1", "kind": "physical", "up": True, "addresses": [], "mtu": 9216})


@every
def proxies_that_exempt_the_network(case, name, facts, user):
    variables = {"http_proxy": "http://proxy:3128", "https_proxy": "http://proxy:3128", "no_proxy": "10.0.0.0/8"}
    case.stack[name]["login_environment"]["variables"].update(variables)


def one_node_behind_a_jump_host(case):
    case.reach["node3"].update(password=True, user="ubuntu", port=2222)


def cards_whose_addresses_differ_from_those_seen(case):
    """A cloud that answers for all by one hardware address, which is not told, and logins that are only slow."""
    for name in case.order:
        case.fabric[name]["interfaces"][1]["mac"] = f"52:54:00:00:00:{number_of(name):02x}"


CHANGES = [
    a_bond_by_lacp,
    a_bond_with_one_cable,
    a_bond_that_stands_by,
    all_of_it_in_a_vrf_with_sshd,
    a_strict_filter_with_one_card,
    a_data_address_on_loopback,
    a_host_whose_card_is_in_a_bridge,
    networks_of_compose,
    tailscale_beside,
    bans_of_strangers,
    a_limit_on_new_logins,
    spoofed_addresses_dropped_but_ours,
    an_sshd_on_the_data_address_alone,
    an_sshd_that_admits_one_group,
    rsa_keys_of_old_days,
    a_list_of_revoked_keys_that_nobody_made,
    an_agent_and_passwords_first,
    keys_kept_by_root,
    keys_that_group_and_sshd_read,
    pam_that_asks_slurm,
    homes_on_nfs,
    homes_on_autofs,
    an_image_with_a_read_only_root,
    a_clock_of_the_hypervisor,
    a_resolver_that_knows_mdns_first,
    addresses_of_its_own_alone,
    vlans_on_one_card,
    proxies_that_exempt_the_network,
    one_node_behind_a_jump_host,
    cards_whose_addresses_differ_from_those_seen,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("kind", [healthy_case, gpu_case])
def test_odd_hosts_that_are_well(kind, change):
    case = kind()
    change(case)
    assert told(case) == []
