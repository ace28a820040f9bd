# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login in which the module runs, and the limits of such a login."""

from __future__ import annotations

import os
import pwd
import resource
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, to_int
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import path_of

MAX_DEPTH = 64
UNLIMITED = -1
LOGIN_SERVERS = ("sshd", "dropbear")
Limits = dict[str, tuple[t.Optional[int], t.Optional[int]]]
LIMITS = {
    "memlock": "Max locked memory",
    "nofile": "Max open files",
    "stack": "Max stack size",
    "nproc": "Max processes",
}


def process_name(files: Tree, pid: int) -> str | None:
    """The name of a process (comm: at most 15 characters), or None."""
    return files.line(f"/proc/{pid}/comm")


def ancestors(files: Tree, pid: int | None = None) -> list[int]:
    """The pids above ``pid`` (default: this process), nearest first; pid 1 is left out."""
    found: list[int] = []
    current: int | None = os.getpid() if pid is None else pid
    while current and len(found) < MAX_DEPTH:
        current = parent(files, current)
        if not current or current == 1 or current in found:
            break
        found.append(current)
    return found


def parent(files: Tree, pid: int) -> int | None:
    """The parent of a process after /proc/PID/stat, whose second field may hold blanks and brackets."""
    fields = (files.line(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
    return to_int(fields[1]) if len(fields) > 1 else None


def session_pid(files: Tree, chain: t.Sequence[int]) -> int | None:
    """The first process below the ssh server in ``chain`` (nearest first): the login's own command, or None."""
    below: int | None = None
    for pid in chain:
        if (process_name(files, pid) or "").startswith(LOGIN_SERVERS):
            return below
        below = pid
    return None


def ssh_session(files: Tree, environment: t.Mapping[str, str], chain: t.Sequence[int]) -> dict[str, t.Any] | None:
    """Both ends of the ssh connection that carries this run, or None when there is none.

    From SSH_CONNECTION; sudo removes it, so the environments of the processes above are read too (root).
    """
    text = environment.get("SSH_CONNECTION", "")
    for pid in chain:
        if text:
            break
        variables = (files.text(f"/proc/{pid}/environ", 256 * 1024) or "").split("\0")
        text = next((item.partition("=")[2] for item in variables if item.startswith("SSH_CONNECTION=")), "")
    fields = text.split()
    if len(fields) != 4:
        return None
    client, server = (field[7:] if field.startswith("::ffff:") else field for field in (fields[0], fields[2]))
    return {
        "client_address": client,
        "client_port": to_int(fields[1]),
        "server_address": server,
        "server_port": to_int(fields[3]),
    }


def limits(
    files: Tree, chain: t.Sequence[int], account: pwd.struct_passwd | None = None, limit: float = 5.0
) -> dict[str, t.Any]:
    """memlock and stack in bytes, nofile in files, nproc in processes and threads of the user.

    Soft limits, and the ``hard`` ones; -1 is unlimited.

    Those that sshd gives to a command of the job user ``account``, because a program started over ssh
    gets exactly these; else those of this run's ssh session (``chain`` are the processes above), else
    those of this process. ``of`` says which. ``limit`` in seconds for asking.
    """
    login = session_pid(files, chain)
    found = _of_login(files, chain, account, limit) if account else {}
    of = f"login of {account.pw_name}" if account and found else "ssh session"
    if not found and login:
        found = parse_limits(files.text(f"/proc/{login}/limits") or "")
    if not found:
        numbers = {
            "memlock": resource.RLIMIT_MEMLOCK,
            "nofile": resource.RLIMIT_NOFILE,
            "stack": resource.RLIMIT_STACK,
            "nproc": resource.RLIMIT_NPROC,
        }
        found = {name: _own(number) for name, number in numbers.items()}
        of = "this process"
    pairs = {name: found.get(name, (None, None)) for name in LIMITS}
    soft = {name: pair[0] for name, pair in pairs.items()}
    return {**soft, "hard": {name: pair[1] for name, pair in pairs.items()}, "of": of}


def _of_login(files: Tree, chain: t.Sequence[int], account: pwd.struct_passwd, limit: float) -> Limits:
    """What PAM makes of the ssh server's own limits for the user; {} where the session is theirs, or this isn't root.

    The limits of another's session say nothing: "*" in limits.conf does not count for root. runuser does what
    sshd does (pam_limits), and opens no session with the system.
    """
    servers = [pid for pid in chain if (process_name(files, pid) or "").startswith(LOGIN_SERVERS)]
    if not servers or files.root != "/" or os.geteuid() != 0 or owner(files, servers[0]) == account.pw_uid:
        return {}
    base = parse_limits(files.text(f"/proc/{servers[-1]}/limits") or "")
    words = [f"--{name}={_word(soft)}:{_word(hard)}" for name, (soft, hard) in base.items()]
    runuser = [path_of("runuser"), "-u", account.pw_name, "--", "cat", "/proc/self/limits"]
    return parse_limits(command.run([path_of("prlimit"), *words, *runuser], limit, cwd="/").out)


def _word(value: int | None) -> str:
    return "unlimited" if value == UNLIMITED else str(value if value is not None else "")


def owner(files: Tree, pid: int) -> int | None:
    """The real user id of a process; the owner of /proc/PID is root's for one that changed its user, as sshd does."""
    text = files.text(f"/proc/{pid}/status") or ""
    line = next((line for line in text.splitlines() if line.startswith("Uid:")), "")
    return to_int([*line.split(), "", ""][1])


def _own(number: int) -> tuple[int | None, int | None]:
    soft, hard = resource.getrlimit(number)
    return tuple(UNLIMITED if value == resource.RLIM_INFINITY else value for value in (soft, hard))  # type: ignore[return-value]


def parse_limits(text: str) -> Limits:
    """{name of LIMITS: (soft, hard)} in the text of /proc/PID/limits; names that are absent are left out."""
    found: Limits = {}
    for line in text.splitlines():
        for name, label in LIMITS.items():
            fields = line[len(label) :].split() if line.startswith(label) else []
            if len(fields) >= 2:
                found[name] = (_limit(fields[0]), _limit(fields[1]))
    return found


def _limit(text: str) -> int | None:
    return UNLIMITED if text == "unlimited" else to_int(text)
