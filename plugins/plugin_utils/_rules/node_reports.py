# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rule on what nvidia-smi, ibstat and ibv_devinfo said, as user files have it: of one node, or of several.

The other rules judge it, as if the nodes had told it now.
"""

from __future__ import annotations

import collections
import dataclasses
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import per_host
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import rdma_parse
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import smi_errors, smi_text, smi_xml, topology
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    WARN,
    Answer,
    Case,
    Finding,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import gpu, gpu_health, rdma
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_logs import (
    files_there,
    host_words,
    node_of,
    texts,
)

KIND = "node_report"
_JUDGES = (
    gpu.status,
    gpu_health.recoveries,
    gpu_health.ecc,
    gpu_health.row_remap,
    gpu_health.retired_pages,
    gpu_health.pcie,
    gpu_health.nvlink,
    gpu_health.fabric_health,
    rdma.not_active,
)


@rule(
    *sorted({identity for identity, _cause, _remedy in gpu.STATUS.values()}),
    "gpu-recovery",
    "gpu-ecc",
    "gpu-row-remap",
    "gpu-retired-pages",
    "gpu-pcie-narrow",
    "gpu-nvlink",
    "ib-port-not-active",
    needs=("user",),
    applies=files_there(KIND),
)
def reports(case: Case) -> t.Iterator[Answer]:
    """What the tools said of GPUs, links and ports; a host that is none of the plan's has the file's word for it."""
    found, paths = _by_host(case)
    told = _told(case, found)
    for judge in (*_JUDGES, _wiring):
        for answer in judge(told):
            if isinstance(answer, Finding):
                seen = {host: f"{paths.get(host, KIND)}: {words}" for host, words in answer.evidence.items()}
                hosts = tuple(host for host in answer.hosts if host in case.plan["nodes"])
                yield dataclasses.replace(answer, hosts=hosts, evidence=seen)


def _by_host(case: Case) -> tuple[dict[str, str], dict[str, str]]:
    """(text, path) of each host; what several nodes hold alike, and names no host, is of none of them."""
    named: dict[tuple[str, str, str], None] = {}
    holders: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for name, path, content in texts(case, KIND):
        for host, part in per_host.split(content, host_words(case)):
            if host:
                named[node_of(case, host) or host, path, part] = None
            else:
                holders[path, part].append(name)
    for (path, part), names in holders.items():
        named[names[0] if len(names) == 1 else path, path, part] = None
    found: dict[str, str] = {}
    paths: dict[str, str] = {}
    for host, path, part in named:
        found[host] = f"{found[host]}\n{part}" if host in found else part
        paths.setdefault(host, path)
    return found, paths


def _told(case: Case, found: t.Mapping[str, str]) -> Case:
    """A Case of nothing but what the texts say."""
    nodes = {name: case.plan["nodes"].get(name, {"name": name}) for name in found}
    graphics = {name: _graphics(content) for name, content in found.items()}
    devices = {name: rdma_parse.parse(content) for name, content in found.items()}
    return Case(
        plan={**case.plan, "nodes": {**case.plan["nodes"], **nodes}, "order": list(found)},
        gpu={name: facts for name, facts in graphics.items() if facts},
        fabric={name: {"rdma": {"devices": each}} for name, each in devices.items() if each},
        stack=case.stack,
        user=case.user,
        load=case.load,
        thresholds=case.thresholds,
        views={},
    )


def _graphics(content: str) -> dict[str, t.Any]:
    """Facts of GPUs as gpu_facts returns them, as far as a text holds them; empty where it tells of none."""
    found = [{**each, "index": index} for index, each in enumerate(smi_xml.parse(content).gpus)]
    found = found or smi_text.gpus(content)
    wiring, links = topology.parse(content), topology.parse_nvlink(content)
    failure = smi_errors.classify(content)
    broken = next((each for each in found if each["fault"]), None)
    if not (found or wiring or links or failure):
        return {}
    problem = f"nvidia-smi -q says of the GPU at {broken['pci_bus_id']}: {broken['fault']}" if broken else None
    return {
        "status": failure.status if failure else "gpu_lost" if broken else "ok",
        "problem": failure.problem if failure else problem,
        "gpus": found or [{"index": each["index"], "uuid": each["uuid"]} for each in links or ()],
        "topology": wiring,
        "nvlink": links,
    }


def _wiring(case: Case) -> t.Iterator[Answer]:
    """Pairs of GPUs without the NVLinks that most pairs of the node have, or those of others of the same size."""
    tables = {host: _pairs(facts["topology"]["gpu_gpu"]) for host, facts in case.gpu.items() if dig(facts, "topology")}
    for host, pairs in tables.items():
        others = [other for name, other in tables.items() if name != host and len(other) == len(pairs)]
        fewer = bool(others) and all(sum(pairs.values()) < sum(each.values()) for each in others)
        mostly = sum(pairs.values()) * 10 >= len(pairs) * 6
        missed = [
            pair
            for pair, linked in pairs.items()
            if not linked and (mostly or (fewer and sum(each[pair] for each in others) * 2 > len(others)))
        ]
        if missed:
            listed = ", ".join(f"GPU{one}-GPU{two}" for one, two in missed[:6])
            cause = "GPUs that have NVLinks to others, or on the other nodes, have none here: NCCL goes over PCIe."
            remedy = (
                "Run nvidia-smi nvlink -s and systemctl status nvidia-fabricmanager there, then reset all GPUs or "
                "reboot; have the board checked if it stays."
            )
            seen = f"nvidia-smi topo -m: no NVLink between {listed}"
            yield finding("gpu-nvlink", WARN, host, seen, cause, remedy)


def _pairs(table: t.Sequence[t.Sequence[t.Any]]) -> dict[tuple[int, int], bool]:
    """Whether each pair of GPUs is joined by NVLinks."""
    size = len(table)
    return {(one, two): str(table[one][two]).startswith("NV") for one in range(size) for two in range(one + 1, size)}
