# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action hands over and answers; the first contact itself is tested in plugin_utils/_bootstrap."""

from __future__ import annotations

import importlib.util
from unittest import mock

import pytest
from ansible.errors import AnsibleActionFail, AnsiblePromptInterrupt, AnsiblePromptNoninteractive

from ansible_collections.trainmesh.cluster.plugins.action import first_contact
from ansible_collections.trainmesh.cluster.plugins.action.first_contact import NO_PARAMIKO, ActionModule
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.failures import Stop

PRINT = f"SHA256:{'a' * 43}"
HOSTVARS = {
    "a": {"ansible_host": "192.0.2.1", "ansible_password": "of-a-4711"},
    "b": {"ansible_host": "192.0.2.2", "trainmesh_host_key_fingerprints": [f"256 {PRINT} root@b (ED25519)"]},
}


@pytest.fixture
def run(monkeypatch):
    """Runs the action on both hosts, of which b fails; gives its answer, and the hosts that were met."""
    seen = mock.Mock(hosts={}, shown=[])

    def meet_all(hosts, wish, workers, confirm):
        seen.hosts, seen.wish, seen.workers, seen.confirm = hosts, wish, workers, confirm
        for host in hosts.values():
            host.changed = host.target.name == "a"
        if "b" in hosts:
            hosts["b"].stop = Stop("auth", "\x1b[2Jdenied", "so it is", "mend it")

    def start(hostvars=None, check=False, delegate_to="localhost", **args):
        task = mock.Mock(args=args, async_val=0, check_mode=check, diff=False, remote_user=None, port=None)
        task.delegate_to = delegate_to
        action = ActionModule(task, *[mock.Mock()] * 5)
        action._play_context = mock.Mock(password="typed-4711", become_pass=None)
        variables = {**HOSTVARS["a"], "ansible_delegated_vars": {"localhost": {}}, "hostvars": hostvars or HOSTVARS}
        return action.run(task_vars=variables), seen

    monkeypatch.setattr(first_contact.contact, "meet_all", meet_all)
    monkeypatch.setattr(first_contact.action, "show", seen.shown.append)
    return start


def test_a_failed_host_is_told_in_its_row_and_does_not_fail_the_task(run):
    answer, seen = run(hosts=["a", "b"])
    assert (answer["changed"], answer["failed_hosts"]) == (True, ["b"]) and "failed" not in answer
    assert [row["ok"] for row in answer["hosts"].values()] == [True, False]
    assert "\x1b" not in repr(answer["hosts"]) and len(seen.shown) == 1


def test_wishes_and_fingerprints_go_along_and_only_the_hosts_named_are_met(run):
    _answer, seen = run(hosts=["b"], accept_host_keys="new", make_key=True, sudo="nopasswd", timeout=3, workers=2)
    wish = seen.wish
    assert (wish.accept_new, wish.make_key, wish.nopasswd, wish.limit, seen.workers) == (True, True, True, 3.0, 2)
    assert list(seen.hosts) == ["b"] and seen.hosts["b"].fingerprints == [PRINT]
    assert seen.confirm is first_contact.ask
    assert run(hosts=["b"], check=True)[1].confirm is first_contact.in_check_mode


@pytest.mark.parametrize("delegate_to", ["localhost", None])
def test_the_password_of_one_host_goes_to_no_other(run, delegate_to):
    """Ansible gives a task on host a the password of a, instead of the one that was typed for all."""
    _answer, seen = run(hosts=["a", "b"], delegate_to=delegate_to)
    assert seen.hosts["a"].target.password == "of-a-4711"
    assert seen.hosts["b"].target.password == ("typed-4711" if delegate_to else None)


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"workers": -1}, {"install_timeout": 0}])
def test_a_limit_that_is_none_is_refused_before_anything_is_tried(run, wrong):
    answer, seen = run(hosts=["a"], **wrong)
    assert answer["failed"] and "more than 0" in answer["msg"] and seen.hosts == {}


def test_what_is_no_fingerprint_is_refused_with_its_host(run):
    answer, seen = run({"a": {"trainmesh_host_key_fingerprints": ["MD5:00:11"]}}, hosts=["a"])
    assert answer["failed"] and answer["msg"].startswith("a: trainmesh_host_key_fingerprints: ") and seen.hosts == {}


def test_an_unknown_wish_is_refused_by_name(run):
    with pytest.raises(AnsibleActionFail, match="accept_host_keys"):
        run(hosts=["a"], accept_host_keys="all")


def test_without_the_library_nothing_is_tried(run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    answer, seen = run(hosts=["a"])
    assert answer["failed"] and answer["msg"] == NO_PARAMIKO and seen.hosts == {}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"yes", ""),
        (b" Y ", ""),
        (b"no", "not confirmed"),
        (b"", "not confirmed"),
        (AnsiblePromptNoninteractive(), "nobody is at the terminal"),
        (AnsiblePromptInterrupt(), "interrupted"),
    ],
)
def test_only_a_clear_yes_confirms_the_keys_that_were_shown(monkeypatch, answer, why):
    shown = []
    monkeypatch.setattr(first_contact.action, "show", shown.append)
    monkeypatch.setattr(first_contact.display, "prompt_until", mock.Mock(side_effect=[answer]))
    found = first_contact.ask({})
    assert len(shown) == 1 and (why in found if why else found == "")
