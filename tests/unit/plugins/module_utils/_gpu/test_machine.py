# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that is read: its files, its commands, and which one it is."""

from __future__ import annotations

import os
import pathlib
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import Recorded


def test_files_below_the_root(tmp_path: pathlib.Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/a").write_bytes(b"0123\xff")
    (tmp_path / "link").symlink_to("somewhere/driver-1.2")
    machine = Machine(str(tmp_path))
    assert machine.replayed
    assert machine.read("proc/a") == "0123\ufffd"
    assert machine.read("proc/a", 2) == "01"
    assert machine.read("proc/a", 3, tail=True) == "23\ufffd"
    assert machine.listing("proc") == ["a"]
    assert machine.link("link") == "driver-1.2"
    assert machine.exists("link")
    assert (machine.read("no"), machine.read("proc"), machine.listing("no"), machine.link("proc/a")) == (None,) * 4


def test_a_named_pipe_does_not_stop_it(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    started = time.monotonic()
    assert Machine(str(tmp_path)).read("pipe") in (None, "")
    assert time.monotonic() - started < 1


def test_a_recorded_machine_lends_no_command_but_nvidia_smi(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("nvidia-smi", "dmesg"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"relative:{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert Machine("/").command("dmesg") == str(tmp_path / "bin/dmesg")
    node = Recorded(tmp_path / "recorded")
    assert Machine(str(node.root)).command("dmesg") is None
    assert Machine(str(node.root)).command("nvidia-smi") == str(tmp_path / "bin/nvidia-smi")
    node.command("nvidia-smi", "#!/bin/sh\n")
    node.command("dmesg", "#!/bin/sh\n")
    assert Machine(str(node.root)).command("dmesg") == str(node.root / "usr/bin/dmesg")
    assert Machine(str(node.root)).command("nvidia-smi") == str(node.root / "usr/bin/nvidia-smi")
    assert Machine(str(node.root), commands={"dmesg": None}).command("dmesg") is None


def test_all_commands_share_one_limit(tmp_path: pathlib.Path) -> None:
    Recorded(tmp_path).command("dmesg", "#!/bin/sh\nexec sleep 20\n")
    machine = Machine(str(tmp_path), 1.0)
    started = time.monotonic()
    first = machine.run("dmesg", limit=0.4)
    second = machine.run("dmesg")
    third = machine.run("dmesg")
    assert first is not None
    assert first.timed_out
    assert first.seconds < 1
    assert second is not None
    assert second.timed_out
    assert third is not None
    assert third.timed_out
    assert time.monotonic() - started < 3
    assert machine.seconds_left() == 0
    assert Machine(str(tmp_path)).run("journalctl") is None
