# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For all unit tests: the collection importable from a checkout, and the recordings of real machines."""

from __future__ import annotations

import os
import pathlib
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# pyproject.toml makes the collection importable here; this does the same for the programs that tests start.
os.environ["PYTHONPATH"] = os.pathsep.join(
    path for path in (str(ROOT / "collections"), os.environ.get("PYTHONPATH")) if path
)


@pytest.fixture(scope="session")
def fixtures_path() -> pathlib.Path:
    """The folder of recorded outputs (``TRAINMESH_FIXTURES``, else beside the checkout); skips where there is none."""
    path = pathlib.Path(os.environ.get("TRAINMESH_FIXTURES", ROOT.parent / "shared" / "fixtures"))
    if not path.is_dir():
        pytest.skip(f"no recordings at {path} (set TRAINMESH_FIXTURES)")
    return path


@pytest.fixture
def begun():
    """Starts a program as ``subprocess.Popen`` does and returns when its words and environment can be read.

    Popen is back as soon as the old program's memory is gone: ``/proc/PID/cmdline`` may still be empty then.
    """

    def start(command, **settings):
        process = subprocess.Popen(command, **settings)
        while process.poll() is None and not pathlib.Path("/proc", str(process.pid), "cmdline").read_bytes():
            time.sleep(0.01)
        return process

    return start
