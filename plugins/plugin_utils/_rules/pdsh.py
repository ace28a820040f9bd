# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on pdsh, and on what earlier launches left behind."""

from __future__ import annotations

import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    absent,
    limit,
    number,
    shorten,
    texts,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Finding,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import PDSH
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common

EADDRINUSE = 98
LAUNCHER_KINDS = frozenset({"deepspeed", "torchrun", "accelerate", "mpirun", "launcher"})
_INSTALL = {
    "apt": "apt-get install -y pdsh",
    "dnf": "dnf install -y epel-release && dnf install -y pdsh pdsh-rcmd-ssh",
    "yum": "yum install -y epel-release && yum install -y pdsh pdsh-rcmd-ssh",
    "zypper": "zypper install -y pdsh",
}


def _uses_pdsh(case: Case) -> bool:
    """DeepSpeed and Accelerate's DeepSpeed plugin start over pdsh; our own scripts start torchrun over it too.

    Which launchers are used on a cluster that we did not set up is not known: without DeepSpeed it is none of these.
    """
    users = {"deepspeed", "accelerate"}
    if dig(case.plan, "managed", False):
        users |= {"accelerate_standard", "torchrun"}
    elif not dig(case.stack.get(str(dig(case.plan, "head", ""))), "packages.deepspeed"):
        return any(True for _each in common.commands(case, PDSH))
    return bool(users & set(dig(case.plan, "launchers", [])))


def _tools(case: Case) -> tuple[str, Data | None]:
    """(the head, its tools): the launchers are started there, and no other node needs pdsh."""
    head = str(dig(case.plan, "head", ""))
    tools = dig(case.stack.get(head), "tools")
    return head, tools if isinstance(tools, t.Mapping) and head not in absent(case) else None


def _closed(distrusted: list[str], install: str) -> str:
    """How to get modules that pdsh trusts: close what it complains of, where it says what that is."""
    if not distrusted:
        return f"Use the distribution's package: {install}; else chmod go-w the directories above pdsh's modules."
    listed = shlex.join(distrusted)
    return (
        f"Run as root there: chown root {listed} && chmod go-w {listed}; or use the distribution's package: {install}"
    )


@rule(
    About(
        "pdsh-not-installed",
        layer="launcher",
        severity=FAIL,
        title="pdsh is not installed on the launching node",
        symptom="`launcher 'pdsh' not installed.`",
        source="field notes, mistral#38, DeepSpeedExamples#150",
    ),
    About(
        "pdsh-ssh-module-missing",
        layer="launcher",
        severity=FAIL,
        title="pdsh lacks its ssh module",
        symptom='`No such rcmd module "ssh"`',
        source="pdsh.spec:134",
    ),
    About(
        "pdsh-module-path-insecure",
        layer="launcher",
        severity=FAIL,
        title="pdsh module directory is group- or world-writable",
        symptom="`module path ... insecure`",
        source="chaos/pdsh#16",
    ),
    needs=("stack",),
)
def pdsh_usable(case: Case) -> t.Iterable[Answer]:
    """pdsh of the head is there, can be loaded, and has its ssh module."""
    head, tools = _tools(case)
    if tools is None or "pdsh" not in tools or not _uses_pdsh(case):
        return
    pdsh, manager = tools["pdsh"], str(dig(case.fabric.get(head), "package_manager", ""))
    install = _INSTALL.get(manager, "install the distribution's package pdsh")
    if not pdsh:
        evidence = {head: "no pdsh on the PATH of a login"}
        cause = "The launchers start the other nodes over pdsh, and the head does not have it."
        yield Finding("pdsh-not-installed", FAIL, (head,), evidence, cause, install)
        return
    path, modules = str(dig(pdsh, "path", "pdsh")), dig(pdsh, "rcmd_modules", [])
    problem = str(dig(pdsh, "problem", ""))
    if "ssh" in modules:
        return  # a module that it does not trust and that is not this one keeps no job from starting
    if dig(pdsh, "insecure") is True or (not modules and not problem and dig(pdsh, "version")):
        evidence = {head: f"{path}: {problem or 'pdsh -V names no module'}"}
        cause = "pdsh does not load its modules when others than root may write to them or to their directories."
        yield Finding(
            "pdsh-module-path-insecure", FAIL, (head,), evidence, cause, _closed(texts(pdsh, "distrusted"), install)
        )
    elif modules or problem:
        has = f" has the modules {', '.join(map(str, modules))}" if modules else f": {problem}"
        evidence = {head: f"{path}{has}"}
        cause = "pdsh can't use ssh: its ssh module is a package of its own on this distribution."
        remedy = f"{manager} install -y pdsh-rcmd-ssh" if manager in ("dnf", "yum") else install
        yield Finding("pdsh-ssh-module-missing", FAIL, (head,), evidence, cause, remedy)


@rule(
    About(
        "pdsh-default-rsh",
        layer="launcher",
        severity=FAIL,
        also=(WARN, INFO),
        title="pdsh would use rsh",
        symptom="`rcmd: socket: Permission denied`, port 514",
        source="pdsh config/ac_rcmd_rank_list.m4",
    ),
    needs=("stack",),
)
def default_rsh(case: Case) -> t.Iterable[Answer]:
    """Which remote shell a pdsh takes that is not told; our own scripts tell it."""
    head, tools = _tools(case)
    managed = bool(dig(case.plan, "managed", False))
    if tools is None or not tools.get("pdsh") or not _uses_pdsh(case):
        return
    chosen = dig(dig(case.stack.get(head), "login_environment.variables", {}), "PDSH_RCMD_TYPE")
    default = dig(tools, "pdsh.default_rcmd")
    remedy = "Put export PDSH_RCMD_TYPE=ssh at the top of the job user's ~/.bashrc, or call pdsh -R ssh."
    if chosen and chosen != "ssh":
        evidence = {head: f"PDSH_RCMD_TYPE={chosen} in the login environment"}
        cause = f"pdsh is told to use {chosen} and not ssh."
        yield Finding("pdsh-default-rsh", FAIL, (head,), evidence, cause, remedy)
    elif not chosen and default and default != "ssh" and not managed:
        evidence = {head: f"pdsh -V: default {default}, PDSH_RCMD_TYPE is not set"}
        cause = f"A pdsh that is not told otherwise uses {default}; DeepSpeed tells it, scripts often do not."
        severity = WARN if any(True for _each in common.commands(case, PDSH)) else INFO
        yield Finding("pdsh-default-rsh", severity, (head,), evidence, cause, remedy)


def processes(case: Case, host: str) -> list[Data]:
    """Processes of launchers and ranks on a node."""
    return [item for item in dig(case.user.get(host), "processes", []) if isinstance(item, t.Mapping)]


def orphans(case: Case, host: str) -> list[Data]:
    """Processes of a run that nobody leads any more.

    A run of our own scripts is led by a launcher on the head. Of other runs only the user is known: one that has
    nothing at all on the head, or ranks there without a launcher, has lost it (or is a job of this node alone,
    which a cluster that is to train together should not have either).
    """
    head = str(dig(case.plan, "head", ""))
    if head not in case.user:
        return []
    leaders = [item for item in processes(case, head) if dig(item, "kind") in LAUNCHER_KINDS]
    runs = {dig(item, "run_id") for item in leaders}
    # of a run whose launcher alone is gone from the head, the ranks there are told and no others
    users = {dig(item, "user") for item in (leaders if host == head else processes(case, head))}
    found = []
    for item in processes(case, host):
        run = dig(item, "run_id")
        led = run in runs if run else dig(item, "user") in users
        if not led and dig(item, "age_seconds", 0) >= limit(case, "orphan_age_s"):
            found.append(item)
    return found


def port_holder(case: Case, host: str, port: str) -> Data:
    """Who listens on a port of a node, empty when that is not known."""
    found = dig(case.user.get(host), "port_owners", {}).get(port)
    return found if isinstance(found, t.Mapping) else {}


def held_by_orphans(case: Case, host: str) -> list[str]:
    """The ports of the probe that processes of an abandoned run hold."""
    pids = {dig(item, "pid") for item in orphans(case, host)}
    return [
        str(port)
        for port, problem in (case.listeners.get(host) or {}).items()
        if problem and problem[0] == EADDRINUSE and dig(port_holder(case, host, str(port)), "pid") in pids
    ]


@rule(
    About(
        "ds-orphan-workers",
        layer="launcher",
        severity=FAIL,
        also=(WARN,),
        title="Processes of a dead run are still running",
        symptom="GPU memory is held, the next run is out of memory or gets errno 98",
        source="DS#714, DS#1995, DS#2008",
    ),
    needs=("user",),
)
def abandoned(case: Case) -> t.Iterable[Answer]:
    """Ranks that outlived their launcher: they hold GPU memory and ports."""
    for host in case.user:
        left = orphans(case, host) if host not in absent(case) else []
        if not left:
            continue
        ports = held_by_orphans(case, host)
        memory = {
            dig(process, "pid"): dig(process, "memory_mib")
            for gpu in dig(case.gpu.get(host), "gpus", [])
            for process in dig(gpu, "processes", [])
        }
        shown = []
        for item in left:
            holds = f", holds {memory[item.get('pid')]} MiB of a GPU" if memory.get(item.get("pid")) else ""
            age = f"{dig(item, 'age_seconds', 0) / 60:.0f} min old"
            what = str(dig(item, "command", dig(item, "kind")))[:80]
            shown.append(f"pid {dig(item, 'pid')} of {dig(item, 'user')}, {age}{holds}: {what}")
        tail = [f"port {port} is held by one of them" for port in ports]
        runs = sorted({str(dig(item, "run_id")) for item in left if dig(item, "run_id")})
        pids = " ".join(str(int(number(item, "pid") or 0)) for item in left)
        run = shlex.quote(runs[0]) if len(runs) == 1 else "--all"
        stop = f"{dig(case.plan, 'prefix', '/opt/trainmesh')}/bin/trainmesh-stop {run}"
        yield finding(
            "ds-orphan-workers",
            FAIL if ports else WARN,
            host,
            shorten([*tail, *shown]),
            "Processes of a training are there and nothing on the head leads them: they hold ports and memory.",
            f"{stop} on the head, as the user of the run" if runs else f"If nobody needs them: kill {pids}",
        )


@rule(
    About(
        "ds-abort-kills-other-jobs",
        layer="launcher",
        severity=INFO,
        title="Stopping one job ends jobs of other users",
        symptom="a colleague's run dies on Ctrl-C",
        source="field notes, DS#6807",
    ),
    needs=("user",),
)
def abort_kills(case: Case) -> t.Iterable[Answer]:
    """Several trainings of one user with the same interpreter: an abort of one ends the others."""
    for host in case.user:
        runs: dict[str, set[str]] = {}
        for item in processes(case, host):
            if dig(item, "kind") == "deepspeed":
                runs.setdefault(str(dig(item, "user", "")), set()).add(str(dig(item, "run_id", "")))
        for user, found in runs.items():
            others = sorted(set(runs) - {user}) if user == "root" else []
            if "" not in found or (len(found) == 1 and not others):
                continue  # our own scripts end one run only; so does a plain one that is alone
            beside = [*sorted(found - {""}), *(f"those of {name}" for name in others)]
            yield finding(
                "ds-abort-kills-other-jobs",
                INFO,
                host,
                f"a plain run of {user} beside {shorten(beside)}",
                "Ctrl-C on a plain deepspeed command ends every DeepSpeed run that its user may end and that has the "
                "same Python (pkill -f).",
                "Start runs by trainmesh-deepspeed and end them by trainmesh-stop RUN, or give each its environment.",
            )
