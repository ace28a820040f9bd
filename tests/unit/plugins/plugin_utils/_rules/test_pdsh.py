# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import findings, one, told
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import MASTER, healthy_case


def process(pid, kind="rank", run_id=None, user="trainer", age=600):
    return {"pid": pid, "user": user, "kind": kind, "run_id": run_id, "age_seconds": age, "command": "python train.py"}


@pytest.mark.parametrize(
    ("manager", "command"),
    [("apt", "apt-get install -y pdsh"), ("dnf", "pdsh-rcmd-ssh"), (None, "the distribution's package pdsh")],
)
def test_pdsh_is_missing_on_the_head(manager, command):
    case = healthy_case()
    case.fabric["node1"]["package_manager"] = manager
    case.stack["node1"]["tools"]["pdsh"] = None
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("pdsh-not-installed", "fail", ("node1",))
    assert command in found.remedy


def test_pdsh_is_not_needed_on_other_nodes_nor_by_other_launchers():
    case, others = healthy_case(), healthy_case()
    case.stack["node2"]["tools"]["pdsh"] = None
    others.stack["node1"]["tools"]["pdsh"] = None
    others.plan["launchers"] = ["mpirun"]
    assert told(case) == told(others) == {}
    others.plan.update(launchers=["torchrun"], managed=False)
    assert told(others) == {}


def test_pdsh_is_not_asked_for_on_a_cluster_that_others_made_without_deepspeed():
    case = healthy_case()
    case.plan["managed"] = False
    case.stack["node1"]["tools"]["pdsh"] = None
    deepspeed = case.stack["node1"]["packages"].pop("deepspeed")
    assert told(case) == {}
    case.stack["node1"]["packages"]["deepspeed"] = deepspeed
    assert told(case) == {("pdsh-not-installed", "fail"): ("node1",)}


def test_pdsh_without_its_ssh_module():
    case = healthy_case()
    case.stack["node1"]["tools"]["pdsh"].update(rcmd_modules=["rsh", "exec"], ssh=False)
    case.fabric["node1"]["package_manager"] = "dnf"
    found = one(case)
    assert (found.rule, found.hosts) == ("pdsh-ssh-module-missing", ("node1",))
    assert found.remedy == "dnf install -y pdsh-rcmd-ssh"


PATH = {"problem": 'module path "/opt/pdsh" insecure', "insecure": True, "distrusted": ["/opt/pdsh"]}
MODULE = {"problem": "skipping insecure module", "insecure": True, "distrusted": ["/opt/pdsh lib/sshcmd.so"]}


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ({"rcmd_modules": []}, "apt-get install -y pdsh"),
        ({"rcmd_modules": [], "version": None, **PATH}, "chown root /opt/pdsh && chmod go-w /opt/pdsh;"),
        ({"rcmd_modules": ["rsh", "exec"], **MODULE}, "chmod go-w '/opt/pdsh lib/sshcmd.so';"),
        ({"rcmd_modules": [], "insecure": True, "problem": "in other words"}, "else chmod go-w the directories"),
    ],
)
def test_pdsh_that_does_not_trust_its_modules(change, command):
    case = healthy_case()
    case.stack["node1"]["tools"]["pdsh"].update(change)
    assert told(case) == {("pdsh-module-path-insecure", "fail"): ("node1",)}
    assert command in one(case).remedy


def test_a_module_that_is_not_needed_may_be_refused():
    case, none = healthy_case(), healthy_case()
    case.stack["node1"]["tools"]["pdsh"].update(MODULE)
    assert told(case) == {}
    none.stack["node1"]["tools"]["pdsh"].update(rcmd_modules=[], version=None, problem="no modules found")
    assert told(none) == {("pdsh-ssh-module-missing", "fail"): ("node1",)}


def test_the_remote_shell_of_pdsh():
    told_rsh, default, named = healthy_case(), healthy_case(), healthy_case()
    told_rsh.stack["node1"]["login_environment"]["variables"]["PDSH_RCMD_TYPE"] = "rsh"
    assert told(told_rsh) == {("pdsh-default-rsh", "fail"): ("node1",)}
    default.plan["managed"] = False
    assert told(default) == {}  # nothing there that would use it
    default.stack["node1"]["packages"] = {"deepspeed": "0.19.6"}
    found = [item.severity for item in findings(default) if item.rule == "pdsh-default-rsh"]
    assert found == ["info"]  # DeepSpeed tells it
    script = {"kind": "launch_script", "path": "/home/t/go.sh", "text": "pdsh -S -w n1,n2 hostname </dev/null\n"}
    default.user["node1"]["files"] = [script]
    assert told(default)[("pdsh-default-rsh", "warn")] == ("node1",)
    named.plan["managed"] = False
    named.stack["node1"]["login_environment"]["variables"]["PDSH_RCMD_TYPE"] = "ssh"
    assert told(named) == {}


def test_ranks_of_our_run_without_their_launcher():
    case = healthy_case()
    case.user["node2"]["processes"] = [process(40, "deepspeed", "run7"), process(41, run_id="run7")]
    case.gpu["node2"]["gpus"] = [{"processes": [{"pid": 41, "memory_mib": 900}]}]
    found = next(item for item in findings(case, "warn") if item.rule == "ds-orphan-workers")
    assert found.hosts == ("node2",)
    assert "pid 41 of trainer, 10 min old, holds 900 MiB of a GPU" in found.evidence["node2"]
    assert "/opt/trainmesh/bin/trainmesh-stop run7" in found.remedy
    case.user["node1"]["processes"] = [process(10, "deepspeed", "run7")]
    assert [item for item in findings(case) if item.rule == "ds-orphan-workers"] == []


def test_ranks_of_others_with_nothing_on_the_head():
    case = healthy_case()
    case.user["node2"]["processes"] = [process(40, "torchrun"), process(41)]
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("ds-orphan-workers", "warn", ("node2",))
    assert found.remedy == "If nobody needs them: kill 40 41"
    young = dataclasses.replace(case, thresholds={"orphan_age_s": 3600})
    assert told(young) == {}
    for run in (None, "run7"):  # the ranks of our scripts' probes have no id of their own
        case.user["node1"]["processes"] = [process(9, "torchrun", run), process(10)]
        assert told(case) == {}
    del case.user["node1"]
    assert told(case) == {}


def test_ranks_on_the_head_itself():
    case = healthy_case()
    case.user["node1"]["processes"] = [process(41)]
    assert told(case) == {("ds-orphan-workers", "warn"): ("node1",)}


def test_ranks_that_hold_the_master_port_are_one_fault():
    case = healthy_case()
    case.user["node1"]["processes"] = [process(41)]
    case.user["node1"]["port_owners"] = {MASTER: {"pid": 41, "user": "trainer", "command": "python"}}
    case.listeners["node1"] = {MASTER: [98, "Address already in use"]}
    found = one(case)
    assert (found.rule, found.severity, found.hosts) == ("ds-orphan-workers", "fail", ("node1",))
    assert f"port {MASTER} is held by one of them" in found.evidence["node1"]


def test_plain_runs_that_an_abort_would_end_together():
    case = healthy_case()
    case.user["node1"]["processes"] = [process(1, "deepspeed"), process(2, "deepspeed", "run7")]
    found = [item for item in findings(case) if item.rule == "ds-abort-kills-other-jobs"]
    assert [(item.severity, item.hosts) for item in found] == [("info", ("node1",))]
    case.user["node1"]["processes"] = [process(1, "deepspeed", "run6"), process(2, "deepspeed", "run7")]
    assert [item for item in findings(case) if item.rule == "ds-abort-kills-other-jobs"] == []
    case.user["node1"]["processes"] = [process(1, "deepspeed", user="root"), process(2, "deepspeed", user="ann")]
    found = [item for item in findings(case) if item.rule == "ds-abort-kills-other-jobs"]
    assert "a plain run of root beside those of ann" in found[0].evidence["node1"]
