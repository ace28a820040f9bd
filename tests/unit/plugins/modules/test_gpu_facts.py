# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gpu_facts itself: options, check mode, documentation."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
import yaml

from ansible_collections.trainmesh.cluster.plugins.modules import gpu_facts
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import Recorded


def run_module(arguments: dict[str, t.Any], check: bool = False) -> dict[str, t.Any]:
    """Run the module as Ansible does, in a process of its own, and return its result."""
    code = (
        "import sys, json\n"
        "from ansible.module_utils import basic\n"
        "from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.trainmesh.cluster.plugins.modules import gpu_facts\n"
        f"with patch_module_args(json.loads({json.dumps(json.dumps({**arguments, '_ansible_check_mode': check}))})):\n"
        "    gpu_facts.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_a_recorded_machine(tmp_path: pathlib.Path) -> None:
    Recorded(tmp_path).two_a100()
    for check in (False, True):
        result = run_module({"root": str(tmp_path)}, check)
        facts = result["ansible_facts"]["trainmesh_facts_gpu"]
        assert (facts["status"], len(facts["gpus"]), result["changed"]) == ("ok", 2, False)
        assert result["replayed_from"] == facts["replayed_from"] == str(tmp_path)
        assert "not of this node" in json.dumps(result["warnings"])


def test_a_machine_that_does_not_answer(tmp_path: pathlib.Path) -> None:
    Recorded(tmp_path).two_a100().command("nvidia-smi", "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.2; done\n")
    facts = run_module({"root": str(tmp_path), "timeout": 1})["ansible_facts"]["trainmesh_facts_gpu"]
    assert facts["status"] == "hung"


def test_this_node_is_no_recorded_machine() -> None:
    result = run_module({"timeout": 20})
    assert "replayed_from" not in result
    assert "replayed_from" not in result["ansible_facts"]["trainmesh_facts_gpu"]


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_limit_of_no_time_is_refused(timeout: int) -> None:
    result = run_module({"timeout": timeout})
    assert result["failed"]
    assert "timeout must be more than 0" in result["msg"]


def test_the_documentation_is_the_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    documented.check(gpu_facts, monkeypatch)


def test_every_fact_is_documented(tmp_path: pathlib.Path) -> None:
    Recorded(tmp_path).two_a100()
    facts = run_module({"root": str(tmp_path)})["ansible_facts"]["trainmesh_facts_gpu"]
    told = yaml.safe_load(gpu_facts.RETURN)["ansible_facts"]["contains"]["trainmesh_facts_gpu"]["contains"]
    assert set(told) == set(facts)
    assert set(told["gpus"]["sample"][0]) == set(facts["gpus"][0])
    assert set(told["gpus"]["sample"][0]["ecc"]) == set(facts["gpus"][0]["ecc"])
    assert set(told["topology"]["sample"]) == set(facts["topology"])
    assert set(told["nvlink"]["sample"][0]) == set(facts["nvlink"][0])
