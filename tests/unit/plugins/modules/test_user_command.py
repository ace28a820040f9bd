# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command is run where it is still needed; test_job_user.py has whose it is."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.modules import user_command
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules


@pytest.fixture
def made(tmp_path):
    return tmp_path / "made"


def test_a_command_runs_until_what_it_creates_is_there(made, capsys):
    for changed in (True, False):
        answer = modules.run(user_command, capsys, argv=["/bin/sh", "-c", f"echo x >>{made}"], creates=str(made))
        assert (answer["changed"], answer["rc"]) == (changed, 0)
    assert made.read_text() == "x\n"


def test_a_command_runs_while_what_it_removes_is_there(made, capsys):
    made.symlink_to("nowhere")
    for changed in (True, False):
        answer = modules.run(user_command, capsys, argv=["rm", "--", str(made)], removes=str(made))
        assert answer["changed"] is changed


def test_check_mode_runs_nothing(made, capsys):
    answer = modules.run(user_command, capsys, argv=["touch", str(made)], creates=str(made), check=True)
    assert (answer["changed"], made.exists()) == (True, False)


def test_no_shell_reads_the_words(capsys):
    assert modules.run(user_command, capsys, argv=["echo", "$HOME; exit 1"])["stdout"] == "$HOME; exit 1\n"


def test_a_command_that_fails_says_its_last_words(capsys):
    answer = modules.run(user_command, capsys, argv=["/bin/sh", "-c", "echo no room >&2; exit 3"])
    assert (answer["failed"], answer["rc"]) == (True, 3) and answer["msg"] == "/bin/sh ended with 3: no room"


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(user_command, monkeypatch)
