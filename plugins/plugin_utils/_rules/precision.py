# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what the GPUs of the whole cluster can compute with."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import capability_facts, key
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    cpu_torch_only,
    gpus,
    has_gpus,
    limit,
    model,
    most_common,
    number,
    text,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    Finding,
    dig,
    finding,
    rule,
)


@rule("prec-bf16-unsupported", needs=("gpu",), applies=has_gpus)
def bf16(case: Case) -> t.Iterator[Answer]:
    """bf16 is asked for, and a node has a GPU without it."""
    if dig(case.plan, "precision") != "bf16" or cpu_torch_only(case):
        return
    for host in case.gpu:
        weak = set()
        for gpu in gpus(case, host):
            capability = text(gpu, "compute_capability")
            if key(capability) and capability_facts(capability).get("bf16") is not True:
                weak.add(f"{model(gpu) or 'a GPU'}, compute capability {capability}")
        if weak:
            yield finding(
                "prec-bf16-unsupported",
                FAIL,
                host,
                "; ".join(sorted(weak)),
                "The job is to train in bf16, which GPUs below compute capability 8.0 do not have: 'Type bf16 is not "
                "supported', or a slow emulation.",
                "Set trainmesh_precision: auto (which takes fp16 for such a cluster) or fp16, or leave "
                "those nodes out.",
            )


@rule(
    About(
        "nccl-mixed-gpu",
        layer="nccl",
        severity=WARN,
        title="Mixed GPU models in one job",
        symptom="a hang, or the pace of the slowest",
        source="field notes, NC#794, vllm#20282",
    ),
    About(
        "gpu-mixed-memory",
        layer="precision",
        severity=WARN,
        title="Mixed GPU memory sizes in one job",
        symptom="out of memory on the smaller, room on the larger",
        source="field notes",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def mixed(case: Case) -> t.Iterator[Answer]:
    """Unlike models, and unlike memory: the slowest sets the pace, the smallest the size."""
    # the driver alone tells models without their capability, so that the name is what is compared
    models = {host: sorted({model(gpu) for gpu in gpus(case, host)} - {""}) for host in case.gpu}
    newest: dict[str, tuple[int, ...]] = {}
    for gpu in (gpu for host in case.gpu for gpu in gpus(case, host)):
        newest[model(gpu)] = max(newest.get(model(gpu), ()), key(text(gpu, "compute_capability")))
    # newest first: where two models are as common as each other, the older one stands out
    usual = most_common([(newest[name], name) for names in models.values() for name in names])
    odd = [host for host, names in models.items() if any(name != usual[1] for name in names)]
    if odd:
        shown = {host: ", ".join(names) for host, names in models.items() if names}
        yield from _standing_out(
            "nccl-mixed-gpu",
            odd,
            shown,
            "The GPUs are of unlike models: every step waits for the slowest, and all ranks must do with the precision "
            "and the PyTorch build of the oldest.",
            "Use nodes of one model for one job (ansible-playbook --limit), or live with the pace of the slowest.",
        )
    sizes = {host: [each for gpu in gpus(case, host) if (each := number(gpu, "memory_mib"))] for host in case.gpu}
    largest = max((size for found in sizes.values() for size in found), default=0)
    share = limit(case, "gpu_memory_share")
    small = [host for host, found in sizes.items() if any(size < largest * (1 - share) for size in found)]
    if small:
        shown = {
            host: ", ".join(f"{size:g} MiB" for size in sorted(set(found))) for host, found in sizes.items() if found
        }
        yield from _standing_out(
            "gpu-mixed-memory",
            small,
            shown,
            "The GPUs have unlike memory: what fits on the larger ones runs out of memory on the smaller ones, as "
            "every rank gets an equal share.",
            "Choose batch size and ZeRO stage for the smallest GPU, or leave those nodes out (--limit).",
        )


def _standing_out(
    identity: str, hosts: list[str], evidence: dict[str, str], cause: str, remedy: str
) -> t.Iterator[Answer]:
    """A warning attributed to ``hosts`` that shows what every node has."""
    if evidence:
        yield Finding(identity, WARN, tuple(hosts), evidence, cause, remedy)
