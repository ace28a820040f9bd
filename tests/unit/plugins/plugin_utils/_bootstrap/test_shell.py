# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts over a login: what is said and not said, and a password that no shell runs."""

from __future__ import annotations

import subprocess

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.shell import BEGIN, SKIP, Answer, Root, Shell
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import PROMPT


def test_only_marked_lines_are_values_and_all_others_may_be_a_message():
    answer = Answer(1, "Welcome\nTRAINMESH uid 0\n  TRAINMESH uid 7\nTRAINMESH end\n one \n\ntwo\nthree\nfour\n")
    assert answer.values("uid") == ["0"] and answer.says("end") and not answer.says("added")
    assert answer.last() == "two; three; four"
    assert Answer(3, "TRAINMESH end\n").last() == "exit status 3 without a word"
    assert Answer(1, f"{PROMPT}Sorry, try again.\n{PROMPT}").last() == "Sorry, try again."


@pytest.mark.parametrize("asks", [True, False])
def test_a_password_that_sudo_does_not_read_is_run_by_no_shell(tmp_path, asks):
    """It would be a command of root's otherwise."""
    victim = tmp_path / "victim"
    password = f"touch {victim}"
    read = "IFS= read -r line; printf %s 'question:'; " if asks else ""
    sudo = ["/bin/sh", "-c", f'{read}exec "$@"', "sudo", "/bin/sh", "-c", SKIP]
    script = f"{password}\n{BEGIN}\nset -- a 'b c'\nprintf 'TRAINMESH got %s\\n' \"$2\"\n"
    done = subprocess.run(sudo, input=script, capture_output=True, text=True, timeout=30, check=False)
    assert Answer(done.returncode, done.stdout + done.stderr).values("got") == ["b c"]
    assert not victim.exists()


def test_what_comes_back_has_no_password_and_what_is_printed_neither():
    shell = Shell(None, ["s3cret", "s3cret-longer", None, ""])
    assert shell.masked("a s3cret-longer b s3cret") == "a **** b ****"
    assert "s3cret" not in repr(Root(("sudo",), "s3cret"))
