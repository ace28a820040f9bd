# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces, routes and the netlink messages they come from."""

from __future__ import annotations

import socket
import struct
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import interfaces as net
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import netlink

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth1\t00000000\t0100000A\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth2\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
ZEROS = "0" * 32
ROUTES6 = f"""{"fd" + "0" * 30} 40 {ZEROS} 00 {ZEROS} 00000100 00000001 00000000 00000001 eth0
{ZEROS} 00 {ZEROS} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0
{ZEROS} 00 {ZEROS} 00 {ZEROS} ffffffff 00000001 00000000 00200200       lo
"""


def attribute(kind: int, value: bytes) -> bytes:
    raw = struct.pack("=HH", 4 + len(value), kind) + value
    return raw + bytes(-len(raw) % 4)


def message(kind: int, payload: bytes) -> bytes:
    raw = struct.pack("=IHHII", 16 + len(payload), kind, 2, 1, 0) + payload
    return raw + bytes(-len(raw) % 4)


def link(number: int, name: str, hardware: int = 1, flags: int = 1, info: str = "", state: int = 6) -> bytes:
    body = struct.pack("=BxHiII", 0, hardware, number, flags, 0)
    body += attribute(3, name.encode() + b"\0") + attribute(4, struct.pack("=I", 9000)) + attribute(16, bytes([state]))
    body += attribute(1, bytes.fromhex("0242ac110002")) + attribute(33, b"\1")
    if info:
        body += attribute(18 | 0x8000, attribute(1, info.encode() + b"\0"))
    return message(netlink.RTM_NEWLINK, body)


def address(number: int, text: str, prefix: int, scope: int = 0) -> bytes:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    raw = socket.inet_pton(family, text)
    body = struct.pack("=BBBBI", family, prefix, 0, scope, number) + attribute(1, raw)
    if family == socket.AF_INET:
        body = struct.pack("=BBBBI", family, prefix, 0, scope, number) + attribute(1, bytes(4)) + attribute(2, raw)
    return message(netlink.RTM_NEWADDR, body)


LINKS = (
    link(1, "lo", hardware=772) + link(2, "eth0") + link(3, "bond0", info="bond") + link(4, "eth9", flags=0, state=2)
)
ADDRESSES = (
    address(1, "127.0.0.1", 8, 254)
    + address(2, "10.0.0.7", 24)
    + address(2, "fe80::1", 64, 253)
    + address(3, "10.9.0.7", 16)
    + address(4, "10.9.0.7", 16)
)


def interfaces(tmp_path: Path, rdma_of: dict[str, str] | None = None) -> list[dict[str, t.Any]]:
    links, addresses = netlink.parse_links([LINKS]), netlink.parse_addresses([ADDRESSES])
    return net.interfaces(links, addresses, Tree(str(tmp_path)), rdma_of or {})


def sysfs(root: Path, name: str, files: dict[str, str]) -> None:
    for path, content in files.items():
        place = root / "sys/class/net" / name / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)


def test_interfaces_carry_what_the_kernel_says_of_them(tmp_path: Path) -> None:
    sysfs(tmp_path, "eth0", {"speed": "25000\n", "device/numa_node": "1\n"})
    sysfs(tmp_path, "bond0", {"speed": "50000\n"})
    by_name = {item["name"]: item for item in interfaces(tmp_path, {"eth0": "mlx5_0"})}
    eth0 = by_name["eth0"]
    assert (eth0["kind"], eth0["speed_mbps"], eth0["numa_node"], eth0["mtu"]) == ("physical", 25000, 1, 9000)
    assert (eth0["rdma_device"], eth0["state"], eth0["carrier"]) == ("mlx5_0", "up", True)
    assert eth0["mac"] == "02:42:ac:11:00:02"
    assert eth0["addresses"][0] == {"address": "10.0.0.7", "prefix": 24, "family": "ipv4", "scope": "global"}
    assert eth0["addresses"][1]["family"] == "ipv6"
    assert (by_name["bond0"]["kind"], by_name["bond0"]["speed_mbps"]) == ("bond", 50000)
    assert (by_name["lo"]["kind"], by_name["lo"]["speed_mbps"]) == ("loopback", None)
    assert (by_name["eth9"]["kind"], by_name["eth9"]["carrier"]) == ("virtual", None)


def test_interfaces_count_what_went_wrong_on_them(tmp_path: Path) -> None:
    sysfs(tmp_path, "eth0", {"carrier_changes": "7\n", "statistics/rx_errors": "12\n"})
    sysfs(tmp_path, "bond0", {"carrier_changes": "many\n", "statistics/rx_errors": "\xff"})
    by_name = {item["name"]: (item["carrier_changes"], item["rx_errors"]) for item in interfaces(tmp_path)}
    assert by_name == {"lo": (None, None), "eth0": (7, 12), "bond0": (None, None), "eth9": (None, None)}


@pytest.mark.parametrize("speed", ["-1\n", "0\n", "4294967295\n", "Unknown!\n", ""])
def test_a_speed_that_the_driver_does_not_know_is_null(tmp_path: Path, speed: str) -> None:
    sysfs(tmp_path, "eth0", {"speed": speed, "device/numa_node": "-1\n"})
    eth0 = interfaces(tmp_path)[1]
    assert (eth0["speed_mbps"], eth0["numa_node"]) == (None, None)


def test_the_holder_of_an_address_is_an_interface_that_is_up(tmp_path: Path) -> None:
    found = interfaces(tmp_path)
    assert net.holder("10.9.0.7", found) == "bond0"
    assert net.holder("fe80::1%eth0", found) == "eth0"
    assert net.holder("127.0.1.1", found) == "lo"
    assert net.holder("192.168.9.9", found) is None
    assert net.holder(None, found) is None


@pytest.mark.parametrize(
    ("every", "own", "strict"),
    [("0", "1", True), ("1", "0", True), ("1", "2", False), ("0", "0", False), ("", "", False)],
)
def test_a_strict_reverse_path_filter(tmp_path: Path, every: str, own: str, strict: bool) -> None:
    for name, text in (("all", every), ("eth0", own)):
        place = tmp_path / f"proc/sys/net/ipv4/conf/{name}"
        place.mkdir(parents=True)
        (place / "rp_filter").write_text(text)
    found = [
        {"name": "eth0", "kind": "physical", "addresses": [{"address": "10.0.0.11"}]},
        {"name": "lo", "kind": "loopback", "addresses": [{"address": "127.0.0.1"}]},
    ]
    assert net.strict_reverse_path(Tree(str(tmp_path)), found) == ["eth0"] * strict


def test_rules_of_routing_beside_the_usual_ones() -> None:
    def rules(*families: int) -> list[bytes]:
        return [
            struct.pack("=IHHII", 28, netlink.RTM_NEWRULE, 0, 1, 0) + bytes([family, *[0] * 11]) for family in families
        ]

    assert not netlink.has_policy_routing([b"".join(rules(2, 2, 2, 10, 10, 10))])
    assert netlink.has_policy_routing(rules(2, 2, 2, 2))
    assert not netlink.has_policy_routing([b"", b"\x01"])
    assert netlink.has_policy_routing(netlink.dump(netlink.RTM_GETRULE)) in (True, False)


def test_rules_by_source() -> None:
    def by_source(size: int, *parts: bytes) -> bytes:
        return message(netlink.RTM_NEWRULE, bytes([socket.AF_INET, 0, size, 0, 0, 0, 0, 1, *[0] * 4]) + b"".join(parts))

    own, other = attribute(netlink.FRA_SRC, bytes([10, 0, 5, 15])), attribute(15, struct.pack("=I", 100))
    assert netlink.source_rules([by_source(32, own, other) + by_source(0, other), by_source(24, own)]) == [
        "10.0.5.15/32",
        "10.0.5.15/24",
    ]
    assert netlink.source_rules([by_source(32), by_source(33, own), b"\x00"]) == []


def test_the_default_route_with_the_lowest_metric_is_taken() -> None:
    assert net.parse_ipv4_default(ROUTES) == ("eth0", "192.0.2.1")
    assert net.parse_ipv6_default(ROUTES6) == ("eth0", "fe80::1")
    assert net.parse_ipv4_default("") is None


def test_the_default_route_names_an_address_of_its_own_interface(tmp_path: Path) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/route").write_text(ROUTES)
    found = net.default_route(Tree(str(tmp_path)), interfaces(tmp_path))
    assert found == {"interface": "eth0", "gateway": "192.0.2.1", "address": "10.0.0.7"}
    assert net.default_route(Tree(str(tmp_path / "nowhere")), []) is None


def test_a_peer_on_this_node_is_reached_from_its_own_address() -> None:
    found = [{"name": "lo", "kind": "loopback", "up": True, "addresses": [{"address": "127.0.0.1"}]}]
    route = net.route_to("self", "127.0.0.1", None, found)
    assert route == {
        "address": "127.0.0.1",
        "interface": "lo",
        "source": "127.0.0.1",
        "reachable": True,
        "error": None,
    }


@pytest.mark.parametrize("text", ["not an address", "10.0.0.1.2", "fe80::1%nosuch0", "", "\N{SNOWMAN}", "a" * 300])
def test_a_peer_that_is_no_address_is_unreachable_with_a_reason(text: str) -> None:
    route = net.route_to("peer", text, None, [])
    assert route["reachable"] is False
    assert route["error"]


def test_a_peer_without_an_address_keeps_the_resolvers_reason() -> None:
    assert net.route_to("peer", None, "Name or service not known", [])["error"] == "Name or service not known"


def neighbour(index: int, state: int, address: str, hardware: bytes) -> bytes:
    raw = socket.inet_aton(address)
    body = struct.pack("=BxxxiHBB", socket.AF_INET, index, state, 0, 0)
    body += struct.pack("=HH", 4 + len(raw), 1) + raw
    body += struct.pack("=HH", 4 + len(hardware), 2) + hardware + b"\0" * (-len(hardware) % 4)
    return message(netlink.RTM_NEWNEIGH, body)


def test_neighbours_by_their_hardware_address() -> None:
    own, other, every = (bytes([2, 0, 0, 0, 0, last]) for last in (1, 2, 9))
    data = neighbour(2, 0x02, "10.0.0.12", own) + neighbour(2, 0x04, "10.0.0.13", other)
    data += neighbour(2, 0x20, "10.0.0.14", own)  # one that did not answer
    data += neighbour(2, 0x02, "10.0.0.15", every) + neighbour(2, 0x02, "10.0.0.16", every)  # a cloud answers for all
    assert netlink.parse_neighbours([data, b"\1"]) == {"10.0.0.12": own.hex(":"), "10.0.0.13": other.hex(":")}


@pytest.mark.parametrize("attached", [0, 1, 2])
def test_a_program_of_xdp(attached: int) -> None:
    nested = struct.pack("=HHBxxx", 5, 2, attached)
    body = struct.pack("=BxHiII", 0, 1, 4, 1, 0) + struct.pack("=HH5sxxx", 9, 3, b"eth0\0")
    body += struct.pack("=HH", 4 + len(nested), 43) + nested
    assert [each.xdp for each in netlink.parse_links([message(netlink.RTM_NEWLINK, body)])] == [bool(attached)]


def test_the_interface_by_which_a_packet_leaves() -> None:
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 32, 0, 0, 0, 0, 0, 0) + struct.pack("=HHi", 8, 4, 7)
    assert netlink.parse_way_out(message(netlink.RTM_NEWROUTE, body)) == 7
    assert netlink.parse_way_out(message(netlink.NLMSG_ERROR, b"\0" * 20)) is None
    assert net.leaves_by("127.0.0.1", "127.0.0.1") == "lo"
    assert net.leaves_by("127.0.0.1", "no address") is None


def test_a_route_says_where_packets_leave_only_where_it_is_another_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [{"name": "eth0", "kind": "physical", "up": True, "addresses": [{"address": "10.0.0.12"}]}]
    monkeypatch.setattr(net, "source_to", lambda address: "10.0.0.12")
    for name, told in (("eth0", None), ("eth1", "eth1"), (None, None)):
        monkeypatch.setattr(net, "leaves_by", lambda address, source, name=name: name)
        assert net.route_to("n", "10.0.0.11", None, found).get("leaves_by") == told


def test_a_bond_and_its_ports(tmp_path: Path) -> None:
    for name, text in {
        "bond0/bonding/mode": "802.3ad 4\n",
        "bond0/bonding/slaves": "eno1 eno2\n",
        "bond0/bonding/ad_partner_mac": "00:00:00:00:00:00\n",
        "eno1/bonding_slave/mii_status": "up\n",
        "eno1/bonding_slave/ad_aggregator_id": "1\n",
        "eno2/bonding_slave/mii_status": "down\n",
    }.items():
        path = tmp_path / "sys/class/net" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    ports = [{"name": "eno1", "up": True, "aggregator": 1}, {"name": "eno2", "up": False, "aggregator": None}]
    assert net.bond(Tree(str(tmp_path)), "bond0") == {"mode": "802.3ad", "partner": "00:00:00:00:00:00", "ports": ports}
    assert net.bond(Tree(str(tmp_path)), "bond1") == {"mode": None, "partner": None, "ports": []}


def test_the_live_kernel_lists_a_loopback_interface() -> None:
    links = netlink.parse_links(netlink.dump(netlink.RTM_GETLINK))
    assert any(each.type == "loopback" for each in links)
    netlink.parse_addresses(netlink.dump(netlink.RTM_GETADDR))


@settings(max_examples=150, deadline=None, database=None)
@given(st.binary(max_size=300))
def test_random_netlink_messages_never_raise(data: bytes) -> None:
    wrapped = message(netlink.RTM_NEWLINK, data) + message(netlink.RTM_NEWADDR, data) + data
    wrapped += message(netlink.RTM_NEWNEIGH, data) + message(netlink.RTM_NEWROUTE, data)
    netlink.parse_links([wrapped])
    netlink.parse_addresses([wrapped])
    netlink.parse_neighbours([wrapped])
    netlink.parse_way_out(wrapped)


@settings(max_examples=100, deadline=None, database=None)
@given(st.integers(0, len(LINKS)), st.integers(0, len(LINKS) - 1), st.integers(0, 255))
def test_cut_and_overwritten_netlink_messages_never_raise(cut: int, at: int, value: int) -> None:
    data = bytearray(LINKS)
    data[at] = value
    netlink.parse_links([bytes(data[:cut])])
    data = bytearray(ADDRESSES)
    data[at % len(data)] = value
    netlink.parse_addresses([bytes(data[:cut])])


@settings(max_examples=100, deadline=None, database=None)
@given(st.text(max_size=300), st.integers(0, len(ROUTES)))
def test_damaged_route_tables_never_raise(text: str, cut: int) -> None:
    for sample in (text, ROUTES[:cut] + text, ROUTES6[:cut] + text):
        net.parse_ipv4_default(sample)
        net.parse_ipv6_default(sample)


TABLE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100D50A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000D50A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
*\t0C00D50A\t00000000\t0205\t0\t0\t0\tFFFFFFFF\t0\t0\t0
*\t0001D50A\t00000000\t0201\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.213.0.12", "10.213.0.12/32"),
        ("10.213.0.13", None),
        ("10.213.1.9", "10.213.1.0/24"),
        ("192.0.2.1", None),
        ("fd00::1", None),
    ],
)
def test_the_entry_of_the_routing_table_that_refuses(address: str, network: str | None) -> None:
    assert net.refusing_entry(TABLE, address) == network
    assert net.refusing_entry("", address) is None
