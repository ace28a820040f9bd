# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of one command on several hosts, in one text, taken apart by host.

A head above each host's lines: dshbak and clush -b (also for hosts of one answer, ``gpu[1-3,7] (4)``), ansible (with -o
on one line, and as the result of a task), salt, pssh, ``tail`` of several files, and loops over ssh (``=== gpu1 ===``).
A tag before each line: pdsh, clush, pssh -P, fabric.
"""

from __future__ import annotations

import json
import re
import typing as t

MOST_HOSTS = 512
_NAME = r"[A-Za-z0-9][\w.-]{0,100}"
_ADDRESSED = rf"(?:[\w.-]{{1,40}}@)?(?P<host>{_NAME})(?::\d{{1,5}})?"
_ANSIBLE = re.compile(
    rf"(?P<host>{_NAME}) \| (?:CHANGED|SUCCESS|FAILED|UNREACHABLE)\b!?[^|]{{0,20}}(?:\| rc=-?\d{{1,3}} )?(?:\| )?"
    r"(?P<how>>>|=>|\(stdout\))(?P<rest>.*)\Z"
)
_TASK = re.compile(rf"(?:ok|changed|fatal|failed): \[(?P<host>{_NAME})\](?: =>|:)(?P<rest>.*)\Z")
_PSSH = re.compile(rf"\[\d{{1,5}}\] \d\d:\d\d:\d\d \[(?:SUCCESS|FAILURE)\] {_ADDRESSED}(?: .{{0,200}})?\Z")
_RULE = re.compile(r"-{4,}\s*\Z")
_FOLDED = rf"{_NAME}(?:\[[\d,-]{{1,200}}\][\w.-]{{0,60}})?"
_GROUP = re.compile(rf"(?P<hosts>{_FOLDED}(?:,{_FOLDED}){{0,64}})(?: \(\d{{1,5}}\))?\s*\Z")
_SALT = re.compile(rf"(?P<host>{_NAME}):\s*\Z")
_LOOP = re.compile(
    rf"(?P<mark>[=#*>+-])(?P=mark){{0,60}}>? ?\[?(?:(?:[Hh]ost|[Nn]ode|on)(?:: ?| ))?{_ADDRESSED}\]?:? ?"
    r"(?:<?(?P=mark){1,60}|<=+|<+)?\s*\Z"
)
_TAIL = re.compile(r"==> \S{0,300}?(?P<host>[^/\s]{1,100}?)(?:\.(?:log|txt|out))? <==\s*\Z")
_TAG = re.compile(rf"(?:\[)?(?P<host>{_NAME})(?:\](?: out)?:|:)(?: |\Z)")
_OUTPUTS = ("stdout", "msg", "stdout_lines", "stderr")
_RANGES = re.compile(r"\[([\d,-]{1,200})\]")


def sections(text: str, nodes: t.Container[str] = ()) -> list[tuple[str, str]]:
    """(host, text) of each part below a head that names a host; the host is empty for what stands above the first.

    ``nodes``: words known to be hosts, by which the plainer heads are told from other lines.
    """
    rows = text.splitlines()
    indented = _only_indented(rows)
    found: list[tuple[list[str], list[str]]] = [([""], [])]
    skip = -1
    for number, row in enumerate(rows):
        if number <= skip:
            continue
        head = _ANSIBLE.match(row) or _TASK.match(row)
        if head:
            rest = head.group("rest").strip()
            said = rest.replace("\\n", "\n") if head.groupdict().get("how") == "(stdout)" else rest
            found.append(([head.group("host")], [said] if said else []))
            continue
        above, below = rows[number - 1] if number else "", rows[number + 1] if number + 1 < len(rows) else ""
        group = _GROUP.match(row) if _RULE.match(above) and _RULE.match(below) else None
        if group:
            if found[-1][1]:
                found[-1][1].pop()  # the rule above
            found.append((expanded(group.group("hosts")), []))
            skip = number + 1
            continue
        host = _plain_head(row, below, indented, nodes)
        if host:
            found.append(([host], []))
        else:
            found[-1][1].append(row)
    parts = [(host, "\n".join(body)) for hosts, body in found for host in hosts]
    return [(host, _output(body) if host else body) for host, body in parts if host or body]


def _plain_head(row: str, below: str, indented: bool, nodes: t.Container[str]) -> str:
    """The host of a head that other lines may look like, too."""
    pssh = _PSSH.match(row)
    if pssh:
        return pssh.group("host")
    salt = _SALT.match(row)
    if salt and below.startswith("    ") and (indented or salt.group("host") in nodes):
        return salt.group("host")
    tail = _TAIL.match(row)
    if tail:
        return next((word for word in (tail.group("host"), *re.split(r"[-_.]", tail.group("host"))) if word in nodes),
                    tail.group("host"))  # fmt: skip
    loop = _LOOP.match(row)
    if loop and (
        loop.group("host") in nodes or (row.count(loop.group("mark")) > 5 and not loop.group("host").isdigit())
    ):
        return loop.group("host")
    return ""


def _only_indented(rows: t.Sequence[str]) -> bool:
    """Whether all that is not indented is a name with a colon, as salt prints it."""
    return all(row.startswith("    ") or not row.strip() or _SALT.match(row) for row in rows)


def _output(body: str) -> str:
    """What a command has printed, where ansible shows it as an object."""
    text = body.strip()
    if not text.startswith("{") or not text.endswith("}"):
        return body
    try:
        result = json.loads(text)
    except (ValueError, RecursionError):
        return body
    for value in (result, *result.values()):
        for name in _OUTPUTS if isinstance(value, dict) else ():
            said = value.get(name)
            if isinstance(said, list) and said:
                return "\n".join(map(str, said))
            if isinstance(said, str) and said:
                return said
    return body


def expanded(hosts: str) -> list[str]:
    """gpu[1-3,07],head as gpu1, gpu2, gpu3, gpu07 and head."""
    found: list[str] = []
    for word in re.split(r",(?![^\[]*\])", hosts):
        ranges = _RANGES.search(word)
        if ranges is None:
            found.append(word)
            continue
        for part in ranges.group(1).split(","):
            first, dash, last = part.partition("-")
            if not first.isdigit() or (dash and not last.isdigit()):
                return [hosts]
            end = min(int(last or first), int(first) + MOST_HOSTS)
            numbers = range(int(first), end + 1)
            found += [f"{word[: ranges.start()]}{one:0{len(first)}d}{word[ranges.end() :]}" for one in numbers]
    return found[:MOST_HOSTS]


def split(text: str, nodes: t.Container[str] = ()) -> list[tuple[str, str]]:
    """(host, text) of each host in a text, whether heads or tags name it; one part without a host if none does."""
    found: dict[str, list[str]] = {}
    for host, body in sections(text, nodes):
        rows = body.splitlines()
        tags = _tags(rows, nodes) if not host else set()
        for row in rows:
            tag = _TAG.match(row)
            own = tag.group("host") if tag and tag.group("host") in tags else ""
            found.setdefault(own or host, []).append(row[tag.end() :] if tag and own else row)
    return [(host, "\n".join(rows)) for host, rows in found.items() if host or any(row.strip() for row in rows)]


def _tags(rows: t.Sequence[str], nodes: t.Container[str]) -> set[str]:
    """The words before a colon that are hosts: known ones, and those of a text of which most lines have such a word."""
    found: dict[str, int] = {}
    for row in rows:
        tag = _TAG.match(row)
        if tag:
            found[tag.group("host")] = found.get(tag.group("host"), 0) + 1
    repeated = {word: count for word, count in found.items() if count > 2 and not word.isdigit()}
    most = sum(repeated.values()) * 10 >= sum(bool(row.strip()) for row in rows) * 8
    return {word for word in found if word in nodes or (most and word in repeated)}
