# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Eight nodes with eight GPUs each, as the readers and probes report them, on a day with several failures."""

from __future__ import annotations

import types

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Finding, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import data
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import (
    HIGH,
    MASTER,
    call,
    healthy_case,
    link,
    login,
)

NAMES = [f"gpu{number}" for number in range(1, 9)]
CATALOGUE = {
    "ssh-perms-too-open": {
        "title": "sshd rejects keys: file permissions too open",
        "layer": "ssh",
        "source": "sshd(8)",
    },
    "rdzv-errno-113": {
        "title": "No route to a node, or a firewall rejects the rendezvous",
        "layer": "network",
        "source": "",
    },
    "ver-python-torch-differs": {
        "title": "Python or PyTorch versions differ between nodes",
        "layer": "versions",
        "source": "",
    },
    "perf-wrong-nic": {"title": "Training uses the slower network", "layer": "network", "source": ""},
    "fd-limit": {"title": "The open-file limit is too low", "layer": "nccl", "source": "NVIDIA/nccl issue 550"},
}


def bad(failure, evidence):
    return login(False, failure, evidence)


def mesh(names, faults):
    """Every pair good but for ``faults``: (source, target) to {"ssh": ..., "tcp": ...}; a login by one name each."""
    rows = {}
    for source in names:
        rows[source] = {}
        for target in names:
            pair = {"ssh": {target: login()}, "tcp": {MASTER: call(), HIGH: call()}}
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
                mbps = 940.0 - (i + j) % 4 if far else 23400.0 + 37 * ((5 * i + j) % 9)
                rows[source][target] = link(mbps, 27.0 + (7 * i + 3 * j) % 6 + (95 if far else 0))
    return rows


def healthy(names=tuple(NAMES[:3])):
    """A cluster on which every check, job and collective passed."""
    ranks = 8 * len(names)
    sweep = [
        {"bytes": 2**power, "seconds": 0.01, "algbw_gbps": power / 4, "busbw_gbps": power / 2} for power in (20, 30)
    ]
    job = {"ok": True, "world_size": ranks, "faults": []}
    return healthy_case(
        names,
        gpus=8,
        mesh=mesh(names, {}),
        links=links(names, slow=""),
        jobs=[
            {**job, "launcher": "deepspeed", "seconds": 31.6, "log": "/x/1.log"},
            {**job, "launcher": "torchrun", "seconds": 21.4, "log": "/x/2.log"},
        ],
        collective={
            "ok": True, "backend": "nccl", "world_size": ranks, "via": "torchrun", "sweep": sweep, "ranks": [],
            "nccl": {}, "trials": [], "suspects": [], "error": None,
        },
    )  # fmt: skip


def broken():
    """Three failures, a warning, a note: gpu3 refuses keys, gpu7 rejects a port, gpu5 is behind, gpu8 unreachable."""
    refused = bad("permission", "trainer@10.0.0.13: Permission denied (publickey).")
    route = bad("no_route", "10.0.0.17 port 29500: No route to host (errno 113)")
    gone = bad("timeout", "10.0.0.18 port 22: connection timed out after 5 s")
    faults = {(source, "gpu3"): {"ssh": refused} for source in NAMES}
    faults.update({(source, "gpu7"): {"tcp": route} for source in NAMES if source != "gpu7"})
    faults.update({(source, "gpu8"): {"ssh": gone, "tcp": gone} for source in NAMES})
    case = healthy_case(
        NAMES,
        gpus=8,
        mesh=mesh(NAMES, faults),
        links=links(NAMES),
        reach={},
        listeners={},
        lost={"gpu8": "unreachable"},
        skipped="fix the failures above first",
        thresholds={"link_share_min": 0.5, "clock_skew_s": 1.0},
    )
    for part in (case.fabric, case.gpu, case.stack, case.user, case.mesh, case.links):
        del part["gpu8"]
    for row in case.links.values():
        del row["gpu8"]
    behind = case.stack["gpu5"]
    behind["packages"]["torch"] = behind["torch"]["version"] = "2.12.1+cu126"
    behind["torch"]["nccl"] = "2.30.4"
    case.fabric["gpu7"]["rdma"]["devices"][0]["ports"][0]["state"] = "DOWN"
    case.gpu["gpu7"].update(status="gpu_lost", problem="GPU 00000007:05:00.0 requires reset")
    case.gpu["gpu7"]["gpus"][3]["pcie"]["width_current"] = 8
    case.gpu["gpu7"]["gpus"][5]["fault"] = "GPU requires reset"
    return case


def answers():
    return (
        Finding(
            "ssh-perms-too-open", "fail", ("gpu3",), {"gpu3": "/home/trainer/.ssh has mode 0775"},
            "sshd ignores authorized_keys in a directory that is group-writable, so it rejects every key.",
            "`chmod 700 /home/trainer/.ssh` on gpu3, or run site.yml again.",
        ),
        Finding(
            "rdzv-errno-113", "fail", ("gpu7",),
            {"gpu7": "from gpu1, gpu2 and 4 more: 10.0.0.17 port 29500: No route to host (errno 113)"},
            "firewalld on gpu7 rejects connections from the other nodes, so its ranks cannot join.",
            "Set `trainmesh_firewall: firewalld` and run site.yml again, or on gpu7: "
            "`firewall-cmd --permanent --zone=trusted --add-source=10.0.0.0/24 && firewall-cmd --reload`.",
        ),
        Finding(
            "ver-python-torch-differs", "fail", ("gpu5",), {"gpu5": "2.12.1+cu126", "gpu1": "2.13.0+cu126"},
            "PyTorch is not the same on all nodes (2.13.0+cu126 on gpu1, gpu2 and 4 more; 2.12.1+cu126 on gpu5). Ranks "
            "exchange tensors and states in the format of their version, and each build has its own NCCL.",
            "Run site.yml again: it installs 2.13.0+cu126 on gpu5.",
        ),
        Finding(
            "perf-wrong-nic", "warn", ("gpu6",), {"gpu6": "940 Mbit/s over eth0, the other nodes reach 23.5 Gbit/s"},
            "The data address of gpu6 is on a slower network than the others, and the slowest link limits all ranks.",
            "`ethtool eth0` on gpu6 shows the link; or set `trainmesh_address` for gpu6.",
        ),
        Finding(
            "fd-limit", "info", ("gpu1", "gpu2"), {"gpu1": "soft limit 1024", "gpu2": "soft limit 1024"},
            "NCCL opens several files for each pair of ranks.", "Raise `nofile` in /etc/security/limits.d.",
        ),
        Untested("node", ("gpu8",), "lost during the run; remaining checks skipped"),
        Untested("jobs", (), "fix the failures above first"),
    )  # fmt: skip


def judged(found=(), held=("ssh-hostkey-changed", "drv-too-old"), not_applicable=()):
    return types.SimpleNamespace(answers=tuple(found), held=tuple(held), not_applicable=tuple(not_applicable))


def report(case=None, found=None, changed=None, **more):
    """The report of the day with failures, or of ``case``."""
    found = answers() if case is None and found is None else found or ()
    fixed = {"started": "2026-11-21T10:00:00+00:00", "finished": "2026-11-21T10:01:30+00:00", "look": CATALOGUE.get}
    return data.build(case or broken(), judged(found), changed or {}, **{**fixed, **more})
