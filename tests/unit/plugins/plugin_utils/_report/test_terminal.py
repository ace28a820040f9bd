# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import data, terminal
from ansible_collections.trainmesh.cluster.tests.unit.samples.reports import (
    CATALOGUE,
    NAMES,
    answers,
    bad,
    broken,
    healthy,
    judged,
    links,
    mesh,
    report,
)

FINDING = Finding("fd-limit", "warn", ("gpu1",), {"gpu1": "1024"}, "Few files.", "Raise it.")


def shown(*arguments, **more):
    return terminal.text(report(*arguments, **more)).splitlines()


def test_a_healthy_cluster_has_no_fault_and_the_next_line_to_type():
    lines = shown(healthy())
    assert lines[1] == "READY: no failures found"
    assert "This run changed nothing on any node." in lines
    assert lines[-1] == "  ssh -p 22 trainer@10.0.0.11 /opt/trainmesh/bin/trainmesh-deepspeed /path/to/train.py"


def test_each_finding_has_three_lines_the_worst_first():
    lines = shown()
    first = lines.index(
        "  1. FAIL  gpu3: sshd rejects keys: file permissions too open: /home/trainer/.ssh has mode 0775"
    )
    assert lines[first + 1].startswith("     cause: sshd ignores authorized_keys")
    assert lines[first + 2].startswith("     fix:   `chmod 700 /home/trainer/.ssh` on gpu3") and lines[
        first + 2
    ].endswith("[ssh-perms-too-open]")
    assert lines[first + 3] == "" and lines[first + 4].startswith("  2. FAIL  gpu7:")
    assert any(line.startswith("  5. INFO  gpu1, gpu2:") for line in lines)


def test_failures_come_first_and_no_next_command_is_shown():
    text = "\n".join(shown())
    assert (
        text.index("1. FAIL")
        < text.index("Connectivity from (row)")
        < text.index("  node  address")
        < text.index("Not tested:")
    )
    assert "NOT READY" in text.splitlines()[-1] and "train.py" not in text


def test_the_table_has_a_row_for_each_node_and_launcher():
    rows = [line.split() for line in shown(healthy())]
    node = ["gpu2", "10.0.0.12", "22", "8", "8", "x", "A100-SXM4-40GB", "2.13.0+cu126", "0.19.8", "1.15.0"]
    assert [*node, "ok", "ok"] in rows
    assert ["torchrun", "24", "21", "ok"] in rows


def test_the_table_counts_the_attempts_towards_a_node():
    rows = {line.split()[0]: line.split()[-2:] for line in shown() if line.startswith("  gpu")}
    assert rows["gpu1"] == ["ok", "ok"] and rows["gpu3"] == ["0/7", "ok"] and rows["gpu7"] == ["ok", "1/7"]


def test_the_square_marks_ssh_small_ports_in_capitals_and_explains_the_marks():
    lines = shown()
    assert "   0 gpu1   .   . key   .   .   . ROU tmo" in lines
    assert "   7 gpu8   -   -   -   -   -   -   -   -" in lines
    assert "  key ssh: permission denied" in lines
    assert "  ROU port: no route to host, or a firewall rejects it" in lines
    assert not any(line.startswith("  ref") for line in lines)


def test_sixteen_nodes_with_long_names_fit_into_a_hundred_columns():
    names = tuple(f"a-quite-long-machine-name-{number:02}" for number in range(16))
    case = dataclasses.replace(
        healthy(names), mesh=mesh(names, {(names[0], names[1]): {"ssh": bad("hostkey_changed", "x")}})
    )
    square = terminal.connectivity(report(case))
    assert len(square) == 20 and max(map(len, square)) <= terminal.WIDTH
    assert square[2].split()[2:5] == [".", "hk!", "."]


def many(faults):
    names = tuple(f"n{number}" for number in range(40))
    return dataclasses.replace(healthy(names), mesh=mesh(names, faults(names)))


def test_of_many_nodes_only_rows_with_faults_are_shown_and_counted():
    case = many(lambda names: {(name, "n3"): {"ssh": bad("permission", "x")} for name in names[:30]})
    lines = terminal.connectivity(report(case))
    assert lines[1] == "  key n0..n29 -> n3"
    assert lines[2] == "  10 of 40 rows have no failures"
    assert len(lines) == 5


def test_many_different_rows_are_cut_and_stay_narrow():
    case = many(lambda names: {(a, b): {"tcp": bad("timeout", "y")} for a in names for b in names if a < b})
    lines = terminal.connectivity(report(case))
    assert max(map(len, lines)) <= terminal.WIDTH
    assert len(lines) < terminal.MOST_ROWS + 8 and any("more lines" in line for line in lines)


def test_of_many_nodes_the_table_has_a_row_for_equal_ones_and_one_for_each_of_the_findings():
    case = many(lambda names: {})
    rows = terminal.nodes(report(case, [dataclasses.replace(FINDING, hosts=("n17",))]))
    assert [row.split("  ")[1] for row in rows[2:]] == ["39: n0..n16, n18..n39", "n17"]


def test_latency_and_bandwidth_name_the_worst_pair():
    lines = shown()
    assert "Latency: median 30 us, worst 127 us (gpu3 -> gpu6)" in lines
    assert any(line.startswith("Bandwidth: median 23.5 Gbit/s, worst 937 Mbit/s") for line in lines)
    assert not any(line.startswith("Latency") for line in shown(dataclasses.replace(healthy(), links={})))


def test_the_collective_says_how_fast_or_why_not():
    assert "All-reduce over 24 ranks (nccl, torchrun): ok, 15 GB/s bus bandwidth at 1 GiB" in shown(healthy())
    failed = {**healthy().collective, "ok": False, "error": "rank 3 did not\ncome", "sweep": []}
    lines = shown(dataclasses.replace(healthy(), collective=failed))
    assert "All-reduce over 24 ranks (nccl, torchrun) FAILED: rank 3 did not come" in lines


def test_hosts_with_the_same_evidence_share_it_and_many_kinds_are_counted():
    same = dataclasses.replace(FINDING, hosts=("gpu1", "gpu2"), evidence={"gpu1": "a", "gpu2": "a"})
    assert "  1. WARN  gpu1, gpu2: The open-file limit is too low: a" in shown(healthy(), [same])
    other = dataclasses.replace(FINDING, hosts=("c",), evidence={"a": "1", "b": "2", "c": "3"})
    assert "  1. WARN  c: The open-file limit is too low: c: 3; a: 1; and 1 more" in shown(healthy(), [other])


def test_a_finding_about_no_single_node_is_about_the_cluster():
    lines = shown(healthy(), [dataclasses.replace(FINDING, hosts=(), evidence={}, rule="unknown")])
    assert "  1. WARN  the cluster: " in lines


def test_evidence_can_not_steer_the_terminal():
    hostile = dataclasses.replace(FINDING, evidence={"gpu1": "red \x1b[31m\x07\r\n  1. INFO fake\u202e \x9b2J"})
    text = "\n".join(shown(healthy(), [hostile]))
    assert not any(char in text for char in "\x1b\x07\r\x9b\u202e") and "red [31m 1. INFO fake" in text


def test_long_evidence_is_cut():
    lines = shown(healthy(), [dataclasses.replace(FINDING, evidence={"gpu1": "x" * 5000})])
    assert max(map(len, lines)) < 400


def measured(*gpus, **more):
    return {"device": "gpu", "precision": "bf16", "reason": None, "gpus": list(gpus), "cpu": None, **more}


def test_the_slowest_and_the_fastest_gpu_and_how_many_were_not_tested():
    kept = {"tflops": 250.5, "memory_gbps": 1310.0, "host_gbps": 24.0, "peer_gbps": None, "reason": None}
    answers = [measured(kept), measured({**kept, "tflops": 140.0}, {"reason": "it is 98 % busy"})]
    case = dataclasses.replace(healthy(), speed=dict(zip(healthy().order, answers)))
    line = "Speed of 2 GPUs (bf16): 140 to 250 TFLOP/s, 1.31e+03 GB/s memory, 24 GB/s from the host; 1 not tested"
    assert line.replace("1.31e+03", "1310") in shown(case)
    cpu = measured(device="cpu", cpu={"gflops": 90.5, "memory_gbps": 11.0})
    case = dataclasses.replace(healthy(), speed={healthy().order[0]: cpu})
    assert "Speed of the processors of 1 node: 90.5 GFLOP/s, 11 GB/s memory" in shown(case)
    assert not [line for line in shown(healthy()) if line.startswith("Speed")]


def test_our_own_words_are_ascii():
    assert "\n".join(shown()).isascii() and "\n".join(shown(healthy())).isascii()


def test_what_was_not_tested_is_said_with_its_reason():
    lines = shown()
    at = lines.index("Not tested:")
    assert lines[at + 1] == "  gpu8: lost during the run; remaining checks skipped [node]"
    assert lines[at + 2] == "  jobs: fix the failures above first [jobs]"
    case = dataclasses.replace(healthy(), skipped="check mode starts no jobs", jobs=(), collective=None)
    lines = shown(case, check_mode=True)
    assert "  jobs: check mode starts no jobs [jobs]" in lines
    assert "This run would change nothing on any node." in lines


def test_ready_is_said_only_of_a_cluster_on_which_jobs_have_run():
    assert shown(broken(), answers())[1] == "NOT READY: 3 failures to fix"
    without = dataclasses.replace(healthy(), skipped="trainmesh_verify_jobs is false", jobs=(), collective=None)
    assert shown(without, jobs_wanted=False)[1] == "No failures found; no jobs were run"
    nothing = terminal.text(data.build(healthy(), judged(held=()), {}, look=CATALOGUE.get)).splitlines()
    assert nothing[1:3] == ["NOT TESTED: no checks were run", "0 failures, 0 warnings; 0 checks passed"]


def test_an_incomplete_run_says_so():
    lines = shown(broken(), [FINDING])
    assert lines[1].startswith("INCOMPLETE") and lines[-1].startswith("Not all of the cluster was tested")


def test_changes_and_files_are_named():
    text = terminal.text(report(healthy(), changed={"gpu2": ["__hosts_changed_entries"]}), ["/x/report.json"])
    assert "This run changed: gpu2." in text and "Written: /x/report.json" in text


def test_a_run_that_tried_nothing_has_no_empty_parts():
    case = dataclasses.replace(healthy(), mesh={}, links={}, jobs=(), collective=None)
    text = "\n".join(shown(case))
    assert "Connectivity" not in text and "launcher" not in text and "\n\n\n" not in text


def test_slow_pairs_are_marked():
    slow = {"ok": True, "failure": "slow", "evidence": "", "seconds": 9.0}
    case = dataclasses.replace(healthy(), mesh=mesh(("gpu1", "gpu2", "gpu3"), {("gpu1", "gpu2"): {"ssh": slow}}))
    lines = shown(case)
    assert "   0 gpu1   . slo   ." in lines and "  slo ssh: works, but slowly" in lines


def test_table_columns_are_as_wide_as_they_need():
    assert terminal.table([["a", "bbb"], ["cccc", "d"]]) == ["  a     bbb", "  ----  ---", "  cccc  d"]


def test_links_of_few_nodes_with_one_slow_one():
    case = dataclasses.replace(healthy(), links=links(("gpu1", "gpu2", "gpu3"), slow="gpu2"))
    assert any("worst" in line and "gpu2" in line for line in shown(case))


def test_all_answers_are_shown():
    text = "\n".join(shown())
    assert all(answer.rule in text for answer in answers())


def star(names=tuple(NAMES[:3])):
    """A healthy cluster in which the head alone logs in."""
    case = healthy(names)
    for name in names[1:]:
        case.plan["nodes"][name]["logs_in"] = False
        for target in names:
            case.mesh[name][target]["ssh"] = {}
    return case


def test_logins_that_are_not_planned_are_no_fault_and_not_untried():
    made = report(star())
    assert made["matrices"]["ssh"]["cells"] == [["ok"] * 3, ["not_planned"] * 3, ["not_planned"] * 3]
    assert made["matrices"]["ssh"]["failed"] == []
    lines = terminal.connectivity(made)
    assert [line.split()[2:] for line in lines[2:5]] == [["."] * 3, [":"] * 3, [":"] * 3]
    assert "  :   ports ok, ssh not planned" in lines and not any("not tried" in line for line in lines)
    assert [row.split()[-2:] for row in terminal.nodes(made)[2:]] == [["ok", "ok"]] * 3


def test_where_no_login_is_planned_a_port_that_fails_still_shows():
    case = star()
    case.mesh["gpu2"]["gpu3"]["tcp"] = {"29500": bad("no_route", "x")}
    case.mesh["gpu3"]["gpu2"]["tcp"] = {}
    lines = terminal.connectivity(report(case))
    assert lines[3].split()[2:] == [":", ":", "ROU"] and lines[4].split()[2:] == [":", "-", ":"]


def test_of_many_nodes_in_a_star_no_row_is_shown():
    names = tuple(f"n{number}" for number in range(40))
    assert terminal.connectivity(report(star(names)))[1] == "  40 of 40 rows have no failures"
