# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of RDMA devices: sysfs, ibstat, ibstatus and ibv_devinfo, against recordings and damage."""

from __future__ import annotations

import json
import os
import random
import typing as t
from pathlib import Path

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import rdma
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import rdma_parse as text

FIXTURES = Path(os.environ.get("TRAINMESH_FIXTURES") or Path(__file__).resolve().parents[5].parent / "shared/fixtures")
IBSTATUS = """Infiniband device 'mlx5_0' port 1 status:
\tdefault gid:\t fe80:0000:0000:0000:506b:4b03:00f5:ce9c
\tbase lid:\t 0xf
\tsm lid:\t\t 0x1
\tstate:\t\t 4: ACTIVE
\tphys state:\t 5: LinkUp
\trate:\t\t 100 Gb/sec (4X EDR)
\tlink_layer:\t InfiniBand

Infiniband device 'mlx5_1' port 2 status:
\tdefault gid:\t fe80:0000:0000:0000:1e34:daff:fe5a:1fec
\tbase lid:\t 0x0
\tsm lid:\t\t 0x0
\tstate:\t\t 1: DOWN
\tphys state:\t 3: Disabled
\trate:\t\t 2.5 Gb/sec (1X SDR)
\tlink_layer:\t Ethernet
"""
VERBS = """hca_id: mlx5_0
        transport:                      InfiniBand (0)
        fw_ver:                         28.40.1000
        node_guid:                      c470:bd03:00cf:4964
        board_id:                       MT_0000000838
        phys_port_cnt:                  1
                port:   1
                        state:                  PORT_INIT (2)
                        max_mtu:                4096 (5)
                        active_mtu:             4096 (5)
                        sm_lid:                 48
                        port_lid:               48
                        link_layer:             InfiniBand
                        phys_state:             LINK_UP (5)
                        GID[  0]:               fe80:0000:0000:0000:c470:bd03:00cf:4964
                        GID[  3]:               ::ffff:10.1.2.3, RoCE v2
"""
IBSTAT_PANIC = """CA 'mlx5_0'
\tCA type: MT4129
\tNumber of ports: 2
\tPort 1:
\t\tState: Initializing
\t\tPhysical state: LinkUp
\t\tRate: 400
\tPort 2:
\t\tState: Down
\t\tPhysical state: Polling
\t\tRate: 10
ibpanic: [1234] main: stat of IB device 'mlx5_8' failed: No such device
"""


def expected() -> dict[str, t.Any]:
    path = FIXTURES / "EXPECTED.json"
    if not path.exists():
        pytest.skip(f"no recordings at {FIXTURES}; TRAINMESH_FIXTURES names another place")
    return t.cast("dict[str, t.Any]", json.loads(path.read_text("utf-8")))


def recordings(folder: str) -> list[Path]:
    return sorted((FIXTURES / folder).glob("*")) if FIXTURES.exists() else []


def number(rate: str) -> float:
    return float(rate.split(" ", 1)[0])


@pytest.mark.parametrize("path", recordings("ibstat"), ids=lambda path: path.name)
def test_ibstat_recordings_give_every_expected_value(path: Path) -> None:
    wanted = expected()["ibstat"].get(path.name)
    if wanted is None:
        pytest.skip(f"{path.name} has no expected values")
    found = text.parse(path.read_text("utf-8", "replace"))
    assert len(found) == wanted["count"]
    for device, want in zip(found, wanted["cas"]):
        port = device["ports"][0]
        assert (device["name"], device["hca_type"], device["fw_ver"]) == (want["ca"], want["type"], want["fw"])
        assert (port["state"], port["phys_state"]) == (want["state"].upper(), want["physical"])
        assert (port["rate_gbps"], port["link_layer"]) == (number(want["rate"]), want["link_layer"])


@pytest.mark.parametrize("path", recordings("ibv_devinfo"), ids=lambda path: path.name)
def test_ibv_devinfo_recordings_give_every_expected_value(path: Path) -> None:
    wanted = expected()["ibv_devinfo"].get(path.name)
    if wanted is None:
        pytest.skip(f"{path.name} has no expected values")
    (device,) = text.parse(path.read_text("utf-8", "replace"))
    port = device["ports"][0]
    assert (device["name"], device["fw_ver"]) == (wanted["hca"], wanted["fw"])
    assert f"PORT_{port['state']}" == wanted["state"]
    assert (port["active_mtu"], port["max_mtu"]) == (wanted["active_mtu"], wanted["max_mtu"])
    assert port["link_layer"] == wanted["link_layer"]


def test_recorded_sysfs_gives_every_expected_value() -> None:
    wanted = expected()["sysfs_infiniband/h100"]
    found = {each["name"]: each for each in rdma.sysfs_devices(Tree(str(FIXTURES)), "/sysfs_infiniband/h100")}
    assert sorted(found) == sorted(wanted)
    for name, want in wanted.items():
        device, port = found[name], found[name]["ports"][0]
        assert (device["board_id"], device["fw_ver"]) == (want["board_id"], want["fw_ver"])
        assert want["state"].endswith(": " + port["state"])
        assert want["phys_state"].endswith(": " + port["phys_state"])
        assert (port["rate"], port["rate_gbps"]) == (want["rate"], number(want["rate"]))
        assert port["link_layer"] == want["link_layer"]
        assert port["counters"]["link_downed"] == int(want["link_downed"])


def test_sysfs_devices_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("mlx5_10", "mlx5_2", "mlx5_bond_0"):
        (tmp_path / "sys/class/infiniband" / name).mkdir(parents=True)
    assert [each["name"] for each in rdma.sysfs_devices(Tree(str(tmp_path)))] == ["mlx5_2", "mlx5_10", "mlx5_bond_0"]


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def test_gids_name_their_type_and_interface_and_tie_the_device_to_it(tmp_path: Path) -> None:
    port = "sys/class/infiniband/mlx5_0/ports/1"
    write(
        tmp_path,
        {
            f"{port}/state": "4: ACTIVE\n",
            f"{port}/lid": "0x2a\n",
            f"{port}/gids/0": "fe80:0000:0000:0000:0000:0000:0000:0001\n",
            f"{port}/gids/1": rdma.NO_GID + "\n",
            f"{port}/gids/2": "0000:0000:0000:0000:0000:ffff:0a01:0203\n",
            f"{port}/gid_attrs/types/2": "RoCE v2\n",
            f"{port}/gid_attrs/ndevs/2": "bond0\n",
            "sys/class/infiniband/mlx5_0/device/net/eth2/mtu": "9000\n",
            "sys/class/infiniband/mlx5_0/device/numa_node": "-1\n",
        },
    )
    (device,) = rdma.sysfs_devices(Tree(str(tmp_path)))
    assert [gid["index"] for gid in device["ports"][0]["gids"]] == [0, 2]
    assert device["ports"][0]["gids"][1]["type"] == "RoCE v2"
    assert device["ports"][0]["lid"] == 42
    assert device["numa_node"] is None
    assert rdma.devices_of_interfaces([device]) == {"bond0": "mlx5_0", "eth2": "mlx5_0"}


def test_ibstatus_is_read_like_ibstat() -> None:
    first, second = text.parse(IBSTATUS)
    assert (first["name"], first["ports"][0]["state"], first["ports"][0]["rate_gbps"]) == ("mlx5_0", "ACTIVE", 100)
    assert (first["ports"][0]["lid"], first["ports"][0]["sm_lid"]) == (15, 1)
    assert (second["ports"][0]["port"], second["ports"][0]["phys_state"]) == (2, "Disabled")
    assert second["ports"][0]["rate_gbps"] == 2.5


def test_verbose_ibv_devinfo_gives_gids_and_a_port_without_subnet_manager() -> None:
    (device,) = text.parse(VERBS)
    port = device["ports"][0]
    assert (port["state"], port["phys_state"], port["sm_lid"]) == ("INIT", "LinkUp", 48)
    assert port["gids"][1] == {"index": 3, "gid": "::ffff:10.1.2.3", "type": "RoCE v2", "interface": None}


def test_ibstat_that_panics_still_gives_the_good_devices_and_both_ports() -> None:
    (device,) = text.parse(IBSTAT_PANIC)
    assert [(port["state"], port["rate_gbps"]) for port in device["ports"]] == [("INIT", 400), ("DOWN", 10)]


@pytest.mark.parametrize("rate", ["", "N/A", "Gb/sec", "-", "٤٠٠"])
def test_a_rate_that_is_no_number_is_unknown(rate: str) -> None:
    assert text.rate_gbps(rate) is None


def test_tools_are_asked_only_where_devices_exist_that_sysfs_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def fake(argv: list[str], limit: float) -> Outcome:
        asked.append(os.path.basename(argv[0]))
        broken = "ibv_devinfo" in argv[0]
        return Outcome(255, "No IB devices found" if broken else IBSTAT_PANIC, "", False, False, 0.0)

    monkeypatch.setattr(rdma, "run", fake)
    monkeypatch.setattr(rdma.shutil, "which", lambda tool, path: f"/usr/sbin/{tool}")
    files = Tree(str(tmp_path))
    files.root = "/"
    monkeypatch.setattr(files, "path", lambda path: str(tmp_path) + path)
    assert rdma.rdma(files, files, 1)["devices"] == []
    assert asked == []
    (tmp_path / "dev/infiniband").mkdir(parents=True)
    (tmp_path / "dev/infiniband/uverbs0").touch()
    found = rdma.rdma(files, files, 1)
    assert (found["source"], found["uverbs"], asked) == ("ibstat", ["uverbs0"], ["ibv_devinfo", "ibstat"])


def test_a_replayed_machine_without_recorded_character_devices_does_not_deny_them(tmp_path: Path) -> None:
    (tmp_path / "sys/class/infiniband/mlx5_0").mkdir(parents=True)
    found = rdma.rdma(Tree(str(tmp_path)), Tree(str(tmp_path)), 1)
    assert (found["source"], found["uverbs"]) == ("sysfs", None)


def damaged(source: str, seed: int) -> str:
    """The text cut, doubled, shuffled, emptied or filled with bytes of other encodings."""
    chance = random.Random(seed)
    lines = source.split("\n")
    kind = seed % 6
    if kind == 0:
        return source[: chance.randrange(len(source) + 1)]
    if kind == 1:
        return source + source
    if kind == 2:
        chance.shuffle(lines)
        return "\n".join(lines)
    if kind == 3:
        raw = bytearray(source.encode())
        for _count in range(20):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        return raw.decode("utf-8", "replace")
    if kind == 4:
        return "\n".join(line for line in lines if chance.random() < 0.5)
    return "".join(chance.choice("\0\n\t :'[]09aA\N{SNOWMAN}") for _count in range(500))


def allowed(devices: list[dict[str, t.Any]]) -> bool:
    return all(
        set(port) == set(text.empty_port(1)) and isinstance(port["port"], int)
        for each in devices
        for port in each["ports"]
    )


@pytest.mark.parametrize("sample", [IBSTATUS, VERBS, IBSTAT_PANIC, ""], ids=["ibstatus", "verbs", "ibstat", "empty"])
def test_damaged_output_never_raises_and_keeps_the_shape(sample: str) -> None:
    for seed in range(300):
        assert allowed(text.parse(damaged(sample or " ", seed)))


def test_damaged_recordings_never_raise() -> None:
    paths = recordings("ibstat") + recordings("ibv_devinfo")
    if not paths:
        pytest.skip(f"no recordings at {FIXTURES}")
    for path in paths:
        for seed in range(30):
            assert allowed(text.parse(damaged(path.read_text("utf-8", "replace"), seed)))


def test_a_port_is_active_only_if_the_text_says_so() -> None:
    for seed in range(300):
        sample = damaged(IBSTATUS.replace("4: ACTIVE", "1: DOWN"), seed)
        states = {port["state"] for each in text.parse(sample) for port in each["ports"]}
        assert "ACTIVE" not in states


def test_sysfs_full_of_garbage_never_raises(tmp_path: Path) -> None:
    base = tmp_path / "sys/class/infiniband/\N{SNOWMAN}"
    (base / "ports/1/gids").mkdir(parents=True)
    (base / "ports/x").mkdir()
    for name in ("fw_ver", "ports/1/state", "ports/1/rate", "ports/1/lid", "ports/1/gids/0"):
        (base / name).write_bytes(bytes(range(128, 256)))
    (base / "ports/1/phys_state").mkdir()
    (device,) = rdma.sysfs_devices(Tree(str(tmp_path)))
    assert device["ports"][0]["rate_gbps"] is None
    assert device["ports"][0]["lid"] is None
