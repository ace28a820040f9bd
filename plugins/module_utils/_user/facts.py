# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put together what is known of the user who runs the jobs on a node."""

from __future__ import annotations

import functools
import os
import pwd
import re
import socket
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import (
    alike,
    command,
    isolated,
    job_user,
    ssh_client,
    ssh_options,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, printable
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import which
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.ssh_session import ancestors
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import login_env
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import account, files, processes, ssh

Record = dict[str, t.Any]

COMMAND_LIMIT = 5.0
"""Seconds for each small command: sshd -T, ssh -G, dmesg, the login shell."""

TIMEOUT_S = 20.0
"""Seconds for everything together where nobody says otherwise."""

KINDS = (
    "hostfile",
    "accelerate",
    "deepspeed_json",
    "deepspeed_env",
    "ssh_config",
    "launch_script",
    "nccl_log",
    "job_log",
    "ds_report",
    "collect_env",
    "kernel_log",
    "node_report",
)
"""What a file that the caller names can be."""

OPTIONS: dict[str, dict[str, t.Any]] = {
    "user": {"type": "str"},
    "ports": {"type": "list", "elements": "int", "default": []},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "kind": {"type": "str", "required": True, "choices": list(KINDS)},
            "path": {"type": "str", "required": True},
            "cluster": {"type": "bool", "default": False},
        },
    },
    "prefix": {"type": "path", "default": "/opt/trainmesh"},
    "peer": {"type": "str", "default": "127.0.0.1"},
    "keys": {
        "type": "dict",
        "no_log": False,
        "options": {"count": {"type": "int", "required": True}, "digest": {"type": "str", "required": True}},
    },
}
"""The options of every module that returns these facts; documented in the fragment ``node.user``."""

NO_SHELL = ("nologin", "false")
_LIST = " may run the following commands on "
_RULE = re.compile(r"\s+\(([^):]*)[^)]*\)\s+(.*)")
_TAG = re.compile(r"([A-Z_]+):\s*(.*)")
Runner = t.Callable[..., command.Outcome]


class Wish(t.NamedTuple):
    """The options of the module; ``files`` are mappings with ``kind`` and ``path``.

    ``addresses`` are where each of ``ssh_names`` should lead; ``keys`` has ``count`` and ``digest`` of the lines of
    authorized_keys that are the same on all nodes. What is as expected is said once.
    """

    user: str | None
    ssh_names: t.Sequence[str]
    ports: t.Sequence[int]
    paths: t.Sequence[str]
    files: t.Sequence[t.Mapping[str, str]]
    prefix: str
    peer: str
    timeout: float
    addresses: t.Sequence[str] = ()
    keys: t.Mapping[str, t.Any] | None = None


def blank(name: str | None) -> Record:
    """The facts when nothing is known: every key is there."""
    unknown = "time uid home shell problem oom_kills kernel_events login_shell_ok own_keys authorized_keys"
    unknown += " root_without_password"
    return {
        "name": name,
        "ssh_dir_inode": None,
        **dict.fromkeys(unknown.split()),
        "paths": {},
        "known_hosts": {"files": [], "authorities": []},
        "sshd": {},
        "account": account.blank(),
        "ssh_client": {"problem": None, "untested": None, "targets": {}, "certificates": None, "without_keys": {}},
        "nccl_conf": [],
        "accelerate_default": [],
        "deepspeed_env": [],
        "processes": [],
        "port_owners": {},
        "caches": {},
        "shadows": [],
        "asked": {},
        "managed": {"exists": None, "files": {}},
        "files": [],
        "alike": {},
    }


class Reader(t.NamedTuple):
    """The node that is read; ``limit`` is in seconds for each small command."""

    wish: Wish
    tree: Tree
    run: Runner
    limit: float
    user: pwd.struct_passwd
    same_user: bool


def gather(wish: Wish, tree: Tree, run: Runner = command.run) -> Record:
    """All facts, as the module returns them under ``trainmesh_facts_user``; never raises. Unknown is None or empty."""
    deadline = time.monotonic() + wish.timeout
    limit = min(COMMAND_LIMIT, wish.timeout / 4)
    name = wish.user or job_user.user_name(os.geteuid())
    facts = blank(name)
    facts["time"] = int(time.time())
    own, peers = _addresses(wish)
    facts["sshd"] = ssh.server(tree, name, socket.gethostname(), next(iter(peers), wish.peer), run, limit, own)
    facts["processes"] = processes.processes(tree, wish.prefix, {os.getpid(), *ancestors(tree)})
    facts["port_owners"] = processes.port_owners(tree, wish.ports)
    log = processes.kernel_log(run, limit)
    facts["oom_kills"], facts["kernel_events"] = processes.oom_kills(tree, log), processes.kernel_events(tree, log)
    try:
        user = job_user.account(name)
    except ValueError as error:
        facts["problem"] = str(error)
    else:
        facts.update(uid=user.pw_uid, home=user.pw_dir, shell=user.pw_shell)
        if os.geteuid() == 0:
            facts["account"] = account.read(tree, user, [*peers, *filter(None, [own])] or [wish.peer], time.time())
        facts["root_without_password"] = root_without_password(name, user.pw_uid, run, limit)
        reader = Reader(wish, tree, run, limit, user, os.geteuid() == user.pw_uid)
        facts.update(_of_user(reader, facts["sshd"], deadline))
        facts["account"] = {**facts["account"], "labels": facts.pop("labels", None)}
    return folded(printable(facts), wish)


def _addresses(wish: Wish) -> tuple[str, list[str]]:
    """(the address of this node, those of its peers), as far as the caller knows them."""
    pairs = dict(zip(wish.ssh_names, wish.addresses))
    own = pairs.get(socket.gethostname(), "")
    return own, [address for address in dict.fromkeys(pairs.values()) if address and address != own]


def folded(facts: Record, wish: Wish) -> Record:
    """The facts with what is said of all nodes alike in ``alike``."""
    common: Record = {}
    client = facts["ssh_client"]
    if wish.addresses:
        names = alike.by_name(wish.ssh_names, wish.addresses)
        client["targets"], common["targets"] = alike.fold(client["targets"], names)
    if wish.keys and facts["authorized_keys"]:
        facts["authorized_keys"], common["authorized_keys"] = ssh.without(facts["authorized_keys"], wish.keys)
    return {**facts, "alike": {key: value for key, value in common.items() if value}}


def _of_user(reader: Reader, sshd: Record, deadline: float) -> Record:
    """The facts that need the user's rights, and ``problem``."""
    name = reader.user.pw_name
    if os.geteuid() != 0 and not reader.same_user:
        return {"problem": f"only root can look for {name}: run this task with become"}
    keys = ssh.key_files(sshd.get("authorizedkeysfile"), name, reader.user.pw_dir, reader.user.pw_uid)
    facts: Record = {}
    problems = []
    for work, share in ((_home, 0.6), (_asked, 1.0)):
        seconds = max(0.5, share * (deadline - time.monotonic()))
        try:
            facts.update(isolated.start(functools.partial(work, reader, keys), reader.user).result(seconds))
        except ValueError as error:
            problems.append(str(error))
    if not reader.same_user:  # the user may be shut out of the own .ssh
        try:
            seen = isolated.start(functools.partial(_places, reader.user.pw_dir, keys)).result(reader.limit)
        except ValueError:
            seen = {}  # what the user saw is what there is
        known = {key: row for key, row in seen.items() if row["exists"] is not None}
        facts["paths"] = {**facts.get("paths", {}), **known}
    facts["problem"] = f"what belongs to {name} could not be read: {problems[0]}" if problems else None
    return facts


def _asked(reader: Reader, _keys: list[str]) -> Record:
    """What the caller asked for, which may lie on any file system."""
    return {
        "files": files.handed_in(reader.wish.files),
        "asked": files.asked(reader.tree, reader.wish.paths, reader.wish.timeout / 4),
        "managed": files.managed(reader.wish.prefix),
    }


def _home(reader: Reader, keys: list[str]) -> Record:
    """What is the user's own; runs as the user."""
    tree, home = reader.tree, reader.user.pw_dir
    environment, answered = _environment(reader)
    places = files.cache_places(home, environment)
    strict = {"home": home, "ssh_dir": f"{home}/.ssh", **({"authorized_keys": keys[0]} if keys else {})}
    return {
        "login_shell_ok": answered,
        "paths": _places(home, keys),
        "ssh_dir_inode": files.inode_of(f"{home}/.ssh"),
        "labels": account.labels(tree, strict),
        "authorized_keys": ssh.authorized(tree, keys),
        "own_keys": ssh.own_keys(tree, home),
        "known_hosts": {"files": ssh.known_hosts(tree, home), "authorities": ssh.authorities(tree, home)},
        "ssh_client": ssh.client(
            reader.wish.ssh_names,
            ssh_options.Options(ssh_client.ClientConfig(tree, home), reader.limit, reader.run),
            reader.limit,
        ),
        "nccl_conf": files.nccl_conf(tree, home),
        "accelerate_default": files.accelerate_default(tree, places["hf"]),
        "deepspeed_env": files.deepspeed_env(tree, home, [f"{reader.wish.prefix}/workspace"]),
        "caches": files.caches(tree, places, reader.limit),
        "shadows": files.shadows([home, f"{reader.wish.prefix}/workspace"]),
    }


def _environment(reader: Reader) -> tuple[dict[str, str], bool]:
    """(the variables that a job of the user has, does the login shell answer).

    The login's own, and above them those that our scripts send with a job: that is where caches go.
    """
    shell = reader.user.pw_shell or "/bin/sh"
    usable = os.access(shell, os.X_OK) and os.path.basename(shell) not in NO_SHELL
    session, became = dict(os.environ), not reader.same_user
    source, found = "unknown", session
    if usable:
        source, _shell, found = login_env.read(reader.tree, session, reader.run, reader.limit, became=became)
    sent = login_env.etc_environment(reader.tree.text(f"{reader.wish.prefix}/etc/deepspeed_env") or "")
    return {**(found if source != "unknown" else {}), **sent}, usable and source != "unknown"


def _places(home: str, keys: list[str]) -> Record:
    """Owner and modes of what sshd's StrictModes and ssh look at."""
    identities = [f"{home}/.ssh/{name}" for name in ssh.KEY_NAMES]
    paths = {
        "home": home,
        "ssh_dir": f"{home}/.ssh",
        "authorized_keys": keys[0] if keys else f"{home}/.ssh/authorized_keys",
        "config": f"{home}/.ssh/config",
        "identity": next((path for path in identities if os.path.exists(path)), identities[0]),
    }
    above = files.loose_above(paths["authorized_keys"], home)
    above = None if above and above["path"] == os.path.realpath(paths["ssh_dir"]) else above
    return {**{name: files.described(path) for name, path in paths.items()}, **({"above_keys": above} if above else {})}


def root_without_password(name: str, uid: int, run: Runner, limit: float) -> bool | None:
    """Whether the user is root or may run everything as root without a password; None when that is not known.

    Root asks sudo for the list of the user's rights: this runs nothing as the user and needs no password.
    """
    if uid == 0:
        return True
    if os.geteuid() != 0:
        return None  # sudo would log the question as an attempt of the user
    sudo = which("sudo")
    return runs_everything(run([sudo, "-n", "-l", "-U", name], limit, cwd="/").text) if sudo else False


def runs_everything(text: str) -> bool | None:
    """Whether the list of ``sudo -l`` gives everything without a password. The last rule that matches decides."""
    defaults, listed, rules = text.partition(_LIST)
    if not listed:
        return False if " is not allowed to run sudo on " in text else None
    by_default = bool(re.search(r"(?:^|[\s,])!authenticate(?:[\s,]|$)", defaults))
    given = False
    for users, commands in _RULE.findall(re.sub(r"\n\s+(?=[^\s(])", " ", rules)):
        if not {"ALL", "root"} & set(users.replace(",", " ").split()):
            continue
        free = by_default
        for item in commands.split(","):
            command = item.strip()
            while tag := _TAG.match(command):
                free = {"NOPASSWD": True, "PASSWD": False}.get(tag[1], free)
                command = tag[2]
            if command in ("ALL", "!ALL"):
                given = free and command == "ALL"
    return given
