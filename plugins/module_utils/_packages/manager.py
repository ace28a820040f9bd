# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What both package managers have in common.

With a room, a directory of root's, a manager has sources, lists and packages of its own beside those of the node: it is
known what an installation would do, and all packages are there and checked, before anything of the node is changed.
Whoever uses a room judges holds by itself; those of an earlier run are not in its way.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Package, Transaction, Want

Runner = t.Callable[..., command.Outcome]

QUERY_SECONDS = 120.0
REFRESH_SECONDS = 600.0
MOST_REASON = 500
_NAMED = re.compile(
    r"E: |W: |Err:|Error: |dpkg: error|error: |No match for argument|All matches were filtered|Problem|"
    r"Public key for |GPG key at |The GPG keys listed |\[MIRROR\]|.*At least \d+\w* more space"
)
_UNMET = re.compile(
    r"(?:\S+ : )?(?:Pre-?Depends|Depends|Breaks|Conflicts): |[\w.+:-]+ : (?:Pre-)?(?:Depends|Conflicts|Breaks)|"
    r"-? ?(?:package \S+|problem with) .*(?:conflicts with|requires|obsoletes)|- nothing provides"
)
_NOISE = re.compile(
    r"Some index files failed to download|E: Unable to correct problems|Problem(?: \d+)?: conflicting requests\Z"
)


def reason(outcome: command.Outcome, limit: float) -> str:
    """Why a package manager failed, in its own words, without logins of repositories."""
    if outcome.timed_out:
        return f"no end after {limit:g} s"
    lines = [line.strip() for line in outcome.text.splitlines() if line.strip()]
    told = [line for line in dict.fromkeys(lines) if not _NOISE.search(line)]
    unmet = [line for line in told if _UNMET.match(line)]
    named = [line for line in told if _NAMED.match(line) and line not in unmet]
    words = [*unmet, *named][:4] or lines[-2:] or [f"exit status {outcome.rc}"]
    return masked("; ".join(re.sub(r"^(E|Error): ", "", line) for line in words))[:MOST_REASON]


class Manager:
    """A package manager; ``run`` is how commands are run, ``limit`` the seconds that each step may take."""

    name = ""
    unhold = ""  # the command with which a user releases packages

    def __init__(self, run: Runner = command.run, limit: float = 3600.0, room: str = "") -> None:
        self._run = run
        self.limit = limit
        self.room = room
        self.complaint = ""

    # What is there

    def installed(self, names: t.Sequence[str] | None = None) -> dict[str, str]:
        """The versions of those packages that are installed; of all that are for None."""
        raise NotImplementedError

    def packages(self, names: t.Iterable[str]) -> dict[str, Package]:
        """What there is of these names; those of which there is nothing are left out."""
        raise NotImplementedError

    def versions(self, name: str) -> list[str]:
        """The versions of a package that the node's repositories offer, the preferred one first."""
        raise NotImplementedError

    def held(self) -> set[str]:
        """The packages that somebody has pinned to their version."""
        raise NotImplementedError

    def left_of(self, names: t.Sequence[str]) -> set[str]:
        """Those packages of which anything is on the node, also what is only half there."""
        return set(self.installed(names))

    def keys(self) -> set[str]:
        """The keys that the node trusts for all packages, where they are kept as packages themselves."""
        return set()

    # The lists

    def prepare(self, files: t.Mapping[str, bytes]) -> None:
        """Make the room, with these files, named as they will be on the node, beside the sources of the node."""
        raise NotImplementedError

    def refresh(self) -> str:
        """Read the lists of the repositories anew; what could not be read, which need not be ours, is told and kept."""
        raise NotImplementedError

    def _placed(self, files: t.Mapping[str, bytes], etc: t.Mapping[str, str]) -> None:
        """Write files into the room: below the directories in ``etc`` by what stands there, others beside them."""
        places = {}
        for path in files:
            name = next((name for base, name in etc.items() if path.startswith(base)), None)
            places[path] = f"{self.room}/{name}/{os.path.basename(path)}" if name else f"{self.room}/{_flat(path)}"
        for path, place in places.items():
            content = files[path]
            for other, own in places.items():  # such as the key that a source names
                content = content.replace(other.encode(), own.encode()) if other != path else content
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as stream:
                stream.write(content)

    # What would be done

    def transaction(self, wants: t.Sequence[Want], drops: t.Sequence[str] = ()) -> Transaction:
        """What an installation would do that takes ``drops`` off the node; raises Fault where it can't be done."""
        raise NotImplementedError

    def removal(self, names: t.Sequence[str]) -> Transaction:
        """What removing would do; raises Fault."""
        raise NotImplementedError

    def choose(self, name: str, version: str) -> Want:
        """The package in the version that is, or begins with, the one asked for; raises Fault with those there are."""
        offered = self.versions(name)
        if not offered:
            raise Fault(f"no repository of this node has a package {name}{self._told()}")
        if not version:
            return Want(name, offered[0])
        for one in offered:
            if one == version or re.match(rf"(?:\d+:)?{re.escape(version)}(?![\d])", one):
                return Want(name, one)
        few = ", ".join(offered[:8])
        raise Fault(f"no repository of this node has {name} {version}; there is {few}{self._told()}")

    # What is done; all of it raises Fault

    def download(self, wants: t.Sequence[Want], drops: t.Sequence[str] = ()) -> None:
        """Fetch all packages into the room, and check them."""
        raise NotImplementedError

    def downloaded(self) -> list[str]:
        """The packages in the room, as files."""
        raise NotImplementedError

    def unpack(self, path: str, directory: str) -> None:
        """Lay the files of a package into a directory."""
        raise NotImplementedError

    def install(self, wants: t.Sequence[Want], drops: t.Sequence[str] = (), removes: bool = True) -> None:
        """Install; with a room what is there already. A configuration file that the user has changed stays."""
        raise NotImplementedError

    def remove(self, names: t.Sequence[str], forced: bool = False) -> None:
        """Remove packages with their settings, and nothing else; ``forced`` also what is only half there."""
        raise NotImplementedError

    def keep_old(self, versions: t.Mapping[str, str], directory: str) -> list[str]:
        """Fetch installed versions, for a way back; their files, or none where one of them is no longer offered."""
        raise NotImplementedError

    def put_back(self, files: t.Sequence[str]) -> None:
        """Install the old versions again."""
        raise NotImplementedError

    def hold(self, names: t.Sequence[str], is_held: bool = True) -> None:
        """Hold packages, or release them."""
        raise NotImplementedError

    def suspend(self, names: t.Sequence[str]) -> None:
        """Let holds of these packages be in no way of an installation, until resume(); most have an option for that."""

    def resume(self, names: t.Sequence[str]) -> None:
        """Hold them again, where suspend() has released them and they are still there."""

    def releasable(self, names: t.Sequence[str]) -> list[str]:
        """Those of these names that a hold may be left of; apt forgets it with the package."""
        have = self.installed() if names else {}
        return [name for name in names if name in have]

    def holder(self) -> list[str]:
        """The packages without which nothing can be held here, and which are missing."""
        return []

    def forget_keys(self, keys: t.Collection[str]) -> None:
        """Trust these keys no longer."""

    def _told(self) -> str:
        return f" (reading the lists of packages: {self.complaint})" if self.complaint else ""

    def _done(self, outcome: command.Outcome, what: str = "") -> command.Outcome:
        """The outcome of a step that went well; raises Fault."""
        if not outcome.ok:
            raise Fault(f"{what}{reason(outcome, self.limit)}")
        return outcome


def _flat(path: str) -> str:
    """The name of a file in the room that lies elsewhere on the node."""
    return path.strip("/").replace("/", "-")
