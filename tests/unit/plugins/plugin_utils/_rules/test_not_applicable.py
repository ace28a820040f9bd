# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which checks have passed on a cluster, and which had nothing there to look at."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine, options
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import healthy_case, plan, put

ANY = options.Options()
OF_GPUS = {"gpu-ecc", "gpu-xid", "gpu-nvlink", "gpu-count", "gpu-lost-from-bus", "drv-too-old", "nccl-mixed-gpu"}
OF_RDMA = {"ib-memlock", "ib-port-not-active", "roce-gid-index", "p2p-acs-iommu", "ib-libibverbs-missing"}
ALWAYS = {
    "ssh-login-slow",
    "rdzv-errno-113",
    "link-slow",
    "rdzv-clock-skew",
    "fd-limit",
    "name-hosts-typo",
    "disk-full",
}
OF_FILES = {
    "hostfile": {"hostfile-bad-line", "hostfile-zero-slots", "hostfile-duplicate"},
    "accelerate": {"acc-config-differs", "acc-unknown-key", "acc-machine-rank-duplicate"},
    "deepspeed_json": {"ds-batch-mismatch", "prec-both-enabled"},
    "deepspeed_env": {"ds-env-file-unparsable", "acc-env-file-secrets"},
    "launch_script": {"shell-comment-after-backslash", "pdsh-stdin-hang", "ds-num-gpus-overrides"},
}
OF_JOBS = {"job-failed", "job-rank-killed", "mem-gpu-oom"}
OF_COLLECTIVE = {"collective-failed", "collective-slow", "collective-straggler"}


def passed(case):
    judged = engine.judge(case, ANY)
    answered = {answer.rule for answer in judged.answers}
    every = {identity for rule in engine.load() for identity in rule.ids}
    assert {*judged.held} | {*judged.not_applicable} == every - answered
    assert not {*judged.held} & {*judged.not_applicable}
    return {*judged.held}


def test_without_gpus_and_rdma_no_check_of_them_has_passed():
    plain, machines = passed(healthy_case()), passed(healthy_case(gpus=2))
    assert not plain & (OF_GPUS | OF_RDMA) and machines >= OF_GPUS | OF_RDMA
    assert plain & machines >= ALWAYS


@pytest.mark.parametrize("kind", OF_FILES)
def test_files_that_nobody_has_are_not_well_written(kind):
    case = healthy_case()
    assert not passed(case) & set.union(*OF_FILES.values())
    text = (
        "node1 slots=1\nnode2 slots=1\nnode3 slots=1\n" if kind == "hostfile" else "{}" if "json" in kind else "A=b\n"
    )
    for name in case.order:
        case.user[name]["files"] = [{"kind": kind, "path": "/x", "text": text}]
    found = passed(case)
    assert found >= OF_FILES[kind]
    assert not found & set.union(*(ids for other, ids in OF_FILES.items() if other != kind))


def test_jobs_that_did_not_run_have_not_passed():
    case = healthy_case()
    assert not passed(case) & (OF_JOBS | OF_COLLECTIVE)
    job = {"launcher": "torchrun", "ok": True, "faults": []}
    assert passed(dataclasses.replace(case, jobs=[job])) >= OF_JOBS
    assert passed(dataclasses.replace(case, collective={"ok": True, "sweep": []})) >= OF_COLLECTIVE


def test_logins_that_all_failed_were_not_fast():
    case = healthy_case()
    for row in case.mesh.values():
        for results in row.values():
            for login in results["ssh"].values():
                login.update(ok=False, failure="refused", evidence="x")
    assert not passed(case) & {"ssh-login-slow", "ssh-login-noise", "ssh-noninteractive-env"}


def test_a_cluster_of_which_nothing_is_known_has_passed_next_to_nothing():
    assert passed(Case(plan=plan(("node1", "node2")))) <= {
        *("plan-refused", "ssh-key-removed-kept", "reach-node-lost", "master-addr-malformed", "nccl-p2p-disabled-kept")
    }


def test_odd_facts_end_no_judgement():
    case = healthy_case(gpus=2)
    for name in case.order:
        put(case.user[name], "files", 7)
        put(case.fabric[name], "rdma", [None])
        put(case.gpu[name], "gpus", "none")
    assert passed(case)


def test_logs_are_read_of_nodes_with_a_dot_in_their_name():
    case = healthy_case(["rack.node1", "rack.node2"])
    for name in case.order:
        text = "DeepSpeed C++/CUDA extension op report\nninja .................. [FAIL]\n"
        case.user[name]["files"] = [{"kind": "ds_report", "path": "/x", "text": text}]
    found = [one.hosts for one in engine.judge(case, ANY).findings if one.rule == "build-ninja-missing"]
    assert found == [("rack.node1", "rack.node2")]
