# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A healthy cluster of three containers as rules see it, to be broken in one place, and what rules say of it."""

from __future__ import annotations

import copy
import dataclasses

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine, rule
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import addresses as rules_addresses
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import (
    clock,
    exposure,
    host_limits,
    ssh,
    ssh_keys,
    sshd_ports,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import links as rules_links
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import names as rules_names
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import pdsh as rules_pdsh
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import ports as rules_ports

MODULES = (
    rules_addresses,
    clock,
    exposure,
    host_limits,
    rules_links,
    rules_names,
    rules_ports,
    rules_pdsh,
    ssh,
    ssh_keys,
    sshd_ports,
)
NAMES = ("node1", "node2", "node3")
MASTER, HIGH = "29500", "61999"
GIB = 2**30


def address(name):
    """node1 is 10.0.0.11, and so on."""
    return f"10.0.0.1{name[-1]}"


def aliases(name):
    return [name, f"{name}.example.org"]


def plan():
    nodes = {
        name: {
            "name": name,
            "rank": rank,
            "address": address(name),
            "ssh_port": 2222 if name == "node2" else 22,
            "slots": 1,
            "interface": "eth0",
            "hostname": name,
            "fqdn": f"{name}.example.org",
            "names": aliases(name),
            "gpus": [],
            "reachable": True,
        }
        for rank, name in enumerate(NAMES)
    }
    return {
        "order": list(NAMES),
        "head": "node1",
        "nodes": nodes,
        "master": {"address": address("node1"), "port": int(MASTER)},
        "user": "trainer",
        "prefix": "/opt/trainmesh",
        "launchers": ["deepspeed", "accelerate", "torchrun"],
        "gpus": False,
        "probe_ports": [int(MASTER), int(HIGH)],
        "env": {},
        "firewall": "auto",
        "managed": True,
    }


def interface(name, ip, **more):
    return {
        "name": name,
        "kind": "veth",
        "up": True,
        "carrier": True,
        "speed_mbps": None,
        "mtu": 1500,
        "addresses": [{"address": ip, "prefix": 24, "family": "ipv4", "scope": "global"}],
        **more,
    }


def fabric(name):
    port = 2222 if name == "node2" else 22
    resolved = {alias: answer(address(other)) for other in NAMES for alias in aliases(other)}
    return {
        "hostname": name,
        "hostname_file": name,
        "fqdn": f"{name}.example.org",
        "machine_id": f"{name[-1]}" * 32,
        "resolution": resolved,
        "hosts_entries": [{"line": 6, "address": "127.0.0.1", "names": ["localhost"]}],
        "container": "docker",
        "package_manager": "apt",
        "interfaces": [interface("lo", "127.0.0.1", kind="loopback", mtu=65536), interface("eth0", address(name))],
        "routes": {
            address(other): {"address": address(other), "interface": "eth0", "source": address(name), "reachable": True}
            for other in NAMES
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
        "clock": {
            "source": None,
            "synchronised": False,
            "epoch": 1000.5,
        },
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


def user(name):
    home = "/home/trainer"
    modes = {"home": "0755", "ssh_dir": "0700", "authorized_keys": "0600"}
    places = {"home": home, "ssh_dir": f"{home}/.ssh", "authorized_keys": f"{home}/.ssh/authorized_keys"}
    caches = {
        "home": home,
        "tmp": "/tmp",
        "hf": f"{home}/.cache/huggingface",
        "triton": f"{home}/.triton",
        "torch_extensions": f"{home}/.cache/torch_extensions",
        "pip": f"{home}/.cache/pip",
    }
    return {
        "name": "trainer",
        "home": home,
        "paths": {
            key: {"path": path, "exists": True, "mode": modes[key], "owner": "trainer", "others_write": False}
            for key, path in places.items()
        },
        "authorized_keys": [
            {"fingerprint": f"SHA256:{other}", "options": f'from="{address(other)},127.0.0.0/8,::1"', "file": "x"}
            for other in NAMES
        ],
        "own_keys": [{"path": f"{home}/.ssh/id_ed25519", "fingerprint": f"SHA256:{name}", "mode": "0600"}],
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
                alias: {"hostname": address(other), "port": 2222 if other == "node2" else 22, "user": "trainer"}
                for other in NAMES
                for alias in (*aliases(other), address(other))
            },
        },
        "processes": [],
        "port_owners": {},
        "caches": {
            key: {**disk(path), "exists": True, "writable": True, "inodes_free": 1000000}
            for key, path in caches.items()
        },
        "oom_kills": None,
        "root_without_password": False,
    }


def stack():
    pdsh = {
        "path": "/usr/bin/pdsh",
        "version": "2.34",
        "rcmd_modules": ["ssh", "rsh"],
        "default_rcmd": "rsh",
        "ssh": True,
    }
    return {
        "login_environment": {"variables": {"PATH": "/usr/bin:/bin"}},
        "tools": {"pdsh": pdsh, "ninja": {"path": "/opt/trainmesh/env/bin/ninja", "on_path": False}},
    }


def login(ok=True, failure="", evidence="", seconds=0.2, **more):
    return {"ok": ok, "failure": failure, "evidence": evidence, "seconds": seconds, "addresses": [], **more}


def call(ok=True, failure="", evidence=""):
    return {"ok": ok, "failure": failure, "evidence": evidence, "seconds": 0.001, "seen_as": None}


def row(source):
    return {
        target: {
            "ssh": {alias: login() for alias in (*aliases(target), address(target))},
            "tcp": {MASTER: call(), HIGH: call()},
            "mtu": None
            if source == target
            else {"ok": True, "interface_mtu": 1500, "passed": 1500, "failed": None, "evidence": ""},
            "session": {"path": "/usr/bin:/bin", "python": None, "commands": {"python3": "/usr/bin/python3"}},
        }
        for target in NAMES
    }


def link(mbps=9000.0, latency=80.0, **more):
    return {"ok": True, "latency_us": latency, "mbps": mbps, "failure": "", "evidence": "", **more}


def healthy(**changes):
    """A fresh case; everything in it may be changed in place."""
    case = Case(
        plan=plan(),
        fabric={name: fabric(name) for name in NAMES},
        gpu={name: {"status": "none", "gpus": []} for name in NAMES},
        stack={name: stack() for name in NAMES},
        user={name: user(name) for name in NAMES},
        mesh={name: row(name) for name in NAMES},
        listeners={name: {} for name in NAMES},
        links={name: {other: link() for other in NAMES if other != name} for name in NAMES},
        reach={
            name: {"ok": True, "step": "", "clock": {"epoch": 1000.5, "started": 1000.0, "ended": 1002.0}}
            for name in NAMES
        },
    )
    return dataclasses.replace(case, **copy.deepcopy(changes))


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


def answers(case):
    """What all rules of these modules say."""
    names = {module.__name__ for module in MODULES}
    found = []
    for item in rule.REGISTRY:
        if item.judge.__module__ in names and all(getattr(case, part) for part in item.needs):
            found += list(item.judge(case))
    assert all(answer.rule in ids() for answer in found)
    return engine.merged(found, case.order)


def ids():
    names = {module.__name__ for module in MODULES}
    return {identity for item in rule.REGISTRY if item.judge.__module__ in names for identity in item.ids}


def findings(case, *severities):
    return [
        item for item in answers(case) if isinstance(item, Finding) and (not severities or item.severity in severities)
    ]


def untested(case):
    return [item for item in answers(case) if isinstance(item, Untested)]


def told(case):
    """{(rule, severity): hosts} of all that is worse than info; each rule may say it once only."""
    found = {}
    for item in findings(case, "fail", "warn"):
        assert (item.rule, item.severity) not in found, f"{item.rule} twice"
        assert set(item.evidence) == set(item.hosts) and all(item.evidence.values())
        assert item.cause and item.remedy
        found[item.rule, item.severity] = item.hosts
    return found


def one(case):
    """The only finding that is worse than info."""
    found = findings(case, "fail", "warn")
    assert len(found) == 1, [(item.rule, item.hosts) for item in found]
    return found[0]
