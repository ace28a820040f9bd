# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as Markdown, to be pasted into an issue; secrets and keys are always masked."""

from __future__ import annotations

import itertools
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import redact
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import terminal
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import text as words

Data = t.Mapping[str, t.Any]

# What Markdown or HTML treats as markup, and what becomes a link by itself: @name, #1, GH-1, URLs, mail addresses.
_MARKUP = re.compile(r"([\\`*_\[\]<>|~&])")
_CALL = re.compile(r"@(?=\w)|#(?=\d)|\bGH(?=-\d)|\bwww(?=\.)|\b(?:https?|ftp|mailto|xmpp)(?=:)", re.IGNORECASE)
_TICKS = re.compile(r"`+")


def markdown(report: Data, mask_addresses: bool = False) -> str:
    """The report in the order of the terminal. ``mask_addresses`` replaces the names and addresses of all nodes."""
    shown: Data = redact.walk(report, redact.keys)
    if mask_addresses:
        shown = redact.walk(shown, pseudonyms(report))
    lines = [f"## {words.headline(shown)}", "", words.counts(shown), ""]
    lines += [_about(shown), "", *_since(shown)]
    for number, finding in enumerate(shown["findings"], 1):
        lines += [*_finding(number, shown, finding), ""]
    for title, part in (
        ("Connectivity", _fenced(terminal.connectivity(shown) + terminal.links(shown))),
        ("Nodes", _fenced(terminal.nodes(shown))),
        ("Mixed versions", _versions(shown)),
        ("Jobs", _fenced(terminal.jobs(shown))),
        ("Not tested", [f"- {_text(where)}: {_text(why)} ({_text(words.names(rules))})" for where, why, rules in
                        words.untested(shown)]),
    ):  # fmt: skip
        lines += [f"### {title}", "", *part, ""] if part else []
    return "\n".join([*lines, _text(words.changes(shown)), ""])


def pseudonyms(report: Data) -> redact.Pseudonyms:
    """The replacements for the names and addresses of a report; versions that look like addresses stay."""
    names = [[node["name"], node["hostname"], *node["names"]] for node in report["nodes"]]
    versions = [node["versions"].values() for node in report["nodes"]]
    versions += [row["values"].values() for row in report["versions"]]
    keep = {str(version) for version in itertools.chain.from_iterable(versions) if version}
    mask = redact.Pseudonyms(names, keep | {report["version"]})
    for node in report["nodes"]:
        mask(node["address"])  # in rank order, so that node-c gets the third one
    return mask


def _about(report: Data) -> str:
    cluster = report["cluster"]
    gpus = words.gpu_text([gpu for node in report["nodes"] for gpu in node["gpus"]])
    size = f"{words.plural(len(report['nodes']), 'node')}, {words.plural(cluster['world_size'], 'rank')}"
    made = f"{report['collection']} {report['version']}, {report['generated']}"
    return _text(f"{size}, GPUs: {gpus}, precision {cluster['precision'] or '-'}; {made}")


def _since(report: Data) -> list[str]:
    said = words.since(report)
    kinds = (("fixed", "fixed"), ("not_tested", "not tested this time"))
    rows = [f"- {title}: {_code(rule)} on {_text(where)}" for what, title in kinds
            for rule, where in words.places(report, what)]  # fmt: skip
    return [_text(said), "", *rows, *([""] if rows else [])] if said else []


def _finding(number: int, report: Data, finding: Data) -> list[str]:
    title = f": {_text(finding['title'])}" if finding["title"] else ""
    news = words.news(report, finding)
    title += f" ({_text(news)})" if news else ""
    evidence = words.evidence(finding)
    return [
        f"**{number}. {words.SEVERITY_WORDS[finding['severity']]} {_text(words.where(finding['hosts']))}**{title}",
        "",
        *([f"- evidence: {_code(evidence)}"] if evidence else []),
        f"- cause: {_text(finding['cause'])}",
        f"- fix: {_remedy(finding['remedy'])} {_code(finding['rule'])}",
    ]


def _versions(report: Data) -> list[str]:
    lines = []
    for row in report["versions"]:
        if row["outliers"]:
            values = {str(row["values"][host]) for host in row["values"] if host not in row["outliers"]}
            others = ", ".join(f"{host} has {row['values'].get(host)}" for host in row["outliers"])
            lines.append(f"- {_text(row['what'])}: {_text(others)}; the others have {_text(', '.join(sorted(values)))}")
    return lines


def _remedy(text: str) -> str:
    """Text between back-ticks stays code, the rest is text."""
    parts = enumerate(words.one_line(text).split("`"))
    return "".join(_code(part) if number % 2 else _text(part) for number, part in parts if part)


def _text(text: t.Any) -> str:
    """Escaped text; a blank at either end stays, because code may follow or precede it."""
    line = words.one_line(text)
    escaped = _CALL.sub(r"\g<0><!-- -->", _MARKUP.sub(r"\\\1", line))
    before, after = (" " if found else "" for found in (str(text)[:1].isspace(), str(text)[-1:].isspace()))
    return f"{before}{escaped}{after}"


def _code(text: t.Any) -> str:
    """Inline code, even if the text contains back-ticks."""
    line = words.one_line(text)
    fence = "`" * (max((len(run) for run in _TICKS.findall(line)), default=0) + 1)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def _fenced(lines: t.Sequence[str]) -> list[str]:
    """Lines in a fence that is longer than any run of back-ticks in them."""
    if not lines:
        return []
    longest = max((len(run) for line in lines for run in _TICKS.findall(line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *lines, fence]
