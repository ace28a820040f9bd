# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of 3, 64 and 256 nodes: every pair is there, equal things are said once, and one bad row stands out."""

from __future__ import annotations

import collections
import dataclasses
import functools
import random
import re

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import html as report_html
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import (
    markdown,
    matrices,
    squares,
    terminal,
    write,
)
from ansible_collections.trainmesh.cluster.tests.unit.plugins.plugin_utils._report.test_html import Page
from ansible_collections.trainmesh.cluster.tests.unit.samples import reports
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import gpu_facts, healthy_case, stack

SIZES = (3, 64, 256)
BAD = 40


def case_of(count):
    """A healthy cluster whose links are as unlike as real ones, each node with eight GPUs."""
    case, chance = healthy_case(count, gpus=8), random.Random(3)
    for node in case.plan["nodes"].values():
        node["ssh_port"] = 22  # equal nodes: the second of the sample has another one
    for row in case.links.values():
        for link in row.values():
            link["mbps"], link["latency_us"] = round(chance.gauss(23500, 1500), 1), round(chance.gauss(28, 2), 1)
    return dataclasses.replace(
        case, gpu=dict.fromkeys(case.order, gpu_facts(1, 8)), stack=dict.fromkeys(case.order, stack(8))
    )


def with_a_bad_row(case):
    """One node of 64 or more reaches nobody else by ssh, and sends slowly."""
    name = case.order[BAD]
    for target in case.order:
        if target != name:
            case.mesh[name][target]["ssh"] = {target: reports.bad("no_route", "x")}
            case.links[name][target]["mbps"] = 90.0
    return case


@functools.cache
def made(count, is_broken):
    case = case_of(count)
    return reports.report(with_a_bad_row(case) if is_broken else case)


@pytest.fixture(params=SIZES)
def healthy(request):
    return made(request.param, False)


@pytest.fixture(params=SIZES[1:])
def broken(request):
    return made(request.param, True)


@pytest.fixture(params=[(3, False), (64, False), (64, True), (256, False), (256, True)])
def report(request):
    return made(*request.param)


def drawn(square):
    """The kind of each cell as the strokes paint it over the ground; no cell is painted twice."""
    cells = [[square["ground"]] * square["count"] for _row in range(square["count"])]
    painted = set()
    for kind, line in square["paths"]:
        row = column = 0
        for step, first, second in re.findall(r"([Mmh])(-?\d+) ?(\d+)?", line):
            if step == "M":
                column, row = int(first), int(second)
            elif step == "m":
                column, row = column + int(first), row + int(second)
            else:
                for at in range(column, column + int(first)):
                    assert (row, at) not in painted
                    painted.add((row, at))
                    cells[row][at] = kind
                column += int(first)
    return cells


def test_every_pair_is_drawn_as_what_it_is(report):
    for matrix in report["matrices"].values():
        assert drawn(squares.square(matrix)) == squares.kinds(matrix)


def test_every_pair_is_said_once(report):
    """That no pair is in two sentences, and none in none, is in test_folding."""
    count = len(report["nodes"])
    for kind, matrix in report["matrices"].items():
        said = squares.sentences(kind, matrix)
        pairs = count * (count - (0 if matrices.of_words(matrix) else 1))
        plain, every = (int(number.replace(",", "")) for number in re.findall(r"[\d,]+", said[0])[:2])
        bad = sum(what in ("bad", "slow") for row in squares.kinds(matrix) for what in row)
        assert (plain, every) == (pairs - bad, pairs) and len(said) == (2 if bad else 1)


def test_one_bad_row_stands_out_in_a_sentence_and_in_the_square(broken):
    name, page = broken["cluster"]["order"][BAD], Page(report_html.html(broken))
    text = "".join(page.text)
    assert f"{name} → every other node: no route to host, or a firewall rejects it" in text
    assert f"{name} → every other node: 90 Mbit/s, less than half of the median" in text
    bad = dict(squares.square(broken["matrices"]["ssh"])["paths"])["bad"]
    assert bad == f"M0 {BAD}h{BAD}m1 0h{len(broken['nodes']) - BAD - 1}"
    lines = terminal.connectivity(broken)
    assert lines[1] == f"  rou {name} -> every other node" and len(lines) == 5


def test_a_healthy_cluster_is_pale_all_over(healthy):
    page = Page(report_html.html(healthy))
    assert not {"bad", "slow", "marked"} & set(page.classes)


def test_equal_nodes_are_one_row_and_each_of_them_is_there(healthy):
    count, page = len(healthy["nodes"]), Page(report_html.html(healthy))
    ids = collections.Counter(value for name, value in page.attributes if name == "id")
    assert max(ids.values()) == 1 and all(f"node-{number}" in ids for number in range(count))
    text = "".join(page.text)
    assert all(f"{node['name']}: rank {node['rank']}, {node['address']}" in text for node in healthy["nodes"])
    first, last = (healthy["nodes"][number]["name"] for number in (0, -1))
    rows = [row[0] for row in page.rows if row and row[0].startswith(first)]
    assert rows[0] == f"{first}..{last} ({count})" and set(rows[1:]) == {f"{first}..{last}"} and len(rows) > 3


def test_of_many_nodes_the_terminal_has_one_row_for_equal_ones(report):
    rows, count = terminal.nodes(report), len(report["nodes"])
    odd = bool(report["matrices"]["ssh"]["failed"])  # what the bad row tried is missed by all others
    assert len(rows) - 2 == (3 if count == 3 else 2 if odd else 1)


def test_links_within_the_page_lead_somewhere(report):
    page = Page(report_html.html(report))
    ids = {value for name, value in page.attributes if name == "id"}
    assert {value.removeprefix("#") for name, value in page.attributes if name == "href"} <= ids


def test_the_files_stay_small(broken):
    count = len(broken["nodes"])
    assert len(report_html.html(broken)) < (1_500_000 if count == 256 else 200_000)
    assert len(write.as_json(broken)) < 40 * count**2 + 5000 * count
    assert len(markdown.markdown(broken)) < 10_000


def test_logins_that_are_not_planned_are_one_sentence_and_no_fault():
    names = [f"n{number}" for number in range(100)]
    case = dataclasses.replace(reports.healthy(tuple(names)), mesh=reports.mesh(names, {}), links={})
    for name in names[1:]:
        case.plan["nodes"][name]["logs_in"] = False
        for target in names:
            case.mesh[name][target]["ssh"] = {}
    matrix = reports.report(case)["matrices"]["ssh"]
    assert squares.sentences("ssh", matrix) == ["100 of 9,901 pairs: ok", "n1..n99 → every node: not planned"]
    assert "bad" not in Page(report_html.html(reports.report(case))).classes


def test_nodes_that_nobody_measured_are_one_sentence():
    names = [f"n{number}" for number in range(100)]
    links = reports.links(names, slow="")
    for name in names:
        for dead in names[60:64]:
            links[name].pop(dead, None)
    case = dataclasses.replace(reports.healthy(tuple(names)), mesh={}, links=links)
    assert squares.sentences("mbps", reports.report(case)["matrices"]["mbps"])[1:] == [
        "every node → n60..n63: not measured"
    ]


def test_a_node_that_reaches_itself_alone_is_not_said_to_fail_there():
    names = [f"n{number}" for number in range(20)]
    faults = {(a, b): {"ssh": reports.bad("timeout", "x")} for a in names[3:6] for b in names if a != b}
    case = dataclasses.replace(reports.healthy(tuple(names)), mesh=reports.mesh(names, faults))
    said = squares.sentences("ssh", reports.report(case)["matrices"]["ssh"])
    assert said[0] == "343 of 400 pairs: ok" and not any("every node:" in line for line in said)
    assert sorted(line.partition(" → ")[0] for line in said[1:]) == ["n3", "n4", "n5"]


def test_a_day_on_which_nothing_is_like_anything_else_is_still_small():
    names, chance = tuple(f"node{number:04}" for number in range(256)), random.Random(5)
    words = ["ok", "timeout", "refused", "no_route", "slow", ""]
    cells = [[chance.choice(words) for _target in names] for _source in names]
    matrix = {"names": names, "cells": cells, "failed": []}
    square = squares.square(matrix)
    assert drawn(square) == squares.kinds(matrix)
    assert sum(len(line) for _kind, line in square["paths"]) < 350_000
