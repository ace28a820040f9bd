# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import re

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report.markdown import markdown
from ansible_collections.trainmesh.cluster.tests.unit.samples.reports import NAMES, broken, healthy, report

FINDING = Finding("fd-limit", "warn", ("gpu1",), {"gpu1": "1024"}, "Few files.", "Raise it.")
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0m0xH9nVfY2m3cX3n8Q8zZk5uFq0bXkqkXWJ5m1q2r"


def lines_of(finding, **more):
    return markdown(report(healthy(), [dataclasses.replace(FINDING, **finding)]), **more).splitlines()


def test_the_order_is_that_of_the_terminal():
    text = markdown(report())
    parts = [
        "## NOT READY",
        "**1. FAIL gpu3**",
        "### Connectivity",
        "### Nodes",
        "### Mixed versions",
        "### Not tested",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_a_finding_has_evidence_cause_remedy_and_rule():
    lines = markdown(report()).splitlines()
    at = lines.index("**1. FAIL gpu3**: sshd rejects keys: file permissions too open")
    assert lines[at + 2] == "- evidence: `/home/trainer/.ssh has mode 0775`"
    assert lines[at + 3].startswith("- cause: sshd ignores authorized\\_keys")
    assert lines[at + 4].startswith("- fix: `chmod 700 /home/trainer/.ssh` on gpu3, or run")
    assert lines[at + 4].endswith("`ssh-perms-too-open`")


def test_versions_that_differ_are_said_and_those_that_agree_are_not():
    text = markdown(report())
    assert "- PyTorch: gpu5 has 2.12.1+cu126; the others have 2.13.0+cu126" in text
    assert "### Mixed versions" not in markdown(report(healthy()))


def test_keys_and_secrets_are_masked_always():
    evidence = {"gpu1": f"{PUBLIC} SHA256:{'Ab1' * 14} HF_TOKEN=hf_{'x' * 20} https://u:p@host/"}
    text = "\n".join(lines_of({"evidence": evidence}))
    assert "ssh-ed25519 AAAAC3Nz***" in text and "SHA256:Ab1Ab1***" in text
    for secret in (PUBLIC, "Ab1" * 14, "hf_x", "u:p@"):
        assert secret not in text


def test_addresses_and_names_are_masked_on_request_only():
    assert "10.0.0.13" in markdown(report()) and "gpu3" in markdown(report())
    text = markdown(report(), mask_addresses=True)
    assert not re.search(r"10\.0\.0\.\d", text) and "example.org" not in text
    assert not any(re.search(rf"\b{name}\b", text) for name in NAMES)
    assert "**1. FAIL node-c**" in text and "192.0.2.7 port 29500" in text
    assert re.search(r"node-g +192\.0\.2\.7 ", text), "the same address in the table as in the evidence"


def test_versions_survive_the_masking():
    case = healthy()
    stack = {**case.stack["gpu1"], "packages": {"torch": "2.13.0.1", "deepspeed": "0.19.8", "accelerate": "1.15.0"}}
    text = markdown(report(dataclasses.replace(case, stack=dict.fromkeys(case.stack, stack))), mask_addresses=True)
    assert "2.13.0.1" in text


def test_what_machines_say_is_no_markup_and_calls_nobody():
    cause = "<img src=x> *bold* [link](http://x) @octocat and #12 `tick"
    lines = lines_of({"evidence": {"gpu1": "a `b` ``c`` <b> | d"}, "cause": cause, "remedy": "Ask @octocat `rm -rf`"})
    evidence = next(line for line in lines if line.startswith("- evidence"))
    assert evidence == "- evidence: ```a `b` ``c`` <b> | d```"
    cause_line = next(line for line in lines if line.startswith("- cause"))
    assert "<img" not in cause_line.replace("\\<img", "") and "\\*bold\\*" in cause_line and "\\[link\\]" in cause_line
    assert "@octocat" not in "".join(lines) and "@<!-- -->octocat" in cause_line and "#<!-- -->12" in cause_line
    assert "- fix: Ask @<!-- -->octocat `rm -rf` `fd-limit`" in lines


def test_a_fence_can_not_be_closed_from_inside():
    case = dataclasses.replace(healthy(), jobs=[{"launcher": "```", "ok": True, "world_size": 1, "seconds": 1.0}])
    assert "````text" in markdown(report(case))


def test_what_was_not_tested_and_what_changed_are_said():
    text = markdown(report(broken(), changed={"gpu2": ["x"]}))
    assert "- gpu8: lost during the run" not in text, "without answers there is no such entry"
    assert "- jobs: fix the failures above first (jobs)" in text and "This run changed: gpu2." in text
