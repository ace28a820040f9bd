# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that launchers left, who holds a port, and whom the kernel killed."""

from __future__ import annotations

import datetime
import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command as base_command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base import kernel_log as kernel
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.job_user import user_name
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, to_int
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import path_of
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import ports as fabric_ports

Record = dict[str, t.Any]
Runner = t.Callable[..., base_command.Outcome]

MAX_FOUND, MAX_COMMAND, MAX_KILLS, MAX_EVENTS = 200, 160, 20, 60
MAX_READ, MAX_WORD, MAX_WORDS = 4096, 100, 6
RUN_ARGUMENT = "trainmesh-run="
# Anybody may call a process so: what is no name of a run would end in a command that is pasted.
_RUN_ARGUMENT = re.compile(rf"{RUN_ARGUMENT}([\w.-]{{1,64}})\Z", re.ASCII)
_CHECK = re.compile(r"(?<![\w-])check-\d{8}-\d{6}-\w+")
_RUN = re.compile(rf"\Atrainmesh-run=[\w.-]+\Z|{_CHECK.pattern}")
_MODULE = re.compile(r"[A-Za-z_][\w.]*\Z")
_SCRIPT = re.compile(r"[\w./~+-]*(?:\.(?:py|sh)|(?:\A|/)(?:accelerate|deepspeed|torchrun|launch|trainmesh-[a-z-]+))\Z")
# The first that fits names the kind. Sources: DeepSpeed 0.19 launcher/, torch 2.14 distributed/, accelerate 1.15.
_KINDS = (
    ("deepspeed", re.compile(r"\bdeepspeed\.launcher\.(launch|runner)\b|(^| )\S*/deepspeed( |$)")),
    ("accelerate", re.compile(r"\baccelerate\.commands\.(launch|accelerate_cli)\b|(^| )\S*/accelerate launch\b")),
    ("torchrun", re.compile(r"\btorch\.distributed\.(run|launch)\b|(^| )(\S*/)?torchrun( |$)")),
    # the pdsh of our own command, which may be all that there is of a run on the head
    ("torchrun", re.compile(r"/bin/trainmesh part launcher=torchrun ")),
    ("accelerate", re.compile(r"/bin/trainmesh part launcher=accelerate-standard ")),
    ("mpirun", re.compile(r"^(\S*/)?(mpirun|mpiexec|mpiexec\.hydra|orterun|orted|prted|hydra_pmi_proxy)( |$)")),
)
_RANK_NAMES = re.compile(r"python|pt_main_thread|pt_elastic")
_RANK_VARIABLES = ("RANK=", "WORLD_SIZE=", "MASTER_ADDR=")
_KILLED = re.compile(r"Out of memory: Kill|Memory cgroup out of memory: Kill")
_UPTIME = re.compile(r"^(?:<\d+>)?\[ *(\d{1,12})\.\d{1,9}\]")


def processes(tree: Tree, prefix: str, skip: t.Container[int] = ()) -> list[Record]:
    """Launchers and ranks of any user that run now; ``skip`` are the pids of this run itself.

    Each has ``pid``, ``user``, ``kind``, ``run_id`` (of our scripts), ``age_seconds``, ``ours`` and
    ``command``. Ranks are found by their environment, which only root reads of other users.
    """
    found: list[Record] = []
    uptime = float((tree.line("/proc/uptime") or "0").split()[0])
    for pid in tree.pids():
        words = (tree.text(f"/proc/{pid}/cmdline", 32 * 1024) or "").rstrip("\0").split("\0")
        if pid in skip or not words[0] or len(found) >= MAX_FOUND:
            continue
        command = " ".join(words)
        kind = next((name for name, pattern in _KINDS if pattern.search(command)), None)
        if kind is None and _RANK_NAMES.search(os.path.basename(words[0])) and _is_rank(tree, pid):
            kind = "rank"
        run = next((match[1] for match in map(_RUN_ARGUMENT.match, words) if match), None)
        if kind or run:
            found.append(_process(tree, pid, kind or "rank", run, command, uptime, prefix))
    return found


def _process(tree: Tree, pid: int, kind: str, run: str | None, command: str, uptime: float, prefix: str) -> Record:
    fields = (tree.line(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
    started = to_int(fields[19]) if len(fields) > 19 else None
    age = round(uptime - started / os.sysconf("SC_CLK_TCK")) if started is not None else None
    return {
        "pid": pid,
        "user": owner(tree, pid),
        "kind": kind,
        "run_id": run,
        "age_seconds": age,
        "ours": run is not None or f"{prefix}/libexec/" in command or f"{prefix}/bin/trainmesh-" in command,
        "command": shown(command),
    }


def _is_rank(tree: Tree, pid: int) -> bool:
    names = (tree.text(f"/proc/{pid}/environ", 128 * 1024) or "").split("\0")
    return all(any(item.startswith(wanted) for item in names) for wanted in _RANK_VARIABLES)


def owner(tree: Tree, pid: int) -> str | None:
    """Whose process it is."""
    try:
        return user_name(os.stat(tree.path(f"/proc/{pid}")).st_uid)
    except OSError:
        return None


def shown(command: str) -> str:
    """What runs, for a report: program, script or module, and the run; the rest of the line is its user's business."""
    words = command[:MAX_READ].split()
    if len(command) > MAX_READ:
        words = words[:-1]  # half a word might no longer be seen as a secret
    kept = words[:1]
    for before, word in zip(words, words[1:]):
        run = word.startswith((RUN_ARGUMENT, "/")) and _RUN.search(word)
        if before == "-m" and _MODULE.match(word):
            kept += ["-m", word]
        elif run or (_SCRIPT.match(word) and not before.startswith("--")):
            kept.append(word)
    return masked(" ".join(word[:MAX_WORD] for word in kept[:MAX_WORDS]))[:MAX_COMMAND]


def port_owners(tree: Tree, ports: t.Iterable[int]) -> dict[str, Record]:
    """Who listens on each of the ports, those on which nobody does left out; pid None when only root may know.

    ``check`` is the id of the check run that the process is of, None where it is of no such run.
    """
    wanted = set(ports)
    inodes = {f"socket:[{item.inode}]": item.port for item in fabric_ports.listeners(tree) if item.port in wanted}
    unknown = dict.fromkeys(("pid", "user", "command", "check"))
    found: dict[str, Record] = {str(port): unknown for port in inodes.values()}
    for pid in tree.pids() if inodes else ():
        for name in tree.names(f"/proc/{pid}/fd")[:4096]:
            port = inodes.pop(tree.target(f"/proc/{pid}/fd/{name}") or "", None)
            if port is not None and found[str(port)]["pid"] is None:
                command = (tree.text(f"/proc/{pid}/cmdline", 4096) or "").replace("\0", " ")
                check = _CHECK.search(command)
                found[str(port)] = {
                    "pid": pid,
                    "user": owner(tree, pid),
                    "command": shown(command),
                    "check": check and check[0],
                }
        if not inodes:
            break
    return found


def kernel_log(run: Runner, limit: float) -> str | None:
    """The kernel log since boot; None when it cannot be read."""
    for command in (["dmesg"], ["journalctl", "--no-pager", "-q", "-k", "-b", "-o", "short-iso"]):
        outcome = run([path_of(command[0]), *command[1:]], limit)
        if outcome.ok and (outcome.out.strip() or command[0] == "dmesg"):
            return str(outcome.out)
    return None


def oom_kills(tree: Tree, log: str | None) -> list[Record] | None:
    """The last times that the kernel ended a process for want of memory; None when its log cannot be read."""
    if log is None:
        return None
    boot = _boot(tree)
    lines = [line for line in log.splitlines() if _KILLED.search(line)]
    return [{"time": _time(line, boot), "line": line.strip()[:300]} for line in lines[-MAX_KILLS:]]


def kernel_events(tree: Tree, log: str | None) -> list[Record] | None:
    """What else the kernel says of this machine since boot, that of NVIDIA's driver left out; None when unknown."""
    if log is None:
        return None
    boot = _boot(tree)
    found = [event for event in kernel.parse(log) if event["kind"] not in kernel.OF_DRIVER]
    return [{**event, "time": _time(event["line"], boot)} for event in found[-MAX_EVENTS:]]


def _boot(tree: Tree) -> int | None:
    """When the machine started, in seconds since the epoch."""
    stat = (tree.text("/proc/stat", 4 << 20) or "").splitlines()
    return next((to_int(line.split()[1]) for line in stat if "btime" in line), None)


def _time(line: str, boot: int | None) -> str | None:
    """When a line was written, in ISO 8601 and UTC."""
    match = _UPTIME.match(line)
    if not match or boot is None:
        return None
    moment = datetime.datetime.fromtimestamp(boot + int(match.group(1)), datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
