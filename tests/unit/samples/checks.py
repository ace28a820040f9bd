# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What checks say of a case, asked as the report asks them, and odd facts to ask them about."""

from __future__ import annotations

import itertools
import typing as t

from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    SEVERITIES,
    Answer,
    Case,
    Finding,
    Rule,
    Untested,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import (
    addresses,
    clock,
    exposure,
    host_disks,
    host_limits,
    host_memory,
    links,
    names,
    pdsh,
    ports,
    proxies,
    ssh,
    ssh_keys,
    sshd_ports,
)

Told = dict[tuple[str, str], tuple[str, ...]]


def rules_of(*modules: t.Any) -> list[Rule]:
    """The checks of these modules."""
    places = {module.__name__ for module in modules}
    return [rule for rule in engine.load() if rule.judge.__module__ in places]


NETWORK = rules_of(
    addresses,
    clock,
    exposure,
    host_disks,
    host_limits,
    host_memory,
    links,
    names,
    ports,
    pdsh,
    proxies,
    ssh,
    ssh_keys,
    sshd_ports,
)


def answers(case: Case, rules: t.Sequence[Rule] = tuple(NETWORK)) -> list[Answer]:
    """What these checks say."""
    asked = [rule for rule in rules if all(getattr(case, part) for part in rule.needs)]
    found = engine.merged(itertools.chain.from_iterable(rule.judge(case) for rule in asked), case.order)
    assert {answer.rule for answer in found} <= {identity for rule in rules for identity in rule.ids}
    return found


def findings(case: Case, *severities: str) -> list[Finding]:
    return [
        item for item in answers(case) if isinstance(item, Finding) and (not severities or item.severity in severities)
    ]


def untested(case: Case) -> list[Untested]:
    return [item for item in answers(case) if isinstance(item, Untested)]


def told(case: Case) -> Told:
    """{(rule, severity): hosts} of all that is worse than info; each rule may say it once only."""
    found: Told = {}
    for item in findings(case, "fail", "warn"):
        assert (item.rule, item.severity) not in found, f"{item.rule} twice"
        assert set(item.evidence) == set(item.hosts) and all(item.evidence.values())
        assert item.cause and item.remedy
        found[item.rule, item.severity] = item.hosts
    return found


def one(case: Case) -> Finding:
    """The only finding that is worse than info."""
    found = findings(case, "fail", "warn")
    assert len(found) == 1, [(item.rule, item.hosts) for item in found]
    return found[0]


def said(case: Case, rules: t.Sequence[Rule]) -> list[tuple[str, str, tuple[str, ...]]]:
    """(rule, severity, hosts) of every finding, which must be whole."""
    result = []
    for answer in answers(case, rules):
        assert isinstance(answer, Finding), answer
        assert answer.severity in SEVERITIES
        assert answer.cause.endswith((".", ")", "'")) and answer.remedy, answer
        assert set(answer.hosts) <= set(answer.evidence) and all(answer.evidence.values()), answer
        result.append((answer.rule, answer.severity, answer.hosts))
    return result


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 99) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "state", "port", "1"]), inner),
    max_leaves=6,
)
"""Any plain data."""


def paths(facts: t.Any, prefix: str = "") -> t.Iterator[str]:
    """The path of every value in nested facts."""
    items = facts.items() if isinstance(facts, dict) else enumerate(facts) if isinstance(facts, list) else ()
    for key, value in items:
        yield f"{prefix}{key}"
        yield from paths(value, f"{prefix}{key}/")
