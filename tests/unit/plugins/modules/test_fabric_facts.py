# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module fabric_facts itself: options, check mode, documentation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.trainmesh.cluster.plugins.modules import fabric_facts
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented


def run_module(arguments: dict[str, t.Any], check: bool = False) -> dict[str, t.Any]:
    """Run the module as Ansible does, in a process of its own, and return its result."""
    given = json.dumps({**arguments, "_ansible_check_mode": check})
    code = (
        "import json\n"
        "from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.trainmesh.cluster.plugins.modules import fabric_facts\n"
        f"with patch_module_args(json.loads({given!r})):\n"
        "    fabric_facts.main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.stdout, done.stderr
    return t.cast("dict[str, t.Any]", json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("check", [False, True])
def test_it_reads_the_same_in_check_mode(check: bool) -> None:
    result = run_module({"peers": ["127.0.0.1"], "names": ["localhost"], "paths": ["/"]}, check)
    facts = result["ansible_facts"]["trainmesh_facts_fabric"]
    assert result["changed"] is False
    assert list(facts["routes"]) == ["127.0.0.1"]
    assert list(facts["disks"]) == ["/"]
    assert {"localhost", "127.0.0.1"} < set(facts["resolution"])


def test_it_runs_without_options_as_gather_facts_runs_it() -> None:
    facts = run_module({})["ansible_facts"]["trainmesh_facts_fabric"]
    assert set(facts["disks"]) == {"/opt/trainmesh", "~/.cache"}


def test_a_recorded_root_is_read(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("ab" * 16 + "\n")
    assert run_module({"root": str(tmp_path)})["ansible_facts"]["trainmesh_facts_fabric"]["machine_id"] == "ab" * 16


def test_no_time_at_all_is_refused() -> None:
    result = run_module({"timeout": 0})
    assert result["failed"] is True
    assert "timeout" in result["msg"]


def test_the_options_are_those_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    documented.check(fabric_facts, monkeypatch)


def test_the_documentation_names_every_fact_and_no_other() -> None:
    returned = yaml.safe_load(fabric_facts.RETURN)
    documented = returned["ansible_facts"]["contains"]["trainmesh_facts_fabric"]["contains"]
    facts = run_module({})["ansible_facts"]["trainmesh_facts_fabric"]
    assert set(documented) == set(facts)
    for name, text in documented.items():
        assert text["description"], name
        assert "sample" in text, name


def test_samples_have_the_keys_of_real_facts() -> None:
    returned = yaml.safe_load(fabric_facts.RETURN)
    documented = returned["ansible_facts"]["contains"]["trainmesh_facts_fabric"]["contains"]
    facts = run_module({"peers": ["127.0.0.1"]})["ansible_facts"]["trainmesh_facts_fabric"]
    for name in ("os", "python", "iommu", "acs", "limits", "sshd", "rdma", "clock", "cgroup_limits"):
        assert set(documented[name]["sample"]) == set(facts[name]), name
    assert set(documented["interfaces"]["sample"][0]) == set(facts["interfaces"][0])
    assert set(documented["routes"]["sample"]["10.77.0.11"]) == set(facts["routes"]["127.0.0.1"])
    assert set(documented["disks"]["sample"]["/opt/trainmesh"]) == set(facts["disks"]["/opt/trainmesh"])
