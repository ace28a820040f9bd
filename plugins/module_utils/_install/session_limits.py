# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of every login, as pam_limits sets them.

pam_limits ends a login whose limits it can't set: above fs.nr_open, or in a container without CAP_SYS_RESOURCE,
nobody would get in any more. So each limit is tried by a process of our own before the file is written.
"""

from __future__ import annotations

import glob
import os
import re
import resource
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command, textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import path_of, which
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import ssh_session
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault

Runner = t.Callable[..., command.Outcome]
Limits = dict[str, int]

FILE = "/etc/security/limits.d/90-trainmesh.conf"
PAM = "/etc/pam.d"
SERVICE = "sshd"
MODULE = "pam_limits.so"
MODULE_PLACES = ("/lib/*/security", "/usr/lib/*/security", "/lib*/security", "/usr/lib*/security")
NUMBERS = {"memlock": resource.RLIMIT_MEMLOCK, "nofile": resource.RLIMIT_NOFILE}
UNLIMITED = -1
ASK_SECONDS = 15.0
_KIB = 1024
_MOST_FILES = 40


def wanted(memlock: str, nofile: int) -> Limits:
    """The limits in bytes and files; -1 is unlimited. Raises Fault."""
    if memlock != "unlimited" and not re.match(r"[1-9]\d{0,11}\Z", memlock):
        raise Fault(f"memlock: expected unlimited or a number of KiB, found {memlock}")
    return {"memlock": UNLIMITED if memlock == "unlimited" else int(memlock) * _KIB, "nofile": nofile}


def text_of(limits: Limits, user: str) -> str:
    """The file of the limits. A user's own line goes before "*", which root's logins need not heed at all."""
    memlock = "unlimited" if limits["memlock"] == UNLIMITED else str(limits["memlock"] // _KIB)
    rows = [(who, item, value) for who in dict.fromkeys(("*", "root", user)) if who for item, value in (
        ("memlock", memlock), ("nofile", str(limits["nofile"])))]  # fmt: skip
    return "# Written by trainmesh.cluster.\n" + "".join(f"{who} - {item} {value}\n" for who, item, value in rows)


def runs(
    tree: Tree, service: str, module: str, kinds: t.Collection[str] = ("session",), seen: tuple[str, ...] = ()
) -> bool:
    """Whether a PAM service runs a module for its sessions, in its own file or one that it includes."""
    if service in seen or len(seen) > _MOST_FILES:
        return False
    path = service if service.startswith("/") else f"{PAM}/{service}"
    for line in (tree.text(path) or "").replace("\\\n", " ").splitlines():
        words = re.sub(r"\[[^]]*\]", "[]", line.partition("#")[0]).split()
        if words[:1] == ["@include"] and len(words) > 1:
            included = words[1]
        elif len(words) > 2 and words[0].lstrip("-") in kinds:
            if os.path.basename(words[2]) == module:
                return True
            included = words[2] if words[1] in ("include", "substack") else ""
        else:
            included = ""
        if included and runs(tree, included, module, kinds, (*seen, service)):
            return True
    return False


def pam_change(tree: Tree) -> textfile.Change | None:
    """What lets sshd's sessions run pam_limits, where they don't yet. Raises Fault where that can't be had.

    The line is optional, and the module is there: a login that fails to get its limits is still a login.
    """
    if runs(tree, SERVICE, MODULE):
        return None
    path = f"{PAM}/{SERVICE}"
    if tree.text(path) is None:
        raise Fault(
            f"limits: sshd has no {path} on this node, by which limits are set: install the sshd of the distribution"
        )
    if not any(glob.glob(f"{place}/{MODULE}") for place in MODULE_PLACES):
        raise Fault(f"limits: there is no {MODULE} on this node: install it (libpam-modules, pam)")
    line = f"session optional {MODULE}"
    try:
        return textfile.Change(path, textfile.read_text(path), textfile.edited(path, [line]), None)
    except textfile.BlockError as error:
        raise Fault(f"limits: {error}") from None


def uses_pam(run: Runner = command.run) -> bool | None:
    """Whether sshd opens its sessions by PAM; None where it does not say."""
    sshd = which("sshd")
    found = re.search(r"(?im)^usepam (yes|no)$", run([sshd, "-T"], ASK_SECONDS).out) if sshd else None
    return found.group(1).lower() == "yes" if found else None


def of_server(tree: Tree) -> ssh_session.Limits:
    """The limits of the ssh server that serves this run, with which its sessions begin; else those of this process."""
    chain = ssh_session.ancestors(tree)
    names = {pid: ssh_session.process_name(tree, pid) or "" for pid in chain}
    servers = [pid for pid in chain if names[pid].startswith(ssh_session.LOGIN_SERVERS)]
    return ssh_session.parse_limits(tree.text(f"/proc/{servers[-1] if servers else 'self'}/limits") or "")


def refused(limits: Limits, base: ssh_session.Limits) -> list[str]:
    """The limits that a session of root's, which begins with ``base``, may not set here."""
    return [
        name
        for name, value in limits.items()
        if not _within(value, base.get(name, (None, None))[1]) and not _may_set(NUMBERS[name], value)
    ]


def _within(value: int, most: int | None) -> bool:
    return most is not None and (most == UNLIMITED or (value != UNLIMITED and value <= most))


def _may_set(number: int, value: int) -> bool:
    most = resource.RLIM_INFINITY if value == UNLIMITED else value
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(number, (most, most))
            os._exit(0)
        except (OSError, ValueError, OverflowError):
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def judge(tree: Tree, limits: Limits, run: Runner = command.run) -> None:
    """Raises Fault where the limits would not hold, or would keep people from logging in."""
    if uses_pam(run) is False:
        raise Fault(
            "limits: sshd has UsePAM no on this node, so that no limits are set: set UsePAM yes and reload sshd"
        )
    most = tree.number("/proc/sys/fs/nr_open")
    if most is not None and limits["nofile"] > most:
        raise Fault(
            f"limits: nofile {limits['nofile']} is above fs.nr_open, which is {most} on this node, and pam_limits "
            f"would refuse every login: sysctl -w fs.nr_open={limits['nofile']}, or ask for less"
        )
    names = refused(limits, of_server(tree))
    if names:
        options = " ".join(f"--ulimit {name}={limits[name]}" for name in names)
        raise Fault(
            f"limits: even root may not raise {' and '.join(names)} on this node, and pam_limits would refuse every "
            f"login: a container gets its limits when it is started ({options}); leave limits out of "
            "trainmesh_node_base"
        )


def of_login(tree: Tree, user: str, run: Runner = command.run) -> dict[str, int | None] | None:
    """The soft limits that a login of the user gets now; None where none can be opened.

    runuser sets them as sshd does, from those of the ssh server that serves this run.
    """
    base = of_server(tree)
    words = [
        f"--{name}={':'.join('unlimited' if value == UNLIMITED else str(value) for value in base[name])}"
        for name in NUMBERS
        if name in base and None not in base[name]
    ]
    login = [path_of("runuser"), "-u", user, "--", "cat", "/proc/self/limits"]
    # a session that has lower limits than the server may not raise them in a container: then from its own
    for argv in ([path_of("prlimit"), *words, *login], login):
        found = ssh_session.parse_limits(run(argv, ASK_SECONDS, cwd="/").out)
        if found:
            return {name: found[name][0] for name in NUMBERS if name in found}
    return None


def lower(found: t.Mapping[str, int | None], limits: Limits) -> list[str]:
    """The limits that are lower than wanted, with what they are."""
    rows = []
    for name, value in limits.items():
        have = found.get(name)
        if have is not None and have != UNLIMITED and (value == UNLIMITED or have < value):
            rows.append(f"{name} is {have}")
    return rows


def rivals(tree: Tree, names: t.Iterable[str]) -> list[str]:
    """The other lines that set these limits, as FILE: LINE."""
    rows = []
    for path in (
        "/etc/security/limits.conf",
        *(f"/etc/security/limits.d/{one}" for one in tree.names("/etc/security/limits.d")),
    ):
        for line in (tree.text(path) or "").splitlines() if path != FILE else ():
            words = line.partition("#")[0].split()
            if len(words) == 4 and words[2] in names:
                rows.append(f"{path}: {' '.join(words)}")
    return rows
