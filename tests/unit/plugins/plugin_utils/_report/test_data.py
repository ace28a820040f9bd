# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import json
import math
import pathlib

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.catalogue import entry
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import data as report_data
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import plan
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

jsonschema = pytest.importorskip("jsonschema")

SCHEMA = json.loads((pathlib.Path(report_data.__file__).parent / "assets" / "report.schema.json").read_text("utf-8"))
WARNING = Finding("fd-limit", "warn", ("gpu1",), {"gpu1": "1024"}, "Few files.", "Raise it.")


def check(data):
    """The report as a reader of the file gets it, against the published schema."""
    read = json.loads(json.dumps(data, allow_nan=False))
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(read)] == []
    return read


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "case", [broken(), healthy(), Case(plan=plan(NAMES)), Case(plan=plan(NAMES[:1])), Case(plan={"order": []})]
)
def test_every_report_keeps_to_the_schema_and_has_no_key_beside_it(case):
    read = check(report(case, answers()))
    assert set(read) == set(SCHEMA["properties"])
    for key in ("nodes", "findings", "untested", "nics", "rdma", "gpus", "versions", "jobs"):
        for row in read[key]:
            assert set(row) == set(SCHEMA["properties"][key]["items"]["properties"])


def test_the_same_run_gives_the_same_bytes():
    assert json.dumps(report()) == json.dumps(report())


def test_the_summary_counts_and_the_order_of_the_answers_stays():
    data = report()
    assert data["summary"] == {"fail": 3, "warn": 1, "info": 1, "untested": 2, "held": 2}
    assert [finding["rule"] for finding in data["findings"]][:2] == ["ssh-perms-too-open", "rdzv-errno-113"]
    assert data["held"] == ["drv-too-old", "ssh-hostkey-changed"] and data["not_applicable"] == []


def test_titles_layers_and_sources_come_from_the_catalogue():
    first, *_others, last = report()["findings"]
    assert (first["title"], first["layer"], first["source"]) == (
        "sshd rejects keys: file permissions too open",
        "ssh",
        "sshd(8)",
    )
    assert last["source"] == "NVIDIA/nccl issue 550"
    unknown = report(healthy(), [dataclasses.replace(WARNING, rule="not-in-it")])["findings"][0]
    assert (unknown["title"], unknown["layer"], unknown["source"]) == ("", "", "")


def test_the_sample_report_has_the_titles_of_the_product():
    assert {one: CATALOGUE[one]["title"] for one in CATALOGUE} == {one: entry(one)["title"] for one in CATALOGUE}


def outcome(case, found=(), **more):
    return report(case, found, **more)["outcome"]


def test_the_outcome_follows_the_worst():
    assert outcome(healthy()) == "clean"
    assert outcome(healthy(), [WARNING]) == "clean"
    assert outcome(healthy(), [dataclasses.replace(WARNING, severity="fail")]) == "faults"
    assert outcome(broken(), [WARNING]) == "incomplete"
    assert outcome(broken(), answers()) == "faults"


def test_a_node_without_facts_makes_it_incomplete_but_a_part_that_nobody_asked_for_does_not():
    whole = healthy()
    without = dataclasses.replace(whole, gpu={name: facts for name, facts in whole.gpu.items() if name != "gpu2"})
    assert outcome(without) == "incomplete"
    node = report(without)["nodes"][1]
    assert node["reached"] and node["why"] == "its GPUs could not be read"
    assert outcome(dataclasses.replace(whole, gpu={})) == "clean"


def test_a_node_that_the_controller_could_not_reach_makes_it_incomplete():
    reach = {"gpu1": {"ok": True}, "gpu2": {"ok": False, "cause": "sshd does not answer"}}
    data = report(dataclasses.replace(healthy(), reach=reach))
    assert data["outcome"] == "incomplete"
    assert (data["nodes"][1]["reached"], data["nodes"][1]["why"]) == (False, "sshd does not answer")


def test_jobs_that_were_not_wanted_are_not_missing():
    case = dataclasses.replace(healthy(), skipped="a reason", jobs=(), collective=None)
    assert outcome(case) == "incomplete"
    assert outcome(case, jobs_wanted=False) == "clean"
    assert outcome(case, check_mode=True) == "clean"
    assert outcome(case, [Untested("drv-too-old", ("gpu1",), "unknown")], jobs_wanted=False) == "clean"


def test_outcomes_have_ansibles_exit_codes():
    assert report_data.EXIT_CODES == {"clean": 0, "faults": 2, "incomplete": 4}


def test_nodes_stand_in_rank_order_and_tell_what_is_known():
    nodes = report()["nodes"]
    assert [(node["name"], node["rank"]) for node in nodes] == [(name, number) for number, name in enumerate(NAMES)]
    assert nodes[4]["versions"]["torch"] == "2.12.1+cu126" and nodes[4]["versions"]["nccl"] == "2.30.4"
    assert nodes[0]["driver"] == "560.35.05" and nodes[0]["os"] == "Ubuntu 24.04.3 LTS"
    assert nodes[6]["gpu_problem"] == "GPU 00000007:05:00.0 requires reset"
    assert not nodes[7]["reached"] and nodes[7]["versions"]["torch"] is None


def test_a_host_outside_the_plan_is_a_node_without_a_rank():
    case = dataclasses.replace(healthy(), lost={"gpu9": "unreachable"})
    node = check(report(case))["nodes"][-1]
    assert (node["name"], node["rank"], node["reached"]) == ("gpu9", None, False)


def test_a_pair_has_the_word_of_its_worst_attempt():
    case = healthy()
    pair = {
        "ssh": {"gpu2": {"ok": True, "failure": "slow"}},
        "tcp": {"29500": {"ok": True}, "61999": bad("refused", "no")},
    }
    case = dataclasses.replace(case, mesh={"gpu1": {**case.mesh["gpu1"], "gpu2": pair}})
    found = report(case)["matrices"]
    assert found["ssh"]["cells"] == [["ok", "slow", "ok"], ["", "", ""], ["", "", ""]]
    assert found["tcp"]["cells"][0] == ["ok", "refused", "ok"]
    failed = {"from": "gpu1", "to": "gpu2", "what": "61999", "failure": "refused", "evidence": "no"}
    assert found["tcp"]["failed"] == [failed] and found["ssh"]["failed"] == []


def test_links_are_numbers_or_nothing():
    found = report()["matrices"]["mbps"]
    assert found["cells"][0][0] is None and found["cells"][0][1] > 23000 and found["cells"][0][5] < 1000
    assert found["cells"][7] == [None] * 8
    case = dataclasses.replace(healthy(), links={"gpu1": {"gpu2": {"ok": False, "failure": "timeout", "mbps": None}}})
    failed = report(case)["matrices"]["mbps"]["failed"]
    assert [(row["from"], row["to"], row["failure"]) for row in failed] == [("gpu1", "gpu2", "timeout")]


def test_damaged_results_are_no_crash():
    mess = {"gpu1": {"gpu2": None, "gpu3": {"ssh": "text", "tcp": {"29500": None}}}, "gpu2": None}
    damaged = {"gpu1": None, "gpu2": {"interfaces": None, "rdma": "none"}, "gpu3": {}}
    case = dataclasses.replace(
        healthy(), mesh=mess, links={"gpu1": {"gpu2": {"mbps": "fast"}}, "gpu2": []}, gpu=damaged, fabric=damaged,
        stack={"gpu1": {}}, reach={"gpu1": None}, listeners={"gpu1": None}, collective={"ok": False},
    )  # fmt: skip
    assert check(report(case))["matrices"]["ssh"]["cells"] == [[""] * 3] * 3


def test_versions_name_the_outliers():
    rows = {row["what"]: row["outliers"] for row in report()["versions"]}
    assert rows["PyTorch"] == ["gpu5"] and rows["Python"] == []


def test_cards_and_gpus_have_a_row_each_and_useless_interfaces_none():
    data = report()
    assert {(nic["host"], nic["name"]) for nic in data["nics"]} == {(name, "eth0") for name in NAMES[:7]}
    assert all(nic["training"] and nic["addresses"] for nic in data["nics"])
    assert len(data["gpus"]) == 56 and data["gpus"][-3]["fault"] == "GPU requires reset"
    assert [port["host"] for port in data["rdma"] if port["state"] != "ACTIVE"] == ["gpu7"]


def test_what_to_do_next_follows_the_outcome():
    command = "ssh -p 22 trainer@10.0.0.11 /opt/trainmesh/bin/trainmesh-deepspeed /path/to/train.py"
    assert report(healthy())["next"] == {"text": "Run your own job on every node:", "command": command}
    assert report()["next"]["command"] == "" and "NOT READY" in report()["next"]["text"]
    assert "Not all" in report(broken(), [WARNING])["next"]["text"]
    foreign = dataclasses.replace(healthy(), plan={**plan(NAMES[:3]), "managed": False})
    assert report(foreign)["next"] == {"text": "", "command": ""}


def test_changes_are_named_by_host_and_hosts_without_any_left_out():
    data = report(healthy(), changed={"gpu2": ["__b_changed_x", "__a_changed_y"], "gpu1": []})
    assert data["changed"] == {"gpu2": ["__a_changed_y", "__b_changed_x"]}


def test_no_secret_reaches_the_report():
    finding = dataclasses.replace(WARNING, evidence={"gpu1": "pip --index-url https://alice:hunter2@mirror/simple"})
    text = json.dumps(report(healthy(), [finding], check_mode=True))
    assert "hunter2" not in text and "https://***@mirror/simple" in text


def test_plain_data_knows_no_other_classes():
    class Text(str):
        """As Ansible marks the texts of an inventory."""

    data = report_data.plain(
        {Text("a"): (Text("b"), {2, 1}, math.nan, math.inf, True, None, 1, pathlib.PurePath("/x"))}
    )
    assert data == {"a": ["b", [1, 2], None, None, True, None, 1, "/x"]}
    assert not isinstance(next(iter(data)), Text) and not isinstance(data["a"][0], Text)


def test_half_characters_of_a_broken_file_name_can_be_written_down():
    finding = dataclasses.replace(WARNING, evidence={"gpu1": "/data/\udcff"})
    assert report(healthy(), [finding])["findings"][0]["evidence"]["gpu1"] == "/data/\\udcff"


def test_the_version_is_that_of_the_collection():
    assert report_data.version().count(".") == 2 and report()["version"] == report_data.version()


def test_without_times_the_end_is_now():
    data = report_data.build(healthy(), judged(), {}, look=CATALOGUE.get)
    assert data["started"] == "" and data["generated"].endswith("+00:00")


def test_a_large_cluster_is_built_in_a_moment():
    names = [f"n{number}" for number in range(128)]
    case = dataclasses.replace(healthy(tuple(names)), mesh=mesh(names, {}), links=links(names))
    assert len(report(case)["matrices"]["ssh"]["cells"]) == 128


def test_what_our_own_time_limit_ended_is_no_clean_run():
    job = {"launcher": "torchrun", "ok": False, "world_size": 0, "seconds": 300.0, "timed_out": True, "faults": []}
    assert report_data.judge(Case(plan=plan(NAMES), jobs=[job]), []) == "incomplete"
    late = {"ok": False, "late": "no progress for 45 s"}
    assert report_data.judge(Case(plan=plan(NAMES), collective=late), []) == "incomplete"
