# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job as the user has asked for it, and the words by which its ranks learn of it."""

from __future__ import annotations

import os
import re
import typing as t

from trainmesh.installation import Installation, Node, Refused
from trainmesh.words import decode, encode

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z", re.ASCII)
CHECK = "check-"  # how the runs of the playbooks begin
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=", re.ASCII)
LONGEST = 100_000  # one argument of execve(2) may have 128 KiB
KINDS = ("script", "module", "program")


class Job(t.NamedTuple):
    """``nodes`` are those that train, ``chosen`` is true when they are not all; ``variables`` are ``KEY=VALUE``.

    ``environment`` is the name of the environment on every node; empty for the directory ``env``.
    """

    run_id: str
    launcher: str
    port: int
    kind: str
    program: str
    arguments: t.Sequence[str]
    variables: t.Sequence[str]
    directory: str
    launcher_arguments: t.Sequence[str]
    config: str
    bars: str
    nodes: t.Sequence[Node]
    chosen: bool
    environment: str = ""

    @property
    def master(self) -> str:
        """The address of the node of rank 0."""
        return self.nodes[0].address

    @property
    def world_size(self) -> int:
        """How many ranks there are."""
        return sum(node.slots for node in self.nodes)

    def rank_words(self) -> list[str]:
        """What every rank is told, in plain characters."""
        told = [f"trainmesh-run={self.run_id}", f"in={encode(self.directory)}"]
        told += [f"set={encode(pair)}" for pair in self.variables]
        if self.environment:
            told.append(f"environment={encode(self.environment)}")
        if self.bars != "first":
            told.append(f"bars={self.bars}")
        if self.chosen:
            told.append(f"nodes={','.join(node.name for node in self.nodes)}")
            told.append(f"world={self.world_size}")
            told.append(f"master={encode(self.master)}")
        told += [f"{self.kind}={encode(self.program)}", *map(encode, self.arguments)]
        if sum(map(len, told)) + len(told) > LONGEST:
            raise Refused("the arguments are too long to be sent to the nodes: put them into a file")
        return told


class Told(t.NamedTuple):
    """What a rank has been told; ``options`` are the words before the program that are there once."""

    run_id: str
    local_rank: t.Sequence[str]
    options: t.Mapping[str, str]
    variables: t.Sequence[str]
    kind: str
    program: str
    arguments: t.Sequence[str]

    @property
    def directory(self) -> str:
        """Where the job starts on every node."""
        return self.options.get("in", "/")


def told(words: t.Sequence[str]) -> Told:
    """Read rank_words() again; a launcher may have put ``--local_rank=N`` before them."""
    local_rank: list[str] = []
    variables: list[str] = []
    options: dict[str, str] = {}
    for at, word in enumerate(words):
        name, _equals, value = word.partition("=")
        if word.startswith(("--local_rank=", "--local-rank=")):  # DeepSpeed's way to tell the script
            local_rank.append(word)
        elif name in KINDS:
            rest = [decode(each) for each in words[at + 1 :]]
            run_id = options.pop("trainmesh-run", "")
            return Told(run_id, local_rank, options, variables, name, decode(value), rest)
        elif name == "set":
            variables.append(decode(value))
        else:
            options[name] = decode(value)
    raise Refused("called without a program: it is started by the launchers, not by hand")


def check_port(installation: Installation, port: str) -> tuple[int, str]:
    """(the port of the rendezvous, a warning or an empty text); Refused for what can't be one."""
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or not 1024 <= int(port) <= 65535:
        raise Refused(f"--master-port wants a number from 1024 to 65535, not {port}")
    if port in installation.values.get("TRAINMESH_SSH_PORTS", "").split(","):
        raise Refused(f"port {port} is the sshd's: the rendezvous needs a port of its own")
    low, high = ephemeral_range()
    if low <= int(port) <= high and not is_reserved(int(port)):
        return int(port), f"warning: port {port} is in the ephemeral range {low}-{high} and may be taken at any time"
    return int(port), ""


def ephemeral_range() -> tuple[int, int]:
    """The ports that the kernel gives away; an empty range when it does not tell."""
    words = _sysctl("ip_local_port_range").split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else (1, 0)


def is_reserved(port: int) -> bool:
    """Whether ip_local_reserved_ports (8080,9148-9150) keeps the kernel from giving the port away."""
    for part in filter(None, _sysctl("ip_local_reserved_ports").strip().split(",")):
        low, _dash, high = part.partition("-")
        if int(low) <= port <= int(high or low):
            return True
    return False


def _sysctl(name: str) -> str:
    try:
        with open(f"/proc/sys/net/ipv4/{name}", encoding="ascii") as source:
            return source.read()
    except OSError:
        return ""


def here() -> str:
    """The current directory as the shell calls it: other nodes may reach it by its symbolic links only."""
    named = os.environ.get("PWD", "")
    try:
        if os.path.isabs(named) and os.path.samefile(named, "."):
            return named
        return os.getcwd()
    except OSError as error:
        raise Refused(f"the current directory can't be used: {error.strerror}") from None


def place(kind: str, program: str, directory: str) -> str:
    """The program as the nodes need it: a file with its whole path."""
    if kind == "script" and not os.path.isfile(program):
        raise Refused(f"there is no file {program} here ({directory})")
    if kind == "script" or (kind == "program" and "/" in program):
        return os.path.join(directory, program)
    return program
