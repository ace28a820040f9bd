# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the known_hosts files say of a host and the key it shows (sshd(8), known_hosts)."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import re
import typing as t

KNOWN, UNKNOWN, CHANGED, REVOKED, AUTHORITY = "known", "unknown", "changed", "revoked", "authority"
MAX_BYTES = 16 * 1024 * 1024


class Entry(t.NamedTuple):
    """One line that is about the host: ``marker`` is @revoked, @cert-authority or empty, ``where`` file:line.

    ``borrowed``: it is about the address at port 22, where another host may answer than at this port.
    """

    marker: str
    kind: str
    key: bytes
    where: str
    borrowed: bool = False


class Judgement(t.NamedTuple):
    """Whether a key is good, and the line that says so; ``authority``: a host certificate could be."""

    state: str
    where: str = ""


def entries(files: t.Iterable[str], name: str) -> list[Entry]:
    """Every line of the files that is about ``name`` (``host`` or ``[host]:port``)."""
    found = []
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = file.read(MAX_BYTES).splitlines()
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            entry = _entry(line, name, f"{path}:{number}")
            if entry:
                found.append(entry)
    return found


def _entry(line: str, name: str, where: str) -> Entry | None:
    fields = line.split()
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    if len(fields) < 3 or fields[0].startswith("#") or not covers(fields[0], name):
        return None
    try:
        return Entry(marker, fields[1], base64.b64decode(fields[2]), where)
    except (binascii.Error, ValueError):
        return None


def covers(patterns: str, name: str) -> bool:
    """Whether the first field of a line is about ``name``: hashed, or a list of patterns with * ? and !."""
    if patterns.startswith("|1|"):
        return _hashed(patterns, name)
    held = False
    for pattern in patterns.lower().split(","):
        # [host]:port has brackets of its own, which are no character classes in known_hosts.
        plain = pattern.removeprefix("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(name.lower(), plain):
            if pattern.startswith("!"):
                return False
            held = True
    return held


def _hashed(field: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in field[3:].split("|"))
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)


def lookup(files: t.Sequence[str], name: str) -> list[Entry]:
    """The lines about a host; as ssh does, those without the port where ``[host]:port`` has none."""
    found = entries(files, name)
    bare = re.fullmatch(r"\[(.+)\]:\d+", name)
    if bare and all(entry.marker == "@revoked" for entry in found):
        found += [entry._replace(borrowed=True) for entry in entries(files, bare.group(1))]
    return found


def judge(found: t.Iterable[Entry], kind: str, key: bytes) -> Judgement:
    """What the lines about a host say of the key it shows; only a key of the same kind can have changed."""
    keys = list(found)
    for entry in keys:
        if entry.marker == "@revoked" and entry.key == key:
            return Judgement(REVOKED, entry.where)
    plain = [entry for entry in keys if not entry.marker]
    for entry in plain:
        if entry.key == key:
            return Judgement(KNOWN, entry.where)
    for entry in plain:
        if entry.kind == kind and not entry.borrowed:
            return Judgement(CHANGED, entry.where)
    authority = next((entry for entry in keys if entry.marker == "@cert-authority"), None)
    return Judgement(AUTHORITY, authority.where) if authority else Judgement(UNKNOWN)


def kinds(found: t.Iterable[Entry]) -> list[str]:
    """The kinds of the known keys: ssh asks for these first, so that a host is not taken for an unknown one."""
    return list(dict.fromkeys(entry.kind for entry in found if not entry.marker))


def fingerprint(kind: str, key: bytes) -> str:
    """As ssh prints it: ``ssh-ed25519 SHA256:...``."""
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    return f"{kind} SHA256:{digest}"
