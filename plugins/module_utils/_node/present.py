# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The present state of what the roles manage, for the controller to compare with the plan.

Digests instead of texts: it is as small on a node of a thousand. Each part is what the modules of one role would
read; a part that can't be read says why and never hides the others. What may belong to the job user is read as the
job user, in a process of its own.
"""

from __future__ import annotations

import functools
import os
import pwd
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import (
    command,
    digest,
    isolated,
    job_user,
    root_path,
    search_path,
    ssh_config,
    textfile,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import (
    certificates,
    command_link,
    file_set,
    firewall,
    hosts_file,
    kernel_name,
    reserved_ports,
    ssh_files,
    sshd,
    sshd_return,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import cloud_init
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import firewall as fabric_firewall
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import environments, packages, uv
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import prefix as install_prefix

TIMEOUT_S = 60.0
COMMAND_S = 30.0
LONGEST_REASON = 200

Part = dict[str, t.Any]


class Wish(t.NamedTuple):
    """What the controller knows before there is a plan; ``key`` is that of the digests.

    ``backends`` are the firewalls that may get rules, ``port`` is the one of the rendezvous, ``ssh_port`` one that
    sshd shall have (0: none).
    """

    key: str
    user: str
    prefix: str
    backends: t.Sequence[str] = ()
    port: int = 29500
    ssh_port: int = 0


class Places(t.NamedTuple):
    """Where the modules of the roles read and write."""

    hosts: str = "/etc/hosts"
    hostname: str = "/etc/hostname"
    nccl_conf: str = "/etc/nccl.conf"
    reserved: str = "/proc/sys/net/ipv4/ip_local_reserved_ports"
    handout: str = "/var/cache/trainmesh/wheels"
    command: str = command_link.PATH
    root: str = "/"


PLACES = Places()


def start(wish: Wish, places: Places = PLACES) -> isolated.Process:
    """Begin to read, before any thread; ask result() for the state."""
    return isolated.start(functools.partial(read, wish, places))


def result(process: isolated.Process) -> Part:
    """What start() came to."""
    try:
        found: Part = process.result(TIMEOUT_S + isolated.GRACE_S)
    except ValueError as error:
        return _unknown(error)
    return found


def read(wish: Wish, places: Places = PLACES) -> Part:
    """The state by role, and in C(of) whose it is; called by root, never raises."""
    try:
        account = job_user.account(wish.user)
        users = isolated.start(functools.partial(_users_parts, wish, account), account)
    except (ValueError, OSError) as error:
        return _unknown(error)
    roots = {
        "hosts": _attempt(_hosts, wish, places),
        "ssh_mesh": _attempt(_sshd, wish),
        "firewall": _attempt(_firewall, wish),
        "launch_config": _attempt(_launch_config, wish, places),
        "python_env": _attempt(_roots_prefix, wish, account),
        "torch_stack": {"handout": os.path.isdir(places.handout)},
    }
    sets = _attempt(_roots_sets, wish, account)
    try:
        theirs: dict[str, Part] = users.result(TIMEOUT_S)
    except ValueError as error:
        theirs = {role: _unknown(error) for role in ("ssh_mesh", "launch_config", "python_env", "torch_stack")}
    if sets:
        theirs["launch_config"] = sets  # of these, only root can tell whether their owners are right
    return {"of": [wish.user, wish.prefix], **{role: {**theirs.get(role, {}), **part} for role, part in roots.items()}}


def _users_parts(wish: Wish, account: pwd.struct_passwd) -> dict[str, Part]:
    """What is read with the rights of the job user."""
    there = _attempt(_environment, wish)
    return {
        "ssh_mesh": _attempt(_ssh_mesh, wish, account),
        "launch_config": _attempt(_sets, wish, None),
        "python_env": there,
        "torch_stack": _attempt(_torch_stack, wish, there),
    }


def _unknown(error: Exception) -> Part:
    return {"unknown": f"{type(error).__name__}: {error}"[:LONGEST_REASON]}


def _attempt(read_part: t.Callable[..., Part], *arguments: t.Any) -> Part:
    try:
        return read_part(*arguments)
    except Exception as error:  # whatever it is: the role runs then, and its module tells
        return _unknown(error)


def _digest(wish: Wish, value: t.Any) -> str:
    """The digest of what stands as we write it, empty for what does not."""
    return "" if value is None else digest.keyed(wish.key, value)


def _hosts(wish: Wish, places: Places) -> Part:
    files = Tree(places.root)
    ours = "" if cloud_init.is_foreign(files) else textfile.read_text(files.path(cloud_init.OURS))
    return {
        "kernel": os.uname().nodename,
        "file": textfile.read_text(places.hostname).strip(),
        "may_set": kernel_name.may_set(textfile.read_text(kernel_name.STATUS)),
        "block": _digest(wish, hosts_file.settled(textfile.read_text(places.hosts))),
        "cloud_init": {"text": _digest(wish, ours), "needs": cloud_init.drop_in_lines(files)},
    }


def _ssh_mesh(wish: Wish, account: pwd.struct_passwd) -> Part:
    home = account.pw_dir
    state = ssh_files.state_of(home)
    return {
        **{name: _digest(wish, None if value[0] is None else value) for name, value in state._asdict().items()},
        "open": [path for path, _mode in ssh_files.open_directories(home)],
        "next": ssh_files.next_key(f"{home}/.ssh/{ssh_files.OURS}/{ssh_files.KEY_NAME}"),
    }


def _sshd(wish: Wish) -> Part:
    """What sshd has of ours; no digest while a change waits for a new login, and may come undone."""
    state = None if sshd_return.is_armed() else certificates.of_sshd()
    return {"sshd_certificates": _digest(wish, state), **_sshd_port(wish)}


def _sshd_port(wish: Wish) -> Part:
    """Whether sshd has the port: its configuration names it, it answers, and no change waits for a new login."""
    if not wish.ssh_port:
        return {"ports": []}
    outcome = command.run([search_path.path_of("sshd"), "-T"], COMMAND_S)
    named = wish.ssh_port in ssh_config.server_ports(ssh_config.settings(outcome.out))
    has = outcome.ok and named and not sshd_return.is_armed() and sshd.listens(wish.ssh_port, 0)
    return {"ports": [wish.ssh_port] if has else []}


def _firewall(wish: Wish) -> Part:
    """The firewalls in force that may get rules, and the addresses that have access."""
    if not wish.backends:
        return {"asked": [], "active": []}
    found = fabric_firewall.firewalls(Tree(), COMMAND_S)
    active = [each["name"] for each in found if each["active"] is True and each["name"] in wish.backends]
    readers = {"ufw": _ufw, "firewalld": _firewalld}
    return {"asked": list(wish.backends), "active": active, **{name: _attempt(readers[name], wish) for name in active}}


def _ufw(wish: Wish) -> Part:
    added = _answer("ufw", "show", "added") if firewall.ufw_may_have_rules() else ""
    return {"rules": _digest(wish, firewall.ufw_addresses(added))}


def _firewalld(wish: Wish) -> Part:
    """The default zone, the zones of interfaces in others, and the rules of each of these zones."""
    default = _answer("firewall-cmd", "--get-default-zone").strip()
    zones = firewall.zones_of(_answer("firewall-cmd", "--get-active-zones"))
    rules = {}
    for zone in sorted({default, *zones.values()}):
        query = (f"--zone={zone}", "--list-rich-rules")
        texts = (_answer("firewall-cmd", *query), _answer("firewall-cmd", "--permanent", *query))
        rules[zone] = _digest(wish, [firewall.firewalld_addresses(text) for text in texts])
    return {
        "default": default,
        "zones": {name: zone for name, zone in zones.items() if zone != default},
        "rules": rules,
    }


def _answer(program: str, *arguments: str) -> str:
    outcome = command.run([search_path.path_of(program), *arguments], COMMAND_S)
    if not outcome.ok:
        raise ValueError(f"{program}: {outcome.text.strip() or 'no answer in time'}")
    return outcome.out


def _launch_config(wish: Wish, places: Places) -> Part:
    return {
        "reserved": [wish.port] if reserved_ports.holds(textfile.read_text(places.reserved), wish.port) else [],
        "nccl_conf": _digest(wish, textfile.settled(textfile.read_text(places.nccl_conf))),
        "link": command_link.state(places.command, f"{wish.prefix}/bin/trainmesh").reason,
    }


def _roots_sets(wish: Wish, account: pwd.struct_passwd) -> Part:
    """The sets of files where they lie in a directory of root's; {} where they don't."""
    if not (os.geteuid() == 0 and os.path.isdir(wish.prefix) and root_path.is_roots(wish.prefix)):
        return {}
    return _sets(wish, account.pw_uid)


def _sets(wish: Wish, private: int | None) -> Part:
    names = ("files", "secrets")
    return {name: _digest(wish, file_set.settled(wish.prefix, file_set.manifest_of(name), private)) for name in names}


def _roots_prefix(wish: Wish, account: pwd.struct_passwd) -> Part:
    fault = install_prefix.owner_fault(wish.prefix, account.pw_uid, wish.user)
    return {
        "prefix": [fault] if fault else install_prefix.prefix_to_make(wish.prefix, account.pw_uid),
        "missing": install_prefix.missing_tools([{"command": name} for name in install_prefix.COMMANDS]),
    }


def _environment(wish: Wish) -> Part:
    base = environments.base(wish.prefix)
    absent = environments.absent_directories(base) if base != wish.prefix else []
    return {
        "directories": [*install_prefix.absent_directories(wish.prefix), *absent],
        "environment": install_prefix.environment_there(base),
        "claim": _digest(wish, install_prefix.read_claim(base)),
    }


def _torch_stack(wish: Wish, there: Part) -> Part:
    base, found = environments.base(wish.prefix), there.get("environment")
    where = uv.paths(base)
    have = packages.read(where.environment, where.marker, where.record, found[1] if found else None)
    return {
        "python": have.python,
        "packages": _digest(wish, packages.brought(have)),
        "torch_build": have.torch_build,
        "unfinished": have.unfinished,
        "added": packages.added(base),
        "environments": environments.read(wish.prefix, environments.content_of(found, have)),
        "own": {name: _own(wish, name) for name in environments.own(wish.prefix)},
    }


def _own(wish: Wish, name: str) -> Part:
    """An environment with a name of the user's."""
    base = environments.base_of(wish.prefix, name)
    found, where = install_prefix.environment_there(base), uv.paths(base)
    have = packages.read(where.environment, where.marker, where.record, found[1] if found else "")
    return {
        "environment": found,
        "claim": _digest(wish, install_prefix.read_claim(base)),
        "packages": _digest(wish, packages.brought(have)),
        "torch_build": have.torch_build,
        "unfinished": have.unfinished,
    }
