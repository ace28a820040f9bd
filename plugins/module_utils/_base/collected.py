# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that a collector of logs keeps as JSON, one object a line, as the program wrote them.

Docker's json-file (``log``), journalctl -o json (``MESSAGE``), and the objects of loggers in programs (``message`` or
``msg``, with the traceback under a key of its own).
"""

from __future__ import annotations

import datetime
import json
import typing as t

_TEXTS = ("log", "MESSAGE", "message", "msg", "event")
_TRACEBACKS = ("exc_info", "exception", "exc_text", "traceback", "stack_trace", "stack")
_PROGRESS = ("epoch", "step", "global_step", "iteration", "loss")
MOST_CHARACTERS = 256 * 1024


def unwrap(line: str) -> list[str]:
    """The lines in an object; the line itself where it is none. A machine it names goes in front as syslog has it."""
    if not line.startswith("{") or len(line) > MOST_CHARACTERS:
        return [line]
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return [line]
    name = next((each for each in _TEXTS if _text(found.get(each)) is not None), None)
    if name is None:
        return [line]
    said = str(_text(found[name])).rstrip("\n").split("\n")
    if name == "MESSAGE":
        return [f"{_syslog(found)}{row}" for row in said]
    said[0] = f"{said[0]}{_progress(found)}"
    for each in _TRACEBACKS:
        said += (_text(found.get(each)) or "").rstrip("\n").split("\n")
    return [row for row in said if row.strip()]


def _progress(found: t.Mapping[str, t.Any]) -> str:
    """How far a training is, as a logger keeps it beside its text."""
    told = [(name, found.get(name)) for name in _PROGRESS]
    return "".join(f", {name} {value}" for name, value in told if type(value) in (int, float))


def _text(value: t.Any) -> str | None:
    """A text; journald writes one that is no UTF-8 as its bytes."""
    if isinstance(value, list) and value and all(isinstance(one, int) and 0 <= one < 256 for one in value):
        return bytes(value).decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def _syslog(entry: t.Mapping[str, t.Any]) -> str:
    """Time, machine and program of an entry of the journal as a line of syslog begins."""
    host = _text(entry.get("_HOSTNAME"))
    tag = _text(entry.get("SYSLOG_IDENTIFIER")) or _text(entry.get("_COMM")) or "kernel"
    try:
        seconds = int(str(entry.get("__REALTIME_TIMESTAMP"))) // 1_000_000
        when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S+00:00")
    except (ValueError, OverflowError, OSError):
        when = "1970-01-01T00:00:00+00:00"
    return f"{when} {host} {tag}: " if host else ""
