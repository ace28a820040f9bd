# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys are appended, once, in the form that ssh reads."""

from __future__ import annotations

import concurrent.futures
import os
import stat
import subprocess

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap import known_hosts_file
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.known_hosts_file import Line, record
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.failures import Stop

KEY = b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(32)


def test_a_new_file_is_its_owners_alone_and_a_second_time_adds_nothing(tmp_path):
    path = tmp_path / ".ssh" / "known_hosts"
    for _time in range(2):
        record(str(path), [Line("n1", "ssh-ed25519", KEY, False), Line("n1", "ssh-ed25519", KEY, False)])
    assert path.read_text().startswith("n1 ssh-ed25519 AAAAC3") and path.read_text().count("\n") == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_other_lines_stay_and_a_last_line_without_an_end_gets_one(tmp_path):
    path = tmp_path / "known_hosts"
    path.write_bytes(b"# mine \xff\nn0 ssh-rsa AAAA")
    record(str(path), [Line("n1", "ssh-ed25519", KEY, False)])
    assert path.read_bytes().startswith(b"# mine \xff\nn0 ssh-rsa AAAA\nn1 ssh-ed25519 ")


def test_ssh_finds_a_hashed_name_which_the_file_does_not_show(tmp_path):
    path = tmp_path / "known_hosts"
    record(str(path), [Line("[n1]:2222", "ssh-ed25519", KEY, True)])
    assert path.read_text().startswith("|1|") and "[n1]" not in path.read_text()  # base64 has no brackets
    command = ["ssh-keygen", "-F", "[n1]:2222", "-f", str(path)]
    subprocess.run(command, capture_output=True, timeout=30, check=True)
    record(str(path), [Line("[n1]:2222", "ssh-ed25519", KEY, True)])
    assert path.read_text().count("\n") == 1


def test_many_at_once_lose_nothing(tmp_path):
    path = str(tmp_path / "known_hosts")
    names = [f"n{number}" for number in range(40)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: record(path, [Line(name, "ssh-ed25519", KEY, False)]), names * 2))
    with open(path, encoding="utf-8") as file:
        assert sorted(line.split()[0] for line in file) == sorted(names)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "known_hosts"
    path.write_text("n0 ssh-rsa AAAA\n")
    write = os.write
    monkeypatch.setattr(known_hosts_file.os, "write", lambda handle, data: write(handle, data[:5]))
    with pytest.raises(Stop, match="no space left"):
        record(str(path), [Line("n1", "ssh-ed25519", KEY, False)])
    assert path.read_text() == "n0 ssh-rsa AAAA\n"


def test_a_file_that_can_not_be_written_is_named(tmp_path):
    with pytest.raises(Stop) as stop:
        record(str(tmp_path), [Line("n1", "ssh-ed25519", KEY, False)])
    assert str(tmp_path) in stop.value.evidence and "can't be recorded" in stop.value.cause
