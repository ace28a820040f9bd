# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import dataclasses
import hashlib
import html.parser
import re

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import html as report_html
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import text as words
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import plan
from ansible_collections.trainmesh.cluster.tests.unit.samples.reports import NAMES, bad, healthy, mesh, report

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
VOID = {"meta", "link", "br", "img", "hr", "input"}
EMPTY = {"rect", "path"}  # of a drawing: <rect/>


class Page(html.parser.HTMLParser):
    """What a browser would see: tags, attributes, text; and whether every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.rows, self.classes = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.classes += [word for name, value in attrs if name == "class" for word in value.split()]
        if tag == "tr":
            self.rows.append([])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in EMPTY
        self.tags.append(tag)
        self.attributes += attrs
        self.classes += [value for name, value in attrs if name == "class"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in {"script", "style"}:
            return
        self.text.append(data)
        if self.open and self.open[-1] in {"td", "th"}:
            self.rows[-1].append(data)


def page(*arguments, **more):
    return Page(report_html.html(report(*arguments, **more)))


def policy(found):
    return next(value for name, value in found.attributes if name == "content" and "default-src" in value)


def test_a_report_is_one_file_that_needs_no_network():
    text = report_html.html(report())
    found = Page(text)
    assert not {"link", "img", "image", "use", "iframe", "object", "base", "form"} & set(found.tags)
    assert not {
        name for name, _value in found.attributes if name.startswith("on") or name in {"src", "style", "xlink:href"}
    }
    assert all(value.startswith("#") for name, value in found.attributes if name == "href")
    assert "url(" not in text and "@import" not in text and policy(found).startswith("default-src 'none'; ")
    assert ("lang", "en") in found.attributes and ("name", "viewport") in found.attributes


@pytest.mark.parametrize("tag", ["script", "style"])
def test_the_policy_allows_the_one_script_and_style_of_the_page_by_their_digests(tag):
    text = report_html.html(report(hostile_case()))
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
    assert len(found) == 1 and f"{tag}-src 'sha256-{digest}'; " in policy(Page(text))
    assert "unsafe" not in policy(Page(text)) and Page(text).tags.count(tag) == 1


def test_the_script_asks_no_network_and_writes_no_markup():
    script = re.search(r"<script>(.*?)</script>", report_html.html(report()), re.DOTALL)[1]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|fetch|XMLHttp|import|https?:", script
    )


def test_without_the_script_nothing_is_missing():
    text = re.sub(r"<script>.*?</script>", "", report_html.html(report()), flags=re.DOTALL)
    found = Page(text)
    assert not {"button", "input", "template", "noscript"} & set(found.tags)
    assert not {name for name, _value in found.attributes if name == "hidden"}


def test_the_title_tells_outcome_inventory_size_and_duration():
    text = report_html.html(report(inventory="cluster/hosts.yml"))
    title = "NOT READY · cluster/hosts.yml · 8 nodes · 1 min 30 s"
    assert f"<title>{title}</title>" in text and f"<h1>{title}</h1>" in text
    without = report_html.html(report(healthy(), started=""))
    assert "<title>READY · 3 nodes</title>" in without


@pytest.mark.parametrize(
    ("started", "said"),
    [("10:01:18", "12 s"), ("09:59:25", "2 min 5 s"), ("07:55:30", "2 h 6 min"), ("10:01:30", "0 s")],
)
def test_the_duration(started, said):
    assert words.duration(report(started=f"2026-11-21T{started}+00:00")) == said


def test_findings_fold_and_link_to_their_nodes_which_link_back():
    text = report_html.html(report())
    first = text[text.index('<details class="finding fail"') :]
    assert first.startswith('<details class="finding fail" id="finding-1" open data-names="gpu3">')
    assert '<a href="#node-2">gpu3</a>' in first and '<tr id="node-2">' in text
    assert '<a href="#finding-1">1</a>' in text[text.index('<tr id="node-2">') :].splitlines()[0]
    assert '<details class="finding warn" id="finding-4" data-names' in text, "only failures are open"


def test_the_contents_lead_to_every_section():
    text = report_html.html(report())
    nav = text[text.index("<nav") : text.index("</nav>")]
    targets = re.findall(r'href="#([^"]+)"', nav)
    assert {"findings", "untested", "connectivity", "jobs", "nodes", "versions", "gpus", "nics"} <= set(targets)
    assert all(f'id="{target}"' in text for target in targets)


def test_it_is_made_for_phone_paper_and_dark_rooms():
    text = report_html.html(report())
    for needed in ("@media print", "prefers-color-scheme: dark", "max-width: 40rem", "overflow-x: auto"):
        assert needed in text


@pytest.mark.parametrize("case", [healthy(), Case(plan=plan(NAMES)), Case(plan={"order": []})])
def test_every_case_makes_a_page_whose_tags_match(case):
    assert page(case).tags[0] == "html"


def hostile_case():
    """Markup from wherever a machine can put a word into the report."""
    case = healthy()
    facts = {
        **case.fabric["gpu1"], "hostname": HOSTILE, "os": {"pretty_name": HOSTILE},
        "interfaces": [{"name": HOSTILE, "kind": "bond", "addresses": [{"address": HOSTILE, "scope": "global"}]}],
        "rdma": {"devices": [{"name": HOSTILE, "fw_ver": HOSTILE, "ports": [{"state": HOSTILE}]}]},
    }  # fmt: skip
    cards = [{"index": 0, "name": HOSTILE, "uuid": HOSTILE, "fault": HOSTILE, "pcie": {}}]
    stack = {"python": {"version": HOSTILE}, "packages": {"torch": HOSTILE}, "torch": {"cuda": HOSTILE}}
    return dataclasses.replace(
        case,
        fabric={**case.fabric, "gpu1": facts},
        gpu={**case.gpu, "gpu1": {"driver_version": HOSTILE, "gpus": cards, "nvlink": []}},
        stack={**case.stack, "gpu1": stack},
        mesh=mesh(("gpu1", "gpu2", "gpu3"), {("gpu1", "gpu2"): {"ssh": bad(HOSTILE, HOSTILE)}}),
        jobs=[{"launcher": HOSTILE, "ok": False, "world_size": 1, "seconds": 1.0, "log": HOSTILE,
               "faults": [{"host": HOSTILE, "cause": HOSTILE}]}],
        collective={**case.collective, "ok": False, "error": HOSTILE, "backend": HOSTILE},
        skipped=HOSTILE,
        lost={HOSTILE: HOSTILE},
    )  # fmt: skip


def test_nothing_that_a_machine_says_becomes_markup():
    finding = Finding(HOSTILE, "fail", (HOSTILE,), {HOSTILE: HOSTILE}, HOSTILE, f"{HOSTILE} `{HOSTILE}`", HOSTILE)
    data = report(hostile_case(), [finding, Untested(HOSTILE, (HOSTILE,), HOSTILE)])
    text = report_html.html(data)
    found = Page(text)
    assert found.tags.count("script") == 1 and "img" not in found.tags
    assert text.count("<script") == 1 and "onerror" not in {name for name, _value in found.attributes}
    assert text.count("&lt;script&gt;") > 20


def test_a_finding_has_its_number_evidence_cause_remedy_and_rule():
    text = "".join(page().text)
    for needed in (
        "1. gpu3: sshd rejects keys",
        "/home/trainer/.ssh has mode 0775",
        "sshd ignores",
        "ssh-perms-too-open",
    ):
        assert needed in text
    assert "FAIL" in text and "WARN" in text and "INFO" in text


def test_commands_of_a_remedy_can_be_copied_alone():
    text = report_html.html(report())
    assert '<code class="copy">chmod 700 /home/trainer/.ssh</code>' in text


def test_a_heat_map_can_be_read_without_colours():
    rows = page().rows
    assert ["0 gpu1", "✓", "✓", "key", "✓", "✓", "✓", "✓", "tmo"] in rows
    assert ["0 gpu1", "✓", "✓", "✓", "✓", "✓", "✓", "rou", "tmo"] in rows
    assert ["7 gpu8", *"········"] in rows
    speeds = next(row for row in rows if row[0] == "5 gpu6" and "▼ 0.94" in row)
    assert len(speeds) == 9 and any("▲ 12" in cell for row in rows for cell in row)
    text = "".join(page().text)
    assert "permission denied" in text and "less than 0.5 times the median" in text


def test_bad_cells_have_a_pattern_and_a_label():
    found = page()
    assert "bad" in found.classes and "repeating-linear-gradient" in report_html.html(report())
    assert ("title", "gpu1 to gpu3: permission") in found.attributes


def test_versions_that_differ_are_marked_by_a_sign():
    rows = page().rows
    assert any(row[0] == "gpu5" and "≠ 2.12.1+cu126" in row for row in rows)
    assert not any(row[0] == "gpu1" and any("≠" in cell for cell in row) for row in rows)


def test_like_gpus_are_one_row_and_odd_ones_stand_alone():
    rows = [row for row in page().rows if row and row[0] == "gpu7" and "A100-SXM4-40GB" in row]
    assert [row[1] for row in rows] == ["0-2, 4, 6-7", "3", "5"]
    assert "gen 1 x8 of x16" in rows[1] and "GPU requires reset" in rows[2]


def test_cards_that_are_down_are_marked():
    assert any(row[:4] == ["gpu7", "mlx5_0", "1", "DOWN"] for row in page().rows)


def test_failed_attempts_with_one_cause_are_one_row():
    rows = page().rows
    sources = "gpu1, gpu2, gpu3, gpu4, gpu5, gpu6, gpu7"
    assert ["gpu3", "ssh gpu3", sources, "trainer@10.0.0.13: Permission denied (publickey)."] in rows


def test_jobs_show_their_verdict_and_the_collective_its_sweep():
    rows = page(healthy()).rows
    assert ["deepspeed", "ok", "24", "32", "-", "/x/1.log"] in rows
    assert ["1 GiB", "10 ms", "7.5 GB/s", "15 GB/s"] in rows


def test_what_was_not_tested_has_its_reason():
    assert ["gpu8", "lost during the run; remaining checks skipped", "node"] in page().rows
    assert "Nothing: every requested check was run." in "".join(page(healthy()).text)


def test_a_clean_report_gives_the_next_line_to_type():
    assert "trainmesh-deepspeed /path/to/train.py</pre>" in report_html.html(report(healthy()))


def test_the_style_is_whole():
    css = re.search(r"<style>(.*?)</style>", report_html.html(report()), re.DOTALL)[1]
    assert css.count("{") == css.count("}") > 50


def test_logins_that_are_not_planned_look_like_no_fault():
    case, names = healthy(), ("gpu1", "gpu2", "gpu3")
    for name in names[1:]:
        case.plan["nodes"][name]["logs_in"] = False
        for target in names:
            case.mesh[name][target]["ssh"] = {}
    found = page(case)
    assert ("title", "gpu2 to gpu1: not planned") in found.attributes and "not planned" in " ".join(found.text)
    assert "bad" not in found.classes
