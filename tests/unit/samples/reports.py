# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Eight nodes with eight GPUs each, as the readers and probes report them, on a day with several failures."""

from __future__ import annotations

import types

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import data

NAMES = [f"gpu{number}" for number in range(1, 9)]
GOOD = {"ok": True, "failure": "", "evidence": "", "seconds": 0.2, "addresses": ["10.20.0.11"], "seen_as": None}
CATALOGUE = {
    "ssh-perms-too-open": {
        "title": "sshd rejects keys: file permissions too open",
        "layer": "ssh",
        "source": "sshd(8)",
    },
    "rdzv-errno-113": {"title": "A firewall rejects the rendezvous", "layer": "network", "source": ""},
    "ver-python-torch-differs": {
        "title": "Python or PyTorch versions differ between nodes",
        "layer": "versions",
        "source": "",
    },
    "perf-wrong-nic": {"title": "Training uses the slower network", "layer": "network", "source": ""},
    "fd-limit": {"title": "The open-file limit is too low", "layer": "nccl", "source": "NVIDIA/nccl issue 550"},
}


def bad(failure, evidence):
    return {**GOOD, "ok": False, "failure": failure, "evidence": evidence}


def node(number, names=NAMES):
    name = names[number]
    return {
        "name": name,
        "rank": number,
        "address": f"10.20.0.{11 + number}",
        "ssh_port": 22,
        "slots": 8,
        "interface": "bond0",
        "hostname": name,
        "fqdn": f"{name}.lab.example.org",
        "names": [name, f"{name}.lab.example.org"],
        "gpus": ["H100 80GB HBM3"] * 8,
        "reachable": True,
    }


def plan(names=NAMES):
    return {
        "order": list(names),
        "head": names[0],
        "nodes": {name: node(number, names) for number, name in enumerate(names)},
        "master": {"address": "10.20.0.11", "port": 29500},
        "world_size": 8 * len(names),
        "user": "train",
        "prefix": "/opt/trainmesh",
        "precision": "bf16",
        "launchers": ["deepspeed", "accelerate", "accelerate_standard", "torchrun"],
        "gpus": True,
        "managed": True,
    }


def fabric(number):
    address = [{"address": f"10.20.0.{11 + number}", "prefix": 24, "family": "ipv4", "scope": "global"}]
    common = {"up": True, "carrier": True, "mac": f"02:42:0a:14:00:{11 + number:02x}", "master": None}
    port = {"port": 1, "state": "DOWN" if number == 6 else "ACTIVE", "link_layer": "InfiniBand", "rate_gbps": 400}
    return {
        "hostname": NAMES[number],
        "os": {"id": "ubuntu", "pretty_name": "Ubuntu 24.04.3 LTS"},
        "kernel": "6.8.0-86-generic",
        "cpus": 224,
        "memory_bytes": 2164663517184,
        "interfaces": [
            {"name": "lo", "kind": "loopback", "up": True, "addresses": []},
            {"name": "bond0", "kind": "bond", "speed_mbps": 25000, "mtu": 9000, "addresses": address, **common},
            {"name": "veth12", "kind": "veth", "speed_mbps": None, "mtu": 1500, "addresses": [], **common},
        ],
        "rdma": {"devices": [{"name": "mlx5_0", "fw_ver": "28.43.2026", "ports": [port]}]},
    }


def gpu_facts(number):
    lost = number == 6
    row = {"name": "H100 80GB HBM3", "memory_mib": 81559, "compute_capability": "9.0", "fault": None}
    cards = [
        {
            **row,
            "index": index,
            "uuid": f"GPU-0000{number}{index:03}-0000-0000-0000-000000000000",
            "pci_bus_id": f"00000000:{0x1B + 16 * index:02x}:00.0",
            "pcie": {"gen_current": 5, "width_current": 8 if lost and index == 3 else 16, "width_max": 16},
            "ecc": {"uncorrected_volatile": 0},
            "fault": "GPU requires reset" if lost and index == 5 else None,
        }
        for index in range(8)
    ]
    nvlink = [{"index": index, "active": 18, "inactive": 0, "gb_per_s": 26.562} for index in range(8)]
    problem = "GPU 00000000:6b:00.0 requires reset" if lost else None
    return {
        "status": "gpu_lost" if lost else "ok",
        "problem": problem,
        "driver_version": "580.105.08",
        "gpus": cards,
        "nvlink": nvlink,
    }


def stack(number):
    torch = "2.12.1+cu130" if number == 4 else "2.13.0+cu130"
    return {
        "python": {"version": "3.12.3", "problem": None},
        "packages": {"torch": torch, "deepspeed": "0.19.8", "accelerate": "1.15.0", "transformers": "5.23.0"},
        "torch": {"version": torch, "cuda": "13.0", "nccl": "2.30.4" if number == 4 else "2.30.7"},
    }


def mesh(names, faults):
    """Every pair good but for ``faults``: (source, target) to {"ssh": ..., "tcp": ...}."""
    rows = {}
    for source in names:
        rows[source] = {}
        for target in names:
            pair = {"ssh": {target: GOOD}, "tcp": {"29500": GOOD, "61999": GOOD}}
            for kind, result in faults.get((source, target), {}).items():
                pair[kind] = dict.fromkeys(pair[kind], result)
            rows[source][target] = pair
    return rows


def links(names, slow="gpu6"):
    rows = {}
    for i, source in enumerate(names):
        rows[source] = {}
        for j, target in enumerate(names):
            if i != j:
                far = slow in (source, target)
                value = {"latency_us": 27.0 + (7 * i + 3 * j) % 6 + (95 if far else 0)}
                value["mbps"] = 940.0 - (i + j) % 4 if far else 23400.0 + 37 * ((5 * i + j) % 9)
                rows[source][target] = {"ok": True, "failure": "", "evidence": "", "seconds": 1.0, **value}
    return rows


def broken():
    """Three failures, a warning, a note: gpu3 refuses keys, gpu7 rejects a port, gpu5 is behind, gpu8 unreachable."""
    refused = bad("permission", "train@10.20.0.13: Permission denied (publickey).")
    route = bad("no_route", "10.20.0.17 port 29500: No route to host (errno 113)")
    gone = bad("timeout", "10.20.0.18 port 22: connection timed out after 5 s")
    faults = {(source, "gpu3"): {"ssh": refused} for source in NAMES}
    faults.update({(source, "gpu7"): {"tcp": route} for source in NAMES if source != "gpu7"})
    faults.update({(source, "gpu8"): {"ssh": gone, "tcp": gone} for source in NAMES})
    here = NAMES[:7]
    measured = {source: {key: row for key, row in links(NAMES)[source].items() if key != "gpu8"} for source in here}
    return Case(
        plan=plan(),
        fabric={name: fabric(number) for number, name in enumerate(here)},
        gpu={name: gpu_facts(number) for number, name in enumerate(here)},
        stack={name: stack(number) for number, name in enumerate(here)},
        user={name: {"name": "train"} for name in here},
        mesh={name: row for name, row in mesh(NAMES, faults).items() if name in here},
        links=measured,
        lost={"gpu8": "unreachable"},
        skipped="fix the failures above first",
        thresholds={"link_share_min": 0.5, "clock_skew_s": 1.0},
    )


def answers():
    return (
        Finding(
            "ssh-perms-too-open", "fail", ("gpu3",), {"gpu3": "/home/train/.ssh has mode 0775"},
            "sshd ignores authorized_keys in a directory that is group-writable, so it rejects every key.",
            "`chmod 700 /home/train/.ssh` on gpu3, or run site.yml again.",
        ),
        Finding(
            "rdzv-errno-113", "fail", ("gpu7",),
            {"gpu7": "from gpu1, gpu2 and 4 more: 10.20.0.17 port 29500: No route to host (errno 113)"},
            "firewalld on gpu7 rejects connections from the other nodes, so its ranks cannot join.",
            "Set `trainmesh_firewall: firewalld` and run site.yml again, or on gpu7: "
            "`firewall-cmd --permanent --zone=trusted --add-source=10.20.0.0/24 && firewall-cmd --reload`.",
        ),
        Finding(
            "ver-python-torch-differs", "fail", ("gpu5",), {"gpu5": "2.12.1+cu130", "gpu1": "2.13.0+cu130"},
            "PyTorch is not the same on all nodes (2.13.0+cu130 on gpu1, gpu2 and 4 more; 2.12.1+cu130 on gpu5). Ranks "
            "exchange tensors and states in the format of their version, and each build has its own NCCL.",
            "Run site.yml again: it installs 2.13.0+cu130 on gpu5.",
        ),
        Finding(
            "perf-wrong-nic", "warn", ("gpu6",), {"gpu6": "940 Mbit/s over bond0, the other nodes reach 23.5 Gbit/s"},
            "The data address of gpu6 is on a slower network than the others, and the slowest link limits all ranks.",
            "`ethtool bond0` on gpu6 shows the link; or set `trainmesh_address` for gpu6.",
        ),
        Finding(
            "fd-limit", "info", ("gpu1", "gpu2"), {"gpu1": "soft limit 1024", "gpu2": "soft limit 1024"},
            "NCCL opens several files for each pair of ranks.", "Raise `nofile` in /etc/security/limits.d.",
        ),
        Untested("node", ("gpu8",), "lost during the run; remaining checks skipped"),
        Untested("jobs", (), "fix the failures above first"),
    )  # fmt: skip


def healthy(names=tuple(NAMES[:3])):
    """A cluster on which every check, job and collective passed."""
    numbers = range(len(names))
    sweep = [
        {"bytes": 2**power, "seconds": 0.01, "algbw_gbps": power / 4, "busbw_gbps": power / 2} for power in (20, 30)
    ]
    return Case(
        plan=plan(names),
        fabric={names[number]: {**fabric(0), "hostname": names[number]} for number in numbers},
        gpu={names[number]: gpu_facts(0) for number in numbers},
        stack={names[number]: stack(0) for number in numbers},
        user={name: {"name": "train"} for name in names},
        mesh=mesh(names, {}),
        links=links(names, slow=""),
        jobs=[
            {"launcher": "deepspeed", "ok": True, "world_size": 24, "seconds": 31.6, "faults": [], "log": "/x/1.log"},
            {"launcher": "torchrun", "ok": True, "world_size": 24, "seconds": 21.4, "faults": [], "log": "/x/2.log"},
        ],
        collective={
            "ok": True, "backend": "nccl", "world_size": 24, "via": "torchrun", "sweep": sweep, "ranks": [],
            "nccl": {}, "trials": [], "suspects": [], "error": None,
        },
    )  # fmt: skip


def judged(found=(), held=("ssh-hostkey-changed", "drv-too-old")):
    return types.SimpleNamespace(answers=tuple(found), held=tuple(held))


def report(case=None, found=None, changed=None, **more):
    """The report of the day with failures, or of ``case``."""
    found = answers() if case is None and found is None else found or ()
    fixed = {"started": "2026-11-21T10:00:00+00:00", "finished": "2026-11-21T10:01:30+00:00", "look": CATALOGUE.get}
    return data.build(case or broken(), judged(found), changed or {}, **{**fixed, **more})
