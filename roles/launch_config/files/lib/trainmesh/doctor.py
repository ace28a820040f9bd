# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh doctor``: quick checks from the head, in seconds and without Ansible."""

from __future__ import annotations

import argparse
import collections
import contextlib
import errno
import os
import pwd
import socket
import sys
import threading
import time
import typing as t

from trainmesh import fanout
from trainmesh.installation import Refused, find
from trainmesh.job import here as current_directory
from trainmesh.processes import processes

ANSWER_SECONDS = 60.0
LEAST_FREE = 1 << 30  # bytes below which logs and caches soon have no room
MOST_SHOWN = 5
ABOUT = """Checks the cluster from the head in seconds, without Ansible and without starting a job.

Every node answers and logs in to the others, the rendezvous port is free and reached from every node, every node has
the same configuration, the same environment and the same code in the current directory, all GPUs are there and free,
and disks have room. playbooks/verify.yml checks much more. The exit status is 1 when a check has failed.
"""


class Check(t.NamedTuple):
    """What a check has found; ``ok`` is None where it could not be tested."""

    title: str
    ok: bool | None
    evidence: t.Sequence[str] = ()
    fix: str = ""


def add_to(commands: t.Any, _prefix: str) -> None:
    """The command line of it."""
    parser = commands.add_parser(
        "doctor", help="quick checks of all nodes", description=ABOUT, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(action=doctor, sub=parser)


def doctor(prefix: str, _options: argparse.Namespace) -> int:
    """Ask every node at once, and judge the answers."""
    installation = find(prefix)
    if not installation.is_head():
        raise Refused(f"start it on the head, {installation.values.get('TRAINMESH_HEAD')}")
    begun = time.monotonic()
    directory, names = current_directory(), [node.name for node in installation.nodes()]
    address, port = installation.values["TRAINMESH_MASTER_ADDR"], int(installation.values["TRAINMESH_MASTER_PORT"])
    mesh = installation.values.get("TRAINMESH_SSH_TOPOLOGY", "mesh") == "mesh"
    with listening(address, [port, 0]) as (ports, problem):
        words = ["doctor", directory, address, ",".join(map(str, ports)), ",".join(names) if mesh else ""]
        said, silent = fanout.ask(installation, names, words, ANSWER_SECONDS)
    mine = sorted(processes())
    checks = [
        answers(names, silent),
        logins(said, mesh),
        rendezvous(port, problem, mine),
        reached(said, address, ports),
        same_configuration(said),
        same_environment(said),
        same_code(said, directory),
        *graphics(said, mine),
        room(said, prefix),
    ]
    for line in report(checks):
        sys.stdout.write(line + "\n")
    counted = collections.Counter(check.ok for check in checks)
    sys.stdout.write(f"{counted[True]} checks passed, {counted[False]} failed, {counted[None]} not tested "
                     f"({time.monotonic() - begun:.1f} s)\n")  # fmt: skip
    return 1 if counted[False] else 0


@contextlib.contextmanager
def listening(address: str, ports: t.Sequence[int]) -> t.Iterator[tuple[list[int], OSError | None]]:
    """Listen on these ports of the head meanwhile: (those that could be had, why the first one could not)."""
    sockets, problem = [], None
    for port in ports:
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((address, port))
            one.listen(1024)
            sockets.append(one)
        except OSError as error:
            one.close()
            problem = problem or error
    for one in sockets:
        threading.Thread(target=_accept, args=(one,), daemon=True).start()
    try:
        yield [one.getsockname()[1] for one in sockets], problem
    finally:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes the thread
            one.close()


def _accept(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            one.accept()[0].close()


def report(checks: t.Iterable[Check]) -> t.Iterator[str]:
    """The checks for the user's eyes."""
    for check in checks:
        word = {True: "ok", False: "FAILED", None: "not tested"}[check.ok]
        yield f"{word:<10}  {check.title}"
        for line in check.evidence:
            yield f"{'':<12}{line}"
        if check.ok is False and check.fix:
            yield f"{'':<12}fix: {check.fix}"


def answers(names: t.Sequence[str], silent: t.Mapping[str, str]) -> Check:
    """Whether every node has answered at all."""
    evidence = [f"{name}: {trouble}" for name, trouble in silent.items()]
    return Check(f"{len(names) - len(silent)} of {len(names)} nodes answer", not silent, evidence,
                 "run verify.yml, which finds the reason")  # fmt: skip


def logins(said: t.Mapping[str, t.Any], mesh: bool) -> Check:
    """Whether the nodes log in to each other."""
    title = "the nodes log in to each other"
    if not mesh:
        return Check(f"{title}: only the head does (trainmesh_ssh_topology: head)", None)
    failed = [(name, to, why) for name, facts in said.items() for to, why in facts["logins"].items()]
    evidence = [f"{name} to {to}: {why}" for name, to, why in failed]
    return Check(title, not failed, shorter(evidence), "run site.yml, which renews keys and names")


def rendezvous(port: int, problem: OSError | None, runs: t.Sequence[str]) -> Check:
    """Whether a job could have the port of the rendezvous."""
    title = f"the rendezvous port {port} is free on the head"
    if problem is None:
        return Check(title, True)
    if problem.errno == errno.EADDRINUSE and runs:
        return Check(f"{title}: it is used while {', '.join(runs)} runs", None)
    if problem.errno == errno.EADDRINUSE:
        fix = f"ss -ltnp sport = :{port}   shows who has it; or start jobs with --master-port"
        return Check(title, False, [f"{problem.strerror}, and no run of ours goes on"], fix)
    return Check(title, False, [str(problem.strerror)], "run site.yml: the head's address may have changed")


def reached(said: t.Mapping[str, t.Any], address: str, ports: t.Sequence[int]) -> Check:
    """Whether every node reaches the ports on which the head has listened."""
    title = f"every node reaches {address}, ports {', '.join(map(str, ports))}"
    if not ports:
        return Check(title, None, ["the head could listen on no port"])
    failed = [f"{name} to port {port}: {why}" for name, facts in said.items()
              for port, why in facts["unconnected"].items()]  # fmt: skip
    return Check(title, not failed, shorter(failed), "run site.yml, which opens the firewall between the nodes")


def same_configuration(said: t.Mapping[str, t.Any]) -> Check:
    """Whether the playbooks have written the same to every node."""
    evidence = []
    for name, others in odd(said, lambda facts: facts["configuration"]).items():
        files = [file for file, value in said[name]["configuration"].items() if others.get(file) != value]
        evidence.append(f"{name}: {', '.join(f'etc/{file}' for file in files)}")
    return Check("every node has the same configuration", not evidence, shorter(evidence), "run site.yml")


def same_environment(said: t.Mapping[str, t.Any]) -> Check:
    """Whether every node has the same packages."""
    evidence = []
    for name, others in odd(said, lambda facts: facts["environment"]).items():
        mine = said[name]["environment"]
        words = [] if mine["python"] == others["python"] else [f"{' '.join(mine['python']) or 'no Python'}"]
        if mine.get("name", "") != others.get("name", ""):
            words.insert(0, f"{mine.get('name') or 'env'} is in use (elsewhere {others.get('name') or 'env'})")
        both = {**others["packages"], **mine["packages"]}
        for package in sorted(both):
            here, there = mine["packages"].get(package), others["packages"].get(package)
            if here != there:
                words.append(f"{package} {here or 'is missing'} (elsewhere {there or 'none'})")
        more = [f"and {len(words) - MOST_SHOWN} more"] if len(words) > MOST_SHOWN else []
        evidence.append(f"{name}: {', '.join([*words[:MOST_SHOWN], *more])}")
    return Check("every node has the same environment", not evidence, shorter(evidence),
                 "run site.yml; packages of your own: trainmesh pip install, or trainmesh_extra_packages")  # fmt: skip


def same_code(said: t.Mapping[str, t.Any], directory: str) -> Check:
    """Whether the current directory has the same code on every node."""
    title = f"every node has the same code in {directory}"
    if os.path.realpath(directory) in ("/", os.path.realpath(pwd.getpwuid(os.geteuid()).pw_dir)):
        return Check(f"{title}: start it in the directory of your job", None)
    evidence = []
    for name, others in odd(said, lambda facts: {**facts["code"]["files"], "": facts["code"]["there"]}).items():
        mine = said[name]["code"]
        if not mine["there"]:
            evidence.append(f"{name}: there is no such directory")
            continue
        known = {file: value for file, value in others.items() if file}
        files = sorted(file for file in {**known, **mine["files"]} if known.get(file) != mine["files"].get(file))
        more = f" and {len(files) - MOST_SHOWN} more" if len(files) > MOST_SHOWN else ""
        evidence.append(f"{name}: {', '.join(files[:MOST_SHOWN])}{more}")
    if not evidence and not all(facts["code"]["complete"] for facts in said.values()):
        return Check(f"{title}: there are more files than it reads", None)
    return Check(title, not evidence, shorter(evidence), "bring it to every node, see docs/operations.md, Running jobs")


def graphics(said: t.Mapping[str, t.Any], mine: t.Sequence[str]) -> list[Check]:
    """Whether all GPUs are there, and free."""
    if not any(facts["gpus"]["expected"] for facts in said.values()):
        return []
    missing, used = [], []
    for name, facts in said.items():
        error, count, slots = facts["gpus"]["error"], len(facts["gpus"]["gpus"]), str(facts["slots"] or "")
        if error:
            missing.append(f"{name}: {error}")
        elif slots.isdigit() and count < int(slots):
            missing.append(f"{name}: {count} GPUs, and {slots} ranks are to be started there")
        ours = any(run in mine for run in facts["runs"])
        for each in facts["gpus"]["processes"]:
            # in a container the numbers of processes may be those of the machine: which are ours can't be told then
            unknown = each["user"] == "?" and ours
            if not unknown and (not each["run"] or each["run"] not in mine):
                used.append(f"{name}: process {each['pid']} of {each['user']}, {each['memory']} MiB")
    if used:
        free = Check("no stranger uses the GPUs", False, shorter(used), "identify the process (ps -fp PID) and stop it")
    else:
        free = Check("no stranger uses the GPUs", None if missing else True)
    return [
        Check("every GPU is there", not missing, shorter(missing), "nvidia-smi   on that node; then verify.yml"),
        free,
    ]


def room(said: t.Mapping[str, t.Any], prefix: str) -> Check:
    """Whether the file system of logs and caches has room."""
    few = [f"{name}: {facts['free'] / (1 << 20):.0f} MiB" for name, facts in said.items() if facts["free"] < LEAST_FREE]
    return Check(f"{prefix}/var has room for logs and caches", not few, shorter(few), f"du -xh -d 2 {prefix}/var")


def odd(said: t.Mapping[str, t.Any], part: t.Callable[[t.Any], t.Any]) -> dict[str, t.Any]:
    """The nodes that differ from most others, with what the others have; where as many differ, the first counts."""
    values = {name: part(facts) for name, facts in said.items()}
    shown = {name: repr(sorted(value.items())) for name, value in values.items()}
    if not shown:
        return {}
    most = collections.Counter(shown.values()).most_common(1)[0][0]
    usual = next(values[name] for name in values if shown[name] == most)
    return {name: usual for name in values if shown[name] != most}


def shorter(lines: t.Sequence[str]) -> list[str]:
    """The first lines."""
    more = [f"and {len(lines) - 20} more"] if len(lines) > 20 else []
    return [*lines[:20], *more]
