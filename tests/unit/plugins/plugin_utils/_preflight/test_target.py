# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible's ssh connection would do with a host, and the action that tries all of them."""

from __future__ import annotations

import typing as t
from unittest import mock

import pytest

from ansible_collections.trainmesh.cluster.plugins.action import reach_check
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action as base_action
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import check as preflight_check
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import target as preflight_target
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import Play, target, understands

PLAY = Play({"remote_user": None, "port": None}, None, None)


@pytest.fixture(autouse=True)
def plain_settings(monkeypatch):
    """The settings of this checkout or of whoever runs the tests do not count."""
    from ansible import constants

    monkeypatch.setattr(constants.config, "_config_file", None)


def of(play: Play = PLAY, **values: t.Any):
    return target(
        "n1", {"inventory_hostname": "n1", **{f"ansible_{name}": value for name, value in values.items()}}, play
    )


def test_a_bare_host_is_what_ssh_makes_of_its_name():
    found = of()
    assert (found.host, found.executable, found.password, found.become) == ("n1", "ssh", None, None)
    assert not [word for word in found.args if word.startswith(("Port=", "User=", "IdentityFile="))]
    assert found.pythons[-1] == "python3" and len(found.pythons) > 1
    assert found.become_command == ("sudo", "-H", "-n", "-u", "root")


def test_variables_become_the_arguments_of_ssh_in_ansibles_order():
    found = of(
        host="10.0.0.5", port=2222, user="alice", ssh_private_key_file="/k/id", ssh_args="-C",
        ssh_common_args="-o 'ProxyCommand=nc %h %p'", ssh_extra_args="-o Port=1", host_key_checking=False,
        python_interpreter="/opt/python",
    )  # fmt: skip
    assert found.host == "10.0.0.5" and found.pythons == ("/opt/python",)
    assert [word for word in found.args if word != "-o"] == [
        "-C", "StrictHostKeyChecking=no", "Port=2222", 'IdentityFile="/k/id"', 'User="alice"',
        "ProxyCommand=nc %h %p", "Port=1",
    ]  # fmt: skip


def test_older_names_and_keywords_count_in_ansibles_order():
    play = Play({"remote_user": "bob", "port": 24}, None, None)
    assert {'User="bob"', "Port=24"} <= set(of(play).args)
    assert {'User="carol"', "Port=33"} <= set(of(play, ssh_user="carol", ssh_port=33).args)
    assert of(ssh_host="10.0.0.9").host == "10.0.0.9"


def test_passwords_stay_inside():
    found = of(Play({}, "from-dash-k", "from-dash-K"))
    assert (found.password, found.become_password) == ("from-dash-k", "from-dash-K")
    assert "-S" in found.become_command and not found.become_untested
    found = of(password="open-sesame", become_password="root-sesame")
    assert (found.password, found.become_password) == ("open-sesame", "root-sesame")
    assert "sesame" not in f"{found!r}{found.args}{found.become_command}"


@pytest.mark.parametrize(("value", "wanted"), [(True, True), ("yes", True), (False, False), ("false", False)])
def test_become_is_what_the_inventory_says(value, wanted):
    assert of(become=value).become is wanted


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"connection": "local"}, "local, not ssh"),
        ({"connection": "community.docker.docker"}, "docker"),
        ({"private_key": "PEM"}, "ansible_private_key"),
        ({"ssh_pkcs11_provider": "/lib/x.so", "password": "pin"}, "pkcs11"),
        ({"port": "twenty-two"}, "can't be read"),
    ],
)
def test_what_can_not_be_followed_is_untested(values, words):
    assert words in of(**values).untested


@pytest.mark.parametrize("method", ["community.general.doas", "su", "ansible.builtin.su", "pbrun"])
def test_another_way_to_root_is_untested(method):
    found = of(become_method=method, become_flags="-x", become_password="own")
    assert method.rpartition(".")[2] in found.become_untested and not found.untested
    assert (found.become_command, found.become_password) == ((), "")


def test_the_way_to_root_of_the_command_line_counts(monkeypatch):
    monkeypatch.setattr(preflight_target.context, "CLIARGS", {"become_method": "su", "connection": "ssh"})
    assert "with su" in of().become_untested
    assert of(become_method="sudo").become_untested == ""


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        ("-H -S -n", ["-H"]),
        ("-i", ["-i"]),
        ("-niS -E", ["-i", "-E"]),
        ("--non-interactive --stdin --preserve-env=PATH", ["--preserve-env=PATH"]),
        ("-r 'unconfined_r' -uSven -C 3", ["-r", "unconfined_r", "-uSven", "-C", "3"]),
        ("", []),
    ],
)
def test_the_flags_of_the_inventory_go_to_sudo(flags, kept):
    assert of(become_flags=flags).become_command == ("sudo", *kept, "-n", "-u", "root")
    with_password = of(become_flags=flags, become_password="own")
    assert with_password.become_command == ("sudo", *kept, "-k", "-S", "-p", preflight_target.PROMPT, "-u", "root")
    assert of(sudo_flags=flags).become_command == of(become_flags=flags).become_command


@pytest.mark.parametrize("flags", ["-A", "-HA", "--askpass -H"])
def test_a_sudo_that_asks_a_program_is_untested(flags):
    found = of(become_flags=flags, become_password="own")
    assert "a password program" in found.become_untested and found.become_command == ()


@pytest.mark.parametrize(
    ("values", "brings"),
    [({}, True), ({"pipelining": True}, False), ({"ssh_pipelining": "true"}, False), ({"ssh_use_tty": False}, False)],
)
def test_ansible_brings_a_terminal_without_pipelining(values, brings):
    assert of(**values).terminal is brings


@pytest.mark.parametrize("delegated", [{}, {"ansible_password": "localhost's"}, None])
def test_a_run_for_all_hosts_takes_no_password_of_the_host_it_runs_on(delegated):
    """Ansible has put them over those of -k and -K, and every other host would be sent them."""
    task = mock.Mock(delegate_to=None if delegated is None else "localhost", remote_user="bob", port=None)
    shown = mock.Mock(password="one", become_pass="two")
    variables = {"ansible_ssh_pass": "of this host", "ansible_become_pass": "too"}
    variables["ansible_delegated_vars"] = {"localhost": delegated or {}}
    play = preflight_target.play_of(task, shown, variables)
    assert play.password == ("one" if delegated == {} else None)
    assert play.become_pass == (None if delegated is None else "two")
    assert play.keywords == {"remote_user": "bob", "port": None}


@pytest.mark.parametrize("name", ["become_password", "become_pass", "sudo_pass"])
def test_a_hosts_own_password_goes_before_that_of_the_command_line(name):
    play = Play({}, None, "from-dash-K")
    assert of(play, **{name: "own"}).become_password == "own"
    assert of(play).become_password == "from-dash-K"
    assert of(become_method="doas", become_password="own").become_command == ()


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ("", True),
        ("We trust you have received the usual lecture [sudo via ansible, key=trainmesh] password:", True),
        ("[sudo-nonsense] Password:", False),
    ],
)
def test_what_this_ansible_takes_for_its_prompt(said, good):
    assert understands(said) is good


def test_groups_are_named_when_one_is_missing():
    assert base_action.members({"groups": {"all": ["b", "a"]}}, "all") == ["b", "a"]
    with pytest.raises(ValueError, match="no group 'gpu'; it has all, web"):
        base_action.members({"groups": {"web": [], "all": []}}, "gpu")
    assert base_action.numbered("2 faults:", ["x", "y"]) == "2 faults:\n  1. x\n  2. y"


def run(args: dict[str, t.Any], monkeypatch, rows: dict[str, t.Any]) -> tuple[dict[str, t.Any], list[str], mock.Mock]:
    """The action with a stand-in for the tries themselves."""
    check = mock.Mock(return_value=rows)
    monkeypatch.setattr(preflight_check, "check", check)
    shown: list[str] = []
    monkeypatch.setattr(reach_check.action, "show", shown.append)
    task = mock.Mock(args=args, remote_user=None, port=None, async_val=0, check_mode=False, diff=False)
    action = reach_check.ActionModule(task, mock.Mock(), mock.Mock(password="", become_pass=""), *[mock.Mock()] * 3)
    variables = {"groups": {"all": ["n1", "n2"]}, "hostvars": {name: {"inventory_hostname": name} for name in rows}}
    return action.run(task_vars=variables), shown, check


BAD = {
    "ok": False, "step": "auth", "evidence": "e", "cause": "c", "remedy": "r", "address": "n2", "port": 22,
}  # fmt: skip


def test_the_action_never_fails_by_itself(monkeypatch):
    result, shown, check = run({}, monkeypatch, {"n1": {"ok": True}, "n2": BAD})
    assert "failed" not in result and result["failed_hosts"] == ["n2"] and result["changed"] is False
    assert "1 of 2 hosts" in shown[0]
    targets, limit, workers = check.call_args.args
    assert ([one.host for one in targets], limit, workers) == (["n1", "n2"], 10.0, 64)


def test_the_action_fails_when_it_is_asked_to(monkeypatch):
    result, _shown, _check = run({"fail": "yes"}, monkeypatch, {"n1": {"ok": None}, "n2": BAD})
    assert result["failed"] is True and "n2" in result["msg"]


def test_nothing_is_printed_of_good_hosts(monkeypatch):
    result, shown, _check = run({"fail": True}, monkeypatch, {"n1": {"ok": True}, "n2": {"ok": None}})
    assert not shown and "failed" not in result


@pytest.mark.parametrize("args", [{"group": "gpu"}, {"workers": 0}, {"timeout": -1}])
def test_wrong_options_are_named(args, monkeypatch):
    result, _shown, check = run(args, monkeypatch, {"n1": {}, "n2": {}})
    assert result["failed"] is True and result["msg"]
    check.assert_not_called()


def test_without_paramiko_every_host_is_untested(monkeypatch):
    monkeypatch.setattr(reach_check.importlib.util, "find_spec", lambda name: None)
    _result, _shown, check = run({}, monkeypatch, {"n1": {"ok": None}, "n2": {"ok": None}})
    assert all("pip install paramiko" in one.untested for one in check.call_args.args[0])
