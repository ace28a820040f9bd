# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same command on several nodes at once, this node without ssh."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import selectors
import shlex
import subprocess
import time
import typing as t

from trainmesh.installation import Installation, Refused
from trainmesh.words import encode

SSH = ("ssh", "-T", "-oBatchMode=yes", "-oConnectTimeout=8")
AT_ONCE = 128
MOST_BYTES = 16 << 20  # of the output of one node


class Answer(t.NamedTuple):
    """What a node has answered; ``status`` is None when it had not ended in time, 255 when ssh itself failed."""

    status: int | None
    out: str
    err: str

    @property
    def trouble(self) -> str:
        """Why there is no answer, in one line; an empty text when there is one."""
        if self.status is None:
            return "no answer in time"
        last = self.err.strip().splitlines()[-1:] or [f"exit status {self.status}"]
        return last[0] if self.status else ""


class _Call:
    """A command on one node, while it runs."""

    def __init__(self, command: t.Sequence[str], limit: float, directory: str, given: str) -> None:
        with open(given, "rb") as source:
            self.process = subprocess.Popen(
                list(command), stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True, cwd=directory,
            )  # fmt: skip
        self.deadline = time.monotonic() + limit
        self.parts: dict[int, list[bytes]] = {1: [], 2: []}
        self.open = 2

    def answer(self, status: int | None) -> Answer:
        """What was read."""
        out, err = (b"".join(self.parts[stream])[:MOST_BYTES].decode("utf-8", "replace") for stream in (1, 2))
        return Answer(status, out, err)


def may_reach(installation: Installation) -> None:
    """Refused on a node that does not log in to the others."""
    values = installation.values
    if values.get("TRAINMESH_SSH_TOPOLOGY", "mesh") == "head" and not installation.is_head():
        raise Refused(
            f"only the head, {values.get('TRAINMESH_HEAD')}, logs in to the other nodes "
            f"(this is {values.get('TRAINMESH_NODE_NAME')}): run it there"
        )


def own_name(installation: Installation) -> str:
    """The name of this node in the hostfile."""
    return installation.nodes()[int(installation.values["TRAINMESH_NODE_RANK"])].name


def ask(
    installation: Installation, names: t.Sequence[str], words: t.Sequence[str], limit: float
) -> tuple[dict[str, t.Any], dict[str, str]]:
    """Ask nodes what ``trainmesh here`` knows: (what each has said, why others have not)."""
    command = " ".join([f"{shlex.quote(installation.prefix)}/bin/trainmesh", "here", *map(encode, words)])
    return understood(on(installation, names, command, limit))


def understood(answers: t.Mapping[str, Answer]) -> tuple[dict[str, t.Any], dict[str, str]]:
    """(what each node has said, why others have not)."""
    said, silent = {}, {}
    for name, answer in answers.items():
        try:
            if answer.status != 0:
                raise ValueError(answer.trouble)
            # a shell's start files may print as well: the answer is the last line
            said[name] = json.loads((answer.out.strip().splitlines() or [""])[-1])
        except ValueError as error:
            silent[name] = answer.trouble or f"an answer that can't be read: {error}"
    return said, silent


def on(
    installation: Installation, names: t.Sequence[str], command: str, limit: float, given: str = os.devnull,
    options: t.Sequence[str] = (),
) -> dict[str, Answer]:  # fmt: skip
    """Run a shell command on each of the nodes, in the home directory; the answers in the order of the names.

    ``given`` is a file for its standard input, ``options`` are more of ssh.
    """
    own, account = own_name(installation), pwd.getpwuid(os.geteuid())
    waiting, found = list(names), {}
    calls: dict[str, _Call] = {}
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as at_end:
        at_end.callback(_kill_all, calls)  # Ctrl-C
        while waiting or calls:
            while waiting and len(calls) < AT_ONCE:
                name = waiting.pop(0)
                here = name == own
                words = [account.pw_shell or "/bin/sh", "-c", command] if here else [*SSH, *options, name, command]
                try:
                    calls[name] = _Call(words, limit, account.pw_dir if here else "/", given)
                except OSError as error:
                    found[name] = Answer(255, "", f"{words[0]}: {error.strerror}")
                    continue
                for stream, pipe in ((1, calls[name].process.stdout), (2, calls[name].process.stderr)):
                    if pipe is not None:
                        selector.register(pipe, selectors.EVENT_READ, (name, stream))
            _read(selector, calls)
            for name in list(calls):
                answer = _ended(calls[name])
                if answer is not None:
                    found[name] = answer
                    _close(selector, calls.pop(name))
    return {name: found[name] for name in names}


def _read(selector: selectors.BaseSelector, calls: t.Mapping[str, _Call]) -> None:
    for key, _events in selector.select(0.1):
        name, stream = key.data
        data = os.read(key.fd, 1 << 16)
        calls[name].parts[stream].append(data)
        if not data:
            selector.unregister(key.fileobj)
            calls[name].open -= 1


def _ended(call: _Call) -> Answer | None:
    """The answer of a call that has ended, or for which there is no more time."""
    status = call.process.poll()
    if status is not None and not call.open:
        return call.answer(status)
    if time.monotonic() <= call.deadline:
        return None
    _kill(call)
    return call.answer(status)  # what its children hold open is not waited for


def _kill(call: _Call) -> None:
    if call.process.poll() is None:
        os.killpg(call.process.pid, 9)
        call.process.wait()


def _kill_all(calls: t.Mapping[str, _Call]) -> None:
    for call in calls.values():
        _kill(call)


def _close(selector: selectors.BaseSelector, call: _Call) -> None:
    for pipe in (call.process.stdout, call.process.stderr):
        if pipe is not None:
            if pipe in (key.fileobj for key in selector.get_map().values()):
                selector.unregister(pipe)
            pipe.close()
