# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of a long log: every line keeps its number, and the errors of the last run are among them."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import job_excerpt
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_lines import rows

ERROR = "Traceback (most recent call last):\n  File \"train.py\", line 3\nKeyError: 'x'\n"
START = "[2026-11-29 07:45:12,345] [INFO] [launch.py:145:main] WORLD INFO DICT: {'gpu1': [0]}\n"


@pytest.fixture
def read(tmp_path):
    def of(text):
        path = tmp_path / "job.log"
        path.write_text(text, newline="")
        return job_excerpt.of_file(str(path))

    return of


def noise(count, word="step"):
    return "".join(f"{word} {at} takes its time and has {at % 7} things to tell\n" for at in range(count))


def test_a_short_log_is_read_as_it_is(read):
    text = noise(20) + ERROR
    assert read(text).rstrip("\n") == text.rstrip("\n")
    assert read("") == ""


def test_of_a_long_one_the_beginning_the_end_and_the_errors(read):
    text = noise(40000) + ERROR + noise(40000) + "the end\n"
    found = read(text)
    assert len(found) < 64 * 1024 < len(text)
    given = dict(enumerate(text.split("\n"), 1))
    kept = [(number, line) for number, line in rows(found) if not line.startswith("[trainmesh: ")]
    assert all(given[number] == line for number, line in kept)
    assert (1, given[1]) in kept and (40003, "KeyError: 'x'") in kept and kept[-1] == (80004, "the end")
    assert found.count("[trainmesh: lines ") == 2


def test_the_errors_of_an_earlier_run_do_not_fill_it(read):
    old = "".join(f"ValueError: {chr(97 + at % 26) * (at % 50)} {at}\n" for at in range(9000))
    found = read(START + old + noise(9000) + START + noise(9000) + ERROR + noise(9000))
    assert "KeyError: 'x'" in found and found.count(START.strip()) == 2


def test_the_same_error_of_all_ranks_is_kept_a_few_times(read):
    found = read(noise(9000) + "".join(f"[rank{at}]: KeyError: 'x'\n" for at in range(4096)) + ERROR + noise(9000))
    assert "[rank0]: KeyError" in found and "[rank4000]" not in found and "Traceback" in found


def test_progress_bars_are_no_text(read):
    shown = "\r".join(f" {at % 100}%|###   | {at}/99999 [00:01<00:03, 1.00it/s]" for at in range(50000))
    found = read(f"a\n{shown}\r{shown}KeyError: 'x'\nb\n")
    assert len(found) < 9000 and "KeyError: 'x'" in found and found.startswith("a\n") and found.endswith("b")


def test_a_file_for_which_there_is_no_time_is_read_at_both_ends(tmp_path):
    path = tmp_path / "job.log"
    path.write_text(noise(30000) + ERROR + noise(120000) + "OSError: late\n")
    found = job_excerpt.of_file(str(path), limit=-1.0)
    assert "step 0 " in found and found.endswith("OSError: late") and "KeyError" not in found
    assert (150004, "OSError: late") in list(rows(found))


def test_a_log_that_cannot_be_read(tmp_path):
    with pytest.raises(OSError, match=r"job\.log"):
        job_excerpt.of_file(str(tmp_path / "job.log"))
