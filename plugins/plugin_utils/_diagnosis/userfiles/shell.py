# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Split a shell script into simple commands, without running anything.

Follows bash's grammar as far as launch scripts need it: quotes and substitutions over several lines, comments,
continued lines, arrays, here-documents, loops and branches. It never raises: a quote that nobody closes is an
ordinary character.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing as t

_REDIRECTION = re.compile(r"\d*(?:&>>|&>|<<<|<<-|<<|<>|<&|>&|>>|>\||<|>)")
_OPERATOR = re.compile(r"\n|;;&|;;|;&|;|&&|\|\||\|&|\||&|\(|\)")
_BLANK = " \t\r"
_DEEPEST = 40  # quotes and brackets in one another
_CLOSING = {"(": ")", "{": "}"}
_OPENING_WORDS = frozenset(("then", "else", "do", "{", "!", "time", "elif", "if", "while", "until"))


class Token(t.NamedTuple):
    """A piece of a script: a ``word`` with its quotes, an ``operator``, a ``redirection``, or a ``document``."""

    kind: str
    text: str
    line: int


@dataclasses.dataclass(frozen=True)
class Simple:
    """A simple command.

    ``words`` are raw, with their quotes. ``redirections`` are (operator, raw target) pairs. ``document`` is the text of
    a here-document. ``piped`` says that the output of the command before it is its input, ``chained`` that ``&&`` or
    ``||`` stands before it, ``background`` that an ``&`` stands behind it or behind what it is piped or chained to.
    ``inside`` are the loops and branches around it: ``if``, ``else``, ``case``, ``for``, ``while`` and ``read``, a loop
    that reads its input. ``guard`` is the condition of the innermost branch.
    """

    words: tuple[str, ...]
    line: int
    redirections: tuple[tuple[str, str], ...] = ()
    document: str = ""
    piped: bool = False
    background: bool = False
    chained: bool = False
    inside: tuple[str, ...] = ()
    guard: str = ""

    @property
    def looped(self) -> bool:
        """Whether the command is inside a loop."""
        return any(one in ("for", "while", "read") for one in self.inside)

    @property
    def conditional(self) -> bool:
        """Whether the command runs in some cases only."""
        return any(one in ("if", "else", "case") for one in self.inside)


@functools.lru_cache(maxsize=256)
def simple_commands(text: str) -> tuple[Simple, ...]:
    """The simple commands of a script in their order; ``for NAME in ...`` is one of its own."""
    return tuple(_Parser(text).commands())


def tokens(text: str) -> t.Iterator[Token]:
    """The tokens of a script; comments are left out."""
    at, line = 0, 1
    waiting: list[tuple[str, bool]] = []
    while at < len(text):
        char = text[at]
        if char in _BLANK:
            at += 1
        elif text.startswith("\\\n", at):
            at, line = at + 2, line + 1
        elif char == "#":
            at = _end_of_line(text, at)
        elif match := _REDIRECTION.match(text, at):
            yield Token("redirection", match.group(0).lstrip("0123456789"), line)
            at = match.end()
            if match.group(0).endswith(("<<", "<<-")):
                delimiter = re.compile(r"[ \t]*(['\"\\]?)([\w.!-]+)").match(text, at)
                if delimiter:
                    waiting.append((delimiter.group(2), match.group(0).endswith("-")))
        elif match := _OPERATOR.match(text, at):
            yield Token("operator", match.group(0), line)
            at = match.end()
            if match.group(0) == "\n":
                line += 1
                for delimiter_word, tabs in waiting:
                    end, body = _document(text, at, delimiter_word, tabs)
                    yield Token("document", body, line)
                    line += text.count("\n", at, end)
                    at = end
                waiting = []
        else:
            end = word_end(text, at)
            yield Token("word", text[at:end], line)
            line += text.count("\n", at, end)
            at = end


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _document(text: str, at: int, delimiter: str, tabs: bool) -> tuple[int, str]:
    """(where the script goes on, the text) of a here-document that begins at a place."""
    start = at
    while at < len(text):
        end = _end_of_line(text, at)
        row = text[at:end]
        if (row.lstrip("\t") if tabs else row).rstrip("\r") == delimiter:
            return min(end + 1, len(text)), text[start:at]
        at = end + 1
    return len(text), text[start:]


def word_end(text: str, at: int) -> int:
    """Where the word ends that begins at a place."""
    start = at
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 2
        elif text.startswith("$'", at):
            at = _ansi_end(text, at + 1)
        elif char in "'\"`":
            at = quoted_end(text, at)
        elif char == "$" and text[at + 1 : at + 2] in ("(", "{"):
            at = bracket_end(text, at + 1)
        elif char == "(" and at > start and text[at - 1] == "=":
            at = bracket_end(text, at)  # an array
        elif char in _BLANK or char in "\n;&|()<>":
            break
        else:
            at += 1
    return min(max(at, start + 1), len(text))


@functools.lru_cache(maxsize=64)
def _unclosed_from(text: str) -> dict[str, int]:
    """From where on a quote or bracket of a text is known to have no end: filled in by those who look for it.

    Without this each of many that nobody closes would be followed to the end of the text, and into the others.
    """
    del text
    return {}


def quoted_end(text: str, at: int, depth: int = 0) -> int:
    """Behind the quote that closes the one at a place; behind that one itself where none does."""
    quote, start = text[at], at
    unclosed_from = _unclosed_from(text)
    if start >= unclosed_from.get(quote, len(text)) or depth > _DEEPEST:
        unclosed_from[quote] = min(start, unclosed_from.get(quote, start))
        return start + 1
    at += 1
    while at < len(text):
        char = text[at]
        if char == quote:
            return at + 1
        if char == "\\" and quote != "'":
            at += 2
        elif quote == '"' and char == "$" and text[at + 1 : at + 2] in ("(", "{"):
            at = bracket_end(text, at + 1, depth + 1)
        elif quote == '"' and char == "`":
            at = quoted_end(text, at, depth + 1)
        else:
            at += 1
    unclosed_from[quote] = min(start, unclosed_from.get(quote, start))
    return start + 1


def _ansi_end(text: str, at: int) -> int:
    """Behind the quote that closes ``$'...'``, in which a backslash holds."""
    end = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL).match(text, at)
    return end.end() if end else at + 1


def bracket_end(text: str, at: int, depth: int = 0) -> int:
    """Behind the bracket that closes the one at a place; behind that one itself where none does."""
    opening, start = text[at], at
    closing, level = _CLOSING[opening], 0
    unclosed_from = _unclosed_from(text)
    if start >= unclosed_from.get(opening, len(text)) or depth > _DEEPEST:
        unclosed_from[opening] = min(start, unclosed_from.get(opening, start))
        return start + 1
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 2
            continue
        if char in "'\"`":
            at = quoted_end(text, at, depth + 1)
            continue
        if char == "#" and opening == "(" and at and text[at - 1] in " \t\n":
            at = _end_of_line(text, at)
            continue
        level += (char == opening) - (char == closing)
        at += 1
        if level == 0:
            return at
    unclosed_from[opening] = min(start, unclosed_from.get(opening, start))
    return start + 1


def unclosed(text: str) -> t.Iterator[tuple[int, str]]:
    """(line, what) of the first quote or bracket at which bash waits for its end in vain."""
    for token in tokens(text):
        if token.kind != "word":
            continue
        at = 0
        while at < len(token.text):
            char, end = token.text[at], at + 1
            if char == "\\":
                end = at + 2
            elif token.text.startswith("$'", at):
                end = _ansi_end(token.text, at + 1)
            elif char in "'\"`":
                end = quoted_end(token.text, at)
            elif char == "$" and token.text[at + 1 : at + 2] in ("(", "{"):
                end = bracket_end(token.text, at + 1)
                end, char = (at + 1, token.text[at : at + 2]) if end == at + 2 else (end, char)
            elif char == "(" and token.text[at - 1 : at] == "=":
                end = bracket_end(token.text, at)
            if end == at + 1 and char in ("'", '"', "`", "$(", "${"):
                yield token.line + token.text.count("\n", 0, at), f"{char} is not closed"
                return
            at = end


class _Parser:
    """Makes simple commands of tokens."""

    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._words: list[str] = []
        self._line = 0
        self._redirections: list[tuple[str, str]] = []
        self._target = ""  # the operator that waits for its target
        self._piped = False
        self._chained = False
        self._stack: list[tuple[str, str]] = []  # (loop or branch, its condition)
        self._condition: list[str] | None = None
        self._held: list[Simple] = []  # commands of this line, which may have a here-document

    def commands(self) -> t.Iterator[Simple]:
        """All simple commands."""
        for token in self._tokens:
            if token.kind == "document":
                self._attach(token.text)
            elif token.kind == "redirection":
                self._target = token.text
            elif token.kind == "word":
                self._word(token)
            else:
                self._end(token.text)
                if token.text == "\n":
                    yield from self._release()
        self._end("\n")
        yield from self._held

    def _release(self) -> t.Iterator[Simple]:
        # a here-document stands behind the end of the line: what may have one waits
        if not any("<<" in row[0] and row[0] != "<<<" for one in self._held for row in one.redirections):
            yield from self._held
            self._held = []
            return
        ready = [one for one in self._held if one.document]
        if ready:
            yield from self._held
            self._held = []

    def _attach(self, document: str) -> None:
        for at, one in enumerate(self._held):
            if not one.document and any(row[0] in ("<<", "<<-") for row in one.redirections):
                self._held[at] = dataclasses.replace(one, document=document or "\n")
                return

    def _word(self, token: Token) -> None:
        if self._target:
            self._redirections.append((self._target, token.text))
            self._target = ""
        elif not self._words and self._keyword(token.text):
            pass
        else:
            self._line = self._line if self._words else token.line
            self._words.append(token.text)
            if self._condition is not None:
                self._condition.append(token.text)

    def _send_to_background(self) -> None:
        """All commands of a list that ends with ``&`` run in the background."""
        for at in range(len(self._held) - 1, 0, -1):
            if not (self._held[at].piped or self._held[at].chained):
                break
            self._held[at - 1] = dataclasses.replace(self._held[at - 1], background=True)

    def _keyword(self, text: str) -> bool:
        """Take up a reserved word in the place of a command; False for any other word."""
        stack = self._stack
        if text in ("if", "while", "until"):
            stack.append(("if" if text == "if" else "while", ""))
            self._condition = []
        elif text in ("then", "do"):
            if stack and self._condition is not None:
                stack[-1] = (stack[-1][0], " ".join(self._condition))
            self._condition = None
        elif text in ("elif", "else"):
            if stack:
                stack[-1] = ("else", "")
            self._condition = [] if text == "elif" else None
        elif text in ("fi", "done", "esac") and stack:
            stack.pop()
        return text in _OPENING_WORDS or text in ("fi", "done", "esac", "}", "function")

    def _end(self, operator: str) -> None:
        """End the simple command before an operator."""
        words, self._target = self._words, ""
        if words or self._redirections:
            if words[:1] in (["for"], ["select"]):
                self._stack.append(("for", ""))
            elif words[:1] == ["case"]:
                self._stack.append(("case", ""))
            elif self._stack and self._stack[-1][0] == "while" and self._condition is not None and "read" in words:
                self._stack[-1] = ("read", "")
            inside = tuple(kind for kind, _guard in self._stack)
            guards = [guard for kind, guard in self._stack if kind == "if"]
            self._held.append(
                Simple(
                    tuple(words),
                    self._line,
                    tuple(self._redirections),
                    piped=self._piped,
                    background=operator == "&",
                    chained=self._chained,
                    inside=inside if self._condition is None else inside[:-1],
                    guard=guards[-1] if guards and self._condition is None else "",
                )
            )
            if operator == "&":
                self._send_to_background()
        if not (operator == "\n" and not words):
            self._piped = operator in ("|", "|&")
            self._chained = operator in ("&&", "||")
        self._words, self._redirections = [], []
