# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node gets its base: all is judged before anything is done."""

from __future__ import annotations

import os

import pytest
from ansible.module_utils import basic

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import node_base as apply_node_base
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import account, session_limits
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import node_base as install_node_base
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import installation
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.apt import Apt
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Transaction, Want
from ansible_collections.trainmesh.cluster.plugins.modules import node_base
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules


class Packages(Apt):
    """A distribution with a few packages, and the parts that they bring."""

    def __init__(self):
        super().__init__()
        self.there, self.calls = set(), []
        self.offered = {"gcc": "12", "g++": "12", "make": "4", "libaio-dev": "0.3", "chrony": "4"}
        self.holds, self.removes = set(), ()

    def refresh(self):
        self.calls.append("refresh")

    def versions(self, name):
        return [self.offered[name]] if name in self.offered else []

    def held(self):
        return self.holds

    def installed(self, names):
        return {name: self.offered[name] for name in names if name in self.there}

    def transaction(self, wants, drops=()):
        return Transaction(new={want.name: want.version for want in wants}, removed=self.removes, disk=2**20)

    def install(self, wants, drops=(), removes=True):
        self.calls.append(("install", [want.name for want in wants], removes))
        self.there |= {want.name for want in wants}


@pytest.fixture
def packages(monkeypatch, tmp_path):
    node = Packages()
    brings = {"compilers": "g++", "libaio": "libaio-dev", "chrony": "chrony", "ninja": "ninja-build"}
    monkeypatch.setattr(installation, "manager", lambda **_options: node)
    monkeypatch.setattr(install_node_base, "is_there", lambda part, *_rest: brings[part] in node.there)
    monkeypatch.setattr(session_limits, "FILE", str(tmp_path / "90-trainmesh.conf"))
    monkeypatch.setattr(session_limits, "pam_change", lambda _tree: None)
    monkeypatch.setattr(session_limits, "judge", lambda *_arguments: None)
    monkeypatch.setattr(session_limits, "of_login", lambda *_arguments: {"memlock": -1, "nofile": 1048576})
    return node


def test_what_is_missing_is_installed_in_one_go(capsys, packages):
    first = modules.run(node_base, capsys, parts=["libaio", "compilers"])
    assert first["changed"] and first["missing"] == ["compilers", "libaio"]
    assert packages.calls == ["refresh", ("install", ["gcc", "g++", "make", "libaio-dev"], False)]
    assert "libaio-dev 0.3\n" in first["diff"][0]["after"]
    again = modules.run(node_base, capsys, parts=["libaio", "compilers"])
    assert not again["changed"] and again["diff"] == [] and len(packages.calls) == 2


def test_check_mode_says_the_same_and_does_nothing(capsys, packages, tmp_path):
    told = modules.run(node_base, capsys, check=True, parts=["libaio", "limits"])
    assert told["changed"] and packages.calls == [] and os.listdir(tmp_path) == []
    assert modules.run(node_base, capsys, parts=["libaio", "limits"])["diff"] == told["diff"]


def test_check_mode_bears_lists_that_are_empty(capsys, packages, monkeypatch):
    warnings = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    packages.offered = {}
    told = modules.run(node_base, capsys, check=True, parts=["libaio"])
    assert told["changed"] and told["diff"][0]["after"] == "libaio-dev \n"
    assert "not known before the lists of packages are read" in warnings[0]
    assert "no repository" in modules.run(node_base, capsys, parts=["libaio"])["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_a_held_package_stops_all_of_it(capsys, packages, tmp_path, check):
    packages.holds = {"libaio-dev"}
    answer = modules.run(node_base, capsys, check=check, parts=["libaio", "limits"])
    assert answer["failed"] and "libaio-dev would change, and is held" in answer["msg"]
    assert os.listdir(tmp_path) == [] and not packages.there


def test_only_another_clock_daemon_makes_room_for_chrony(capsys, packages, monkeypatch):
    packages.removes = ("systemd-timesyncd",)
    assert "would remove systemd-timesyncd" in modules.run(node_base, capsys, parts=["libaio"])["msg"]
    monkeypatch.setattr(apply_node_base, "_start_chrony", lambda *_arguments: None)
    modules.run(node_base, capsys, parts=["chrony"])
    assert packages.calls[-1] == ("install", ["chrony"], True)


def test_packages_that_do_not_bring_the_part_are_a_failure(capsys, packages, monkeypatch):
    monkeypatch.setattr(install_node_base, "is_there", lambda *_arguments: False)
    assert "and the node still lacks it" in modules.run(node_base, capsys, parts=["libaio"])["msg"]


def test_limits_are_written_once_and_told(capsys, packages):
    first = modules.run(node_base, capsys, parts=["limits"], user="trainer")
    assert first["limits_changed"] and first["limits"] == {"memlock": -1, "nofile": 1048576}
    with open(session_limits.FILE, encoding="utf-8") as stream:
        assert "trainer - nofile 1048576\n" in stream.read()
    again = modules.run(node_base, capsys, parts=["limits"], user="trainer")
    assert not again["changed"] and not again["limits_changed"]


def test_limits_that_could_keep_people_out_are_not_written(capsys, packages, tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise Fault("limits: even root may not")

    monkeypatch.setattr(session_limits, "judge", refuse)
    assert "even root may not" in modules.run(node_base, capsys, parts=["libaio", "limits"])["msg"]
    assert os.listdir(tmp_path) == [] and not packages.there


@pytest.mark.parametrize("before", ["", "# Written by trainmesh.cluster.\n* - nofile 5\n"])
@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (
            [{"nofile": 5}, None, None],
            "no session of trainer could be opened with them, and the files are as they were",
        ),
        (
            [{"nofile": 5}, {"nofile": 5}, {"nofile": 5}],
            "still gets less (nofile is 5), and the files are as they were",
        ),
    ],
)
def test_limits_that_do_not_hold_are_taken_back(capsys, packages, monkeypatch, before, answers, words):
    if before:
        with open(session_limits.FILE, "w", encoding="utf-8") as stream:
            stream.write(before)
    rest = list(answers)
    monkeypatch.setattr(session_limits, "of_login", lambda *_arguments: rest.pop(0))
    assert words in modules.run(node_base, capsys, parts=["limits"], user="trainer")["msg"]
    assert os.path.exists(session_limits.FILE) == bool(before)
    if before:
        with open(session_limits.FILE, encoding="utf-8") as stream:
            assert stream.read() == before


def test_limits_that_somebody_lowered_since_are_told(capsys, packages, monkeypatch):
    modules.run(node_base, capsys, parts=["limits"], user="trainer")
    monkeypatch.setattr(session_limits, "of_login", lambda *_arguments: {"nofile": 1024})
    for check in (True, False):
        answer = modules.run(node_base, capsys, check=check, parts=["limits"], user="trainer")
        assert "a login of trainer still gets less (nofile is 1024); other settings" in answer["msg"]
    assert os.path.exists(session_limits.FILE)


@pytest.mark.usefixtures("packages")
def test_a_number_that_is_taken_is_told_in_check_mode_and_refused_otherwise(capsys, monkeypatch):
    taken = account.Present(None, "alice", None, None, None)
    monkeypatch.setattr(account, "read", lambda *_arguments: taken)
    told = modules.run(node_base, capsys, check=True, user="trainer", uid=2001)
    assert "failed" not in told and "that of the user alice" in told["account_problem"] and not told["changed"]
    answer = modules.run(node_base, capsys, user="trainer", uid=2001)
    assert answer["failed"] and "that of the user alice" in answer["msg"]


@pytest.mark.usefixtures("packages")
def test_the_user_is_created_where_there_is_none(capsys, monkeypatch):
    made = []
    monkeypatch.setattr(account, "read", lambda *_arguments: account.Present(None, None, None, None, None))
    monkeypatch.setattr(account, "create", lambda *arguments: made.append(arguments[:2]))
    told = modules.run(node_base, capsys, check=True, user="trainer", uid=2001)
    assert told["account_missing"] and told["changed"] and made == []
    assert modules.run(node_base, capsys, user="trainer", uid=2001)["diff"] == told["diff"]
    assert made == [("trainer", 2001)]


@pytest.mark.parametrize("user", [None, "root"])
def test_a_number_needs_a_user(capsys, user):
    answer = modules.run(node_base, capsys, uid=2001, **({"user": user} if user else {}))
    assert "set trainmesh_user" in answer["msg"]


def test_the_first_of_two_names_of_a_package_that_there_is():
    node = Packages()
    node.offered = {"python3-dev": "3.11"}
    wants, _found = installation.planned(node, [[Want("python3.11-dev"), Want("python3-dev")]], (), "")
    assert wants == [Want("python3-dev", "3.11")]


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(node_base, monkeypatch)
