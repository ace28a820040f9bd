# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows on machines in the report: nodes, network cards, GPUs.

A damaged node may report anything: what is no number, text or list where one is due counts as not reported.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import number
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, dig

# Which versions stand in the table of the nodes, and where they are in the facts of the stack.
_VERSIONS = {
    "python": "python.version",
    "torch": "packages.torch",
    "cuda": "torch.cuda",
    "nccl": "torch.nccl",
    "deepspeed": "packages.deepspeed",
    "accelerate": "packages.accelerate",
    "transformers": "packages.transformers",
}
Row = dict[str, t.Any]


def missing(case: Case) -> dict[str, str]:
    """Nodes that were asked for and gave nothing, or not all, and why."""
    found = {name: str(why) for name, why in case.lost.items()}
    asked = [name for name in case.order if name not in case.excluded]
    for name in asked:
        reach = case.reach.get(name)
        if name not in found and isinstance(reach, t.Mapping) and reach.get("ok") is False:
            found[name] = str(reach.get("cause") or reach.get("evidence") or "unreachable")
    parts = {
        "its network and system": case.fabric,
        "its GPUs": case.gpu,
        "its software": case.stack,
        "the job user's files": case.user,
    }
    for name in asked:
        silent = [what for what, known in parts.items() if known and name not in known]
        if name not in found and silent:
            found[name] = f"{', '.join(silent)} could not be read"
    return found


def nodes(case: Case) -> list[Row]:
    """A row for each node in rank order, and for hosts of the inventory that never became part of the plan."""
    away = missing(case)
    rows = [_node(case, name, away.get(name, "")) for name in case.order]
    for name in away:
        if name not in case.order:
            rows.append({**_node(case, name, away[name]), "rank": None})
    return rows


def _node(case: Case, name: str, why: str) -> Row:
    planned = dig(case.plan, "nodes", {}).get(name) or {}
    fabric, gpu, stack = case.fabric.get(name), case.gpu.get(name), case.stack.get(name)
    versions = {what: dig(stack, path) for what, path in _VERSIONS.items()}
    reached = name not in case.lost and dig(case.reach.get(name), "ok", True) is not False
    return {
        "name": name,
        "rank": dig(planned, "rank"),
        "address": dig(planned, "address") or dig(case.reach.get(name), "address", ""),
        "ssh_port": dig(planned, "ssh_port"),
        "hostname": str(dig(fabric, "hostname") or dig(planned, "hostname", "")),
        "names": sorted({str(other) for other in (*dig(planned, "names", []), dig(planned, "fqdn", "")) if other}),
        "interface": dig(planned, "interface", ""),
        "slots": dig(planned, "slots", 0),
        "gpus": list(dig(planned, "gpus", [])),
        "gpu_problem": dig(gpu, "problem", ""),
        "driver": dig(gpu, "driver_version", ""),
        "versions": {what: str(version) if version else None for what, version in versions.items()},
        "os": dig(fabric, "os.pretty_name", ""),
        "kernel": dig(fabric, "kernel", ""),
        "cpus": number(fabric, "cpus"),
        "memory_bytes": number(fabric, "memory_bytes"),
        "reached": reached,
        "why": why,
    }


def _list(data: t.Any, path: str) -> list[t.Any]:
    found = dig(data, path)
    return found if isinstance(found, list) else []


def nics(case: Case) -> list[Row]:
    """Interfaces that matter: the cards, and whatever has an address other machines may use."""
    rows = []
    for host in case.order:
        training = dig(case.plan, "nodes", {}).get(host) or {}
        for nic in _list(case.fabric.get(host), "interfaces"):
            found = [str(dig(row, "address")) for row in _list(nic, "addresses") if dig(row, "scope") == "global"]
            if dig(nic, "kind") == "loopback" or not (found or dig(nic, "kind") == "physical"):
                continue
            rows.append(
                {
                    "host": host,
                    "name": dig(nic, "name", ""),
                    "kind": dig(nic, "kind", ""),
                    "up": bool(dig(nic, "up", False)),
                    "speed_mbps": number(nic, "speed_mbps"),
                    "mtu": number(nic, "mtu"),
                    "addresses": found,
                    "rdma_device": dig(nic, "rdma_device", ""),
                    "training": dig(nic, "name") == training.get("interface"),
                }
            )
    return rows


def rdma(case: Case) -> list[Row]:
    """Every port of every RDMA device."""
    rows = []
    for host in case.order:
        for device in _list(case.fabric.get(host), "rdma.devices"):
            for port in _list(device, "ports"):
                rows.append(
                    {
                        "host": host,
                        "device": dig(device, "name", ""),
                        "firmware": dig(device, "fw_ver", ""),
                        "port": number(port, "port"),
                        "state": dig(port, "state", ""),
                        "link_layer": dig(port, "link_layer", ""),
                        "rate_gbps": number(port, "rate_gbps"),
                    }
                )
    return rows


def gpus(case: Case) -> list[Row]:
    """Every GPU that a node knows of."""
    rows = []
    for host in case.order:
        facts = case.gpu.get(host)
        links = {number(link, "index"): link for link in _list(facts, "nvlink")}
        for gpu in _list(facts, "gpus"):
            rows.append(_gpu(host, gpu, dig(facts, "driver_version", ""), links.get(number(gpu, "index"))))
    return rows


def _gpu(host: str, gpu: Data, driver: str, link: t.Any) -> Row:
    return {
        "host": host,
        "index": number(gpu, "index"),
        "name": dig(gpu, "name", ""),
        "memory_mib": number(gpu, "memory_mib"),
        "compute_capability": dig(gpu, "compute_capability"),
        "driver": driver,
        "pci_bus_id": dig(gpu, "pci_bus_id", ""),
        "uuid": dig(gpu, "uuid", ""),
        "pcie_gen": number(gpu, "pcie.gen_current"),
        "pcie_width": number(gpu, "pcie.width_current"),
        "pcie_width_max": number(gpu, "pcie.width_max"),
        "nvlinks_active": number(link, "active"),
        "uncorrected_errors": number(gpu, "ecc.uncorrected_volatile"),
        "fault": dig(gpu, "fault", ""),
    }
