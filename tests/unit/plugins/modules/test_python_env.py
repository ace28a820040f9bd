# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies below the prefix before an environment is made there."""

from __future__ import annotations

import os
import pwd
import sys

import pytest

from ansible_collections.trainmesh.cluster.plugins.modules import python_env
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_the_prefix_may_be_read_whatever_the_umask(tmp_path, umask):
    me = pwd.getpwuid(os.geteuid()).pw_name
    prefix = tmp_path / "opt" / "deep" / "trainmesh"
    params = {"prefix": str(prefix), "user": me, "kind": "conda", "python": "", "python_version": "3.11"}
    before = os.umask(umask)
    try:
        python_env.prepare(params, False)
    finally:
        os.umask(before)
    made = [tmp_path / "opt", tmp_path / "opt" / "deep", *(path for path in [prefix, *prefix.rglob("*")])]
    assert {path.stat().st_mode & 0o555 for path in made if path.is_dir()} == {0o555}
    assert {path.stat().st_mode & 0o444 for path in made if path.is_file()} == {0o444}


def prepare(capsys, tmp_path, **more):
    me = pwd.getpwuid(os.geteuid()).pw_name
    wish = {"prefix": str(tmp_path / "opt"), "user": me, "python": sys.executable, "python_version": VERSION, **more}
    return modules.run(python_env, capsys, **wish)


def test_a_new_prefix_is_made_once_and_its_environment_is_absent(tmp_path, capsys):
    answer = prepare(capsys, tmp_path)
    assert (answer["changed"], answer["environment"]["state"], answer["ready"]) == (True, "absent", False)
    assert (answer["interpreter"], (tmp_path / "opt").is_dir()) == (sys.executable, True)
    assert answer["diff"]["after"].startswith(f"{tmp_path}/opt\n")
    assert not prepare(capsys, tmp_path)["changed"]


def test_check_mode_makes_nothing(tmp_path, capsys):
    assert prepare(capsys, tmp_path, check=True)["changed"] and not (tmp_path / "opt").exists()


def test_a_command_that_is_missing_is_told_with_its_packages(tmp_path, capsys):
    tools = [{"command": "sh"}, {"command": "no-such-command"}]
    answer = prepare(capsys, tmp_path, tools=tools)
    assert (answer["missing"], answer["packages"]) == (["no-such-command"], ["no-such-command"])


def test_an_environment_of_others_is_left_alone(tmp_path, capsys):
    (tmp_path / "opt/env/bin").mkdir(parents=True)
    answer = prepare(capsys, tmp_path)
    assert answer["failed"] and "was not made by this collection" in answer["msg"]


def test_an_interpreter_of_another_version_is_refused(tmp_path, capsys):
    answer = prepare(capsys, tmp_path, python_version="3.1")
    assert answer["failed"] and "the cluster's environment is for 3.1" in answer["msg"]


def test_a_python_that_is_missing_is_asked_for_where_it_may_be_brought(tmp_path, capsys):
    answer = prepare(capsys, tmp_path, python="3.1", python_version="3.1", python_install=True)
    assert (answer["interpreter"], answer["python_missing"], answer["ready"]) == ("", True, False)
    answer = prepare(capsys, tmp_path, python_install=True)
    assert (answer["interpreter"], answer["python_missing"]) == (sys.executable, False), "and only there"


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(python_env, monkeypatch)
