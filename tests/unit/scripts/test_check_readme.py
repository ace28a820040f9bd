# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of scripts/check_readme.py: which commands, variables and links of a guide it finds missing."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.scripts.test_check_layout import load

readme = load("check_readme")


@pytest.fixture
def root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A small project of its own."""
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    (tmp_path / "Makefile").write_text(".PHONY: site test \\\n clean\nVAR := 1\nsite test:\n\ttrue\nlint: site\n")
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "site.yml").touch()
    (tmp_path / "site.yml").touch()
    (tmp_path / "plugins" / "modules").mkdir(parents=True)
    (tmp_path / "plugins" / "modules" / "hosts_entries.py").touch()
    return tmp_path


def faults(root: pathlib.Path, text: str) -> list[str]:
    """Faults of a README with this text."""
    path = root / "README.md"
    path.write_text(text)
    return list(readme.document_faults(path, readme.make_targets(), {"trainmesh_head"}))


def test_targets_come_from_rules_and_phony_lines(root: pathlib.Path) -> None:
    assert {"site", "test", "clean", "lint"} <= readme.make_targets()
    assert "VAR" not in readme.make_targets()


@pytest.mark.parametrize(
    "command",
    [
        "make site INVENTORY=hosts.yml  # comment: make nothing",
        "$ make -j2 clean && make lint",
        "ansible-playbook site.yml -i my/inventory.yml",
        "ansible-playbook trainmesh.cluster.site -i inventory",
        ". .venv/bin/activate",
        "cmake no-such-target",
        "ansible gpu2 -b -m trainmesh.cluster.hosts_entries",
    ],
)
def test_what_exists_is_no_fault(root: pathlib.Path, command: str) -> None:
    assert not faults(root, f"```shell\n{command}\n```\n")


@pytest.mark.parametrize(
    "command",
    [
        "make sitte",
        "cd x && make sitte",
        "make site \\\n  sitte",
        "ansible-playbook playbooks/none.yml -i inventory",
        "ansible-playbook trainmesh.cluster.none",
        "scripts/none.sh",
        "ansible gpu2 -b -m trainmesh.cluster.none \\\n -a '{}'",
        ". venv/bin/activate",
    ],
)
def test_what_does_not_exist_is_named(root: pathlib.Path, command: str) -> None:
    assert len(faults(root, f"```shell\n{command}\n```\n")) == 1


def test_blocks_in_other_languages_are_not_commands(root: pathlib.Path) -> None:
    assert not faults(root, "```text\nmake nothing\n```\n")


def test_variables_and_links_are_looked_up(root: pathlib.Path) -> None:
    assert not faults(root, "`trainmesh_head` in [the play](site.yml#top), [elsewhere](https://example.org/x)")
    assert len(faults(root, "`trainmesh_haed`, [the play](sites.yml)")) == 2


def test_links_lead_to_headings_that_exist(root: pathlib.Path) -> None:
    (root / "other.md").write_text("# Files it manages, and `uninstalling`\n\n```shell\n# no heading\n```\n")
    assert not faults(root, "# Top\n[here](#top), [there](other.md#files-it-manages-and-uninstalling)")
    assert len(faults(root, "# Top\n[here](#bottom), [there](other.md#no-heading), [b](other.md#Files)")) == 3
