# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of /etc/hosts, and the cluster's block in it."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.textfile import (
    BEGIN,
    END,
    BlockError,
    block_in,
    lines_of,
    mark_of,
    with_block,
    without_block,
)

# These belong to the loopback whatever the node is called.
LOOPBACK_NAMES = frozenset(
    "localhost localhost.localdomain localhost4 localhost6 ip6-localhost ip6-loopback "
    "localhost4.localdomain4 localhost6.localdomain6".split()
)

# The first line of the block, when the cluster has an identity: a comment, so that nobody else reads it.
_CLUSTER = re.compile(r"# cluster (?P<id>[0-9a-f]{8,32}), head (?P<head>\S+)\Z")


class Plan(t.NamedTuple):
    """The wished text, and what stands outside of our block and says something else of our names."""

    text: str
    conflicts: list[str]


def plan(have: str, entries: t.Sequence[tuple[str, t.Sequence[str]]], cluster: str = "", head: str = "") -> Plan:
    """The hosts file with one block for ``entries`` (address, names), which says whose it is (``cluster``, ``head``).

    Raises BlockError. The block stands first, so that it wins over lines below it. Names of nodes on loopback lines
    (Debian's ``127.0.1.1 name``) are taken off these lines; every other foreign line is kept.
    """
    address_of = {name: address for address, names in entries for name in names}
    kept: list[str] = []
    conflicts: list[str] = []
    for line in without_block(have):
        address, names = _parse(line)
        if address is None or not any(name in address_of for name in names):
            kept.append(line)
        elif address.is_loopback:
            kept.extend(_freed(line, names, address_of))
        else:
            kept.append(line)
            wrong = [name for name in names if address_of.get(name, str(address)) != str(address)]
            if wrong:
                conflicts.append(f"{line.strip()!r} names {', '.join(wrong)} too")
    return Plan(with_block("".join(kept), block_lines(entries, cluster, head), at_start=True), conflicts)


def block_lines(entries: t.Sequence[tuple[str, t.Sequence[str]]], cluster: str = "", head: str = "") -> list[str]:
    """The lines of the block."""
    block = [f"# cluster {cluster}, head {head}"] if cluster and entries else []
    return block + [f"{address}\t{' '.join(names)}" for address, names in entries]


def settled(have: str) -> list[str] | None:
    """The lines of the block where writing just these would change nothing; None where it would, or is refused."""
    lines = block_in(have)
    whose = _CLUSTER.match(lines[0]) if lines else None
    parts = [line.partition("\t") for line in (lines[1:] if whose else lines)]
    entries = [(address, names.split(" ")) for address, _tab, names in parts]
    try:
        same = plan(have, entries, *(whose.group("id", "head") if whose else ())).text == have
    except BlockError:
        return None
    return lines if same else None


def block_of(text: str) -> dict[str, t.Any] | None:
    """Whose block a hosts file holds: ``id`` and ``head`` (empty in an old one), ``nodes`` with address and name."""
    rows = lines_of(text)
    marks = [mark_of(row) for row in rows]
    if BEGIN not in marks or END not in marks:
        return None
    found: dict[str, t.Any] = {"id": "", "head": "", "nodes": []}
    for row in rows[marks.index(BEGIN) + 1 :]:
        if mark_of(row) == END:
            break
        match = _CLUSTER.match(row.rstrip())
        address, names = _parse(row)
        if match:
            found.update(match.groupdict())
        elif address is not None and names:
            found["nodes"].append({"address": str(address), "name": names[min(1, len(names) - 1)]})
    return found


def _parse(line: str) -> tuple[t.Any, list[str]]:
    fields = line.split("#", 1)[0].split()
    try:
        return ipaddress.ip_address(fields[0].split("%")[0]), fields[1:]
    except (IndexError, ValueError):
        return None, []


def _freed(line: str, names: list[str], address_of: t.Mapping[str, str]) -> list[str]:
    """A loopback line without the names of nodes; nothing when no name is left."""
    left = [name for name in names if name not in address_of or name in LOOPBACK_NAMES]
    if not left:
        return []
    comment = re.search(r"\s*#[^\r\n]*", line)
    end = line[len(line.rstrip("\r\n")) :]
    return [f"{line.split(maxsplit=1)[0]}\t{' '.join(left)}{comment.group(0) if comment else ''}{end}"]


def parse_hosts(text: str) -> list[dict[str, t.Any]]:
    """The entries of a hosts file: ``line`` (from 1), ``address``, ``names``. Format: hosts(5)."""
    entries = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split("#", 1)[0].split()
        if len(fields) >= 2:
            entries.append({"line": number, "address": fields[0], "names": fields[1:]})
    return entries


def own_entries(entries: t.Iterable[dict[str, t.Any]], own: t.Collection[str]) -> list[dict[str, t.Any]]:
    """The entries that name this node (one of ``own``, any case) or an address of 127.0.0.0/8 (no node is on ::1)."""
    wanted = {name.lower() for name in own if name}
    return [
        entry
        for entry in entries
        if entry["address"].startswith("127.") or wanted.intersection(name.lower() for name in entry["names"])
    ]
