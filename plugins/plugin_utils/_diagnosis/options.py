# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user wants of the rules: other severities, silence, rules of their own.

``trainmesh_rules`` maps rule ids to ``off``, ``info``, ``warn`` or ``fail``. ``trainmesh_extra_rules``
are rules written as JMESPath expressions (https://jmespath.org) over what was read of the nodes.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.catalogue import entries
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    SEVERITIES,
    Answer,
    Case,
    Finding,
    Untested,
)

OFF = "off"
LEVELS = (OFF, *reversed(SEVERITIES))
SCOPES = ("host", "cluster")
PARTS = ("fabric", "gpu", "stack", "user")
_KEYS = ("id", "severity", "expression", "scope", "cause", "remedy", "title", "null_is_untested")
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+\Z")
_LONGEST = 160


@dataclasses.dataclass(frozen=True)
class ExtraRule:
    """A rule of the user's: violated where ``expression`` gives something that is not null, false, 0 or empty.

    ``scope`` is ``host`` (asked once a node, of its document) or ``cluster`` (asked once, of all). With
    ``null_is_untested`` a null counts as "could not test", else as "holds".
    """

    id: str
    severity: str
    expression: str
    scope: str
    cause: str
    remedy: str
    title: str
    null_is_untested: bool


@dataclasses.dataclass(frozen=True)
class Options:
    """The user's wishes: ``levels`` by rule id, and ``extras``."""

    levels: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    extras: tuple[ExtraRule, ...] = ()


def read(values: t.Mapping[str, t.Any]) -> Options:
    """The options out of the cluster's variables by short name (``rules``, ``extra_rules``); raises ValueError."""
    rules = [ExtraRule(**each) for each in read_extra_rules(values.get("extra_rules") or [])]
    return Options(read_levels(values.get("rules") or {}), tuple(rules))


def read_levels(value: t.Any) -> dict[str, str]:
    """``trainmesh_rules``, checked; raises ValueError with what was expected."""
    if not isinstance(value, t.Mapping):
        raise ValueError("expected a mapping of rule id: off, info, warn or fail")
    levels = {}
    for identity, given in value.items():
        level = OFF if given is False else given  # YAML 1.1 reads a bare off as false
        if str(identity) not in entries():
            raise ValueError(f"unknown rule {identity}; {_hint(str(identity))}")
        if level not in LEVELS:
            raise ValueError(f"{identity}: expected one of {', '.join(LEVELS)}, found {level!r}")
        levels[str(identity)] = str(level)
    return levels


def read_extra_rules(value: t.Any) -> list[dict[str, t.Any]]:
    """``trainmesh_extra_rules``, checked and with defaults filled in; raises ValueError with what was expected."""
    if not isinstance(value, (list, tuple)):
        raise ValueError("expected a list of rules with id, severity, expression, cause and remedy")
    rules = [_extra_rule(number, each) for number, each in enumerate(value, 1)]
    identities = [rule["id"] for rule in rules]
    twice = next((each for each in identities if identities.count(each) > 1), None)
    if twice:
        raise ValueError(f"two rules have the id {twice}")
    return rules


def extra(case: Case, options: Options) -> t.Iterator[Answer]:
    """What the user's own rules say of ``case``."""
    documents = {
        host: {"name": host, "node": case.node(host), **{part: getattr(case, part).get(host) for part in PARTS}}
        for host in case.order
        if any(host in getattr(case, part) for part in PARTS)
    }
    for rule in options.extras:
        if rule.scope == "cluster":
            yield from _ask(rule, {"": {"plan": case.plan, "hosts": list(documents.values())}})
        else:
            yield from _ask(rule, documents)


def apply(answers: t.Iterable[Answer], options: Options) -> list[Answer]:
    """The answers without those of rules that are off, and with the severities that the user wants."""
    found = []
    for answer in answers:
        level = options.levels.get(answer.rule)
        if level == OFF:
            continue
        found.append(dataclasses.replace(answer, severity=level) if level and isinstance(answer, Finding) else answer)
    return found


def _ask(rule: ExtraRule, documents: t.Mapping[str, t.Any]) -> t.Iterator[Answer]:
    """One rule on each document; "" is the whole cluster, which is attributed to no node."""
    compiled = _compiled(rule.expression)
    seen: dict[str, str] = {}
    for host, document in documents.items():
        names = (host,) if host else ()
        try:
            value = compiled.search(document)
        except ValueError as error:  # a function got another type than it can do with
            yield Untested(rule.id, names, f"its expression could not be evaluated: {_shown(str(error))}")
            continue
        if value is None and rule.null_is_untested:
            yield Untested(rule.id, names, "its expression gives null: what it asks for is not known")
        elif value:
            seen[host] = _shown(value)
    if seen:
        cause = f"{rule.title}: {rule.cause}" if rule.title else rule.cause
        evidence = {host or "cluster": value for host, value in seen.items()}
        hosts = tuple(host for host in seen if host)
        yield Finding(rule.id, rule.severity, hosts, evidence, cause, rule.remedy, "trainmesh_extra_rules")


def _extra_rule(number: int, value: t.Any) -> dict[str, t.Any]:
    if not isinstance(value, t.Mapping):
        raise ValueError(f"rule {number}: expected a mapping with id, severity, expression, cause and remedy")
    name = f"rule {value.get('id') or number}"
    unknown = [str(key) for key in value if key not in _KEYS]
    if unknown:
        raise ValueError(f"{name}: unknown key {', '.join(unknown)}; those that exist: {', '.join(_KEYS)}")
    for key in ("id", "severity", "expression", "cause", "remedy"):
        if not isinstance(value.get(key), str) or not value[key].strip():
            raise ValueError(f"{name}: expected a text as {key}")
    if not _ID.match(value["id"]):
        raise ValueError(f"{name}: expected an id of small letters, digits and dashes, such as my-site-check")
    if value["id"] in entries():
        raise ValueError(f"{name}: this id is that of a rule of the collection; change that one with trainmesh_rules")
    for key, choices, default in (("severity", SEVERITIES, ""), ("scope", SCOPES, SCOPES[0])):
        if value.get(key, default) not in choices:
            raise ValueError(f"{name}: expected one of {', '.join(choices)} as {key}, found {value.get(key)!r}")
    if not isinstance(value.get("null_is_untested", False), bool):
        raise ValueError(f"{name}: expected true or false as null_is_untested")
    _check_expression(name, value["expression"])
    read: dict[str, t.Any] = {key: str(value[key]) for key in ("id", "severity", "expression", "cause", "remedy")}
    read.update(scope=str(value.get("scope", SCOPES[0])), title=str(value.get("title") or ""))
    return {**read, "null_is_untested": bool(value.get("null_is_untested", False))}


def _check_expression(name: str, expression: str) -> None:
    try:
        unknown = set(_functions(_compiled(expression).parsed)) - _known_functions()
        if unknown:
            raise ValueError(f"there is no function {' or '.join(sorted(unknown))}")
    except ValueError as error:
        raise ValueError(f"{name}: the expression is no JMESPath: {_shown(str(error))}") from None
    except ImportError:
        raise ValueError(f"{name}: needs the Python package jmespath on the controller: pip install jmespath") from None


@functools.cache
def _compiled(expression: str) -> t.Any:
    import jmespath  # only those who write rules need it

    return jmespath.compile(expression)


def _functions(tree: t.Any) -> t.Iterator[str]:
    """The functions that an expression calls: jmespath itself looks for them only when it evaluates."""
    if tree.get("type") == "function_expression":
        yield tree["value"]
    for child in tree.get("children", ()):
        if isinstance(child, dict):
            yield from _functions(child)


def _known_functions() -> set[str]:
    from jmespath import functions

    return set(functions.Functions.FUNCTION_TABLE)


def _shown(value: t.Any) -> str:
    """Any value as evidence: one short line."""
    line = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    line = " ".join(line.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _hint(identity: str) -> str:
    near = difflib.get_close_matches(identity, entries(), 3, 0.6)
    return f"did you mean {' or '.join(near)}?" if near else "docs/rules.md lists those that exist"
