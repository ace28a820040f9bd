# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import ssh_login as ssh

WISH = ssh.Wish(5, 20, 5.0, "/opt/env/bin/python", ("python3", "ninja"))
GOOD = """trainmesh-probe begin
trainmesh-probe host n
trainmesh-probe path /usr/bin:/opt/with blank
trainmesh-probe python
trainmesh-probe command python3 /usr/bin/python3
trainmesh-probe command ninja \ntrainmesh-probe end
"""


def outcome(rc=0, out="", err="", timed_out=False, missing=False, seconds=0.1):
    return Outcome(rc, out, err, timed_out, missing, seconds)


@pytest.mark.parametrize(
    ("err", "failure"),
    [
        ("ssh: Could not resolve hostname n: Name or service not known", "name"),
        ("ssh: connect to host n port 22: Connection refused", "refused"),
        ("ssh: connect to host n port 22: No route to host", "no_route"),
        ("ssh: connect to host n port 22: Connection timed out", "timeout"),
        ("Connection timed out during banner exchange\nConnection to 10.0.0.1 port 22 timed out", "no_answer"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "hostkey_changed"),
        ("No ED25519 host key is known for n and you have requested strict checking.", "hostkey_unknown"),
        ("ssh: connect to host n port 22: Invalid argument", "no_route"),
        ("me@n: Permission denied (publickey).", "permission"),
        ("kex_exchange_identification: Connection closed by remote host", "closed"),
        ("/root/.ssh/config: terminating, 1 bad configuration options", "config"),
        ("something new", "other"),
        ("/bin/zsh: Permission denied", "other"),
        ("me@n: Permission denied, please try again.", "permission"),
        ("Connection to n closed by remote host.", "closed"),
        ("channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed", "other"),
    ],
)
def test_the_layer_that_failed_is_told_apart(err, failure):
    login = ssh.verdict(outcome(255, err=err), "n", WISH)
    assert (login.result["ok"], login.result["failure"], login.session) == (False, failure, None)


def test_a_login_tells_what_its_session_is_like():
    login = ssh.verdict(outcome(out=GOOD), "n", WISH)
    assert login.result == {"ok": True, "failure": "", "evidence": "", "seconds": 0.1}
    assert login.session == {
        "path": "/usr/bin:/opt/with blank",
        "python": "/opt/env/bin/python",
        "commands": {"python3": "/usr/bin/python3", "ninja": None},
    }


def test_a_slow_login_is_good_and_says_how_long():
    result = ssh.verdict(outcome(out=GOOD, seconds=7.2), "n", WISH).result
    assert (result["ok"], result["failure"], result["evidence"]) == (True, "slow", "the login took 7.2 s")


def test_another_machine_behind_the_name_is_noticed():
    login = ssh.verdict(outcome(out=GOOD), "m", WISH)
    assert login.result["failure"] == "wrong_machine" and "answered as n" in login.result["evidence"]
    assert login.result["answered_as"] == "n"
    assert login.session is None


@pytest.mark.parametrize("text", ["welcome!\n" + GOOD, GOOD + "welcome!\n"])
def test_noise_is_noticed_with_its_first_words(text):
    login = ssh.verdict(outcome(out=text), "n", WISH)
    assert (login.result["ok"], login.result["failure"]) == (False, "noise")
    assert "'welcome!'" in login.result["evidence"] and login.session


def test_a_connection_without_a_login_is_no_firewalls_and_no_client_is_said():
    assert ssh.verdict(outcome(None, timed_out=True), "n", WISH).result["failure"] == "no_answer"
    assert ssh.verdict(outcome(None, err="no ssh", missing=True), "n", WISH).result["failure"] == "ssh_missing"


def test_a_session_that_breaks_off_is_no_login():
    assert ssh.verdict(outcome(out="trainmesh-probe begin\n"), "n", WISH).result["failure"] == "other"


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_script_says_what_the_parser_reads(tmp_path, shell):
    python = tmp_path / "it's a python"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    asked = ssh.script(str(python), ["sh", "no-such-command"])
    said = subprocess.run([shell, "-c", asked], capture_output=True, text=True, check=True)
    session, noise = ssh.parse_session(said.stdout, str(python))
    assert not noise and session["python"] == str(python) and session["path"]
    assert session["commands"]["sh"].endswith("/sh") and session["commands"]["no-such-command"] is None
    python.chmod(0o644)
    said = subprocess.run([shell, "-c", asked], capture_output=True, text=True, check=True)
    assert ssh.parse_session(said.stdout, str(python))[0]["python"] is None


def test_a_login_is_as_a_launchers_and_leaves_nothing(monkeypatch):
    calls = []
    monkeypatch.setattr(ssh, "run", lambda argv, limit: calls.append(argv) or outcome(out=GOOD))
    assert ssh.log_in("n", "n", WISH).result["ok"] and len(calls) == 1
    assert "BatchMode=yes" in calls[0] and "StrictHostKeyChecking=yes" in calls[0]
    # nothing of the user's is written, and no connection is left open
    assert "UpdateHostKeys=no" in calls[0] and "ControlPath=none" in calls[0]
