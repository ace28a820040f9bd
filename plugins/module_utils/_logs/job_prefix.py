# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program itself puts before each line of a traceback.

vLLM's and SGLang's loggers, Megatron's workers and loguru's sinks have forms of their own, of which no list is
complete: ``(VllmWorker rank=7 pid=410) ERROR 07-23 19:34:51 [multiproc_executor.py:487] Traceback (most recent ...``.
A traceback shows its prefix: the text before its first line and before its frames is the same but for numbers.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_lines import NOBODY, RANK, Line

MOST_CHARACTERS = 160
MOST_FORMS = 16
FRAME_WITHIN = 40  # lines of other processes may stand between
_BEGINS = "Traceback (most recent call last):"
_FRAME = re.compile(r'  File "[^"\n]{1,300}", line \d')
_DIGITS = re.compile(r"\d+")
_CLOCK = re.compile(r"(?:\d{2,4}[-/]\d\d(?:[-/]\d{2,4})?[ T])?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?|:\d{1,6}(?=\])")
_RANK = re.compile(r"\b[Rr]ank[ =:]{0,3}(\d{1,7})\b")
_OF_NODES = re.compile(r"\((?:head|worker\d*), rank=\d+")  # SkyPilot numbers nodes so
_ADDRESS = re.compile(r"\bip[ =:]{1,3}([\d.]{7,15}|[0-9a-fA-F:]{2,45})")


def taken_off(lines: t.Sequence[Line], nodes: t.Mapping[str, str] = NOBODY) -> list[Line]:
    """The lines without the prefixes that their tracebacks show; ``nodes`` as in job_lines.split()."""
    forms = _forms([line.text for line in lines])
    return [_without(line, forms, nodes) for line in lines] if forms else list(lines)


def _forms(texts: t.Sequence[str]) -> list[re.Pattern[str]]:
    """The forms of prefixes: those of frames that the first line of their traceback has as well."""
    found: dict[str, re.Pattern[str]] = {}
    for at, text in enumerate(texts):
        if not text.find(_BEGINS) > 0 or len(found) >= MOST_FORMS:
            continue
        for other in texts[at + 1 : at + 1 + FRAME_WITHIN]:
            frame = _FRAME.search(other, 0, MOST_CHARACTERS + 400)
            if not frame or frame.start() > MOST_CHARACTERS or not other[: frame.start()].strip():
                continue
            shape = r"\d{1,20}".join(map(re.escape, _DIGITS.split(other[: frame.start()])))
            form = found.get(shape) or re.compile(shape)
            if form.match(text):
                found[shape] = form
                break
    return sorted(found.values(), key=lambda form: -len(form.pattern))


def _without(line: Line, forms: t.Sequence[re.Pattern[str]], nodes: t.Mapping[str, str]) -> Line:
    """A line without its prefix, from which its rank and its address are taken."""
    prefix = next(filter(None, (form.match(line.text) for form in forms)), None)
    if not prefix:
        return line
    words, rest = prefix[0], line.text[prefix.end() :]
    own = RANK.match(rest)
    rest = rest[own.end() :] if own else rest
    rank, address = own or _RANK.search(_OF_NODES.sub("", words)), _ADDRESS.search(words)
    begins = rest.find(_BEGINS)  # behind a sentence of the logger
    return line._replace(
        stream=line.stream + _CLOCK.sub("", words).strip(),
        node=line.node or (nodes.get(address[1], address[1]) if address else ""),
        rank=int(rank[1]) if rank and line.rank is None else line.rank,
        text=rest[begins:] if begins > 0 else rest,
    )
