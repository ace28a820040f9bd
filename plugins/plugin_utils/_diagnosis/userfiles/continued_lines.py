# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines that go on behind a backslash, and those that end earlier than they look."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import Problem


def joined(lines: t.Sequence[str]) -> t.Iterator[tuple[int, str]]:
    """(number of its first line, text) of each command line, continued ones made one as bash does."""
    held, start = "", 0
    for number, line in enumerate(lines, 1):
        start = start or number
        comment = not held.strip() and line.lstrip().startswith("#")
        if re.search(r"(?<!\\)(?:\\\\)*\\$", line) and not comment and not _in_comment(held + line):
            held += line[:-1] + " "
            continue
        yield start, held + line
        held, start = "", 0
    if held:
        yield start, held


def as_given(lines: t.Sequence[str], given: t.Sequence[str]) -> t.Iterator[tuple[int, str]]:
    """The command lines as they are meant, with the characters that they were given with."""
    starts = [number for number, _line in joined(lines)]
    for start, end in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        yield start, " ".join(given[start - 1 : end - 1])


def _in_comment(line: str) -> bool:
    """Whether a line ends inside a comment, where a backslash does not continue it."""
    if "#" not in line:
        return False
    bare = re.sub(r"\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\"", "_", line)
    return bool(re.search(r"(?:^|\s)#", bare))


def broken(lines: t.Sequence[str]) -> t.Iterator[Problem]:
    """Continued commands that end earlier than they look.

    ``comment``: ``\\ # text`` on one line. ``blank``: a blank behind the backslash. ``comment_line``: a
    line of comment inside a continued command, with arguments after it.
    """
    continued = False
    for number, line in enumerate(lines, 1):
        following = next((other.strip() for other in lines[number:] if not other.lstrip().startswith("#")), "")
        goes_on = following.startswith("-")
        if continued and line.lstrip().startswith("#"):
            if goes_on:
                yield Problem(number, "comment_line", line.strip())
            continued = False
            continue
        if not line.lstrip().startswith("#"):
            if re.search(r"\s\\\s+#", line):
                yield Problem(number, "comment", line.strip())
            elif re.search(r"\\[ \t]+$", line) and goes_on:
                yield Problem(number, "blank", line.strip())
        continued = line.endswith("\\") and not _in_comment(line)
