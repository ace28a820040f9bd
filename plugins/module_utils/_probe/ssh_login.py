# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log in as a launcher does, and say what failed or what the session is like."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome, run
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.ssh_config import config_error

MARK = "trainmesh-probe"
# As a launcher logs in, but leaving nothing behind: ssh by itself adds further host keys of the other side to
# known_hosts, and a shared connection that the user's configuration asks for would stay, or hide what is tried.
QUIETLY = (
    *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"),
    *("-o", "UpdateHostKeys=no", "-o", "ControlPath=none"),
)
# ssh's own words (OpenSSH 7 to 10), the first that fits names the kind of failure.
_FAILURES = (
    ("other", r"stdio forwarding failed|open failed: administratively prohibited"),  # a jump host, whatever it says
    ("name", r"Could not resolve hostname|Name or service not known|Temporary failure in name resolution"),
    ("hostkey_changed", r"REMOTE HOST IDENTIFICATION HAS CHANGED|HOST KEY .*CHANGED"),
    ("hostkey_unknown", r"Host key verification failed|No .* host key is known"),
    # The kernel's answer to a route of the kind blackhole or prohibit, not sshd's.
    ("no_route", r"connect to host .*: (Invalid argument|Permission denied)"),
    # With the ways that are left behind it: a shell's "Permission denied" comes after the login.
    ("permission", r"Permission denied(?: \(|, please try again)|Too many authentication failures"),
    ("refused", r"Connection refused"),
    ("no_route", r"No route to host|Network is unreachable"),
    ("no_answer", r"timed out during banner"),
    ("timeout", r"Connection timed out|Operation timed out"),
    ("closed", r"Connection closed|Connection reset|kex_exchange_identification|closed by remote host"),
    ("config", r"Bad configuration option|terminating, \d+ bad configuration|Bad owner or permissions"),
)
# Layers in which nothing answers until a time limit is over.
SILENT = ("timeout", "no_answer")


class Wish(t.NamedTuple):
    """How to log in: seconds for the connection, for all of it, and from when on it is slow; what to look for there.

    ``python`` is an interpreter's path (empty: not asked), ``commands`` are looked up in the session's PATH.
    """

    connect_limit: float
    limit: float
    slow: float
    python: str = ""
    commands: t.Sequence[str] = ()


class Login(t.NamedTuple):
    """One login: the result to report, and the session (None when there was none)."""

    result: dict[str, t.Any]
    session: dict[str, t.Any] | None


def script(python: str, commands: t.Sequence[str]) -> str:
    """What the login runs, for any login shell: POSIX sh says who it is and what its PATH offers."""
    lines = [f"echo {MARK} begin", f"echo {MARK} host $(uname -n)", f'echo "{MARK} path $PATH"']
    if python:
        quoted = shlex.quote(python)
        lines.append(f"test -f {quoted} && test -x {quoted} && echo {MARK} python")
    for command in commands:
        quoted = shlex.quote(command)
        lines.append(f'echo {MARK} command {quoted} "$(command -v {quoted})"')
    return "exec sh -c " + shlex.quote("; ".join([*lines, f"echo {MARK} end"]))


def parse_session(text: str, python: str) -> tuple[dict[str, t.Any] | None, str]:
    """The session that the script described (None without its end), and whatever else the login printed."""
    session: dict[str, t.Any] = {"host": "", "path": "", "python": None, "commands": {}}
    noise, ended = [], False
    for line in text.splitlines():
        words = line[len(MARK) + 1 :].split(" ") if line.startswith(f"{MARK} ") else []
        if not words:
            noise.append(line.strip())
        elif words[0] in ("host", "path"):
            session[words[0]] = " ".join(words[1:])[:4096]
        elif words[0] == "python":
            session["python"] = python
        elif words[0] == "command":
            session["commands"][words[1]] = " ".join(words[2:]) or None
        ended = ended or words == ["end"]
    return (session if ended else None), " ".join(word for word in noise if word)


def verdict(outcome: Outcome, hostname: str, wish: Wish) -> Login:
    """What one login showed: ``ok``, else the kind of failure and the evidence."""
    if outcome.missing:
        return _failed(outcome, "ssh_missing", outcome.err)
    if outcome.timed_out:
        # ssh itself gives up on the connection and on sshd's first words (ConnectTimeout) long before
        return _failed(outcome, "no_answer", f"connected, but no login within {outcome.seconds:.0f} s")
    session, noise = parse_session(outcome.out, wish.python)
    if outcome.rc == 0 and session:
        host = session.pop("host")
        if host != hostname:
            login = _failed(outcome, "wrong_machine", f"answered as {host}, expected {hostname}")
            return login._replace(result={**login.result, "answered_as": host})
        if noise:
            return Login(_result(outcome, "noise", f"the login prints {noise[:120]!r}"), session)
        if outcome.seconds > wish.slow:
            return Login({**_result(outcome, "slow", f"the login took {outcome.seconds:.1f} s"), "ok": True}, session)
        return Login(_result(outcome, "", ""), session)
    evidence = " ".join(outcome.err.split())[-300:]
    failure = next((name for name, pattern in _FAILURES if re.search(pattern, outcome.err)), "other")
    printed = f"exit status {outcome.rc}, printed {noise[:120]!r}" if noise else f"exit status {outcome.rc}"
    login = _failed(outcome, failure, evidence or printed)
    if failure == "config":
        return login._replace(result={**login.result, "config_error": config_error(outcome.err)})
    return login


def _result(outcome: Outcome, failure: str, evidence: str) -> dict[str, t.Any]:
    return {"ok": not failure, "failure": failure, "evidence": evidence, "seconds": round(outcome.seconds, 2)}


def _failed(outcome: Outcome, failure: str, evidence: str) -> Login:
    return Login(_result(outcome, failure, evidence), None)


def log_in(name: str, hostname: str, wish: Wish) -> Login:
    """Log in without a terminal and with strict checking, as a launcher does."""
    limit = f"ConnectTimeout={max(1, int(wish.connect_limit) - 1)}"
    argv = ["ssh", *QUIETLY, "-o", limit, name, script(wish.python, wish.commands)]
    return verdict(run(argv, wish.limit), hostname, wish)
