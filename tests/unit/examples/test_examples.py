# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of examples/: what its README names exists, and the scripts are short. The scenario daily runs them."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[3] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
COMMANDS = "\n".join(re.findall(r"```shell\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_short_enough_to_copy_and_named_in_the_readme(path: pathlib.Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 160
    assert f"]({path.name})" in README


def test_every_training_script_is_typed_with_trainmesh_run() -> None:
    typed = set(re.findall(r"^trainmesh run .*?(\w+\.py)", COMMANDS, re.MULTILINE))
    assert typed == {path.name for path in SCRIPTS if path.name.startswith("train_")}


@pytest.mark.parametrize("line", re.findall(r"^.*\btrain_\w+\.py .*--.*$", COMMANDS, re.MULTILINE))
def test_options_behind_a_script_are_the_script_s(line: str) -> None:
    script, rest = re.findall(r"(train_\w+\.py)(.*)", line.partition("    # ")[0])[0]
    known = "".join((EXAMPLES / name).read_text(encoding="utf-8") for name in (script, "cluster.py"))
    for option in re.findall(r"--[\w-]+", rest):
        assert f'add_argument("{option}"' in known, option


def test_the_deepspeed_file_leaves_the_batch_to_the_script() -> None:
    config = json.loads((EXAMPLES / "zero3.json").read_text(encoding="utf-8"))
    assert config["zero_optimization"]["stage"] == 3
    assert not any("batch" in key for key in config)
