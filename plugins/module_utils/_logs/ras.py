# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what ncclras has printed of a job that runs: its text, its JSON, whole or cut, and its monitor.

Formats of NCCL 2.24 to 2.31. Nothing here raises and nothing is judged.
"""

from __future__ import annotations

import re
import typing as t

Record = dict[str, t.Any]

_HEAD = re.compile(r"(?:#\d{1,5}-\d{1,5} \((?P<comm>[0-9a-f]{1,16})\) )?(?P<what>DEAD|INCOMPLETE|ERROR|MISMATCH)\s*\Z")
_EVENT = re.compile(r"\s*\[[^\]]{8,40}\] PEER_DEAD: (?P<rest>Process .{1,200})")
_PROCESS = re.compile(r"Process (?P<pid>\d{1,9}) on node (?P<host>\S{1,100}) managing GPUs? (?P<gpu>[\d ,()]{1,60})")
_RANK = re.compile(
    r"Rank (?P<rank>\d{1,6}) (?P<said>.{0,80}?) ?-- GPU (?P<gpu>.{1,40}?) managed by process (?P<pid>\d{1,9}) on node "
    r"(?P<host>\S{1,100})"
)
_COUNTS = re.compile(r"Communicator ranks have different (?P<op>\w{1,40}) operation counts")
_GROUP = re.compile(
    r"(?:\d{1,6} ranks have|Rank \d{1,6} has) (?:launched up to operation (?P<count>\d{1,19})|not launched any)"
)
_REPORTED = re.compile(r"(?:\d{1,6} ranks|Rank \d{1,6}) reported (?P<error>.{1,60}?)(?: -- .*)?\Z")
_UNNAMED = re.compile(r"^ +(Missing communicator data from .{1,60})$", re.MULTILINE)
_JSON = re.compile(
    r'"hash":\s*"(?:0x)?(?P<comm>[0-9a-f]{1,16})"|'
    r'"rank":\s*(?P<rank>\d{1,6}),\s*"host":\s*"(?P<host>[^"]{1,100})",\s*"pid":\s*(?P<pid>\d{1,9}),\s*'
    r'"cuda_dev":\s*(?P<gpu>\d{1,4}),[^{}]{0,80}"status":\s*\{(?P<status>[^{}]{1,400})\}'
    r'(?:,\s*"collective_counts":\s*\{(?P<counts>[^{}]{1,800})\})?'
)
_NUMBER = re.compile(r'"(\w{1,40})":\s*(\d{1,19}|true|false)\b')
_FINE = (None, "0", "7")  # ncclSuccess, ncclInProgress
# the words of the text for the numbers of the JSON
_ERRORS = {"1": "Unhandled CUDA error", "2": "System error", "3": "Internal error", "6": "Remote process error"}


def parse(text: str) -> list[Record]:
    """Processes that are ``dead`` or ``missing`` or report an ``error``, and ranks that are ``behind`` the others."""
    found = [*_of_json(text)] if '"communicators"' in text or '"collective_counts"' in text else [*_of_text(text)]
    if not any(each["kind"] in ("dead", "missing") for each in found):
        found += [_record("missing", "", {}, row) for row in _UNNAMED.findall(text)[:1]]
    gone = {(each["host"], each["pid"]) for each in found if each["kind"] == "dead"}
    return [each for each in found if not (each["kind"] == "missing" and (each["host"], each["pid"]) in gone)]


def _record(kind: str, comm: str, known: t.Mapping[str, str | None], line: str) -> Record:
    process = {"host": known.get("host") or "", "pid": known.get("pid") or "", "gpu": (known.get("gpu") or "").strip()}
    return {"kind": kind, "comm": comm, **process, "line": " ".join(line.split())}


def _of_text(text: str) -> t.Iterator[Record]:
    what = comm = error = ""
    counts: list[tuple[int, str, list[re.Match[str]]]] = []
    operation = ""
    for row in [*text.splitlines(), ""]:
        head, event = _HEAD.match(row), _EVENT.match(row)
        named = _PROCESS.search(row) or _RANK.search(row)
        if event and named:
            yield _record("dead", "", named.groupdict(), event.group("rest"))
            continue
        new = _COUNTS.search(row)
        if counts and (head or new or not row.strip()):
            yield from _behind(comm, operation, counts)
            counts = []
        if head or (row and not row.startswith((" ", "\t"))):
            what, comm = (head.group("what"), head.group("comm") or "") if head else ("", "")
        if what in ("DEAD", "INCOMPLETE") and named:
            yield _record("dead" if what == "DEAD" else "missing", comm, named.groupdict(), row)
        elif what == "ERROR":
            said = _REPORTED.search(row.strip())
            error = said.group("error") if said else error
            if named:
                yield _record("error", comm, named.groupdict(), f"Rank {named.group('rank')} reported {error}")
        elif what == "MISMATCH":
            operation = new.group("op") if new else operation
            group = _GROUP.search(row)
            if group:
                counts.append((int(group.group("count") or 0), row.strip().partition(" -- ")[0], []))
            if counts and named:
                counts[-1][2].append(named)


def _behind(comm: str, operation: str, counts: t.Sequence[tuple[int, str, list[re.Match[str]]]]) -> t.Iterator[Record]:
    line = f"{operation}: {', '.join(each[1] for each in counts)}"
    processes = [named.groupdict() for named in min(counts, key=lambda each: each[0])[2]]
    yield from (_record("behind", comm, process, line) for process in processes or [{}])


def _of_json(text: str) -> t.Iterator[Record]:
    comm, counted = "", dict[tuple[str, str], dict[int, list[re.Match[str]]]]()
    for match in _JSON.finditer(text):
        comm = match.group("comm") or comm
        status = dict(_NUMBER.findall(match.group("status") or ""))
        who = f"Rank {match.group('rank')}"
        failed = next(
            (code for code in (status.get("async_error"), status.get("init_state")) if code not in _FINE), None
        )
        if status.get("considered_dead") == "true":
            yield _record("dead", comm, match.groupdict(), f"{who} considered_dead")
        elif status.get("unresponsive") == "true":
            yield _record("missing", comm, match.groupdict(), f"{who} unresponsive")
        elif failed:
            yield _record("error", comm, match.groupdict(), f"{who} reported {_ERRORS.get(failed, failed)}")
        for operation, count in _NUMBER.findall(match.group("counts") or ""):
            counted.setdefault((comm, operation), {}).setdefault(int(count), []).append(match)
    for (group, operation), counts in counted.items():
        if len(counts) > 1:
            line = f"{operation}: " + ", ".join(
                f"{len(ranks)} ranks at {count}" for count, ranks in sorted(counts.items())
            )
            yield from (_record("behind", group, rank.groupdict(), line) for rank in counts[min(counts)])
