# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of sshd comes undone by itself, unless somebody logs in anew: with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import sshd_return

PATIENCE_S = 60


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def places(tmp_path):
    return str(tmp_path / "marker"), tmp_path / "undone"


def test_it_comes_undone_when_nobody_logs_in(places):
    marker, undone = places
    sshd_return.arm(undone.touch, 0, marker, 0.01)
    wait_for(undone.exists)
    assert not sshd_return.is_armed(marker)


def test_it_stays_when_somebody_does(places):
    marker, undone = places
    sshd_return.arm(undone.touch, 3600, marker, 0.01)
    assert sshd_return.is_armed(marker)
    assert sshd_return.keep(marker) and not sshd_return.keep(marker)
    assert not undone.exists()


def test_a_process_that_waits_ends_when_the_change_is_kept(places):
    marker, undone = places
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    sshd_return.arm(undone.touch, 3600, marker, 0.01)  # its copy of the pipe is the last one that is open
    os.close(writer)
    sshd_return.keep(marker)
    assert os.read(reader, 1) == b"", "it has ended, as nobody holds the pipe any more"
    os.close(reader)
    assert not undone.exists()


def test_the_module_ends_and_its_output_with_it(places):
    marker, undone = places
    code = (
        "import pathlib, sys\n"
        "from ansible_collections.trainmesh.cluster.plugins.module_utils._config import sshd_return as r\n"
        "r.arm(pathlib.Path(sys.argv[2]).touch, 3600, sys.argv[1], 0.01); print('done')"
    )
    command = [sys.executable, "-c", code, marker, str(undone)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout == "done\n", "once, and nobody waits for the process that stays"
    assert sshd_return.keep(marker)


def test_it_comes_undone_when_the_module_was_killed(places):
    marker, undone = places
    code = (
        "import os, pathlib, signal, sys;"
        "from ansible_collections.trainmesh.cluster.plugins.module_utils._config import sshd_return as r;"
        "r.arm(pathlib.Path(sys.argv[2]).touch, 0.2, sys.argv[1], 0.01); os.killpg(os.getpgid(0), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", code, marker, str(undone)]
    subprocess.run(command, check=False, capture_output=True, timeout=PATIENCE_S, start_new_session=True)
    wait_for(undone.exists)
