# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what ``ds_report`` has printed (``deepspeed/env_report.py``, 0.6 to 0.19).

Rows are ``name ..... value``; operators have two marks, ``[YES]``/``[NO]`` for installed and
``[OKAY]``/``[NO]`` for compatible, coloured on a terminal. Under pdsh each line begins with its host.
Nothing here raises and nothing is judged.
"""

from __future__ import annotations

import re
import typing as t

ANSI = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")
LABEL = re.compile(r"\s{0,4}(?P<name>[A-Za-z][\w ()/.+-]{0,60}?) ?\.{2,40} ?(?P<rest>[^\n]{0,2000})")
ROW = re.compile(r"\s{0,4}(?P<name>[A-Za-z]\w{0,60}) ?\.{1,40} ?(?P<marks>\[[^\n]{0,200})")
PREFIXED = re.compile(r"([A-Za-z0-9][\w.-]{0,100}): ")
MARK = re.compile(r"\[([A-Za-z]{2,8})\]")
NOTE = re.compile(r"\[WARNING\]\s{0,4}([^\n]{1,300})")
GOOD, BAD = ("YES", "OKAY"), ("NO", "FAIL")
UNITS = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
# The rows of the lower table, so that an operator's name is never taken for one of them.
LABELS = frozenset(
    (
        "torch install path", "torch version", "deepspeed install path", "deepspeed info", "torch cuda version",
        "torch hip version", "nvcc version", "deepspeed wheel compiled w.", "shared memory (/dev/shm) size",
        "torch_npu install path", "torch_npu version", "ascend_cann version", "torch mlu version", "torch sdaa version",
    )
)  # fmt: skip


def parse(text: str) -> dict[str, t.Any]:
    """The report of the first host in the text.

    ``values``: each row of the lower table as printed; ``ops``: operator to ``{installed, compatible}``
    (None where the mark is missing); ``ninja``: bool or None; ``compiled_with``: what to version;
    ``shm_bytes``: size of /dev/shm; ``warnings``: the notes; ``hosts``: under pdsh, each host's own report.
    """
    apart: dict[str, list[str]] = {}
    for line in re.split(r"\r?\n|\r", ANSI.sub("", text)):
        match = PREFIXED.match(line)
        host = match.group(1) if match and match.group(1) not in ("NOTE", "WARNING", "DeepSpeed") else ""
        apart.setdefault(host, []).append(line[match.end() :] if match and host else line)
    named = {host: _report(lines) for host, lines in apart.items() if host}
    named = {host: report for host, report in named.items() if report["values"] or report["ops"]}
    own = _report(apart.get("", []))
    first = own if own["values"] or own["ops"] or not named else next(iter(named.values()))
    return {**first, "hosts": named}


def _report(lines: t.Sequence[str]) -> dict[str, t.Any]:
    """One host's lines; of a row printed twice the first counts (every rank of a job may print it)."""
    values: dict[str, str] = {}
    ops: dict[str, dict[str, bool | None]] = {}
    notes: list[str] = []
    for line in lines:
        note = NOTE.search(line)
        if note:
            if len(notes) < 50:
                notes.append(note.group(1).strip())
            continue
        _read_row(line, values, ops)
    ninja = ops.pop("ninja", {}).get("installed")
    return {
        "values": values,
        "ops": ops,
        "ninja": ninja,
        "compiled_with": compiled_with(values.get("deepspeed wheel compiled w.", "")),
        "shm_bytes": size(values.get("shared memory (/dev/shm) size", "")),
        "warnings": notes,
    }


def _read_row(line: str, values: dict[str, str], ops: dict[str, dict[str, bool | None]]) -> None:
    """A row of either table; other lines are left alone."""
    match = LABEL.match(line)
    if match:
        label = next((each for each in LABELS if match.group("name").strip() in (each, each.rstrip("."))), None)
        if label is not None:
            values.setdefault(label, match.group("rest").strip())
            return
    row = ROW.match(line)
    marks = MARK.findall(row.group("marks")) if row else []
    if row and marks:
        ops.setdefault(
            row.group("name"), {"installed": _truth(marks[0]), "compatible": _truth(marks[1] if marks[1:] else "")}
        )


def _truth(mark: str) -> bool | None:
    return True if mark in GOOD else False if mark in BAD else None


def compiled_with(text: str) -> dict[str, str]:
    """``torch 2.1, cuda 12.1`` as a mapping; versions 0.0 stand for a wheel that was built without torch."""
    return dict(re.findall(r"\b(torch|cuda|hip|nccl|cann|mlu) (\d[\w.]{0,20})", text))


def size(text: str) -> int | None:
    """``62.63 GB`` in bytes; None when it is no size. Units are powers of 1024 (``env_report.py``)."""
    match = re.match(r"(\d{1,9}(?:\.\d{1,6})?) ([KMGT]?B)", text)
    return int(float(match.group(1)) * UNITS[match.group(2)]) if match else None
