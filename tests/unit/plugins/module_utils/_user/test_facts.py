# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import facts

DEFAULTS = """Matching Defaults entries for trainer on node1:
    env_reset, mail_badpass,{}
    secure_path=/usr/local/sbin\\:/usr/local/bin\\:/usr/sbin\\:/usr/bin, use_pty

"""
LISTED = "User trainer may run the following commands on node1:\n"


def of(*rules, defaults=""):
    return facts.runs_everything(DEFAULTS.format(defaults) + LISTED + "".join(f"    {rule}\n" for rule in rules))


@pytest.mark.parametrize(
    "rules",
    [
        ["(ALL : ALL) NOPASSWD: ALL"],
        ["(root) NOPASSWD: ALL"],
        ["(ALL) NOPASSWD: SETENV: ALL"],
        ["(ALL) /usr/bin/apt, NOPASSWD: /bin/true, ALL"],
        ["(ALL : ALL) ALL", "(ALL) NOPASSWD: ALL"],
        ["(root, backup) NOPASSWD: /usr/bin/a,", "    /usr/bin/b, ALL"],
    ],
)
def test_everything_without_a_password_is_root(rules):
    assert of(*rules) is True


@pytest.mark.parametrize(
    "rules",
    [
        ["(ALL : ALL) ALL"],
        ["(ALL) NOPASSWD: /usr/bin/systemctl restart x"],
        ["(backup) NOPASSWD: ALL"],
        ["(ALL) NOPASSWD: ALL", "(ALL : ALL) ALL"],
        ["(ALL) NOPASSWD: /bin/true, PASSWD: ALL"],
        ["(ALL) NOPASSWD: ALL, !ALL"],
        ["(ALL) NOPASSWD: /opt/ALL"],
        [],
    ],
)
def test_less_than_that_is_not(rules):
    assert of(*rules) is False


def test_defaults_may_ask_nobody_for_a_password():
    assert of("(ALL : ALL) ALL", defaults=" !authenticate,") is True
    assert of("(ALL : ALL) PASSWD: ALL", defaults=" !authenticate,") is False


def test_no_rights_and_no_answer():
    assert facts.runs_everything("User trainer is not allowed to run sudo on node1.\n") is False
    assert facts.runs_everything("sudo: unknown user trainer") is None
    assert facts.runs_everything("") is None


def test_who_is_asked(monkeypatch):
    asked = []

    def run(argv, limit, **_options):
        asked.append(argv)
        return Outcome(0, f"{LISTED}    (ALL) NOPASSWD: ALL\n", "", False, False, 0.1)

    assert facts.root_without_password("root", 0, run, 1) is True
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert facts.root_without_password("trainer", 1000, run, 1) is None
    assert asked == []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(facts, "which", lambda _name: None)
    assert facts.root_without_password("trainer", 1000, run, 1) is False
    monkeypatch.setattr(facts, "which", lambda name: f"/usr/bin/{name}")
    assert facts.root_without_password("trainer", 1000, run, 1) is True
    assert asked == [["/usr/bin/sudo", "-n", "-l", "-U", "trainer"]]
