# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import dataclasses
import json

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Finding, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import data, markdown, since, terminal
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import html as report_html
from ansible_collections.trainmesh.cluster.tests.unit.samples import reports
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import gpu_facts
from ansible_collections.trainmesh.cluster.tests.unit.samples.reports import NAMES, bad, healthy, judged, mesh

CLOCK, FILES, LINK, JOB = "clock-skew", "fd-limit", "link-slow", "collective-slow"
HELD = (CLOCK, FILES, LINK, JOB, "ssh-login-failed")
REACH = {name: {"ok": True} for name in NAMES}


def whole(**changes):
    """A healthy run of three nodes in which everything was looked at."""
    case = healthy()
    return dataclasses.replace(case, reach={name: {"ok": True} for name in case.order}, **changes)


def found(rule, *hosts, severity="warn"):
    return Finding(rule, severity, hosts, dict.fromkeys(hosts, "x"), f"The cause of {rule}.", "Do.")


def run(*answers, case=None, last=None, held=HELD):
    """The report of a run that found this; what it did not find holds."""
    held = [rule for rule in held if rule not in {answer.rule for answer in answers}]
    fixed = {"finished": "2026-11-21T10:01:30+00:00", "look": reports.CATALOGUE.get}
    return data.build(case or whole(), judged(answers, held), {}, last=last, **fixed)


def rows(report, what):
    return [(row["rule"], row["hosts"]) for row in report["since"][what]]


def test_new_fixed_and_still_there_by_check_and_host():
    first = run(found(CLOCK, "gpu1", "gpu2"), found(FILES, "gpu3"))
    report = run(found(CLOCK, "gpu2", "gpu3"), last=first)
    assert rows(report, "new") == [(CLOCK, ["gpu3"])] and rows(report, "still") == [(CLOCK, ["gpu2"])]
    assert rows(report, "fixed") == [(CLOCK, ["gpu1"]), (FILES, ["gpu3"])] and rows(report, "not_tested") == []


def test_a_finding_about_the_cluster_is_known_again():
    report = run(found(CLOCK), last=run(found(CLOCK)))
    assert rows(report, "still") == [(CLOCK, [])]
    assert rows(run(last=report), "fixed") == [(CLOCK, [])]


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        (JOB, {"skipped": "skipped: fix the failures above first", "jobs": (), "collective": None}),
        (JOB, {"skipped": "trainmesh_verify_jobs is false", "jobs": (), "collective": None}),
        (JOB, {"collective": None}),
        (JOB, {"jobs": ()}),
        (JOB, {"jobs": [{**job, "ok": False, "timed_out": True} for job in healthy().jobs]}),
        (LINK, {"links": {}}),
        (LINK, {"links": {name: {key: {"ok": True, "latency_us": 9.0} for key in NAMES[:3]} for name in NAMES[:3]}}),
        (CLOCK, {"excluded": ("gpu3",)}),
        (CLOCK, {"lost": {"gpu3": "unreachable"}}),
        (CLOCK, {"gpu": {name: gpu_facts(1) for name in NAMES[:2]}}),
        (FILES, {"fabric": {}}),
    ],
)  # fmt: skip
def test_what_this_run_did_not_look_at_is_not_fixed_and_is_kept_until_one_does(rule, changes):
    first = run(found(rule, "gpu1"))
    partial = run(case=whole(**changes), last=first)
    assert (rows(partial, "fixed"), rows(partial, "not_tested")) == ([], [(rule, ["gpu1"])])
    again = run(case=whole(**changes), last=partial)
    assert (rows(again, "fixed"), rows(again, "not_tested")) == ([], [(rule, ["gpu1"])])
    assert rows(run(found(rule, "gpu1"), last=again), "still") == [(rule, ["gpu1"])]
    assert rows(run(last=again), "fixed") == [(rule, ["gpu1"])]


def test_what_could_not_be_judged_is_not_fixed():
    first = run(found(CLOCK, "gpu1", "gpu2"))
    report = run(Untested(CLOCK, ("gpu1",), "its clock was not read"), found(CLOCK, "gpu3"), last=first)
    assert rows(report, "not_tested") == [(CLOCK, ["gpu1"])] and rows(report, "fixed") == [(CLOCK, ["gpu2"])]
    report = run(Untested(CLOCK, (), "busy"), last=first)
    assert rows(report, "not_tested") == [(CLOCK, ["gpu1", "gpu2"])] and rows(report, "fixed") == []


def test_a_check_that_was_silenced_is_neither():
    report = run(last=run(found(CLOCK, "gpu1")), held=(FILES,))
    assert not rows(report, "fixed") and not rows(report, "not_tested")


def test_what_is_no_longer_there_to_be_looked_at_is_told_of():
    first, silent = run(found(LINK, "gpu1")), judged((), (FILES,), [LINK])
    now = data.build(whole(), silent, {}, last=first, look=reports.CATALOGUE.get)
    assert rows(now, "fixed") == [(LINK, ["gpu1"])]
    now = data.build(whole(links={}), silent, {}, last=first, look=reports.CATALOGUE.get)
    assert rows(now, "not_tested") == [(LINK, ["gpu1"])]


def test_a_node_that_left_the_inventory_takes_its_findings_along():
    gone = {**run(found(CLOCK, "gpu1")), "findings": [{"rule": CLOCK, "hosts": ["gpu1", "gpu99"]}]}
    assert rows(run(last=gone), "fixed") == [(CLOCK, ["gpu1"])]


def test_a_run_that_checked_nothing_compares_nothing():
    assert run(last=run(found(CLOCK, "gpu1")), held=())["since"] is None


def damaged():
    good = run(found(CLOCK, "gpu1"))
    yield from (None, [], "text", 7, {}, {"schema": "1"})
    yield {**good, "schema": "0"}
    yield {**good, "collection": "another"}
    yield {**good, "nodes": [{**node, "address": "192.0.2.1"} for node in good["nodes"]]}
    yield {**good, "nodes": [{**node, "name": "other"} for node in good["nodes"]]}
    for key in ("schema", "nodes", "findings", "generated"):
        yield {name: value for name, value in good.items() if name != key}
    for value in (None, 7, "text", {"x": 1}, [7], [None], [{}], [["x"]], [{"rule": [], "hosts": [{}]}]):
        yield {**good, "findings": value}
        yield {**good, "nodes": value}
        yield {**good, "since": {"not_tested": value} if value else 7}


@pytest.mark.parametrize("last", list(damaged()))
def test_what_is_no_report_of_this_cluster_is_passed_over(last):
    report = run(found(CLOCK, "gpu1"), last=copy.deepcopy(last))
    assert report["since"] is None
    assert "Since" not in terminal.text(report) + markdown.markdown(report)


def test_a_slow_gpu_is_fixed_only_where_it_was_measured_again():
    slow, held = found("gpu-slow", "gpu2"), [*HELD, "gpu-slow"]
    speed = {name: {"device": "gpu", "gpus": []} for name in NAMES[:3]}
    before = run(slow, case=whole(speed=speed))
    for case, key in (
        (whole(), "not_tested"),
        (whole(speed={"gpu1": speed["gpu1"]}), "not_tested"),
        (whole(speed=speed), "fixed"),
        (whole(speed=speed, skipped="trainmesh_verify_jobs is false", jobs=(), collective=None), "fixed"),
    ):
        assert rows(run(case=case, last=before, held=held), key) == [("gpu-slow", ["gpu2"])]


@pytest.mark.parametrize("key", ["matrices", "jobs", "collective"])
@pytest.mark.parametrize("value", [7, "text", [7], {"ssh": 7}])
def test_damage_beside_the_findings_never_makes_something_fixed(key, value):
    case = whole(skipped="x", jobs=(), collective=None, links={})
    report = run(case=case, last={**run(found(JOB, "gpu1"), found(LINK, "gpu2")), key: value})
    assert report["since"] is None or rows(report, "fixed") == []


def test_reading_the_last_report(tmp_path):
    assert since.last(str(tmp_path)) is None
    file = tmp_path / "report.json"
    for text in ("", "{", "[" * 100_000, "\x00"):
        file.write_text(text)
        assert since.last(str(tmp_path)) is None
    file.write_bytes(b"\xff\xfe")
    assert since.last(str(tmp_path)) is None
    file.write_text(json.dumps(run(found(CLOCK, "gpu1"))))
    assert since.last(str(tmp_path))["findings"][0]["rule"] == CLOCK


def test_every_form_says_it():
    first = run(found(CLOCK, "gpu1", "gpu2"), found(FILES, "gpu3"))
    report = run(found(CLOCK, "gpu2", "gpu3"), last=first)
    line = "Since the last run (2026-11-21T10:01:30+00:00), by check and node: 1 new, 2 fixed, 1 still there"
    lines = terminal.text(report).splitlines()
    assert f"{line}; fixed: clock-skew on gpu1, fd-limit on gpu3" in lines
    page = report_html.html(report)
    assert f"{line}." in page and '<span class="badge news">new on gpu3</span>' in page
    assert "<li><code>fd-limit</code> on gpu3</li>" in page
    text = markdown.markdown(report)
    assert "1 new, 2 fixed, 1 still there" in text and "- fixed: `fd-limit` on gpu3" in text
    assert "gpu3" not in markdown.markdown(report, mask_addresses=True)


def test_all_new_is_called_new_and_all_known_is_not():
    first = run(found(CLOCK, "gpu1"))
    page = report_html.html(run(found(CLOCK, "gpu1"), found(FILES, "gpu2"), last=first))
    assert page.count('badge news">new</span>') == 1 and "new on" not in page


def test_what_stands_in_the_last_report_is_cleaned_like_all_else():
    first = run(found(CLOCK, "gpu1"))
    report = run(found(CLOCK, "gpu1"), last={**first, "generated": "\x1b[2J<script>\u202e"})
    text = terminal.text(report) + report_html.html(report) + markdown.markdown(report)
    assert not any(char in text for char in "\x1b\u202e") and "\\<script\\>" in text and "&lt;script&gt;" in text


def test_pairs_that_fail_no_more_are_fixed_only_where_they_were_tried():
    first = run(found("ssh-login-failed", "gpu2"))
    none = run(case=whole(mesh=mesh(NAMES[:1], {("gpu1", "gpu1"): {"ssh": bad("timeout", "x")}})), last=first)
    assert rows(none, "fixed") == [] and rows(none, "not_tested") == [("ssh-login-failed", ["gpu2"])]
