# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one healthy cluster of the tests: of any size, with or without GPUs, to be broken in one place."""

from __future__ import annotations

import copy
import dataclasses
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case

NAMES = ("node1", "node2", "node3")
MASTER, HIGH = "29500", "61999"
GIB = 2**30
HOME = "/home/trainer"
UNLIMITED = -1

GPU = {
    "name": "A100-SXM4-40GB",
    "compute_capability": "8.0",
    "memory_mib": 40960,
    "mig_mode": "Disabled",
    "mig_mode_pending": "Disabled",
    "persistence_mode": "Enabled",
    "compute_mode": "Default",
    "temperature_c": 34,
    "processes": [],
    "throttle_reasons": ["gpu_idle"],
    "pcie": {"gen_current": 1, "gen_max": 4, "width_current": 16, "width_max": 16},
    "fabric": {"state": None, "status": None},
    "ecc": {
        "mode": "Enabled",
        "corrected_volatile": 3,
        "uncorrected_volatile": 0,
        "sram_uncorrected_aggregate": 0,
        "sram_threshold_exceeded": False,
        "retired_pages_single_bit": None,
        "retired_pages_double_bit": None,
        "retired_pages_pending": None,
    },
    "remapped_rows": {"correctable": 0, "uncorrectable": 0, "pending": False, "failure": False},
    "fault": None,
}
PORT = {
    "port": 1,
    "state": "ACTIVE",
    "phys_state": "LinkUp",
    "rate_gbps": 200,
    "link_layer": "InfiniBand",
    "gids": [],
}
STACK = {
    "login_environment": {"source": "session", "variables": {"PATH": "/usr/bin:/bin"}},
    "cuda": {"build_home": {"path": "/usr/local/cuda-12.6", "nvcc": {"release": "12.6"}}},
    "python": {"version": "3.11.7", "problem": None, "headers": True},
    "packages": {"torch": "2.13.0+cu126", "deepspeed": "0.19.8", "accelerate": "1.15.0"},
    "torch": {"version": "2.13.0+cu126", "cuda": "12.6", "hip": None, "nccl": "2.29.3", "nccl_package": "2.29.3"},
    "nccl": [{"path": "/env/libnccl.so.2", "place": "wheel", "version": "2.29.3", "source": "library"}],
    "deepspeed": {"version": "0.19.8", "installed_ops": []},
    "torch_import": None,
    "library_path_cuda": [],
    "compilers": {"g++": {"path": "/usr/bin/g++", "version": "12.2.0"}},
    "libaio": {"library": "/usr/lib/libaio.so.1", "header": "/usr/include/libaio.h"},
    "tools": {
        "pdsh": {
            "path": "/usr/bin/pdsh",
            "version": "2.34",
            "rcmd_modules": ["ssh", "rsh"],
            "default_rcmd": "rsh",
            "ssh": True,
        },
        "ninja": {"path": "/usr/bin/ninja", "on_path": True},
        "mpirun": None,
    },
}
CPU_STACK = {
    "cuda": {"build_home": None},
    "packages": {**STACK["packages"], "torch": "2.13.0+cpu"},
    "torch": {"version": "2.13.0+cpu", "cuda": None, "hip": None, "nccl": None, "nccl_package": None},
    "nccl": [],
}


def named(count):
    """node1, node2 and so on."""
    return tuple(f"node{number}" for number in range(1, count + 1))


def number_of(name):
    return int(re.search(r"\d+\Z", name)[0])


def address(name):
    """node1 is 10.0.0.11, and so on."""
    number = number_of(name)
    return f"10.0.{number // 200}.{number % 200 + 10}"


def aliases(name):
    return [name, f"{name}.example.org"]


def ssh_port(name):
    return 2222 if name == "node2" else 22


def plan(names, gpus=0, managed=True):
    nodes = {
        name: {
            "name": name,
            "rank": rank,
            "address": address(name),
            "ssh_port": ssh_port(name),
            "slots": gpus or 1,
            "interface": "eth0",
            "hostname": name,
            "fqdn": f"{name}.example.org",
            "names": aliases(name),
            "gpus": [GPU["name"]] * gpus,
            "reachable": True,
        }
        for rank, name in enumerate(names)
    }
    return {
        "order": list(names),
        "head": names[0],
        "nodes": nodes,
        "master": {"address": address(names[0]), "port": int(MASTER)},
        "world_size": (gpus or 1) * len(names),
        "user": "trainer",
        "prefix": "/opt/trainmesh",
        "precision": "bf16" if gpus else "fp32",
        "launchers": ["deepspeed", "accelerate", "accelerate_standard", "torchrun"],
        "gpus": bool(gpus),
        "probe_ports": [int(MASTER), int(HIGH)],
        "env": {},
        "firewall": "auto",
        "managed": managed,
    }


def interface(name, ip, kind="veth", **more):
    return {
        "name": name,
        "kind": kind,
        "up": True,
        "carrier": True,
        "speed_mbps": None,
        "mtu": 1500,
        "addresses": [{"address": ip, "prefix": 24, "family": "ipv4", "scope": "global"}],
        **more,
    }


def fabric(name, names):
    """A container: with systemd, and with a network of its own that all of them share."""
    port = ssh_port(name)
    return {
        "hostname": name,
        "hostname_file": name,
        "fqdn": f"{name}.example.org",
        "machine_id": f"{number_of(name):032x}",
        "os": {"id": "ubuntu", "pretty_name": "Ubuntu 24.04.3 LTS"},
        "kernel": "6.8.0-86-generic",
        "cpus": 224,
        "memory_bytes": 2016 * GIB,
        "resolution": {alias: answer(address(other)) for other in names for alias in aliases(other)},
        "hosts_entries": [{"line": 6, "address": "127.0.0.1", "names": ["localhost"]}],
        "container": "docker",
        "virtual": None,
        "package_manager": "apt",
        "interfaces": [interface("lo", "127.0.0.1", kind="loopback", mtu=65536), interface("eth0", address(name))],
        "routes": {
            address(other): {"address": address(other), "interface": "eth0", "source": address(name), "reachable": True}
            for other in names
            if other != name
        },
        "rdma": {"devices": []},
        "limits": {
            "memlock": 8388608,
            "nofile": 1024,
            "hard": {"memlock": 8388608, "nofile": 20000},
            "of": "ssh session",
        },
        "listening_ports": [port],
        "sshd": {"ports": [port], "source": "process", "pid": 66, "config_ports": [port], "unit": "ssh.service"},
        "firewalls": [
            {"name": "firewalld", "active": name == "node1", "evidence": "firewalld.service"},
            {"name": "ufw", "active": name == "node2", "evidence": "its chains"},
        ],
        "unprivileged_port_start": 1024,
        "shm": {"total_bytes": GIB, "free_bytes": GIB},
        "disks": {"/opt/trainmesh": disk("/opt/trainmesh")},
        "clock": {"source": None, "synchronised": False, "epoch": 1000.5},
    }


def bare_metal(facts):
    """The same node as a machine with GPUs has it: InfiniBand, and the limits that it needs."""
    interfaces = [
        {**each, "kind": "physical" if each["name"] == "eth0" else each["kind"]} for each in facts["interfaces"]
    ]
    return {
        **facts,
        "container": None,
        "interfaces": interfaces,
        "rdma": {
            "uverbs": ["uverbs0"],
            "libibverbs": True,
            "devices": [{"name": "mlx5_0", "fw_ver": "28.43.2026", "ports": [copy.deepcopy(PORT)]}],
        },
        "peermem": True,
        "dmabuf": False,
        "iommu": {"enabled": False, "groups": 0, "types": {}},
        "acs": {"enabled": False, "bridges": []},
        "limits": {
            "memlock": UNLIMITED,
            "nofile": 65536,
            "hard": {"memlock": UNLIMITED, "nofile": 1048576},
            "of": "ssh session",
        },
        "shm": {"total_bytes": 512 * GIB, "free_bytes": 512 * GIB},
        "clock": {"source": "chronyd", "synchronised": True, "epoch": 1000.5},
    }


def answer(*addresses, error=None):
    loop = any(item.startswith("127.") for item in addresses)
    return {"addresses": list(addresses), "loopback": loop, "error": error}


def disk(path, **more):
    return {
        "path": path,
        "existing": path,
        "fs_type": "ext4",
        "local": True,
        "free_bytes": 80 * GIB,
        "total_bytes": 270 * GIB,
        "error": None,
        **more,
    }


def gpu_facts(node, gpus=2):
    """The GPUs of a node by its number, none among them."""
    if not gpus:
        return {"status": "none", "gpus": []}
    cards = [
        {
            **copy.deepcopy(GPU),
            "index": index,
            "uuid": f"GPU-{node}a{index}",
            "pci_bus_id": f"{node:08x}:0{index}:00.0",
        }
        for index in range(gpus)
    ]
    return {
        "status": "ok",
        "problem": None,
        "driver_version": "560.35.05",
        "cuda_driver_version": "12.6",
        "counts": dict.fromkeys(("pci", "driver", "smi"), gpus),
        "gpus": cards,
        "nvlink": [
            {"index": card["index"], "uuid": card["uuid"], "active": 12, "inactive": 0, "gb_per_s": 25.0}
            for card in cards
        ],
        "fabric_manager": None,
        "nouveau_loaded": False,
        "xids": [],
    }


def user(name, names):
    modes = {"home": "0755", "ssh_dir": "0700", "authorized_keys": "0600"}
    places = {"home": HOME, "ssh_dir": f"{HOME}/.ssh", "authorized_keys": f"{HOME}/.ssh/authorized_keys"}
    caches = {
        "home": HOME,
        "tmp": "/tmp",
        "hf": f"{HOME}/.cache/huggingface",
        "triton": f"{HOME}/.triton",
        "torch_extensions": f"{HOME}/.cache/torch_extensions",
        "pip": f"{HOME}/.cache/pip",
    }
    return {
        "name": "trainer",
        "home": HOME,
        "paths": {
            key: {"path": path, "exists": True, "mode": modes[key], "owner": "trainer", "others_write": False}
            for key, path in places.items()
        },
        "authorized_keys": [
            {"fingerprint": f"SHA256:{other}", "options": f'from="{address(other)},127.0.0.0/8,::1"', "file": "x"}
            for other in names
        ],
        "own_keys": [{"path": f"{HOME}/.ssh/id_ed25519", "fingerprint": f"SHA256:{name}", "mode": "0600"}],
        "sshd": {
            "source": "sshd -T",
            "strictmodes": True,
            "pubkeyauthentication": True,
            "permitrootlogin": "without-password",
            "allowusers": [],
            "denyusers": [],
            "maxstartups": "10:30:100",
        },
        "ssh_client": {
            "problem": None,
            "targets": {
                alias: {"hostname": address(other), "port": ssh_port(other), "user": "trainer"}
                for other in names
                for alias in (*aliases(other), address(other))
            },
        },
        "processes": [],
        "port_owners": {},
        "nccl_conf": [],
        "deepspeed_env": [],
        "caches": {
            key: {**disk(path), "exists": True, "writable": True, "inodes_free": 1000000}
            for key, path in caches.items()
        },
        "oom_kills": None,
        "kernel_events": [],
        "root_without_password": False,
    }


def stack(gpus=0, managed=True):
    """What is installed; the ninja of our own environment is on no login's path."""
    facts = copy.deepcopy({**STACK, **({} if gpus else CPU_STACK)})
    if managed:
        facts["tools"]["ninja"] = {"path": "/opt/trainmesh/env/bin/ninja", "on_path": False}
    return facts


def login(ok=True, failure="", evidence="", seconds=0.2, **more):
    return {"ok": ok, "failure": failure, "evidence": evidence, "seconds": seconds, "addresses": [], **more}


def call(ok=True, failure="", evidence=""):
    return {"ok": ok, "failure": failure, "evidence": evidence, "seconds": 0.001, "seen_as": None}


def row(source, names):
    return {
        target: {
            "ssh": {alias: login() for alias in (*aliases(target), address(target))},
            "tcp": {MASTER: call(), HIGH: call()},
            "mtu": None
            if source == target
            else {"ok": True, "interface_mtu": 1500, "passed": 1500, "failed": None, "evidence": ""},
            "session": {"path": "/usr/bin:/bin", "python": None, "commands": {"python3": "/usr/bin/python3"}},
        }
        for target in names
    }


def link(mbps=9000.0, latency=80.0, **more):
    return {"ok": True, "latency_us": latency, "mbps": mbps, "failure": "", "evidence": "", **more}


def healthy_case(nodes: int | t.Sequence[str] = NAMES, gpus: int = 0, managed: bool = True, **changes: t.Any) -> Case:
    """A fresh case of ``nodes`` (names, or how many), with ``gpus`` each; everything in it may be changed in place."""
    names = named(nodes) if isinstance(nodes, int) else tuple(nodes)
    facts = {name: fabric(name, names) for name in names}
    case = Case(
        plan=plan(names, gpus, managed),
        fabric={name: bare_metal(each) for name, each in facts.items()} if gpus else facts,
        gpu={name: gpu_facts(number_of(name), gpus) for name in names},
        stack={name: stack(gpus, managed) for name in names},
        user={name: user(name, names) for name in names},
        mesh={name: row(name, names) for name in names},
        listeners={name: {} for name in names},
        links={name: {other: link() for other in names if other != name} for name in names},
        reach={
            name: {"ok": True, "step": "", "clock": {"epoch": 1000.5, "started": 1000.0, "ended": 1002.0}}
            for name in names
        },
    )
    return dataclasses.replace(case, **copy.deepcopy(changes))


def gpu_case(nodes: int = 3) -> Case:
    """A cluster with GPUs that somebody else set up."""
    return healthy_case(nodes, gpus=2, managed=False)


def put(facts, path, value):
    """Change one value; numbers in the path are places in lists."""
    *way, last = path.split("/")
    for part in way:
        facts = facts[int(part)] if isinstance(facts, list) else facts[part]
    facts[int(last) if isinstance(facts, list) else last] = value


def fail_logins(case, pairs, failure, evidence="", **more):
    """Every name of these (source, target) pairs fails so."""
    for source, target in pairs:
        for name in case.mesh[source][target]["ssh"]:
            case.mesh[source][target]["ssh"][name] = login(False, failure, evidence or f"a word on {failure}", **more)


def fail_calls(case, pairs, failure, ports=(MASTER, HIGH)):
    for source, target in pairs:
        for port in ports:
            case.mesh[source][target]["tcp"][port] = call(False, failure, f"{address(target)} port {port}: {failure}")


def towards(target, *more):
    """All pairs to a node from the others, and from itself with ``more``."""
    return [(name, target) for name in NAMES if name != target or more]


def break_it(case: t.Any, dead: int) -> Case:
    """Some of each kind of fault, ``dead`` nodes that answer nobody among them."""
    names = list(case.mesh)
    for name in names[len(names) - dead :]:
        fail_logins(case, [(other, name) for other in names], "tcp_timeout")
        fail_calls(case, [(other, name) for other in names], "timeout")
        for other in names:
            if other != name:
                case.links[other][name] = link(ok=False, failure="stalled", evidence="no data")
    for other in names[1:]:
        case.links[names[0]][other]["mbps"] = 90.0
    case.fabric[names[1]]["hostname"] = case.fabric[names[2]]["hostname"]
    case.fabric[names[3]]["resolution"][names[0]] = answer("127.0.1.1")
    case.fabric[names[3]]["resolution"][names[1]] = answer("192.0.2.77")
    case.mesh[names[2]][names[4]]["ssh"][names[4]] = login(False, "refused", "Permission denied")
    broken: Case = case
    return broken
