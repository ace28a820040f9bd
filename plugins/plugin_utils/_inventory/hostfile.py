# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostfiles of DeepSpeed, Open MPI and MPICH as inventories: what each line says of its host.

Sources of the formats: DeepSpeed 0.19.8 ``launcher/runner.py``, PRRTE ``src/util/hostfile/hostfile_lex.l``, MPICH
``src/pm/hydra``. Whether DeepSpeed takes a user's hostfile as it is, the checks of user files say.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import host_names
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.parsers import number
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.variables import VARIABLES

PLUGIN = "trainmesh.cluster.hostfile"
EXPECTED = "expected a line such as 'gpu1 slots=8'"
_NAMED = re.compile(r"hostfile|machinefile|machine_file", re.IGNORECASE)
# Inventories of other plugins; what is in them does not matter.
_FOREIGN = (".cfg", ".ini", ".j2", ".json", ".py", ".sh", ".toml", ".yaml", ".yml")
# How INI files, YAML, JSON and scripts look, and no hostfile; a section of an INI file may also be an IPv6 address.
_SECTION = re.compile(r"\[([^]]*)\]\s*([#;].*)?\Z")
_SIGN = re.compile(r"#!|---|- |[{}\"']|[^#]*:\s*\Z|[^#]*\b(ansible|trainmesh)_\w+\s*=")
_COMMENT = re.compile("#|//")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")
_HEAD = re.compile(r"(?:(?P<user>[^@]*)@)?(?:\[(?P<bracketed>[^]]+)\]|(?P<plain>[^:]+))(?::(?P<count>[^:]*))?\Z")
_SLOTS = ("slots", "cpu", "count")
_MOST = tuple(f"{first}{sign}{last}" for sign in "-_" for one in _SLOTS for first, last in (("max", one), (one, "max")))
_USER = ("user", "username", "user-name", "user_name")
# What MPI does with the processors of a host; nothing that an inventory knows.
_PLACING = ("binding", "boards", "cores", "cores_per_socket", "cores-per-socket", "ifname", "sockets")
_PORT = number(1, 65535, "a TCP port")
_ENOUGH = 20  # faults, to see what is wrong with a file
Variables = dict[str, t.Any]


class Host(t.NamedTuple):
    """A host and the variables that its line gives."""

    name: str
    variables: Variables


class Hostfile(t.NamedTuple):
    """The hosts in their order, and what is wrong, one sentence with file and line each."""

    hosts: tuple[Host, ...]
    faults: tuple[str, ...]


def read(path: str) -> Hostfile | None:
    """What the file says; None for one that is no hostfile, or can't be read.

    A file that is called a hostfile is one even where a line is wrong; any other only if each line is right and gives
    C(slots=): a bare list of names means the same to every plugin, and in an INI file C(gpu1:22) is a port.
    """
    if path.lower().endswith(_FOREIGN) or not os.path.isfile(path):  # who reads a pipe takes it from the next plugin
        return None
    try:
        with open(path, encoding="utf-8-sig") as stream:
            lines = stream.read().split("\n")
    except (OSError, UnicodeDecodeError):
        return None
    if any(map(_is_foreign, map(str.strip, lines))):
        return None
    rows = {at: row for at, line in enumerate(lines, 1) if (row := _COMMENT.split(line, maxsplit=1)[0].strip())}
    found = _parse(path, rows)
    if _NAMED.search(os.path.basename(path)):
        return found
    return None if found.faults or not all(re.search(r"\sslots\s*=", row) for row in rows.values()) else found


def _is_foreign(line: str) -> bool:
    section = _SECTION.match(line)
    return bool(_SIGN.match(line) or (section and not host_names.is_address(section[1])))


def _parse(path: str, rows: t.Mapping[int, str]) -> Hostfile:
    """The lines by their number; no host at all is a fault, too."""
    hosts: list[Host] = []
    faults: list[str] = []
    first: dict[str, int] = {}
    for line, row in rows.items():
        if len(faults) == _ENOUGH:
            break
        try:
            host = _host(row)
            at = first.setdefault(host.name.lower(), line)
            if at != line:
                raise ValueError(f"{host.name} already stands in line {at}: expected one line for each host")
            hosts.append(host)
        except ValueError as error:
            faults.append(f"{path}:{line}: {error}")
    if not rows:
        faults.append(f"{path}: it names no host: {EXPECTED}")
    return Hostfile(tuple(hosts), tuple(faults))


def _host(line: str) -> Host:
    """One line; raises ValueError with what was expected."""
    head, *words = " ".join(line.split()).replace(" =", "=").replace("= ", "=").split(" ")
    name, variables, slots = _head(head)
    most = None
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise ValueError(f"{EXPECTED}, found {word!r} behind the host")
        if key in _SLOTS:
            if slots is not None:
                raise ValueError(f"expected one number of slots, found {word!r} besides {slots}")
            slots = _slots(value, word)
        elif key in _MOST:
            most = _slots(value, word)
        elif key in _USER:
            variables["ansible_user"] = _user(value)
        elif key == "port":
            variables["ansible_port"] = _number(_PORT, value, word)
        elif key not in _PLACING:
            raise ValueError(f"{EXPECTED}, found {word!r}")
    if slots and most and slots > most:
        raise ValueError(f"expected at most max_slots, {most}, found slots={slots}")
    if slots or most:
        variables["trainmesh_slots"] = slots or most
    return Host(name, variables)


def _head(word: str) -> tuple[str, Variables, int | None]:
    """Name, variables and slots of C(host), C(user@host), C(host:8), C([2001:db8::1]:8)."""
    user, at, address = word.rpartition("@")
    match = _HEAD.match(word)
    if host_names.is_address(address):  # an IPv6 address without brackets: its colons count nothing
        name, count = address, None
    elif match:
        name, count = match["bracketed"] or match["plain"], match["count"]
    else:
        raise ValueError(f"{EXPECTED}, found {word!r}")
    if not host_names.is_address(name) and not _NAME.match(name):
        raise ValueError(f"expected one host name or address (no range) of letters, digits, '.', '-', found {name!r}")
    return name, {"ansible_user": _user(user)} if at else {}, None if count is None else _slots(count, word)


def _user(value: str) -> str:
    if not _NAME.match(value):
        raise ValueError(f"expected a user name, found {value!r}")
    return value


def _slots(value: str, word: str) -> int:
    return _number(VARIABLES["slots"].read, value, word)


def _number(read_one: t.Callable[[t.Any], t.Any], value: str, word: str) -> int:
    if not re.fullmatch("[0-9]+", value):
        raise ValueError(f"{EXPECTED}, found {word!r}")
    try:
        return int(read_one(value))
    except ValueError as error:
        raise ValueError(f"{error}, found {word!r}") from None


def unread(path: str, found: Hostfile, hosts: t.Mapping[str, t.Any], enabled: t.Iterable[str]) -> list[str]:
    """That another plugin has read this hostfile, and how to have ours; empty where nothing is lost.

    ``hosts`` are the variables of every host of the inventory, ``enabled`` the plugins that Ansible has asked.
    """
    lost = [name for name, wanted in found.hosts if name not in hosts or any(one not in hosts[name] for one in wanted)]
    if not lost:
        return []
    plugins = [PLUGIN, *(one for one in enabled if one != PLUGIN)]
    return [
        f"{path}: this is a hostfile, and another inventory plugin has read it, to which the slots of "
        f"{', '.join(lost[:3])}{' and others' if len(lost) > 3 else ''} mean nothing: export "
        f"ANSIBLE_INVENTORY_ENABLED={','.join(plugins)}, or set enable_plugins = {', '.join(plugins)} under "
        "[inventory] in ansible.cfg"
    ]
