# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of the jobs, as the role writes it from the inventory."""

from __future__ import annotations

import pathlib
import subprocess

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = pathlib.Path(__file__).parents[3] / "roles/launch_config"


def job_env(variables):
    text = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__launch_config_job_env"]
    return Templar(DataLoader(), {"launch_config_env": variables}).template(trust_as_template(text))


def test_the_variables_of_the_jobs_survive_quoting(tmp_path):
    nasty = 'it\'s $HOME `x` "q" # {{ x }}'
    (tmp_path / "env").write_text(job_env({"b_TOKEN": nasty, "N": 3, "a": True, "Z": ""}))
    output = subprocess.run(
        ["sh", "-c", '. ./env; printf %s "$b_TOKEN,$N,$a,$Z"'], cwd=tmp_path, capture_output=True, check=True
    )
    assert output.stdout.decode() == f"{nasty},3,True,"


def test_one_variable_is_one_line_in_a_fixed_order():
    text = job_env({"b": 1, "a": 2, "B": 3})
    assert text == job_env({"B": 3, "a": 2, "b": 1}) == job_env({}) + "B=3\na=2\nb=1\n"


def test_only_a_task_without_a_log_sees_the_variables():
    tasks = yaml.safe_load((ROLE / "tasks/main.yml").read_text())
    seeing = [task for task in tasks if "job_env }}" in repr(task) or "launch_config_env" in repr(task)]
    assert [task.get("no_log") for task in seeing] == [True]
