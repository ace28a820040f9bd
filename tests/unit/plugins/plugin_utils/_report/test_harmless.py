# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever machines say, nothing that is shown or written down steers a terminal, turns a line round, or is a link."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import unicodedata

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import redact
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import check
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report.html import html
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report.markdown import markdown
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report.terminal import text
from ansible_collections.trainmesh.cluster.tests.unit.samples.reports import answers, broken, report

# A title of the window, a cleared screen, C1's CSI, a return, a separator of lines, a text from right to left, half a
# character; then what becomes a link in an issue by itself.
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x9b31m\rover\u2028next\u202egnp.exe\u2066\udc80"
    " http://evil.example www.evil.example GH-12 #3 @octocat a@evil.example"
)
# What decides and is not shown: a hostile word there would only take the case apart.
KEPT = {"status", "step", "state", "kind", "family", "scope", "link_layer", "user", "launcher", "address", "order"}


def hostile(data, key=""):
    """The evidence of a bad day, with every text that a machine chose followed by a hostile one."""
    if isinstance(data, str):
        return data if key in KEPT or not data else f"{data}{HOSTILE}"
    if isinstance(data, dict):
        return {name: hostile(value, name) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [hostile(value, key) for value in data]
    return data


def bad_day():
    case = broken()
    parts = {name: hostile(getattr(case, name)) for name in ("fabric", "gpu", "stack", "user", "mesh", "lost")}
    nodes = {name: {**node, "hostname": HOSTILE, "gpus": [HOSTILE]} for name, node in case.plan["nodes"].items()}
    case = dataclasses.replace(case, **parts, plan={**case.plan, "nodes": nodes}, skipped=HOSTILE)
    found = [
        dataclasses.replace(answer, evidence=dict.fromkeys(answer.hosts, HOSTILE), cause=HOSTILE, remedy=HOSTILE)
        if hasattr(answer, "evidence")
        else answer
        for answer in answers()
    ]
    return report(case, found)


@pytest.mark.parametrize("form", [text, markdown, html, lambda data: markdown(data, mask_addresses=True), str])
def test_no_form_of_the_report_obeys_a_machine(form):
    said = form(bad_day())
    assert "gnp.exe" in said, "the case reaches this form"
    assert {char for char in said if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}} <= {"\n"}


def test_no_link_lives_in_an_issue():
    said = markdown(bad_day())
    outside = re.sub(r"(?ms)^(`{3,})text$.*?^\1$", "", said)  # tables
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", outside)  # code
    assert "evil.example" in outside
    assert not re.findall(r"https?:|www\.|GH-\d|#\d|@\w", outside)


def test_the_table_of_machines_that_can_not_be_used():
    row = {
        "ok": False,
        "address": "10.0.0.1",
        "port": 22,
        "step": "banner",
        "evidence": HOSTILE,
        "cause": "c",
        "remedy": "r",
    }
    said = redact.harmless(check.table({"node1": row}))
    assert all(char.isprintable() for char in said.replace("\n", ""))


@pytest.mark.parametrize(
    ("said", "shown"), [("tab\there", "tab here"), ("two\nlines", "two\nlines"), ("e\u0301é", "e\u0301é")]
)
def test_what_is_harmless_stays(said, shown):
    assert redact.harmless(said) == shown


def test_action_plugins_print_through_one_function():
    directory = pathlib.Path(redact.__file__).parents[2]
    calls = [
        f"{path.name}: {line.strip()}"
        for part in ("action", "plugin_utils")
        for path in (directory / part).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"display\.(display|warning|error)\(|^\s*print\(", line)
    ]
    assert calls == ["action.py: _display.display(harmless(text))", "action.py: _display.warning(harmless(text))"]
