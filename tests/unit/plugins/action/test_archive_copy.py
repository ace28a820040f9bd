# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible itself runs the action, on this machine."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[4]


@pytest.fixture
def copy(tmp_path):
    """Copies a file with these options; what Ansible says."""
    (tmp_path / "archive.tar.gz").write_bytes(b"\x1f\x8b" + bytes(1000))

    def run(*more: str) -> str:
        given = f"src={tmp_path}/archive.tar.gz dest={tmp_path}/made/ mode=0640 directory_mode=0711"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1"}
        words = ["adhoc", "localhost", "-m", "trainmesh.cluster.archive_copy", "-a", given, *more]
        done = subprocess.run(
            [sys.executable, "-m", "ansible", *words],
            cwd=tmp_path,
            env={**environment, "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"), "ANSIBLE_CONFIG": "none.cfg"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    return run


def test_a_file_is_copied_once_and_check_mode_tells_so(copy, tmp_path):
    made = tmp_path / "made/archive.tar.gz"
    assert "CHANGED" in copy("--check") and not made.exists()
    assert "CHANGED" in copy()
    assert made.read_bytes() == (tmp_path / "archive.tar.gz").read_bytes()
    assert (made.stat().st_mode & 0o777, made.parent.stat().st_mode & 0o777) == (0o640, 0o711)
    assert "SUCCESS" in copy()


def test_an_option_that_does_not_exist_is_refused(copy, tmp_path):
    assert "Unsupported parameters" in copy("-a", f"src={tmp_path}/archive.tar.gz dest={tmp_path}/made/ modus=1")
    assert not (tmp_path / "made").exists()
