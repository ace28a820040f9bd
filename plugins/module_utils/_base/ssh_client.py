# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lines of its configuration the ssh client reads for a name. Format: ssh_config(5).

``ssh -G`` reads the whole configuration for one name, so that asking for each of N nodes costs N squared. Names for
which ssh reads the same lines have the same options, HostName apart, and one of them can be asked for all.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree

SYSTEM = ("/etc/ssh/ssh_config", "/usr/etc/ssh/ssh_config")  # the second is openSUSE's
LARGEST = 8 * 1024 * 1024
MAX_DEPTH = 16
_LINE = re.compile(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(\S.*)")
_WITHOUT_VALUE = ("all", "canonical", "final")  # criteria of Match
_WILD = re.compile(r"[*?]")
_TOKEN = re.compile(r"%[%h]")


class Patterns:
    """The patterns of a Host or ``Match host``: one of them fits, and none with ``!`` does."""

    def __init__(self, words: t.Iterable[str]) -> None:
        every = list(words)
        wanted = [word for word in every if not word.startswith("!")]
        self.names = frozenset(word for word in wanted if not _WILD.search(word))
        self.wild = [_expression(word) for word in wanted if _WILD.search(word)]
        self._unwanted = [_expression(word[1:]) for word in every if word.startswith("!")]

    def match(self, name: str) -> bool:
        """Whether they name this host."""
        fits = name in self.names or any(one.match(name) for one in self.wild)
        return fits and not any(one.match(name) for one in self._unwanted)


def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")))  # ssh knows * and ? alone


class _Stanza(t.NamedTuple):
    """Lines for the hosts that all of ``hosts`` name; where not ``sure``, a Match decides whether they count."""

    hosts: tuple[Patterns, ...]
    sure: bool
    lines: list[tuple[str, str]]


class ClientConfig:
    """The user's and the system's configuration; ``files`` are those that were read.

    ``clear`` is False where it depends on more than the lines that a name has in common with others.
    """

    def __init__(self, tree: Tree, home: str) -> None:
        self.files: set[str] = set()
        self.clear = True
        self._tree, self._home = tree, home
        self._stanzas: list[_Stanza] = []
        self._of_name: dict[str, list[int]] = {}  # numbers of the stanzas that name a host; thousands do
        self._of_any: list[int] = []
        self._matches: list[Patterns] = []
        self._known: dict[str, list[tuple[str, str]]] = {}
        self._read(f"{home}/.ssh/config", f"{home}/.ssh", _Stanza((), True, []), 0)
        for path in SYSTEM:
            self._read(path, "/etc/ssh", _Stanza((), True, []), 0)

    def hostname(self, name: str) -> str:
        """Where the first HostName for this name leads."""
        found = next((value for keyword, value in self._lines(name) if keyword == "hostname"), "%h")
        return _TOKEN.sub(lambda token: "%" if token.group() == "%%" else name, found)

    def alike(self, name: str) -> t.Hashable:
        """Equal for names whose options are the same, HostName apart; for each name another one where not clear.

        Host sees the name, but what HostName made of it (in lower case) where ``Match final`` has ssh read all again.
        """
        if not self.clear:
            return name
        leads = self.hostname(name)
        hosts = (name, name.lower(), leads, leads.lower())
        lines = (tuple(line for line in self._lines(host) if line[0] != "hostname") for host in hosts)
        return (*lines, *(patterns.match(host) for patterns in self._matches for host in hosts))

    def _lines(self, name: str) -> list[tuple[str, str]]:
        if name not in self._known:
            stanzas = [self._stanzas[number] for number in sorted([*self._of_any, *self._of_name.get(name, ())])]
            fitting = [one for one in stanzas if all(patterns.match(name) for patterns in one.hosts)]
            self._known[name] = [line for one in fitting for line in one.lines]
        return self._known[name]

    def _open(self, hosts: tuple[Patterns, ...], sure: bool) -> _Stanza:
        if hosts and not hosts[-1].wild:
            for name in hosts[-1].names:
                self._of_name.setdefault(name, []).append(len(self._stanzas))
        else:
            self._of_any.append(len(self._stanzas))
        self._stanzas.append(_Stanza(hosts, sure, []))
        return self._stanzas[-1]

    def _read(self, path: str, directory: str, around: _Stanza, depth: int) -> None:
        """One file; it belongs to the stanza ``around`` that includes it."""
        text = self._tree.text(path, LARGEST)
        if text is None:
            return
        self.files.add(path)
        self.clear = self.clear and depth < MAX_DEPTH and len(text) < LARGEST
        stanza = self._open(around.hosts, around.sure)
        for line in text.splitlines() if self.clear else []:
            match = _LINE.match(line)
            if not match:
                continue
            keyword = match[1].lower()
            try:
                words = shlex.split(match[2], comments=True)
            except ValueError:
                words, self.clear = [], False
            if keyword == "host":
                stanza = self._open((*around.hosts, Patterns(words)), around.sure)
            elif keyword == "match":
                stanza = self._open(around.hosts, False)
                self._read_match(words)
            elif keyword == "include":
                for pattern in words:
                    self._include(pattern, directory, stanza, depth)
                stanza = self._open(stanza.hosts, stanza.sure)
            else:
                self._judge(keyword, " ".join(words), stanza.sure)
            if keyword not in ("host", "include"):
                stanza.lines.append((keyword, " ".join(words)))

    def _include(self, pattern: str, directory: str, stanza: _Stanza, depth: int) -> None:
        if pattern.startswith("~/"):
            pattern = f"{self._home}{pattern[1:]}"
        folder, _slash, name = (pattern if pattern.startswith("/") else f"{directory}/{pattern}").rpartition("/")
        for entry in sorted(fnmatch.filter(self._tree.names(folder), name)):
            self._read(f"{folder}/{entry}", directory, stanza, depth + 1)

    def _read_match(self, words: t.Sequence[str]) -> None:
        """The criteria of a Match that depend on the name; the others are the same for all, or known by the lines."""
        rest = [part for word in words for part in word.split("=", 1)]
        while rest:
            criterion = rest.pop(0).lstrip("!").lower()
            value = rest.pop(0) if rest and criterion not in _WITHOUT_VALUE else ""
            if criterion in ("host", "originalhost"):
                self._matches += [Patterns(text.split(",")) for text in (value, value.lower())]
            self.clear = self.clear and not (criterion == "exec" and "%" in value)

    def _judge(self, keyword: str, value: str, sure: bool) -> None:
        """Whether the line is read here as ssh does."""
        if keyword == "hostname":
            unclear = not sure or bool(re.search(r"[%$\s]", _TOKEN.sub("", value)))
        elif keyword == "canonicalizehostname":
            unclear = value.lower() not in ("no", "false")  # a name server decides then
        else:
            unclear = keyword in ("user", "port") and bool(re.search("[%$]", value))
        self.clear = self.clear and not unclear
