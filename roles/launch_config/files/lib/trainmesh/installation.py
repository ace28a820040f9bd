# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbooks have installed: the directory, the nodes, and the values of this node."""

from __future__ import annotations

import json
import os
import pwd
import re
import typing as t

# What the playbooks make beside each other; the link env leads to the one in use.
ENVIRONMENT = re.compile(r"[a-z][A-Za-z0-9._+-]*", re.ASCII)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Refused(Exception):
    """A call that can't be carried out, in one sentence that says what to do instead."""


class Node(t.NamedTuple):
    """A node; ``name`` is the one by which ssh and the launchers know it."""

    name: str
    slots: int
    address: str


class Installation(t.NamedTuple):
    """The directory, and what its ``cluster.env`` and ``node.env`` say.

    ``environment`` is the name of one of several environments, and empty for a directory ``env``: what has begun with
    one goes on with it, also when the link leads to another one meanwhile.
    """

    prefix: str
    values: t.Mapping[str, str]
    environment: str = ""

    @property
    def base(self) -> str:
        """The directory of the environment and its records."""
        return base_of(self.prefix, self.environment)

    @property
    def bin(self) -> str:
        """The programs of the environment."""
        return f"{self.base}/env/bin"

    def program(self, name: str) -> list[str]:
        """The beginning of a command that calls a script of the environment.

        The Python stands before it where there are several: a script of one that was moved names another.
        """
        return [*([f"{self.bin}/python"] if self.environment else []), f"{self.bin}/{name}"]

    @property
    def path(self) -> str:
        """The search path of a launcher: our stand-in for pdsh goes before pdsh."""
        return f"{self.prefix}/libexec/path:{self.bin}:{SYSTEM_PATH}"

    @property
    def rank_program(self) -> str:
        """What every launcher starts in the place of Python."""
        return f"{self.prefix}/libexec/trainmesh-rank"

    def is_head(self) -> bool:
        """Whether this is the node of rank 0."""
        return self.values.get("TRAINMESH_NODE_RANK") == "0"

    def nodes(self) -> list[Node]:
        """All nodes in the order of their ranks."""
        found = re.findall(r"^(\S+) slots=(\d+)$", self.text("etc/hostfile"), re.MULTILINE)
        described = json.loads(self.text("etc/cluster.json"))["nodes"]
        return [Node(name, int(slots), each["address"]) for (name, slots), each in zip(found, described)]

    def names(self) -> set[str]:
        """All names of nodes that lines of output may begin with: those of the hostfile and those of the inventory."""
        described = json.loads(self.text("etc/cluster.json"))["nodes"]
        return {node.name for node in self.nodes()} | {each["name"] for each in described}

    def text(self, name: str) -> str:
        """The content of a file below the directory."""
        try:
            with open(f"{self.prefix}/{name}", encoding="utf-8") as source:
                return source.read()
        except OSError as error:
            raise Refused(f"{self.prefix}/{name} can't be read ({error.strerror}): run the site playbook") from None


def base_of(prefix: str, environment: str) -> str:
    """The directory of an environment by its name."""
    return f"{prefix}/environments/{environment}" if environment else prefix


def linked(prefix: str) -> str:
    """The name of the environment in use; empty where ``env`` is a directory, or leads elsewhere."""
    try:
        first, _slash, rest = os.readlink(f"{prefix}/env").partition("/")
    except OSError:
        return ""
    name = rest[: -len("/env")]
    return name if first == "environments" and rest == f"{name}/env" and ENVIRONMENT.fullmatch(name) else ""


def environments(prefix: str) -> list[str]:
    """The names of all environments that can be started."""
    try:
        names = sorted(filter(ENVIRONMENT.fullmatch, os.listdir(f"{prefix}/environments")))
    except OSError:
        return []
    return [name for name in names if os.access(f"{base_of(prefix, name)}/env/bin/python", os.X_OK)]


def find(prefix: str, environment: str | None = None) -> Installation:
    """The installation; Refused for another user than the one whose jobs these are, and where files are missing.

    ``environment`` is the name of another environment than the one in use.
    """
    only_owner(prefix)
    bare = Installation(prefix, {})
    values: dict[str, str] = {}
    for name in ("etc/cluster.env", "etc/node.env"):
        values.update(settings(bare.text(name)))
    return Installation(prefix, values, linked(prefix) if environment is None else environment)


def only_owner(prefix: str) -> None:
    """Runs, caches and logs are the job user's: root would leave files that the user can't write any more."""
    try:
        owner = os.stat(f"{prefix}/var").st_uid
    except OSError:
        return
    if owner != os.geteuid():
        raise Refused(f"jobs here are those of {user(owner)}: run it as that user (this is {user(os.geteuid())})")


def user(number: int) -> str:
    """The name of a user's number, or the number."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def settings(text: str) -> dict[str, str]:
    """The ``KEY=VALUE`` lines that the playbooks write; they contain plain characters only."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name: value for name, _equals, value in pairs}
