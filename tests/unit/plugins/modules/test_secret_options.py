# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible writes the options of a module to the journal: each that holds text is no_log, or public for a reason."""

from __future__ import annotations

import importlib
import pathlib
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples import documented

MODULES = sorted(path.stem for path in (pathlib.Path(__file__).parents[4] / "plugins/modules").glob("*.py"))
ACTIONS = sorted(path.stem for path in (pathlib.Path(__file__).parents[4] / "plugins/action").glob("*.py"))
TEXT = ("str", "path", "raw", "list", "dict", "json")
PACKAGE = "ansible_collections.trainmesh.cluster.plugins"
# why an option of this name is public, in whatever module
REASONS = {
    "who and where a node is, which the others have to know": """
        address addresses cluster entries head hostname interface name names nodes peer peers ssh_name ssh_names targets
        unreached user account group hosts
    """,
    "answers of other modules, which are no more secret than those": "collective gate results",
    "directories and programs, which every user of a node can look for": """
        base base_conda base_prefix base_python command commands creates dest devices_root directory exclude images
        launcher mode directory_mode path paths prefix python recipe removes requirements_file root script src state_dir
        target tools wheelhouse
    """,
    "versions, processors, checksums, and requirement lines as they stand in the lock": """
        arch checksum cuda cudnn nccl packages platform python_version requirements torch_backend torch_build
        version branch kernel
    """,
    "a source of packages, without a password in its address": "repository",
    "true, false or auto, as inventories write it": "speed",
    "numbers of runs, and limits of processes and copies": "run_id runs memlock bwlimit",
    "keys and settings of ssh without a private key, and their digests": "comment config digest known_hosts",
    "mappings and lists whose own options are looked at": "defaults files toolkits",
    "settings of NCCL and Gloo for a probe or a node, and of launchers": "environment options settings",
    "arguments of jobs and commands, which every user of a node sees in the process list": "arguments argv",
}
PUBLIC = {name for names in REASONS.values() for name in names.split()}


def unexplained(options: t.Mapping[str, t.Any], above: str = "") -> t.Iterator[str]:
    """The options of text that are neither no_log, nor a choice, nor public for a reason."""
    for name, option in options.items():
        kind = option.get("type", "str")
        listed = kind == "list" and option.get("elements") not in TEXT
        free = kind in TEXT and not option.get("choices") and not listed
        if free and option.get("no_log") is None and name not in PUBLIC:
            yield f"{above}{name}"
        if isinstance(option.get("options"), dict):
            yield from unexplained(option["options"], f"{above}{name}.")


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ACTIONS])
def test_every_option_of_text_is_no_log_or_public_for_a_reason(name, monkeypatch):
    module = importlib.import_module(f"{PACKAGE}.modules.{name}")
    assert list(unexplained(documented.specification(module, monkeypatch))) == []


@pytest.mark.parametrize("name", ACTIONS)
def test_so_is_every_option_of_an_action(name):
    module = importlib.import_module(f"{PACKAGE}.action.{name}")
    assert list(unexplained(getattr(module, "ARGUMENTS", {}))) == []


def test_an_option_that_nobody_thought_of_is_told():
    options = {"api_url": {"type": "str"}, "port": {"type": "int"}, "files": {"type": "list", "elements": "dict"}}
    options["files"]["options"] = {"content": {"type": "str"}, "mode": {"type": "str", "choices": ["a"]}}
    options |= {"secret": {"no_log": True}, "header": {"no_log": False}, "body": {}}
    assert list(unexplained(options)) == ["api_url", "files.content", "body"]
