# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Expand the words of a script with the variables that the script itself sets.

Two readings of each word. ``value``: what a job gets if nothing is set from outside, defaults included. ``written``:
the same with references to the outside kept in one spelling (``$NAME``, ``${NAME:-default}``), so that a rule sees what
is computed, drawn or defaulted on each node. Command substitutions are kept as they are in both.
"""

from __future__ import annotations

import ast
import dataclasses
import operator
import re
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import shell

_REPLACE = re.compile(r"([A-Za-z_]\w*)(//?)([\w.:@=-]{1,60})/(.*)\Z", re.DOTALL)
_PARAMETER = re.compile(r"([A-Za-z_]\w*|\d)(\[[@*]\])?(?:(:?[-=?])(.*))?\Z", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]\w*|[0-9@*#?$!-]")
_SUMS: t.Mapping[type, t.Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.floordiv,
    ast.Mod: operator.mod,
}
_DEEPEST = 20
MOST = 4096  # characters of a variable, so that a script that doubles one in each line does no harm


@dataclasses.dataclass(frozen=True)
class Variable:
    """An assignment: its value without quotes, whether it is exported, and its line.

    ``written`` is the value with what comes from outside kept as references. ``words`` are the elements of an array.
    ``conditional`` says that it is set in some cases only.
    """

    value: str
    exported: bool
    line: int
    written: str = ""
    words: tuple[str, ...] | None = None
    conditional: bool = False


Variables = t.Mapping[str, Variable]


def words(raw: t.Iterable[str], variables: Variables, written: bool = False) -> list[str]:
    """The words that become of raw ones."""
    return [field for one in raw for field in _Word(one, variables, written).fields()]


def text(raw: str, variables: Variables, written: bool = False, depth: int = 0) -> str:
    """A raw word as one text, as in an assignment; ``depth``: of how many defaults it is the default."""
    if depth > _DEEPEST:
        return raw[:MOST]
    return _Word(raw, variables, written, split=False, depth=depth).whole()[:MOST]


class _Word:
    """The expansion of one raw word into fields."""

    def __init__(self, raw: str, variables: Variables, written: bool, split: bool = True, depth: int = 0) -> None:
        self._raw, self._variables, self._written, self._split, self._depth = raw, variables, written, split, depth
        self._fields: list[str] = [""]
        self._any = False  # something is there, if only a pair of quotes

    def fields(self) -> list[str]:
        """The fields; none for an unquoted reference to nothing."""
        self._run(self._raw, quoted=False)
        found = [field[:MOST] for field in self._fields]
        return found if self._any else [field for field in found if field]

    def whole(self) -> str:
        """All of it in one text."""
        self._run(self._raw, quoted=True, literal=False)
        return " ".join(self._fields)

    def _add(self, piece: str) -> None:
        self._fields[-1] += piece

    def _run(self, raw: str, quoted: bool, literal: bool = True) -> None:
        """Take up a piece of the word; ``literal``: in double quotes single ones mean themselves."""
        at = 0
        while at < len(raw):
            char = raw[at]
            if char == "\\" and at + 1 < len(raw):
                following = raw[at + 1]
                kept = quoted and literal and following not in '$`"\\'
                self._add("" if following == "\n" else raw[at : at + 2] if kept else following)
                at += 2
            elif char == "'" and not (quoted and literal):
                end = shell.quoted_end(raw, at)
                self._any = True
                self._add(raw[at + 1 : end - 1] if end > at + 1 else char)
                at = end
            elif char == '"' and not (quoted and literal):
                end = shell.quoted_end(raw, at)
                self._any = True
                if end > at + 1:
                    self._run(raw[at + 1 : end - 1], quoted=True)
                else:
                    self._add(char)
                at = end
            elif char == "`":
                end = shell.quoted_end(raw, at)
                self._add(raw[at:end])
                at = end
            elif char == "$":
                at = self._dollar(raw, at, quoted)
            else:
                self._add(char)
                at += 1

    def _dollar(self, raw: str, at: int, quoted: bool) -> int:
        """Take up what begins with a dollar; where it ends."""
        if raw.startswith("$((", at):
            end = shell.bracket_end(raw, at + 1)
            self._add(_sum(raw[at:end], self._variables))
            return end
        if raw.startswith("$(", at):
            end = shell.bracket_end(raw, at + 1)
            self._add(raw[at:end])
            return end
        if raw.startswith("${", at):
            end = shell.bracket_end(raw, at + 1)
            self._parameter(raw[at + 2 : end - 1], raw[at:end], quoted)
            return end
        name = _NAME.match(raw, at + 1)
        if not name:
            self._add("$")
            return at + 1
        self._parameter(name.group(0), name.group(0).join(("$", "")), quoted)
        return name.end()

    def _parameter(self, inner: str, raw: str, quoted: bool) -> None:
        """Take up ``${inner}``."""
        match = _PARAMETER.match(inner)
        if not match:
            self._put(self._replaced(inner, raw), quoted)
            return
        name, whole, sign, default = match.groups()
        known = self._variables.get(name)
        if known is not None and not (sign and ":" in sign and not known.value):
            if whole and known.words is not None:
                self._several(known.words)
            else:
                self._put(known.written if self._written else known.value, quoted)
        elif sign and sign[-1] in "-=":
            found = text(default, self._variables, self._written, self._depth + 1)
            self._put(f"${{{name}:-{found}}}" if self._written else found, quoted)
        else:
            self._add(f"${name}" if self._written and not whole else raw)

    def _replaced(self, inner: str, raw: str) -> str:
        """``${NAME/old/new}`` with a plain text in the place of a pattern; anything else as it is."""
        match = _REPLACE.match(inner)
        known = self._variables.get(match.group(1)) if match else None
        if not match or known is None or known.words is not None:
            return raw
        new = text(match.group(4), self._variables, self._written, self._depth + 1)
        value = known.written if self._written else known.value
        return value.replace(match.group(3), new, -1 if match.group(2) == "//" else 1)

    def _put(self, value: str, quoted: bool) -> None:
        """Take up a value, which bash splits at blanks where no quotes are around it."""
        if quoted or not self._split:
            self._add(value)
            return
        pieces = list(split(value))
        if value[:1].isspace() and self._fields[-1]:
            self._fields.append("")
        self._add(pieces[0] if pieces else "")
        self._fields += pieces[1:]
        if value[-1:].isspace() and pieces:
            self._fields.append("")

    def _several(self, elements: t.Sequence[str]) -> None:
        self._add(elements[0] if elements else "")
        self._fields += elements[1:]


def split(value: str) -> t.Iterator[str]:
    """The fields of a value, command substitutions in one piece."""
    at, start = 0, None
    while at < len(value):
        if value[at].isspace():
            if start is not None:
                yield value[start:at]
            at, start = at + 1, None
            continue
        start = at if start is None else start
        if value[at] == "$" and value[at + 1 : at + 2] in ("(", "{"):
            at = shell.bracket_end(value, at + 1)
        elif value[at] == "`":
            at = shell.quoted_end(value, at)
        else:
            at += 1
    if start is not None:
        yield value[start:]


def _sum(raw: str, variables: Variables) -> str:
    """``$((8 * 2))`` as 16 where all of it is known, else as it is."""
    inner = re.sub(
        r"\$?\{?([A-Za-z_]\w*)\}?",
        lambda one: variables[one.group(1)].value if one.group(1) in variables else one.group(0),
        raw[3:-2],
    )
    if not re.fullmatch(r"[\d\s+*/%()-]{1,80}", inner) or "**" in inner:
        return raw
    try:
        return str(_evaluated(ast.parse(inner.strip(), mode="eval").body))
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError):
        return raw


def _evaluated(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluated(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _SUMS:
        return _SUMS[type(node.op)](_evaluated(node.left), _evaluated(node.right))
    raise ValueError("no sum")


def array(raw: str) -> list[str]:
    """The raw elements of ``(a "b c" d)``."""
    return [token.text for token in shell.tokens(raw[1:-1]) if token.kind == "word"]


def quoted(found: t.Iterable[str]) -> str:
    """Words as one text that splits into them again."""
    return shlex.join(found)
