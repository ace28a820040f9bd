# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.plugin_utils import _plan, _report

from .cluster_samples import host, options

GOOD = {"ok": True, "layer": "", "evidence": "", "seconds": 0.1}
BLOCKED = {
    "ok": False,
    "layer": "no_route",
    "evidence": "10.0.0.12 port 29500: No route to host (errno 113)",
    "seconds": 0.1,
}


def evidence(**more):
    plan = _plan.make([host(1), host(2)], options(), {})
    good = {"ssh": {"node1": GOOD}, "tcp": {"29500": GOOD}}
    names = ("node1", "node2")
    base = {
        "plan": plan,
        "rows": {source: dict.fromkeys(names, good) for source in names},
        "listeners": {name: {} for name in names},
        "stacks": {name: {"packages": {"torch": "2.13.0+cpu"}} for name in names},
        "verdicts": [{"launcher": "torchrun", "ok": True, "world_size": 2, "seconds": 21.4, "faults": []}],
        "dropped": {},
        "untested": "",
        "changed": {name: [] for name in names},
    }
    return _report.Evidence(**{**base, **more})


def test_a_healthy_cluster_has_no_fault_and_the_next_line_to_type():
    found = evidence()
    assert _report.faults(found) == []
    text = _report.text(found)
    assert "changed nothing" in text
    assert "ssh -p 22 root@10.0.0.11 /opt/trainmesh/bin/trainmesh-deepspeed /path/to/train.py" in text


def test_the_table_has_a_row_for_each_node_and_launcher():
    text = _report.text(evidence())
    assert any(
        line.split()[:6] == ["node2", "10.0.0.12", "22", "1", "none", "2.13.0+cpu"] for line in text.splitlines()
    )
    assert any(line.split() == ["torchrun", "2", "21", "ok"] for line in text.splitlines())


def test_a_blocked_port_accuses_the_target_and_says_what_to_do():
    rows = evidence().rows
    rows = {
        **rows,
        "node1": {**rows["node1"], "node2": {"ssh": {"node2": GOOD}, "tcp": {"29500": BLOCKED, "61999": BLOCKED}}},
    }
    found = _report.faults(evidence(rows=rows))
    assert len(found) == 1
    assert found[0].startswith("node2: from node1: TCP to port 29500 fails") and "firewall" in found[0]


def test_faults_stand_first_and_no_next_line_is_promised():
    text = _report.text(evidence(listeners={"node1": {"29500": [98, "Address already in use"]}}))
    assert text.index("node1: port 29500") < text.index("launcher")
    assert "NOT ready" in text and "train.py" not in text


def test_a_node_that_dropped_out_leads_and_is_not_accused_again():
    rows = evidence().rows
    rows = {"node1": {**rows["node1"], "node2": {"ssh": {"node2": BLOCKED}, "tcp": {}}}}
    assert _report.faults(evidence(rows=rows, dropped={"node2": "could not be reached"})) == [
        "node2: could not be reached"
    ]


def test_a_failed_job_names_host_launcher_and_cause():
    verdict = {
        "launcher": "deepspeed",
        "ok": False,
        "world_size": 1,
        "seconds": 3.0,
        "log": "/x.log",
        "faults": [{"host": "node2", "cause": "no record of rank 1"}],
    }
    assert _report.faults(evidence(verdicts=[verdict])) == ["node2: deepspeed: no record of rank 1 (see /x.log)"]


def test_a_failed_job_without_a_cause_is_a_fault_all_the_same():
    verdict = {"launcher": "deepspeed", "ok": False, "world_size": 0, "seconds": 3.0, "faults": []}
    assert len(_report.faults(evidence(verdicts=[verdict]))) == 1


def test_what_was_not_tested_is_said():
    text = _report.text(evidence(verdicts=[], untested="check mode starts no jobs", check_mode=True))
    assert "could not be tested: check mode" in text and "would change nothing" in text


def test_changes_are_named_by_host():
    assert "changed: node2." in _report.text(evidence(changed={"node1": [], "node2": ["__hosts_changed_entries"]}))


def test_one_cause_seen_from_several_nodes_is_one_sentence():
    good = evidence().rows
    bad = {"ssh": {"node2": GOOD}, "tcp": {"29500": BLOCKED}}
    found = _report.faults(evidence(rows={name: {**row, "node2": bad} for name, row in good.items()}))
    assert len(found) == 1 and found[0].startswith("node2: from node1, node2: TCP to port 29500 fails")


def test_jobs_are_not_started_over_blocked_ways_nor_without_all_nodes():
    assert _report.blocker(evidence(), True) == ""
    assert _report.blocker(evidence(), False) == "trainmesh_verify_jobs is false"
    assert _report.blocker(evidence(check_mode=True), True) == "check mode starts no jobs"
    assert (
        _report.blocker(evidence(listeners={"node1": {"29500": [98, "in use"]}}), True) == "the faults above come first"
    )
    assert _report.blocker(evidence(stacks={"node1": {}}), True) == "node2 is not in this run"
