# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded nodes as data: what must be made, started and removed, and on which addresses."""

from __future__ import annotations

import ipaddress
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.nodes import (
    NodeHave,
    NodeWish,
    Plan,
    create_argv,
    free_hosts,
    free_subnets,
    known_hosts,
    make_plan,
    read_nodes,
    read_routes,
    read_subnets,
    wished_nodes,
)

NODE1 = NodeWish("node1", firewall="firewalld")
NODE2 = NodeWish("node2", ssh_port=2222, firewall="ufw")
NODE3 = NodeWish("node3", extra_interface=True)

# /proc/net/route of a machine with a default route, a Docker bridge and a local network.
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


def container(wish: NodeWish, address: str, *, running: bool = True) -> NodeHave:
    networks = 2 if wish.extra_interface else 1
    return NodeHave(wish.name, f"trainmesh-x-{wish.name}", running, address, wish.settings, networks)


def changes(plan: Plan) -> bool:
    return bool(plan.create or plan.connect or plan.start or plan.remove)


def inspected(node: NodeWish, address: str, *, running: bool, label: str | None = None) -> str:
    """What ``docker inspect`` (20.10) says of a container, as far as it is read."""
    endpoint = {"IPAMConfig": {"IPv4Address": address}, "IPAddress": address if running else ""}
    settings = json.dumps(node.settings) if label is None else label
    labels = {"io.trainmesh.local-node": node.name, "io.trainmesh.local-node-settings": settings}
    return json.dumps(
        [
            {
                "Name": f"/trainmesh-x-{node.name}",
                "State": {"Running": running},
                "Config": {"Labels": labels},
                "NetworkSettings": {"Networks": {"trainmesh-x": endpoint}},
            }
        ]
    )


def test_nodes_are_made_in_the_order_of_the_list() -> None:
    plan = make_plan([NODE1, NODE2, NODE3], [])
    assert plan.names == {"created": ["node1", "node2", "node3"], "started": [], "removed": []}
    assert plan.connect == ["node3"]


@pytest.mark.parametrize("state", ["removing", "dead"])
def test_a_node_that_the_engine_is_removing_is_made_anew(state: str) -> None:
    told = json.loads(inspected(NODE1, "10.213.0.11", running=False))
    told[0]["State"]["Status"] = state
    plan = make_plan([NODE1], read_nodes(json.dumps(told), "trainmesh-x"))
    assert plan.names == {"created": ["node1"], "started": [], "removed": ["node1"]}
    told[0]["State"]["Status"] = "exited"
    assert make_plan([NODE1], read_nodes(json.dumps(told), "trainmesh-x")).names["started"] == ["node1"]


def test_nothing_is_done_when_all_is_there() -> None:
    have = [container(node, f"10.213.0.{11 + i}") for i, node in enumerate((NODE1, NODE2, NODE3))]
    plan = make_plan([NODE1, NODE2, NODE3], have)
    assert not changes(plan)
    assert not plan.faults


def test_a_fourth_node_leaves_the_others_alone() -> None:
    have = [container(NODE1, "10.213.0.11"), container(NODE2, "10.213.0.12")]
    plan = make_plan([NODE1, NODE2, NodeWish("node4")], have)
    assert plan.names == {"created": ["node4"], "started": [], "removed": []}


def test_new_nodes_get_the_first_addresses_that_are_free() -> None:
    assert free_hosts("10.213.0.0/24", ["10.213.0.12"])[:3] == ["10.213.0.11", "10.213.0.13", "10.213.0.14"]
    assert free_hosts("10.213.0.0/24", [])[-1] == "10.213.0.254"


def test_stopped_nodes_are_started_at_the_address_they_had() -> None:
    have = read_nodes(inspected(NODE2, "10.213.0.40", running=False), "trainmesh-x")
    plan = make_plan([NODE2], have)
    assert plan.names["started"] == ["node2"]
    assert [node.address for node in plan.start] == ["10.213.0.40"]


def test_nodes_not_asked_for_are_removed() -> None:
    plan = make_plan([NODE1], [container(NODE1, "10.213.0.11"), container(NODE2, "10.213.0.12")])
    assert plan.names == {"created": [], "started": [], "removed": ["node2"]}


def test_an_interrupted_making_is_taken_up_at_the_second_network() -> None:
    half = NodeHave("node3", "trainmesh-x-node3", False, "10.213.0.13", NODE3.settings, 1)
    plan = make_plan([NODE3], [half])
    assert (plan.connect, [node.name for node in plan.start], plan.create) == (["node3"], ["node3"], [])


def test_other_settings_are_a_fault_that_names_them() -> None:
    plan = make_plan([NodeWish("node2", firewall="ufw")], [container(NODE2, "10.213.0.12")])
    assert plan.faults == [
        "node2 was made with other settings (ssh_port is 2222, asked for 22):"
        " take the nodes down first, then bring them up again"
    ]


def test_the_login_user_may_change() -> None:
    wish = NodeWish("node2", ssh_port=2222, firewall="ufw", user="trainer")
    assert not make_plan([wish], [container(NODE2, "10.213.0.12")]).faults


def test_routes_are_read_without_the_default_one() -> None:
    assert read_routes(ROUTES) == ["172.17.0.0/16", "192.0.2.0/24"]


def test_subnets_of_docker_networks_are_read() -> None:
    text = json.dumps(
        [
            {"IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}, {"Subnet": "fd00:1::/64"}]}},
            {"IPAM": {"Config": None}},
        ]
    )
    assert read_subnets(text) == ["172.17.0.0/16"]


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 32)), max_size=8))
def test_a_free_subnet_overlaps_with_nothing(taken: list[tuple[int, int]]) -> None:
    networks = [ipaddress.ip_network((number, length), strict=False) for number, length in taken]
    for subnet in itertools.islice(free_subnets(str(network) for network in networks), 3):
        found = ipaddress.ip_network(subnet)
        assert found.is_private
        assert not any(found.overlaps(network) for network in networks)


def test_no_subnet_is_free_when_everything_is_routed() -> None:
    assert list(free_subnets(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"])) == []


@pytest.mark.parametrize(
    ("count", "present", "names"),
    [
        (0, [], ["node1", "node2", "node3"]),
        (0, ["node1", "node4", "node12", "other"], ["node1", "node2", "node3", "node4", "node12"]),
        (2, ["node4"], ["node1", "node2"]),
        (5, [], ["node1", "node2", "node3", "node4", "node5"]),
    ],
)
def test_the_number_of_nodes(count: int, present: list[str], names: list[str]) -> None:
    listed = [{"name": "node1"}, {"name": "node2"}, {"name": "node3"}]
    assert [node.name for node in wished_nodes(listed, {}, count, present)] == names


def test_what_holds_for_all_holds_for_added_nodes_and_yields_to_the_node() -> None:
    listed = [{"name": "a", "user": "root", "ssh_port": None}, {"name": "b", "user": None}]
    wish = wished_nodes(listed, {"user": "trainer", "ssh_port": 2200, "firewall": None}, 3, [])
    assert [(node.name, node.user, node.ssh_port, node.firewall) for node in wish] == [
        ("a", "root", 2200, "none"),
        ("b", "trainer", 2200, "none"),
        ("node1", "trainer", 2200, "none"),
    ]


def test_an_isolated_node_gets_no_resolver_and_its_first_process_is_told() -> None:
    argv = create_argv("x", NodeWish("a", isolated=True), "10.213.0.11", "image:1", apparmor=True)
    assert argv[-2:] == ["image:1", "/usr/local/sbin/trainmesh-node-init"]
    assert "TRAINMESH_NODE_ISOLATED=1" in argv
    assert argv[argv.index("--dns") + 1] == "127.0.0.1"
    assert "apparmor=unconfined" in argv
    assert "TRAINMESH_NODE_BIND_MOUNTS=1" not in argv


def test_known_hosts_names_the_port_unless_it_is_22() -> None:
    keys = ["ssh-ed25519 AAAA root@localhost", "not-a-key"]
    assert known_hosts("10.0.0.1", 22, keys) == ["10.0.0.1 ssh-ed25519 AAAA"]
    assert known_hosts("10.0.0.1", 2222, keys) == ["[10.0.0.1]:2222 ssh-ed25519 AAAA"]


def test_each_node_may_run_another_release_and_yields_to_the_default_otherwise() -> None:
    listed = [{"name": "a", "base": "debian:11"}, {"name": "b", "base": None}, {"name": "c"}]
    wish = wished_nodes(listed, {"base": "debian:13"}, 4, [])
    assert [node.base for node in wish] == ["debian:11", "debian:13", "debian:13", "debian:13"]


def test_another_base_is_a_fault_that_names_it() -> None:
    had, wish = container(NodeWish("a"), "10.213.0.11"), NodeWish("a", base="debian:13")
    assert "base is the default, asked for debian:13" in make_plan([wish], [had]).faults[0]
    had = container(wish, "10.213.0.11")
    assert "base is debian:13, asked for the default" in make_plan([NodeWish("a")], [had]).faults[0]


def test_nodes_made_before_there_was_a_choice_are_still_what_is_asked_for() -> None:
    label = '{"bind_mounts": false, "extra_interface": false, "firewall": "ufw", "isolated": false, "ssh_port": 2222}'
    have = read_nodes(inspected(NODE2, "10.213.0.12", running=True, label=label), "trainmesh-x")
    assert not changes(make_plan([NODE2], have))
    assert make_plan([NODE2], have).faults == []


@pytest.mark.parametrize("label", ["", "null", "no JSON", "[1]", "3"])
def test_a_node_of_which_nothing_is_known_is_a_fault(label: str) -> None:
    have = read_nodes(inspected(NODE2, "10.213.0.12", running=True, label=label), "trainmesh-x")
    assert "ssh_port is unknown, asked for 2222" in make_plan([NODE2], have).faults[0]


SSHD = NodeWish("a", init="sshd", ssh_port=2222)


def test_a_container_with_sshd_gets_no_more_than_docker_gives_by_itself() -> None:
    argv = create_argv("x", SSHD, "10.213.0.11", "image:1", apparmor=True)
    for flag in ("--cap-add", "--security-opt", "--tmpfs", "--shm-size", "--cgroupns=private", "--privileged"):
        assert flag not in argv
    assert argv[-4:-1] == ["image:1", "sh", "-c"]
    assert argv[-1].endswith("exec /usr/sbin/sshd -D -p 2222")
    assert argv[argv.index("--hostname") + 1] == "a"


@pytest.mark.parametrize("init", ["systemd", "sshd"])
def test_the_host_name_may_be_given(init: str) -> None:
    argv = create_argv("x", NodeWish("a", init=init, hostname="3f2a91"), "10.213.0.11", "image:1", apparmor=False)
    assert argv[argv.index("--hostname") + 1] == "3f2a91"
    assert argv.count("--hostname") == 1


def test_a_machine_is_found_with_a_useless_name() -> None:
    argv = create_argv("x", NodeWish("a"), "10.213.0.11", "image:1", apparmor=False)
    assert argv[argv.index("--hostname") + 1] == "localhost.localdomain"


@pytest.mark.parametrize(
    ("wish", "kind"),
    [
        (NodeWish("a"), ""),
        (NodeWish("a", base="debian:13"), "debian:13"),
        (NodeWish("a", init="sshd"), "+sshd"),
        (NodeWish("a", init="sshd", base="debian:13"), "debian:13+sshd"),
    ],
)
def test_what_starts_is_part_of_the_kind_of_image(wish: NodeWish, kind: str) -> None:
    assert wish.image == kind


@pytest.mark.parametrize(
    ("wish", "word"),
    [
        (NodeWish("a", init="sshd", firewall="ufw"), "firewall: ufw"),
        (NodeWish("a", init="sshd", isolated=True), "isolated: true"),
        (NodeWish("a", init="sshd", user="trainer"), "user: trainer"),
    ],
)
def test_what_a_container_with_sshd_cannot_have_is_refused(wish: NodeWish, word: str) -> None:
    assert word in make_plan([wish], []).faults[0]
    machine = NodeWish("a", firewall=wish.firewall, isolated=wish.isolated, user=wish.user)
    assert make_plan([machine], []).faults == []


def test_another_init_is_a_fault_that_names_both() -> None:
    had = container(NodeWish("a", ssh_port=2222), "10.213.0.11")
    assert "init is systemd, asked for sshd" in make_plan([SSHD], [had]).faults[0]
