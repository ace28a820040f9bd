# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault of an inventory at once, before any machine is touched."""

from __future__ import annotations

import difflib
import posixpath
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import host_names
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.duplicates import Repeat
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.variables import PREFIX, VARIABLES
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import python

# Registered results of our own plays, and facts, which later plays see among the variables.
RESULTS = ("identity", "inventory", "plan", "reach")
FACTS = "facts_"
# variables that may hold a token, or an address with a password in it
HIDDEN = (
    *("env", "index_url", "torch_index_url", "python_mirror", "conda_installer", "conda_channels"),
    *("extra_packages", "driver_repository", "driver_key", "cuda_toolkits"),
)
HostVars = t.Mapping[str, t.Mapping[str, t.Any]]
Origin = t.Callable[[t.Any], str]
IsSecret = t.Callable[[t.Any], bool]


class Fault(t.NamedTuple):
    """One fault: the host (empty for the whole inventory), where it stands, and what is wrong."""

    host: str
    where: str
    message: str

    def __str__(self) -> str:
        place = ", ".join(part for part in (self.host, self.where) if part)
        return f"{place}: {self.message}" if place else self.message


def check(
    hosts: HostVars,
    repeats: t.Iterable[Repeat] = (),
    origin: Origin = lambda _value: "",
    is_secret: IsSecret = lambda _value: False,
) -> list[Fault]:
    """All faults of the inventory.

    ``hosts`` maps each inventory name to its variables (Ansible's and ours), ``repeats`` are the
    names found twice in a file, ``origin`` tells where a value was written (file:line or nothing),
    ``is_secret`` whether it was encrypted there.
    """
    if not hosts:
        text = "the inventory holds no machine: expected at least one host line such as 'node1 ansible_host=10.0.0.11'"
        return [Fault("", "", text)]
    faults = [
        Fault(
            item.name,
            f"{item.path}:{item.line}",
            f"this name already stands in line {item.first_line}, with other variables",
        )
        for item in repeats
    ]
    for number, (name, values) in enumerate(hosts.items()):
        faults += _names(name, values, origin) + _values(name, values, origin, is_secret, number == 0)
    faults += _differing(hosts, origin, is_secret) + _head(hosts, origin) + _collisions(hosts, origin)
    return faults + _master_port(hosts, origin) + _conda_python(hosts, origin)


def _names(name: str, values: t.Mapping[str, t.Any], origin: Origin) -> list[Fault]:
    faults = _host_name(name, values, origin)
    for variable, value in values.items():
        short = variable[len(PREFIX) :]
        if variable.startswith(PREFIX) and not short.startswith(FACTS) and short not in (*VARIABLES, *RESULTS):
            near = difflib.get_close_matches(variable, [PREFIX + known for known in VARIABLES], 1)
            hint = f"; did you mean {near[0]}?" if near else "; docs/variables.md lists those that exist"
            faults.append(Fault(name, origin(value), f"unknown variable {variable}{hint}"))
    return faults


def _host_name(name: str, values: t.Mapping[str, t.Any], origin: Origin) -> list[Fault]:
    """The host name that this line leads to must be one, and the node's alone."""
    wanted = values.get(PREFIX + "hostname")
    given = host_names.host_name(name, str(wanted) if wanted else None)
    if host_names.is_reserved(given) or (not wanted and host_names.is_reserved(name)):
        own = "ansible_host: 10.0.0.11" if wanted else "ansible_connection: local"
        text = (
            f"{given} is a name that every host has, or a word of Ansible's, and would lead every node to this one: "
            f"give the node a name of its own, such as 'head: {{{own}}}'"
        )
        return [Fault(name, origin(wanted) if wanted else "", text)]
    fqdn = values.get(PREFIX + "fqdn")
    if fqdn and host_names.is_reserved(str(fqdn)):
        return [Fault(name, origin(fqdn), f"trainmesh_fqdn: {fqdn} is a name that every host has: leave it out")]
    if not wanted and not host_names.is_host_name(given):
        text = (
            f"no host name can be made of it: expected letters, digits, dots and dashes only; name the host "
            f"otherwise, or set trainmesh_hostname: {_suggestion(given)}"
        )
        return [Fault(name, "", text)]
    return []


def _suggestion(name: str) -> str:
    """A host name as near to ``name`` as possible."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[:63] or "node1"


def _is_hidden(short: str, value: t.Any, is_secret: IsSecret) -> bool:
    """Whether a value must not be printed: what was encrypted, tokens for the jobs, addresses with a login."""
    return short in HIDDEN or is_secret(value)


def _values(name: str, values: t.Mapping[str, t.Any], origin: Origin, is_secret: IsSecret, first: bool) -> list[Fault]:
    """Values of the wrong form; those of the whole cluster are judged once, on the first host."""
    faults = []
    for short, variable in VARIABLES.items():
        value = values.get(PREFIX + short)
        if value is not None and (first or variable.scope == "host"):
            try:
                variable.read(value)
            except ValueError as error:
                text = f"{error}, found {value!r}"
                if _is_hidden(short, value, is_secret):
                    text = f"{str(error).partition(', found')[0]}; the value is not shown"
                faults.append(Fault(name, origin(value), f"{PREFIX}{short}: {text}"))
    faults += _interpreter(name, values, origin)
    port = values.get("ansible_port")
    if port is not None and not (str(port).isdigit() and 1 <= int(port) <= 65535):
        text = f"ansible_port: expected a TCP port, a whole number from 1 to 65535, found {port!r}"
        faults.append(Fault(name, origin(port), text))
    return faults


def _interpreter(name: str, values: t.Mapping[str, t.Any], origin: Origin) -> list[Fault]:
    """Ansible's own Python runs as root, and below the prefix the job user may exchange it."""
    path = values.get("ansible_python_interpreter")
    prefix = values.get(PREFIX + "prefix") or VARIABLES["prefix"].default
    if path is None or not posixpath.normpath(str(path)).startswith(f"{str(prefix).rstrip('/')}/"):
        return []
    text = (
        f"ansible_python_interpreter: {path} belongs to the job user, and Ansible runs it as root: "
        f"name one of the system's, such as /usr/bin/python3"
    )
    return [Fault(name, origin(path), text)]


def _differing(hosts: HostVars, origin: Origin, is_secret: IsSecret) -> list[Fault]:
    """A variable of the whole cluster must have one value; the first host's is taken as the meant one."""
    faults = []
    first_name, first = next(iter(hosts.items()))
    for short, variable in VARIABLES.items():
        if variable.scope == "cluster":
            meant = first.get(PREFIX + short)
            for name, values in hosts.items():
                found = values.get(PREFIX + short)
                if found != meant:
                    hidden = any(_is_hidden(short, value, is_secret) for value in (found, meant))
                    both = f"another one on {first_name}" if hidden else f"{found!r} here, {meant!r} on {first_name}"
                    text = f"{PREFIX}{short} is one value for the whole cluster: {both}"
                    faults.append(Fault(name, origin(found), text))
    return faults


def _head(hosts: HostVars, origin: Origin) -> list[Fault]:
    head = next(iter(hosts.values())).get(PREFIX + "head")
    if head is None or head in hosts:
        return []
    return [
        Fault(
            "", origin(head), f"trainmesh_head: expected a host of the inventory ({', '.join(hosts)}), found {head!r}"
        )
    ]


def _collisions(hosts: HostVars, origin: Origin) -> list[Fault]:
    """Two lines that lead to one machine, or give two machines one name or address."""
    keys: dict[tuple[str, str], str] = {}
    faults = []
    for name, values in hosts.items():
        target = f"{values.get('ansible_host') or name} port {values.get('ansible_port') or 22}"
        wanted = [
            ("the machine", target, values.get("ansible_host")),
            ("the data address", values.get(PREFIX + "address"), values.get(PREFIX + "address")),
            ("the host name", host_names.host_name(name, values.get(PREFIX + "hostname")).lower(), name),
        ]
        for what, key, value in wanted:
            if key is None:
                continue
            other = keys.setdefault((what, str(key)), name)
            if other != name:
                faults.append(Fault(name, origin(value), f"{what} {key} is already that of {other}"))
    return faults


def _master_port(hosts: HostVars, origin: Origin) -> list[Fault]:
    """The rendezvous can't share a port with an sshd (seed: main_process_port 22)."""
    port = next(iter(hosts.values())).get(PREFIX + "master_port") or VARIABLES["master_port"].default
    faults = []
    for name, values in hosts.items():
        for variable in ("ansible_port", PREFIX + "ssh_port"):
            value = values.get(variable)
            if value is not None and str(value) == str(port):
                text = f"{variable} {value} is also trainmesh_master_port: the rendezvous needs a port of its own"
                faults.append(Fault(name, origin(value), text))
    return faults


def _conda_python(hosts: HostVars, origin: Origin) -> list[Fault]:
    """Conda brings an interpreter of its own: it can't be given the path of one."""
    first = next(iter(hosts.values()))
    value = first.get(PREFIX + "python")
    if first.get(PREFIX + "python_env") != "conda" or not isinstance(value, str) or python.named(value):
        return []
    text = f'trainmesh_python: with trainmesh_python_env: conda expected a version such as "3.11", found {value!r}'
    return [Fault("", origin(value), text)]
