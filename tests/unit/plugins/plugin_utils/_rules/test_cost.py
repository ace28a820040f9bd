# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks cost on large clusters, and that what is kept between them changes no answer."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import random
import sys
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import ssh_login
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine, options
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import attribute
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import once
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.ports import ports_closed
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import break_it, healthy_case

ANY = options.Options()


def seconds(case):
    """CPU seconds of all checks: what other processes do does not count."""
    started = time.process_time()
    engine.judge(case, ANY)
    return time.process_time() - started


def lines(function, *arguments):
    """How many lines of code a call runs through, turns of a loop each: the same on every machine."""
    count = 0

    def step(_frame, event, _argument):
        nonlocal count
        count += event == "line"
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(("count", "dead"), [(8, 0), (8, 1), (12, 6)])
def test_kept_views_change_no_answer(count, dead):
    case = break_it(healthy_case(count), dead)
    plain = []
    for rule in engine.load():
        if all(getattr(case, part) for part in rule.needs):
            plain += list(rule.judge(case))
    viewed = dataclasses.replace(case, views={})
    kept = []
    for rule in engine.load():
        if all(getattr(case, part) for part in rule.needs):
            kept += list(rule.judge(viewed))
    assert len(plain) > 4
    assert kept == plain


def test_a_case_that_keeps_nothing_is_read_anew():
    calls = []

    @once
    def count(case, what):
        calls.append(what)
        return len(calls)

    plain, viewed = healthy_case(), dataclasses.replace(healthy_case(), views={})
    assert [count(plain, "a"), count(plain, "a")] == [1, 2]
    assert [count(viewed, "a"), count(viewed, "a"), count(viewed, "b")] == [3, 3, 4]


def test_the_checks_end_on_large_clusters():
    assert min(seconds(break_it(healthy_case(64), 1)) for _try in range(3)) <= 5


@pytest.mark.parametrize("dead", [1, 2])
def test_their_work_grows_with_the_pairs_of_nodes_and_not_faster(dead):
    engine.judge(healthy_case(4), ANY)  # the catalogue is read once
    cases = [break_it(healthy_case(count), count // dead if dead > 1 else 1) for count in (32, 64)]
    few, many = (lines(engine.judge, case, ANY) for case in cases)
    assert many / few < 5  # pairs of nodes alone make it 4, a walk over all pairs for each node 8


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (254, "bash: fork: retry: Resource temporarily unavailable"),
        (255, 'Load key "/home/t/.ssh/id_ed25519": error in libcrypto\nt@n1: Permission denied (publickey).'),
        (255, "Unable to negotiate with 10.0.0.12 port 22: no matching host key type found. Their offer: ssh-rsa"),
        (255, "t@n1: Permission denied (publickey)."),
    ],
)
def test_nor_does_it_where_every_login_fails(status, said):
    def failing(count):
        case = healthy_case(count)
        outcome = Outcome(status, "", said, False, False, 0.2)
        result = ssh_login.verdict(outcome, "n1", ssh_login.Wish(5, 10, 5)).result
        for source, target in itertools.permutations(case.mesh, 2):
            cell = case.mesh[source][target]
            cell["ssh"] = {name: {**result, "addresses": []} for name in cell["ssh"]}
        return lines(engine.judge, case, ANY)

    failing(4)
    assert failing(32) / failing(16) < 5


@pytest.mark.parametrize("kept", [False, True], ids=["between the nodes", "by a rule of each node"])
def test_nor_does_it_where_no_connection_gets_through(kept):
    def shut(count):
        case = healthy_case(count)
        for source, target in itertools.permutations(case.mesh, 2):
            cell = case.mesh[source][target]
            cell["tcp"] = {
                port: {**result, "ok": False, "failure": "no_route", "evidence": "errno: 113"}
                for port, result in cell["tcp"].items()
            }
        row = {"tool": "nft", "chain": "output", "rule": "ip protocol tcp reject", "direction": "out", "peers": None}
        for facts in case.fabric.values():
            facts["filtered"] = [{**row, "ports": [[1, 65535]], "answers": False, "sure": True}] if kept else []
        case = dataclasses.replace(case, views={})
        return lines(lambda: list(ports_closed(case)))

    # The pairs of nodes make it 4.13, a walk over all of them for each node 4.23 and 4.49.
    assert shut(32) / shut(16) < 4.2


def test_the_collector_of_cycles_is_on_again_afterwards(monkeypatch):
    seen = []
    monkeypatch.setattr(engine, "load", lambda: seen.append(gc.isenabled()) or [])
    engine.judge(healthy_case(2), ANY)
    assert (seen, gc.isenabled()) == ([False], True)
    monkeypatch.setattr(engine, "load", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.judge(healthy_case(2), ANY)
    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    try:
        engine.judge(healthy_case(2), ANY)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_half_of_a_large_cluster_may_be_dead():
    assert seconds(break_it(healthy_case(64), 32)) <= 5


def slow_attribution(bad, tried, tie):
    """What attribute() says, counted anew for each node in each round: the reference."""
    left = {pair for pair in bad if pair[0] != pair[1]}
    all_bad, others = set(left), [pair for pair in tried if pair[0] != pair[1]]
    found = {pair[0]: [pair] for pair in bad if pair[0] == pair[1]}

    def score(name):
        groups = [[pair for pair in others if pair[side] == name] for side in (0, 1)]
        if not any(group and all(pair in all_bad for pair in group) for group in groups):
            return 0, 0
        return sum(name in pair for pair in left), sum(name in pair for pair in all_bad)

    while left:
        scores = {name: score(name) for pair in left for name in pair}
        best = max(scores.values())
        leaders = {name for name, value in scores.items() if value == best}
        pair = min(item for item in left if leaders & set(item))
        if len(leaders) == 1 and best[0]:
            chosen = leaders
            explained = {item for item in left if chosen & set(item)}
        elif tie == "both":
            chosen = leaders & set(pair)
            explained = {item for item in left if chosen & set(item)} if best[0] else {pair}
        else:
            side = 0 if tie == "source" else 1
            chosen = {pair[side]}
            explained = {item for item in left if item[side] == pair[side]}
        for name in sorted(chosen):
            found.setdefault(name, []).extend(sorted(item for item in explained if name in item))
        left -= explained
    return found


@pytest.mark.parametrize("tie", ["target", "source", "both"])
def test_counting_once_attributes_as_counting_each_time(tie):
    chance = random.Random(9)
    names = [f"n{number}" for number in range(7)]
    every = list(itertools.product(names, names))
    for _round in range(200):
        tried = chance.sample(every, chance.randint(1, len(every)))
        bad = chance.sample(tried, chance.randint(0, len(tried)))
        if chance.random() < 0.5:
            lost = chance.choice(names)
            bad = [pair for pair in tried if lost in pair]
        assert attribute(bad, tried, tie) == slow_attribution(bad, tried, tie)


@pytest.mark.parametrize("tie", ["target", "source", "both"])
def test_failures_that_no_node_explains_are_attributed_in_one_walk(tie):
    def scattered(count):
        tried = list(itertools.permutations(range(count), 2))
        bad = [(source, target) for source, target in tried if (source + 2 * target) % 3]
        return lines(attribute, bad, tried, tie)

    assert scattered(32) / scattered(16) < 5
