# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
import time

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import run


def test_returns_both_streams_and_status():
    outcome = run(["sh", "-c", "echo out; echo err >&2; exit 3"], 10)
    assert (outcome.rc, outcome.out, outcome.err, outcome.ok) == (3, "out\n", "err\n", False)


def test_a_missing_command_says_so():
    assert run(["/nonexistent/tool"], 5).missing


def test_a_command_that_ignores_sigterm_is_killed_at_the_limit():
    started = time.monotonic()
    outcome = run([sys.executable, "-c", "import signal,time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"], 1)
    assert outcome.timed_out and outcome.rc is None
    assert time.monotonic() - started < 10


def test_a_child_that_holds_the_pipe_is_not_waited_for():
    outcome = run(["sh", "-c", "sleep 60 & echo done"], 20)
    assert outcome.rc == 0 and outcome.out == "done\n"
    assert outcome.seconds < 10


def test_bytes_that_are_no_text_are_replaced():
    assert "\ufffd" in run(["printf", r"\377"], 5).out


def test_stdin_is_handed_over():
    assert run(["cat"], 5, stdin="hello").out == "hello"
