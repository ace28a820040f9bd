# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test all hosts of an inventory at once, from name to Python, each within a time limit."""

from __future__ import annotations

import random
import re
import shlex
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.threads import in_threads
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import failures as words
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import login, ssh_config
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import target as preflight_target
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.login import Clock
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import Target

Row = dict[str, t.Any]
# Steps before ssh: no login can begin there, however long and often it is tried.
DEAD = frozenset({"name", "no_route", "tcp_refused", "tcp_timeout"})
NO_SSH = DEAD | {"config", "banner"}
MARK = "TRAINMESH"
MAX_OUTPUT = 64 * 1024
# Besides a host's own limit: ending threads and proxies.
GRACE = 1.0
TRIES = 5
PATIENCE = 2  # times the limit, where the hosts that answer are slow too


def patiently(attempt: t.Callable[[], words.Stop | None], clock: Clock) -> words.Stop | None:
    """Make an attempt again where another may succeed, with growing pauses, while the host has time."""
    stop = attempt()
    for number in range(1, TRIES):
        pause = random.uniform(0.2, 0.6) * number
        if not stop or not stop.again or clock.left < pause + 1:
            break
        time.sleep(pause)
        stop = attempt()
    return stop


class Attempt:
    """One host under way; what it knows so far is what is said if it never comes back."""

    def __init__(self, target: Target, limit: float) -> None:
        self.target, self.clock = target, Clock(limit)
        self.client: Client | None = None
        self.node_clock: dict[str, float] | None = None

    def run(self) -> Row:
        """The whole way; never raises."""
        self.clock = Clock(self.clock.given)  # the time in the queue does not count
        stop = patiently(self._try, self.clock)
        if stop and stop.step == "untested" and self.clock.over and self.clock.stage in ("auth", "command"):
            self.clock = Clock(self.clock.given)  # a busy host: once more, with time of its own
            stop = self._try()
        return self.row(stop)

    def _try(self) -> words.Stop | None:
        try:
            self._walk()
        except words.Stop as stop:
            return stop
        except Exception as error:  # a fault of a library must not take the other hosts along
            return self._broken(error)
        return None

    def row(self, stop: words.Stop | None) -> Row:
        """The result, as reach_check returns it."""
        step = stop.step if stop else ""
        return {
            # A sudo that wants the password of the inventory comes after everything else was fine.
            "ok": True if step == "" or self.clock.stage == "done" else None if step == "untested" else False,
            "step": step,
            "evidence": stop.evidence if stop else "",
            "cause": stop.cause if stop else "",
            "remedy": stop.remedy if stop else "",
            "address": self.client.hostname if self.client else self.target.host,
            "port": self.client.port if self.client else None,
            "user": self.client.user if self.client else None,
            "host_key_checked": self.client.verified if self.client else None,
            "password": bool(self.target.password or self.target.become_password),
            "seconds": round(self.clock.spent, 2),
            "clock": self.node_clock,
        }

    def _broken(self, error: Exception) -> words.Stop:
        """What an error of a library means at this stage."""
        if isinstance(error, TimeoutError) or self.clock.over:
            return words.stuck(self.client, self.clock.stage, self.clock.limit)
        if self.client and self.clock.stage == "command":
            return words.shell(self.client, f"{type(error).__name__}: {error}")
        return words.untested(f"{type(error).__name__}: {error}")

    def _walk(self) -> None:
        target, clock = self.target, self.clock
        if target.untested:
            raise words.untested(target.untested)
        self.client = client = ssh_config.read(target, clock.left)
        if "tcp" in client.beyond:
            raise words.untested(f"the preflight does not support {client.beyond['tcp']} of the ssh configuration")
        with login.connection(client, clock) as (near, said):
            transport = login.handshake(near, client, clock, said)
            try:
                login.log_in(transport, client, target.password, clock)
                clock.stage = "command"
                wanted = target.become if target.become is not None else client.user != "root"
                become = target.become_command if wanted and not target.become_untested else ()
                started = time.time()
                secret = target.become_password if become else ""
                output = _command(transport, question(target.pythons, become, bool(secret)), clock, secret)
                self.node_clock = node_clock(output, started, time.time())
                unsure = judge(client, output, bool(become), target) or (target.become_untested if wanted else "")
                if unsure:
                    clock.stage = "done"
                    raise words.untested(unsure)
            finally:
                transport.close()


def question(pythons: t.Sequence[str], become: t.Sequence[str], secret: bool = False) -> str:
    """One command for /bin/sh, on one line and without an exclamation mark: the login shell may be a csh."""
    code = shlex.quote('import sys; print("@%d.%d.%d@%s@" % (sys.version_info[:3] + (sys.executable,)))')
    parts = [f"set -f; f=; echo {MARK} clock $(date +%s.%N)"]
    for python in pythons:  # unquoted, as Ansible runs it: it may be "/usr/bin/env python3"
        parts.append(f'[ -n "$f" ] || {{ v=$({python} -c {code} </dev/null 2>&1) && f=1; echo {MARK} python $v; }}')
    parts.append(
        f"for m in {' '.join(words.INSTALL)}; do command -v $m >/dev/null 2>&1 && "
        f"{{ echo {MARK} manager $m; break; }}; done"
    )
    # a directory that comes and goes, as Ansible's own does: access(2) sees no full disk
    made = f"{{ o=$(mktemp -d /tmp/.trainmesh.XXXXXX 2>&1) && rmdir $o || echo {MARK} tmp $o; }}"
    parts.append(f"command -v mktemp >/dev/null 2>&1 && {made}")
    if become:
        source = "" if secret else " </dev/null"  # the password comes by the standard input, never by an argument
        parts.append(f"o=$(LC_ALL=C {shlex.join(become)} true{source} 2>&1); echo {MARK} become $? $o")
    return f"/bin/sh -c {shlex.quote('; '.join(parts))}"


def _command(transport: t.Any, command: str, clock: Clock, secret: str = "") -> str:
    """Run a command and read both of its streams to their end, within the host's time; ``secret`` is its input."""
    channel = transport.open_session(timeout=clock.left)
    channel.set_combine_stderr(True)
    channel.settimeout(clock.left)
    channel.exec_command(command)
    if secret:
        hand_over(channel, f"{secret}\n".encode())
    output = b""
    while len(output) < MAX_OUTPUT:
        channel.settimeout(clock.left)
        data = channel.recv(4096)
        if not data:
            break
        output += data
    text = output.decode("utf-8", "replace")
    return text.replace(secret, "****") if secret else text


def hand_over(channel: t.Any, data: bytes) -> None:
    """Give a command its input and then its end: a second question of sudo's meets that, and does not wait.

    One that needs no input may have ended before it came; what it has said is there to be read.
    """
    try:
        channel.sendall(data)
        channel.shutdown_write()
    except TimeoutError:
        raise
    except OSError:
        pass


def node_clock(output: str, started: float, ended: float) -> dict[str, float] | None:
    """What the host's clock said, and between which two moments of ours that was, in seconds since 1970."""
    match = re.search(rf"^{MARK} clock (\d+(?:\.\d+)?)", output, re.MULTILINE)
    return {"epoch": float(match.group(1)), "started": started, "ended": ended} if match else None


def judge(client: Client, output: str, become: bool, target: Target) -> str:
    """Raise Stop for a Python or a become command that does not work; lines that are not ours are noise.

    Returns why the become command could not be tried as Ansible runs it; empty where it could.
    """
    marked = [line[len(MARK) + 1 :] for line in output.splitlines() if line.startswith(f"{MARK} ")]
    if not marked:
        raise words.shell(client, " ".join(output.split())[:200] or "the command printed nothing")
    tries = [line.removeprefix("python ") for line in marked if line.startswith("python ")]
    manager = next((line.split()[1] for line in marked if line.startswith("manager ")), "")
    last = tries[-1] if tries else "nothing"
    match = re.search(r"@(\d+)\.(\d+)\.(\d+)@(.*)@", last)
    if not match:
        raise words.python(client, last.strip()[:200] or " ".join(output.split())[:200], (), manager)
    *numbers, path = match.groups()
    version = tuple(map(int, numbers))
    if version < words.MIN_PYTHON:
        raise words.python(client, f"Python {'.'.join(numbers)} at {path}", version, manager)
    full = next((line for line in marked if line.startswith("tmp ")), "")
    if full:
        raise words.tmp(client, full.removeprefix("tmp ")[:200])
    told = next((line for line in marked if line.startswith("become ")), "")
    return _root(client, told, target) if become else ""


def _root(client: Client, told: str, target: Target) -> str:
    """Raise Stop unless the become command worked, and did so in a way that Ansible follows."""
    said = told.partition(" ")[2].partition(" ")[2]
    good, method = told.split()[1:2] == ["0"], target.become_command[0]
    if not good and target.terminal and words.wants_terminal(said):
        return f"{method} requires a terminal, which Ansible provides and the preflight does not: {said[:200]}"
    if not target.become_password:
        if not good:
            raise words.sudo(client, said or "no output", method)
        return ""
    words_of = said.replace(preflight_target.PROMPT, "").strip()[:200] or "no output"
    if not good:
        raise words.sudo_password(client, words_of, method)
    if not preflight_target.understands(said):
        raise words.sudo_prompt(client, said[:200])
    return ""


def check(targets: t.Sequence[Target], limit: float, workers: int) -> dict[str, Row]:
    """Try all targets at once, and those that took the connection and stayed silent once more where all are slow.

    A controller that has many to try, or a network, may need longer than the limit. A host that is silent while the
    others answer at once is not waited for: Ansible would not wait longer either.
    """
    rows = _once(targets, limit, workers)
    answered = [row["seconds"] for row in rows.values() if row["ok"] is not None and row["step"] not in NO_SSH]
    late = [target for target in targets if is_silent(rows[target.name], limit)]
    if late and max(answered, default=limit) > limit / 2:
        rows = {**rows, **_once(late, PATIENCE * limit, workers)}
    return rows


def is_silent(row: Row, limit: float) -> bool:
    """Whether a host took the connection and then said nothing; one that closes it may have too many at the moment."""
    return row["ok"] is False and row["step"] == "banner" and bool(row["seconds"] >= limit)


def is_dead(row: Row, limit: float) -> bool:
    """Whether no login can begin, however long and often it is tried."""
    return row["ok"] is False and (row["step"] in DEAD or is_silent(row, limit))


def _once(targets: t.Sequence[Target], limit: float, workers: int) -> dict[str, Row]:
    """Try targets at once; one that hangs in a library is left behind, and its row says where."""
    attempts = {target.name: Attempt(target, limit) for target in targets}
    jobs = {name: attempt.run for name, attempt in attempts.items()}
    turns = -(-len(jobs) // max(1, workers))
    longest = 2 * login.CONNECTED * limit + GRACE  # slow ones are tried twice
    rows = in_threads(jobs, longest * turns, workers)
    return {
        name: rows.get(name) or attempt.row(words.stuck(attempt.client, attempt.clock.stage, limit))
        for name, attempt in attempts.items()
    }


def table(rows: t.Mapping[str, Row]) -> str:
    """The unusable hosts, with cause and fix; empty if there are none."""
    bad = {name: row for name, row in rows.items() if row["ok"] is False}
    if not bad:
        return ""
    cells = [(name, f"{row['address']}:{row['port'] or '?'}", row["step"]) for name, row in bad.items()]
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    lines = ["", f"{len(bad)} of {len(rows)} hosts failed the preflight:"]
    for cell, row in zip(cells, bad.values(), strict=True):
        head = "  ".join(text.ljust(width) for text, width in zip(cell, widths, strict=True))
        lines += [f"  {head}  {row['evidence']}", f"      cause: {row['cause']}", f"      fix:   {row['remedy']}"]
    return "\n".join(lines)
