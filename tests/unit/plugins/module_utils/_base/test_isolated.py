# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reader in a process of its own: what comes back, what does not, and what is left behind."""

from __future__ import annotations

import os
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import isolated, job_user


def test_plain_data_comes_back_whatever_its_size() -> None:
    process = isolated.start(lambda: {"pid": os.getpid(), "text": "ü" * 300_000})
    result = process.result(10)
    assert len(result["text"]) == 300_000
    assert result["pid"] != os.getpid()


def test_a_reader_that_fails_says_why() -> None:
    def fail() -> None:
        raise OSError("no such disk")

    with pytest.raises(ValueError, match="OSError: no such disk"):
        isolated.start(fail).result(10)


def test_a_reader_that_dies_is_no_answer() -> None:
    with pytest.raises(ValueError, match="ended without an answer"):
        isolated.start(lambda: os._exit(7)).result(10)


def test_a_reader_that_hangs_is_killed_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "GRACE_S", 0.1)
    process = isolated.start(lambda: time.sleep(30))
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"no answer within 0\.3 seconds"):
        process.result(0.2)
    assert time.monotonic() - started < 5
    with pytest.raises(ChildProcessError):
        os.waitpid(process._pid, os.WNOHANG)  # it has been taken


def test_only_root_becomes_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(ValueError, match="only root can read for nobody"):
        isolated.start(lambda: None, job_user.account("nobody"))
