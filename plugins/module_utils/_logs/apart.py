# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of one command on several machines, as pdsh, dshbak, clush and ansible put it together."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.kernel_log import SECTION, sections

_ANSI = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")
_PDSH = re.compile(r"(?P<host>(?!INFO|WARN|Warn|E[Rr]+[Oo][Rr]|Note|Usage)[A-Za-z0-9][\w.-]{0,100}): ?")


def by_host(text: str) -> dict[str, list[str]]:
    """{machine: its lines}; the name is empty where nothing tells it."""
    rows = _ANSI.sub("", text).splitlines()
    heads = [_PDSH.match(row) for row in rows]
    if any(heads) and all(head or not row.strip() for head, row in zip(heads, rows)):
        pairs = [(head.group("host"), row[head.end() :]) for head, row in zip(heads, rows) if head]
    else:
        pairs = list(_of_sections(rows))
    found: dict[str, list[str]] = {}
    for host, row in pairs:
        found.setdefault(host, []).append(row)
    return found


def _of_sections(rows: t.Sequence[str]) -> t.Iterator[tuple[str, str]]:
    host = ""
    for row in sections(rows):
        head = SECTION.match(row)
        if head:
            host = "".join(filter(None, head.groups()))
        else:
            yield host, row
