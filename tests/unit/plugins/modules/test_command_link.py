# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import root_path
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import command_link as links
from ansible_collections.trainmesh.cluster.plugins.modules import command_link
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """The module on a host whose prefix is root's alone, or nobody's where ``shared`` is set."""
    (tmp_path / "opt/bin").mkdir(parents=True)
    (tmp_path / "opt/bin/trainmesh").write_text("#!/bin/sh\n")
    (tmp_path / "local").mkdir()

    def call(*, shared=False, check=False, **given):
        monkeypatch.setattr(root_path, "is_roots", lambda _path: not shared)
        given = {"target": str(tmp_path / "opt/bin/trainmesh"), "path": str(tmp_path / "local/trainmesh"), **given}
        return modules.run(command_link, capsys, check=check, **given)

    call.path, call.target = tmp_path / "local/trainmesh", tmp_path / "opt/bin/trainmesh"
    return call


def test_the_link_is_made_once_and_taken_away_once(run):
    assert run(check=True)["changed"] and not os.path.lexists(run.path)
    result = run()
    assert result["changed"] and os.readlink(run.path) == str(run.target)
    assert result["diff"][0]["after"] == f"link to {run.target}\n"
    assert not run()["changed"]
    assert run(state="absent", check=True)["changed"] and run.path.is_symlink()
    assert run(state="absent")["changed"] and not os.path.lexists(run.path)
    assert not run(state="absent")["changed"]


def test_it_goes_when_the_program_has_gone_before(run):
    run()
    run.target.unlink()
    assert run(state="absent")["changed"] and not os.path.lexists(run.path)


@pytest.mark.parametrize("state", ["present", "absent"])
def test_what_others_have_put_there_stays(run, state):
    run.path.symlink_to("/bin/sh")
    result = run(state=state)
    assert not result["changed"] and os.readlink(run.path) == "/bin/sh"
    assert "leads to /bin/sh" in links.state(str(run.path), str(run.target)).foreign
    run.path.unlink()
    run.path.write_text("theirs")
    assert not run(state=state)["changed"] and run.path.read_text() == "theirs"


def test_a_link_of_an_earlier_prefix_is_replaced_when_it_leads_nowhere(run):
    run.path.symlink_to("/nowhere/bin/trainmesh")
    assert links.state(str(run.path), str(run.target)).reason == "leads to no program"
    assert run()["changed"] and os.readlink(run.path) == str(run.target)


def test_root_gets_no_link_to_what_others_may_exchange(run):
    assert not run(shared=True)["changed"] and not os.path.lexists(run.path)
    run()
    assert run(shared=True)["changed"] and not os.path.lexists(run.path)


def test_a_host_without_the_directory_gets_no_link(run, tmp_path):
    assert not run(path=str(tmp_path / "none/trainmesh"))["changed"]


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(command_link, monkeypatch)
