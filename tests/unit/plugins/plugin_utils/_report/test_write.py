# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import write
from ansible_collections.trainmesh.cluster.tests.unit.samples.reports import healthy, report


def test_three_files_are_written_whole_and_for_their_owner_only(tmp_path):
    data = report()
    written = write.write(str(tmp_path / "new" / "report"), data, mask_addresses=True)
    assert [pathlib.Path(path).name for path in written] == ["report.json", "report.html", "report.md"]
    place = tmp_path / "new" / "report"
    assert sorted(path.name for path in place.iterdir()) == ["report.html", "report.json", "report.md"]
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}
    assert json.loads((place / "report.json").read_text("utf-8")) == data
    assert "gpu3" in (place / "report.html").read_text("utf-8")
    assert "gpu3" not in (place / "report.md").read_text("utf-8")


def test_a_second_report_replaces_the_first(tmp_path):
    write.write(str(tmp_path), report(), False)
    write.write(str(tmp_path), report(healthy()), False)
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["outcome"] == "clean"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_report_that_does_not_fit_on_the_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write.write(str(tmp_path), report(), mask_addresses=False)
    assert not list(tmp_path.iterdir())
