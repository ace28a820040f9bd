# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.nodes import Host


def public_key(text):
    """A key as OpenSSH writes it: its type, and in base64 the type once more and then the key."""
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (b"ssh-ed25519", text.encode().ljust(32, b".")))
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def interface(name, *addresses):
    rows = [{"address": address, "prefix": 24, "family": "ipv4", "scope": "global"} for address in addresses]
    return {"name": name, "addresses": rows}


def gpu(name="A100-SXM4-40GB", capability="8.0", **more):
    return {"name": name, "compute_capability": capability, "mig_mode": "disabled", **more}


def host(number, gpus=(), wish=None, fabric=None, gpu_facts=None, reached=True):
    """A host as the plan sees it: node1 at 10.0.0.11 on eth0, and so on."""
    address = f"10.0.0.{10 + number}"
    facts = {
        "interfaces": [interface("eth0", address)],
        "routes": {"10.0.0.99": {"address": "10.0.0.99", "interface": "eth0", "source": address}},
        "sshd": {"ports": [22]},
        "port_range": {"low": 32768, "high": 60999},
        "python": {"path": "/usr/bin/python3", "version": "3.11.2"},
        "glibc": "2.36",
        "arch": "x86_64",
        "cpus": 2,
        **(fabric or {}),
    }
    read = {"status": "ok" if gpus else "none", "driver_version": "580.95.05" if gpus else None, "gpus": list(gpus)}
    identity = {
        "user": "root",
        "home": "/root",
        "public_key": public_key(f"KEY{number}"),
        "host_keys": [public_key(f"HOST{number}")],
    }
    wishes = {**variables.read({}, "host"), **(wish or {})}
    if not reached:
        return Host(f"node{number}", wishes, address, 22, {}, {}, {})
    return Host(f"node{number}", wishes, address, 22, facts, {**read, **(gpu_facts or {})}, identity)


def options(**wish):
    return {**variables.read({}, "cluster"), "user": "root", **wish}
