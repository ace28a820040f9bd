# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job user with one number on all nodes."""

from __future__ import annotations

import os
import pwd

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import account
from ansible_collections.trainmesh.cluster.plugins.module_utils._install.account import Present

FREE = Present(None, None, None, None, None)


@pytest.mark.parametrize(
    ("have", "words"),
    [
        (FREE, ""),
        (FREE._replace(uid=2001, uid_owner="trainer", gid=100), ""),  # there, whatever its group and home
        (FREE._replace(gid=2001, gid_owner="trainer", home_owner=2001), ""),  # what a removed user has left
        (FREE._replace(uid=1000), "trainer has the number 1000 here, and trainmesh_user_uid is 2001: choose 1000"),
        (FREE._replace(uid_owner="alice"), "2001 is that of the user alice here"),
        (FREE._replace(gid=900), "group trainer with the number 900 here, expected 2001"),
        (FREE._replace(gid_owner="docker"), "2001 is that of the group docker here"),
        (FREE._replace(home_owner=1000), "/home/trainer belongs to the number 1000 here, expected 2001"),
    ],
)
def test_why_a_node_can_not_have_the_user(have, words):
    problem = account.problem("trainer", 2001, have)
    assert words in problem if words else problem == ""


@pytest.mark.parametrize("name", ["Trainer", "1a", "a b", "-r", "a:b"])
def test_a_name_that_is_none(name):
    assert "is no name for a new user" in account.problem(name, 2001, FREE)


def test_what_the_system_knows():
    me = pwd.getpwuid(os.getuid())
    have = account.read(me.pw_name, me.pw_uid)
    assert (have.uid, have.uid_owner) == (me.pw_uid, me.pw_name)
    assert account.read("nobody-has-this-name", 59998)[:2] == (None, None)


def commands(fails=""):
    argvs = []

    def run(argv, _limit, **_options):
        argvs.append(os.path.basename(argv[0]))
        failed = argvs[-1] == fails
        return command.Outcome(
            9 if failed else 0, "", f"{fails}: cannot lock /etc/passwd" if failed else "", False, False, 0
        )

    return argvs, run


def test_group_and_user_are_made():
    argvs, run = commands()
    account.create("trainer", 2001, FREE, run)
    assert argvs == ["groupadd", "useradd"]


def test_a_user_that_can_not_be_made_leaves_no_group_behind():
    argvs, run = commands("useradd")
    with pytest.raises(account.Fault, match=r"useradd failed, and the node is as it was: .*cannot lock"):
        account.create("trainer", 2001, FREE, run)
    assert argvs == ["groupadd", "useradd", "groupdel"]


def test_a_group_of_somebody_else_stays_when_the_user_can_not_be_made():
    argvs, run = commands("useradd")
    with pytest.raises(account.Fault):
        account.create("trainer", 2001, FREE._replace(gid=2001), run)
    assert argvs == ["useradd"]
