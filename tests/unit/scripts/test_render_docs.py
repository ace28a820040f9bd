# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of scripts/render_docs.py: the examples that it writes are such as the collection accepts."""

from __future__ import annotations

import json
import re

import yaml

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import catalogue, thresholds
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import options as diagnosis_options
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import _job_causes
from ansible_collections.trainmesh.cluster.tests.unit.scripts.test_check_layout import load

render_docs = load("render_docs")
WISHES = yaml.safe_load(render_docs.WISHES)


def host(cpus: int, mtu: int) -> dict[str, object]:
    return {"cpus": cpus, "interfaces": [{"name": "lo", "mtu": 65536}, {"name": "eth0", "mtu": mtu}]}


def case(**fabric: dict[str, object]) -> Case:
    return Case(plan={"order": list(fabric), "nodes": {name: {} for name in fabric}}, fabric=fabric)


def said(found: Case) -> dict[str, tuple[str, ...]]:
    options = diagnosis_options.read(variables.read(WISHES, "cluster"))
    return {answer.rule: answer.hosts for answer in diagnosis_options.extra(found, options)}


def test_the_example_of_own_rules_holds_where_it_should() -> None:
    assert said(case(node1=host(8, 9000), node2=host(8, 9000))) == {}


def test_the_example_of_own_rules_names_what_it_should() -> None:
    found = said(case(node1=host(8, 9000), node2=host(4, 1500)))
    assert found == {"site-jumbo-frames": ("node2",), "site-unlike-cpus": ()}


def test_the_example_of_thresholds_and_levels_is_accepted() -> None:
    options = variables.read(WISHES, "cluster")
    assert options["rules"] == {"build-aio-missing": "off", "drv-differs": "fail"}
    limits = thresholds.read(options["thresholds"])
    assert thresholds.limit(limits, "nvlink_links", "NVIDIA H200 NVL") == 4
    assert thresholds.limit(limits, "nvlink_links", "NVIDIA H200") == 18


def test_every_threshold_stands_in_the_page() -> None:
    page = render_docs.rules()
    assert [name for name in thresholds.entries() if f"| `{name}` |" not in page] == []


def test_every_pitfall_is_a_fault_of_the_catalogue() -> None:
    page = (render_docs.ROOT / "docs/pitfalls.md").read_text(encoding="utf-8")
    cells = re.findall(r"(?m)^\| ((?:`[a-z0-9-]+`(?:, )?)+)", page)
    ids = [one for cell in cells for one in re.findall(r"`([^`]+)`", cell)]
    assert len(ids) > 50 and [one for one in ids if one not in catalogue.entries()] == []


def test_what_the_head_says_of_failed_ranks_is_what_the_checks_say() -> None:
    path = render_docs.ROOT / "roles/launch_config/files/share/causes.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    assert path.read_text(encoding="utf-8") == _job_causes.for_the_head()
    for text in ("MemoryError: x", "NCCL WARN Connect to 10.0.0.2<4> failed : No route to host", "errno: 98"):
        about = re.search(known["nccl"], text)
        why = next(row[2] for row in known["rows"] if re.search(row[0], text) and (about or not row[1]))
        assert why == _job_causes.cause_of(text, False).cause
