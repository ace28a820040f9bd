# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in the syntax of ``.gitignore`` as rules of rsync, of which the first that fits decides, not the last."""

from __future__ import annotations

import os
import re

FILE = ".gitignore"


def rules(directory: str) -> list[str]:
    """The rules for a directory: of its own files, of those below it, and of those above it in the same repository."""
    found: list[tuple[str, str]] = []
    for place, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if name != ".git")
        if FILE in names:
            found.append((os.path.relpath(place, directory), os.path.join(place, FILE)))
    found.sort(key=lambda each: -each[0].count("/") - (each[0] != "."))  # the deepest ones decide
    made = [rule for below, path in found for rule in of_file(path, "" if below == "." else below)]
    return [*made, *_above(directory), "- .git"]


def _above(directory: str) -> list[str]:
    """The rules of the directories above, up to that of the repository."""
    made: list[str] = []
    place, inside = os.path.realpath(directory), ""
    while True:
        if inside and os.path.isfile(f"{place}/{FILE}"):
            made += of_file(f"{place}/{FILE}", "", inside)
        if os.path.exists(f"{place}/.git"):
            return [*made, *of_file(f"{place}/.git/info/exclude", "", inside)]
        if place == "/":
            return []  # it is of no repository: what is above it is none of its business
        inside = f"{os.path.basename(place)}/{inside}"
        place = os.path.dirname(place)


def of_file(path: str, below: str = "", inside: str = "") -> list[str]:
    """The rules of one file: ``below``, its directory in the one that is copied; ``inside``, the other way round."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as source:
            lines = source.read().splitlines()
    except OSError:
        return []
    return [rule for line in reversed(lines) for rule in of_line(line, below, inside)]


def of_line(line: str, below: str = "", inside: str = "") -> list[str]:
    """The rules of one line; none for a comment, and for a pattern that is about another directory."""
    text = re.sub(r"(?<!\\) +$", "", line)
    if not text or text.startswith("#"):
        return []
    sign = "+" if text.startswith("!") else "-"
    pattern = text[1:] if sign == "+" else text
    pattern = pattern[1:] if pattern.startswith(("\\#", "\\!")) else pattern
    anchored = "/" in pattern.rstrip("/") and not pattern.startswith("**/")
    pattern = re.sub(r"^(?:\*\*/)+", "", pattern).lstrip("/")
    if not pattern.strip("/"):
        return []
    if anchored and inside:
        if not pattern.startswith(inside):
            return []
        pattern = pattern[len(inside) :]
    place = re.sub(r"([*?\[])", r"\\\1", below)
    start = f"/{place}/" if below else "/"
    if anchored:
        made = [start + pattern]
    else:
        made = [start + pattern, f"{start}**/{pattern}"] if below else [pattern]
    made += [each.replace("/**/", "/", 1) for each in made if "/**/" in pattern]
    return [f"{sign} {each}" for each in made]
