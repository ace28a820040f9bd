# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run our scripts on a host over one login, as its user or as root. Nothing is needed there but a POSIX shell.

A script and its arguments go by the standard input, so that no login shell reads them and no list of processes shows
them; so does the password of sudo, before them.
"""

from __future__ import annotations

import pathlib
import re
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.check import hand_over
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.login import Clock
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import PROMPT

SCRIPTS = pathlib.Path(__file__).parent / "scripts"
MARK = "TRAINMESH "
# A sudo that needs no password leaves it to the shell: what comes before this line is thrown away, and never run.
# The empty line ends sudo's question, which has no end of its own.
BEGIN = "TRAINMESH begin"
SKIP = f'while IFS= read -r line; do [ "$line" = "{BEGIN}" ] && echo && exec /bin/sh -s; done'
TAIL = 64 * 1024
LAST_LINES = 3


class Answer(t.NamedTuple):
    """What a command came to: its exit status, and its output and errors together."""

    rc: int
    text: str

    def values(self, key: str) -> list[str]:
        """What our marked lines say of ``key``; other lines are noise of the host."""
        begin = f"{MARK}{key} "
        return [line[len(begin) :].strip() for line in self.text.splitlines() if line.startswith(begin)]

    def says(self, word: str) -> bool:
        """Whether there is a marked line of this word alone."""
        return f"{MARK}{word}" in (line.strip() for line in self.text.splitlines())

    def last(self) -> str:
        """The last lines that are not ours, for a message."""
        text = self.text.replace(PROMPT, "\n")
        lines = [" ".join(line.split()) for line in text.splitlines() if not line.startswith(MARK)]
        return (
            "; ".join([line for line in lines if line][-LAST_LINES:])[-400:] or f"exit status {self.rc} without a word"
        )


class Root(t.NamedTuple):
    """How the login user becomes root: the command, () where it is root, and the password that it reads."""

    command: tuple[str, ...]
    password: str = ""

    def __repr__(self) -> str:
        return f"Root({self.command!r})"


class Shell:
    """One login; ``secrets`` are taken out of all that comes back."""

    def __init__(self, transport: t.Any, secrets: t.Iterable[str | None]) -> None:
        self.transport = transport
        self.secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def script(self, name: str, *args: str, limit: float, root: Root | None = None) -> Answer:
        """Run one of our scripts, for at most ``limit`` seconds; raises TimeoutError."""
        source = (SCRIPTS / name).read_text(encoding="utf-8")
        text = f"set -- {shlex.join(args)}\n{source}"
        if not root or not root.command:
            return self.command(("/bin/sh", "-s"), text, limit)
        given = f"{root.password}\n" if root.password else ""
        return self.command((*root.command, "/bin/sh", "-c", SKIP), f"{given}{BEGIN}\n{text}", limit)

    def command(self, argv: t.Sequence[str], text: str, limit: float) -> Answer:
        """Run a command with ``text`` as its input; raises TimeoutError."""
        clock = Clock(limit)
        channel = self.transport.open_session(timeout=clock.left)
        try:
            channel.set_combine_stderr(True)
            channel.settimeout(clock.left)
            channel.exec_command(shlex.join(argv))
            hand_over(channel, text.encode())
            output = b""
            while data := channel.recv(32 * 1024):
                output = (output + data)[-TAIL:]
                if clock.over:
                    raise TimeoutError
                channel.settimeout(clock.left)
            if not channel.status_event.wait(clock.left):  # the output has ended, and the command has not
                raise TimeoutError
            return Answer(channel.recv_exit_status(), self.masked(output.decode("utf-8", "replace")))
        finally:
            channel.close()

    def masked(self, text: str) -> str:
        """The text without the passwords of this host, also where a host repeats them."""
        for secret in self.secrets:
            text = re.sub(re.escape(secret), "****", text)
        return text
