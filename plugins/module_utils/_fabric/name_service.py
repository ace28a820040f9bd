# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why names that stand in /etc/hosts do not lead where it says.

The file is only one of the sources of the resolver: nsswitch.conf(5) may leave it out or ask another one first,
systemd-resolved may be told not to read it, nscd may answer from its cache, and users may not be allowed to read it.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree

Record = dict[str, t.Any]

SWITCH, SWITCH_OF_PACKAGE = "/etc/nsswitch.conf", "/usr/etc/nsswitch.conf"  # the second on SUSE, without the first
RESOLVED = ("/usr/lib/systemd/resolved.conf.d", "/run/systemd/resolved.conf.d", "/etc/systemd/resolved.conf.d")
NSCD_PIDS = ("/run/nscd/nscd.pid", "/var/run/nscd/nscd.pid", "/run/nscd.pid")
MOST_NAMES = 16
_WORD = re.compile(r"\[[^\]]*\]|\S+")


def read(files: Tree, resolution: t.Mapping[str, Record], entries: t.Sequence[t.Mapping[str, t.Any]]) -> Record | None:
    """What decides on names, where names do not lead as /etc/hosts says, or where not everybody can read it.

    ``names``: {name: the line and the address in /etc/hosts}, ``switch``: ``file``, ``line`` and ``text`` of the hosts
    line of nsswitch.conf, None without one. None where all is as it should be.
    """
    mode = _mode(files.path("/etc/hosts"))
    missed = _missed(resolution, entries)
    closed = mode is not None and not mode & 0o004
    if not missed and not closed:
        return None
    place = SWITCH_OF_PACKAGE if not files.has(SWITCH) and files.has(SWITCH_OF_PACKAGE) else SWITCH
    line = switch(files.text(place) or "")
    return {
        "names": missed,
        "mode": None if mode is None else f"{mode:04o}",
        "switch": line and {**line, "file": place},
        "resolved_reads_hosts": resolved_reads_hosts(files),
        "nscd": any((files.line(f"/proc/{pid}/comm") or "").endswith("nscd") for pid in _pids(files)),
    }


def _mode(path: str) -> int | None:
    try:
        return os.stat(path).st_mode & 0o7777
    except OSError:
        return None


def _pids(files: Tree) -> list[int]:
    return [pid for pid in map(files.number, NSCD_PIDS) if pid]


def _missed(resolution: t.Mapping[str, Record], entries: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, Record]:
    """The names that /etc/hosts has and that lead to none of the addresses in it."""
    places: dict[str, list[t.Mapping[str, t.Any]]] = {}
    for entry in entries:
        for name in entry["names"]:
            places.setdefault(str(name).lower(), []).append(entry)
    found: dict[str, Record] = {}
    for name, answer in resolution.items():
        rows = places.get(name.lower(), [])
        given = {str(row["address"]).split("%", 1)[0] for row in rows}
        if rows and not given & set(answer["addresses"]) and len(found) < MOST_NAMES:
            found[name] = {"line": rows[0]["line"], "address": rows[0]["address"]}
    return found


def switch(text: str) -> Record | None:
    """The line of nsswitch.conf about hosts: ``line``, ``text`` and ``sources``, actions in brackets among them."""
    for number, row in enumerate(text.splitlines(), 1):
        name, colon, value = row.split("#", 1)[0].partition(":")
        if colon and name.strip() == "hosts":
            return {"line": number, "text": " ".join(row.split())[:200], "sources": _WORD.findall(value)[:16]}
    return None


def resolved_reads_hosts(files: Tree) -> bool:
    """ReadEtcHosts of systemd-resolved; the last file that says it decides: resolved.conf(5)."""
    names = {name: f"{place}/{name}" for place in RESOLVED for name in files.names(place) if name.endswith(".conf")}
    answer = True
    for path in ("/etc/systemd/resolved.conf", *(names[name] for name in sorted(names))):
        for row in (files.text(path) or "").splitlines():
            key, equals, value = row.strip().partition("=")
            if equals and key.strip() == "ReadEtcHosts":
                answer = value.strip().lower() not in ("no", "false", "0", "off")
    return answer
