# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All fabric facts together: always complete, always in time, never an exception."""

from __future__ import annotations

import json
import os
import socket
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import alike
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import facts as fabric
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.facts import Wish, gather

KEYS = {
    "alike",
    "can_set_hostname",
    "acs",
    "apparmor",
    "arch",
    "cgroup_limits",
    "clock",
    "container",
    "cpus",
    "default_route",
    "disks",
    "dmabuf",
    "errors",
    "cloud_init",
    "filtered",
    "name_service",
    "filtered_at_boot",
    "firewalls",
    "fqdn",
    "hostname",
    "hostname_file",
    "hostname_file_mounted",
    "hosts_entries",
    "cluster_block",
    "hosts_file_mounted",
    "interfaces",
    "iommu",
    "glibc",
    "kernel",
    "limits",
    "listening_ports",
    "machine_id",
    "memory_available_bytes",
    "memory_bytes",
    "os",
    "package_manager",
    "peermem",
    "port_range",
    "python",
    "rdma",
    "replayed_from",
    "resolution",
    "routes",
    "selinux",
    "shm",
    "ssh_session",
    "sshd",
    "source_rules",
    "strict_reverse_path",
    "vrf_accepts",
    "unprivileged_port_start",
    "virtual",
}


def test_a_real_node_gives_every_key_without_errors() -> None:
    facts = gather(Wish(peers=["127.0.0.1"], paths=["/opt/trainmesh"]))
    assert set(facts) == KEYS
    assert facts["errors"] == {}
    assert facts["hostname"] == socket.gethostname()
    assert facts["hostname"] in facts["resolution"]
    assert facts["routes"]["127.0.0.1"]["interface"] == "lo"
    assert facts["disks"]["/opt/trainmesh"]["total_bytes"] > 0
    json.dumps(facts, allow_nan=False).encode("utf-8")


def test_a_root_with_nothing_in_it_gives_every_key_and_guesses_nothing(tmp_path: Path) -> None:
    facts = gather(Wish(paths=["/"], timeout=5), root=str(tmp_path))
    assert set(facts) == KEYS
    assert facts["errors"] == {}
    unknown = ("machine_id", "container", "port_range", "unprivileged_port_start", "shm", "memory_bytes", "dmabuf")
    assert {name: facts[name] for name in unknown} == dict.fromkeys(unknown)
    assert (facts["firewalls"], facts["listening_ports"], facts["rdma"]["devices"]) == ([], [], [])
    assert facts["interfaces"], "the network is the real one"


@pytest.mark.parametrize(
    ("user", "capabilities", "may"),
    [(0, "000001ffffffffff", True), (0, "00000000a80425fb", False), (1000, "0000000000000000", None), (0, "", None)],
)
def test_only_root_can_tell_whether_the_kernel_takes_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, capabilities: str, may: bool | None
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text(f"Name:\tpython3\nCapEff:\t{capabilities}\n")
    monkeypatch.setattr("os.geteuid", lambda: user)
    assert gather(Wish(timeout=5), root=str(tmp_path))["can_set_hostname"] is may


def test_a_root_of_garbage_gives_every_key(tmp_path: Path) -> None:
    names = [
        *(
            "proc/net/tcp",
            "proc/net/route",
            "proc/net/ipv6_route",
            "proc/self/mountinfo",
            "proc/meminfo",
            "proc/cpuinfo",
        ),
        *("proc/cmdline", "proc/bus/pci/devices", "proc/sys/net/ipv4/ip_local_port_range", "run/sshd.pid", "etc/hosts"),
        *("etc/hostname", "etc/os-release", "etc/machine-id", "etc/ssh/sshd_config", "etc/ufw/ufw.conf"),
        "sys/class/infiniband/x/ports/1/state",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(os.urandom(600) + b"\n\xff\xfe \0 :\n")
    facts = gather(Wish(timeout=5), root=str(tmp_path))
    assert set(facts) == KEYS
    assert facts["errors"] == {}
    json.dumps(facts).encode("utf-8")


def test_one_part_that_fails_does_not_cost_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: t.Any) -> t.Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(fabric.netlink, "dump", fail)
    monkeypatch.setattr(fabric.rdma, "rdma", fail)
    monkeypatch.setattr(fabric.names, "resolve", fail)
    monkeypatch.setattr(fabric.disk, "mounts", fail)
    facts = gather(Wish(peers=["127.0.0.1"], timeout=5))
    assert set(facts) == KEYS
    assert facts["errors"]["rdma"] == "RuntimeError: broken"
    assert (facts["rdma"], facts["interfaces"], facts["resolution"]) == (None, [], {})
    assert facts["routes"]["127.0.0.1"]["error"]
    assert facts["cpus"] >= 1


def test_a_dead_resolver_costs_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fabric, "RESOLVE_LIMIT_S", 0.3)
    monkeypatch.setattr(fabric.names, "addresses_of", lambda _name: time.sleep(20))
    monkeypatch.setattr(fabric.names.socket, "getfqdn", lambda: time.sleep(20))
    started = time.monotonic()
    facts = gather(Wish(peers=["node2"], timeout=2))
    assert time.monotonic() - started < 10
    assert facts["fqdn"] is None
    assert facts["routes"]["node2"]["error"] == "no answer within 0.3 seconds"


def test_recorded_rdma_devices_replace_only_rdma(tmp_path: Path) -> None:
    port = tmp_path / "sys/class/infiniband/mlx5_0/ports/1"
    port.mkdir(parents=True)
    (port / "state").write_text("4: ACTIVE\n")
    (tmp_path / "sys/class/infiniband/mlx5_0/device/net/lo").mkdir(parents=True)
    (tmp_path / "sys/module/nvidia_peermem").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("0" * 32)
    facts = gather(Wish(), devices_root=str(tmp_path))
    assert facts["replayed_from"] == str(tmp_path)
    assert facts["rdma"]["devices"][0]["ports"][0]["state"] == "ACTIVE"
    assert facts["peermem"] is True
    assert {item["name"]: item["rdma_device"] for item in facts["interfaces"]}["lo"] == "mlx5_0"
    assert facts["machine_id"] != "0" * 32


def test_gathering_is_cheap() -> None:
    gather(Wish())
    before = time.process_time()
    gather(Wish(paths=["/opt/trainmesh", "~/.cache"]))
    assert time.process_time() - before < 0.5, "normally 0.02 seconds"


def test_what_is_said_of_all_alike_is_said_once_and_nothing_is_lost():
    asked = Wish(peers=["127.0.0.1", "127.0.0.2"], names=["localhost", "no.such.name.invalid"], timeout=5)
    whole = gather(asked)
    found = gather(asked._replace(addresses=["127.0.0.1", "127.0.0.2"]))
    assert whole["alike"] == {} and set(whole["resolution"]) >= {*asked.peers, *asked.names}
    assert "127.0.0.2" not in found["resolution"] and len(found["resolution"]) <= 2
    names, peers = alike.by_name(asked.names, asked.peers), alike.by_peer(asked.peers, asked.peers)
    kinds = {"resolution": names, "resolution_of_peers": peers, "routes": peers}
    rest = {kind: alike.restored(found["alike"][kind]["form"], expected) for kind, expected in kinds.items()}
    assert {**rest["resolution"], **rest["resolution_of_peers"], **found["resolution"]} == whole["resolution"]
    assert {**rest["routes"], **found["routes"]} == whole["routes"]
