# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data address of each node, by what its interfaces and routes are."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import addresses, nodes
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.nodes import Host


def card(name: str, *held: str, kind: str = "physical", **more: t.Any) -> dict[str, t.Any]:
    """An interface with addresses such as 10.0.0.1/24."""
    rows = []
    for text in held:
        address, _slash, prefix = text.partition("/")
        local = address.startswith(("169.254.", "fe80"))
        scope = "link" if local else "host" if kind == "loopback" else "global"
        rows.append({"address": address, "prefix": int(prefix), "scope": scope})
    return {"name": name, "kind": kind, "master": None, "driver": None, "speed_mbps": None, "addresses": rows, **more}


def host(name: str, *cards: dict[str, t.Any], source: str = "", ansible_host: str = "", **wish: t.Any) -> Host:
    """``source`` is that of the route to a peer, and None of it where there is no such route."""
    routes = {"192.0.2.99": {"address": "192.0.2.99", "source": source, "interface": None}} if source else {}
    lo = card("lo", "127.0.0.1/8", kind="loopback")
    return Host(name, wish, ansible_host, 22, {"interfaces": [lo, *cards], "routes": routes}, {}, {})


@pytest.mark.parametrize(
    "other",
    [
        card("docker0", "172.17.0.1/16", kind="bridge"),
        card("virbr0", "192.168.122.1/24", kind="bridge"),
        card("br-5f3a", "172.18.0.1/16", kind="bridge"),
        card("usb0", "172.31.0.2/24", driver="cdc_ether"),
        card("enxbe3af2b6059f", "169.254.3.1/24", driver="rndis_host"),
        card("idrac", "169.254.1.2/24"),
        card("dummy0", "10.9.9.9/24", kind="dummy"),
    ],
)
def test_what_leads_to_no_node_is_never_taken(other: dict[str, t.Any]) -> None:
    address = other["addresses"][0]["address"]
    good = card("eth0", "10.0.0.11/24")
    assert addresses.of_host(host("gpu1", other, good, source=address)) == "10.0.0.11"
    assert addresses.of_host(host("gpu1", other, good)) == "10.0.0.11"


def test_a_bridge_with_a_card_in_it_is_the_hosts_own_network() -> None:
    cards = (card("eno1", master="br0"), card("br0", "10.0.0.11/24", kind="bridge"))
    assert addresses.of_host(host("gpu1", *cards, source="10.0.0.11")) == "10.0.0.11"


def test_the_route_to_the_peers_decides_else_the_login() -> None:
    cards = (card("eno1", "192.168.1.11/24"), card("eno2", "10.0.0.11/24"))
    one = host("gpu1", *cards, source="10.0.0.11")
    assert addresses.of_host(one) == "10.0.0.11"
    login = {"ssh_session": {"server_address": "10.0.0.11"}, "routes": {}}
    assert addresses.of_host(one._replace(fabric={**one.fabric, **login})) == "10.0.0.11"
    assert addresses.of_host(host("gpu1", *cards, source="127.0.0.1")) == "192.168.1.11"
    assert addresses.of_host(host("gpu1", *cards, source="10.0.0.11", address="192.0.2.1")) == "192.0.2.1"
    assert addresses.of_host(host("gpu1")) == ""


def behind_nat(number: int, *more: dict[str, t.Any]) -> Host:
    """A virtual machine with the address that its hypervisor gives to each of them, by which ssh came in."""
    one = host(f"gpu{number}", card("eth0", "10.0.2.15/24"), *more, source="10.0.2.15", ansible_host="127.0.0.1")
    return one._replace(fabric={**one.fabric, "ssh_session": {"server_address": "10.0.2.15"}})


def test_an_address_that_each_host_has_leads_to_none_of_them() -> None:
    hosts = [behind_nat(number, card("eth1", f"192.168.56.{number}/24")) for number in (11, 12)]
    found = addresses.choose(hosts)
    assert found.addresses == {"gpu11": "192.168.56.11", "gpu12": "192.168.56.12"}
    assert len(found.warnings) == 1 and "gpu11, gpu12: each of them has 10.0.2.15" in found.warnings[0]


def test_where_there_is_no_other_address_the_shared_one_stays_for_the_plan_to_refuse() -> None:
    assert addresses.choose([behind_nat(1), behind_nat(2)]) == ({"gpu1": "10.0.2.15", "gpu2": "10.0.2.15"}, [])


def test_a_shared_address_that_nobody_would_take_is_not_told() -> None:
    shared = card("vmnet8", "192.168.77.1/24", kind="virtual")
    hosts = [
        host(f"gpu{number}", shared, card("eth0", f"10.0.0.{number}/24"), source=f"10.0.0.{number}")
        for number in (1, 2)
    ]
    assert addresses.choose(hosts) == ({"gpu1": "10.0.0.1", "gpu2": "10.0.0.2"}, [])


def two_cards(name: str, number: int, source: str, fast: int | None = 10000, slow: int | None = 1000) -> Host:
    cards = (
        card("eno1", f"10.0.3.{number}/20", speed_mbps=slow),
        card("enp37s0f0", f"10.0.5.{number}/20", speed_mbps=fast),
    )
    return host(name, *cards, source=source, ansible_host=f"10.0.3.{number}")


def test_two_cards_that_rules_by_source_keep_apart_are_not_told() -> None:
    hosts = [two_cards(f"gpu{number}", number, f"10.0.5.{number}") for number in (1, 2)]
    ruled = [
        one._replace(fabric={**one.fabric, "source_rules": [f"10.0.3.{at}/32"]}) for at, one in enumerate(hosts, 1)
    ]
    assert addresses.choose(ruled) == ({"gpu1": "10.0.5.1", "gpu2": "10.0.5.2"}, [])
    wide = [one._replace(fabric={**one.fabric, "source_rules": ["10.0.0.0/20"]}) for one in hosts]
    assert len(addresses.choose(wide).warnings) == 2


def test_of_two_cards_in_one_subnet_the_fast_one_is_taken_everywhere_and_told() -> None:
    found = addresses.choose([two_cards("gpu1", 15, "10.0.5.15"), two_cards("gpu2", 12, "10.0.3.12")])
    assert found.addresses == {"gpu1": "10.0.5.15", "gpu2": "10.0.5.12"}
    assert len(found.warnings) == 2 and "eno1 and enp37s0f0 are both in 10.0.0.0/20" in found.warnings[0]


def test_without_known_speeds_the_address_of_the_inventory_is_taken() -> None:
    hosts = [two_cards("gpu1", 15, "10.0.5.15", None), two_cards("gpu2", 12, "10.0.3.12", None)]
    assert addresses.choose(hosts).addresses == {"gpu1": "10.0.3.15", "gpu2": "10.0.3.12"}


def test_what_the_user_asks_for_stays() -> None:
    one = two_cards("gpu1", 15, "10.0.5.15")
    asked = one._replace(wish={"address": "10.0.3.15"})
    by_name = one._replace(wish={"interface": "eno1"})
    for each in (asked, by_name):
        assert addresses.choose([each, two_cards("gpu2", 12, "10.0.3.12")]).addresses["gpu1"] == "10.0.3.15"


def test_all_nodes_get_one_network_where_one_of_theirs_is_common() -> None:
    hosts = [
        host("gpu1", card("eno1", "192.168.1.11/24"), card("ib0", "10.0.0.11/24"), source="10.0.0.11"),
        host("gpu2", card("eno1", "192.168.1.12/24"), card("ib0", "10.0.0.12/24"), source="192.168.1.12"),
        host("gpu3", card("ib0", "10.0.0.13/24"), source="10.0.0.13"),
    ]
    found = addresses.choose(hosts)
    assert found.addresses == {"gpu1": "10.0.0.11", "gpu2": "10.0.0.12", "gpu3": "10.0.0.13"}
    assert found.warnings == []


def test_networks_that_only_some_have_or_in_which_two_are_the_same_change_nothing() -> None:
    apart = [
        host("gpu1", card("eno1", "198.51.100.11/24"), card("vpn", "10.8.0.1/24"), source="198.51.100.11"),
        host("gpu2", card("eno1", "203.0.113.12/24"), card("vpn", "10.8.0.1/24"), source="203.0.113.12"),
    ]
    assert addresses.choose(apart).addresses == {"gpu1": "198.51.100.11", "gpu2": "203.0.113.12"}
    private = [
        host("gpu1", card("eno1", "198.51.100.11/24"), card("lan", "10.0.0.1/24"), source="198.51.100.11"),
        host("gpu2", card("eno1", "203.0.113.12/24"), card("lan", "10.0.0.2/24"), source="203.0.113.12"),
    ]
    assert addresses.choose(private).addresses == {"gpu1": "198.51.100.11", "gpu2": "203.0.113.12"}


def test_two_addresses_of_one_card_are_no_two_cards() -> None:
    one = host("gpu1", card("eth0", "10.0.0.11/24", "10.0.0.111/24"), source="10.0.0.11")
    found = addresses.choose([one, host("gpu2", card("eth0", "10.0.0.12/24"), source="10.0.0.12")])
    assert found.addresses == {"gpu1": "10.0.0.11", "gpu2": "10.0.0.12"} and found.warnings == []


@pytest.mark.parametrize(
    ("system", "tools", "refused"),
    [
        ({"id": "rocky", "id_like": "rhel centos fedora", "version_id": "8.10"}, {"pdsh": None, "rsync": None}, True),
        (
            {"id": "almalinux", "id_like": "rhel", "version_id": "8.9"},
            {"pdsh": {"path": "x"}, "rsync": {"path": "y"}},
            False,
        ),
        ({"id": "rocky", "id_like": "rhel", "version_id": "9.4"}, {"pdsh": None, "rsync": None}, False),
        ({"id": "debian", "id_like": None, "version_id": "8"}, {"pdsh": None, "rsync": None}, False),
        ({"id": "rocky", "id_like": "rhel", "version_id": "8.10"}, None, False),
    ],
)
def test_packages_that_ansible_can_not_install(system: t.Any, tools: t.Any, refused: bool) -> None:
    one = host("gpu1", card("eth0", "10.0.0.11/24"))
    found = nodes.package_faults(one._replace(fabric={**one.fabric, "os": system}, stack={"tools": tools}))
    assert bool(found) is refused
    assert all("dnf install pdsh rsync by hand" in fault.text for fault in found)


@pytest.mark.parametrize(
    ("needs", "foreign", "refused"),
    [(["manage_etc_hosts: false"], True, True), ([], True, False), (["manage_etc_hosts: false"], False, False)],
)
def test_a_drop_in_of_others_in_the_place_of_ours(needs: list[str], foreign: bool, refused: bool) -> None:
    one, told = host("gpu1", card("eth0", "10.0.0.11/24")), {"needs": needs, "foreign": foreign}
    found = nodes.cloud_init_faults(one._replace(fabric={**one.fabric, "cloud_init": told}))
    assert bool(found) is refused and all("99-trainmesh.cfg: expected no file, or ours" in each.text for each in found)
    assert nodes.cloud_init_faults(one._replace(fabric={**one.fabric, "cloud_init": None})) == []
