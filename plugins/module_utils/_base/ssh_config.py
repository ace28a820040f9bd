# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ssh and sshd say of their configuration: ``ssh -G``, ``sshd -T``, sshd's files, or a complaint."""

from __future__ import annotations

import fnmatch
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, to_int

PERMISSIONS, TRAILING, SYNTAX = "permissions", "trailing", "syntax"
# OpenSSH 7 to 10, readconf.c; old releases know no comment behind a value.
_KINDS = (
    (PERMISSIONS, r"Bad owner or permissions"),
    (TRAILING, r"garbage at end of line|extra arguments at end of line|keyword .* extra arguments|Bad number|Bad port"),
)
_LINE = re.compile(r"\s*([A-Za-z]+)(?:\s*=\s*|\s+)(\S.*)")
SERVER, SERVER_OF_PACKAGE = "/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config"  # the second on SUSE, without the first
MAX_INCLUDES = 200
Settings = dict[str, list[str]]


def config_error(stderr: str) -> str:
    """``permissions`` (others may write to it), ``trailing`` (something stands behind a value), else ``syntax``."""
    return next((kind for kind, pattern in _KINDS if re.search(pattern, stderr, re.IGNORECASE)), SYNTAX)


def settings(text: str) -> Settings:
    """The answer of ``ssh -G`` or ``sshd -T``: all values of each keyword, which is in lower case."""
    return _gathered(line.strip().partition(" ")[::2] for line in text.splitlines())


def first(text: str) -> dict[str, str]:
    """The answer of ``ssh -G`` with the first value of each keyword, which is the one that counts."""
    return {keyword: values[0] for keyword, values in settings(text).items()}


def server_settings(tree: Tree, path: str = SERVER) -> Settings | None:
    """What sshd's files say for everybody, as settings() gives it; None when they can't be read.

    Include is followed, and reading ends at the first Match. Format: sshd_config(5).
    """
    text = tree.text(_server_file(tree, path))
    return None if text is None else _gathered(_lines(tree, text, [0]))


def _server_file(tree: Tree, path: str) -> str:
    return SERVER_OF_PACKAGE if path == SERVER and not tree.has(path) and tree.has(SERVER_OF_PACKAGE) else path


class Line(t.NamedTuple):
    """A line of sshd's files: where it stands, its keyword in lower case, and its value."""

    file: str
    number: int
    keyword: str
    value: str


def server_lines(tree: Tree, path: str = SERVER) -> list[Line]:
    """Every line of sshd's files, those of Match blocks too, in the order in which sshd reads them."""
    found: list[Line] = []
    _numbered(tree, _server_file(tree, path), found, [0])
    return found


def _numbered(tree: Tree, path: str, found: list[Line], seen: list[int]) -> None:
    for number, line in enumerate((tree.text(path) or "").splitlines(), 1):
        match = _LINE.match(line.split("#", 1)[0].replace('"', " "))
        if match and match[1].lower() != "include":
            found.append(Line(path, number, match[1].lower(), match[2].strip()))
        for place in _included(tree, match[2]) if match and match[1].lower() == "include" else ():
            seen[0] += 1
            if seen[0] > MAX_INCLUDES:
                return
            _numbered(tree, place, found, seen)


def _included(tree: Tree, value: str) -> t.Iterator[str]:
    """The files that an Include names."""
    for pattern in value.split():
        directory, _slash, name = (pattern if pattern.startswith("/") else f"/etc/ssh/{pattern}").rpartition("/")
        for entry in fnmatch.filter(tree.names(directory), name):
            yield f"{directory}/{entry}"


def server_ports(found: Settings) -> list[int]:
    """The ports on which sshd with these settings listens: Port counts for each ListenAddress that names none."""
    ports = [port for value in found.get("port", []) if (port := _port(value))] or [22]
    given = [_port_of(value.split()[0]) for value in found.get("listenaddress", [])]
    return sorted({port for own in given for port in ([own] if own else ports)} or set(ports))


def _port_of(address: str) -> int | None:
    """The port of ``host:port`` or ``[address]:port``."""
    return _port(address.rpartition(":")[2]) if address.count(":") == 1 or "]:" in address else None


def _port(text: str) -> int | None:
    port = to_int(text)
    return port if port and 0 < port < 65536 else None


def _gathered(pairs: t.Iterable[tuple[str, str]]) -> Settings:
    values: Settings = {}
    for keyword, value in pairs:
        values.setdefault(keyword.lower(), []).append(value.strip())
    return values


def _lines(tree: Tree, text: str, seen: list[int]) -> t.Iterator[tuple[str, str]]:
    """(keyword, values) of each line, quotes and comments taken off."""
    for line in text.splitlines():
        match = _LINE.match(line.split("#", 1)[0].replace('"', " "))
        if not match:
            continue
        keyword, value = match[1].lower(), match[2]
        if keyword == "match":
            return
        if keyword != "include":
            yield keyword, value
            continue
        for place in _included(tree, value):
            seen[0] += 1
            if seen[0] > MAX_INCLUDES:
                return
            yield from _lines(tree, tree.text(place) or "", seen)
