# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of scripts/check_artifact.py: what an artifact holds too much or too little."""

from __future__ import annotations

import pathlib
import tarfile
import types

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.scripts.test_check_layout import ROOT, load


@pytest.fixture
def artifact(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return load("check_artifact")


OURS = {"README.md", "plugins/modules/gpu_facts.py", "roles/hosts/tasks/main.yml", "tests/unit/conftest.py", "site.yml"}
BUILT = {"README.md", "plugins/modules/gpu_facts.py", "roles/hosts/tasks/main.yml", "MANIFEST.json", "FILES.json"}


def test_what_is_for_users_is_shipped_and_nothing_else(artifact: types.ModuleType) -> None:
    assert artifact.faults(BUILT, OURS) == []


@pytest.mark.parametrize(
    "name", ["tests/unit/conftest.py", ".github/workflows/ci.yml", "plugins/modules/gpu_facts.py.orig", "docs/.cache/x"]
)
def test_what_is_not_for_users_is_named(artifact: types.ModuleType, name: str) -> None:
    (fault,) = artifact.faults({*BUILT, name}, {*OURS, "tests/unit/conftest.py"})
    assert fault.startswith(f"{name}: is in the artifact")


@pytest.mark.parametrize("name", ["roles/hosts/tasks/main.yml", "MANIFEST.json"])
def test_what_a_pattern_of_build_ignore_took_by_mistake_is_named(artifact: types.ModuleType, name: str) -> None:
    assert artifact.faults(BUILT - {name}, OURS) == [f"{name}: is not in the artifact"]


def test_links_count_and_directories_do_not(
    artifact: types.ModuleType, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trainmesh-cluster-1.0.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, kind in (("plugins", tarfile.DIRTYPE), ("escape", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc"
            archive.addfile(member)
    assert artifact.main(str(path)) == 1
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "is in the artifact" in line] == [
        "escape: is in the artifact; leave it out with build_ignore in galaxy.yml"
    ]
    assert "LICENSE: is not in the artifact" in said
