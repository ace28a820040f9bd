# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian, Ubuntu and those that come from them. What apt is configured with on the node, such as proxies, counts."""

from __future__ import annotations

import glob
import os
import re
import shutil
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import path_of
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.manager import (
    MOST_REASON,
    QUERY_SECONDS,
    REFRESH_SECONDS,
    Manager,
    Runner,
    reason,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import (
    Fault,
    Package,
    Transaction,
    Want,
    size_of,
)

ETC = "/etc/apt"
LISTS = "/var/lib/apt/lists"
QUIET = {
    "DEBIAN_FRONTEND": "noninteractive",
    "NEEDRESTART_SUSPEND": "1",
    "NEEDRESTART_MODE": "l",  # it would ask, or restart services on its own
    "APT_LISTCHANGES_FRONTEND": "none",
    "COLUMNS": "200",
}
_VERSION = re.compile(r" (?:\*\*\*|   ) (\S+) (-?\d+)\Z")
_SOURCE = re.compile(r"\s*-?\d+ (\S+) (\S+)/(\S+) \S+ Packages\Z")
# apt before 2.9, and since
_GET = re.compile(r"^(?:Need to get| *Download size:) ([\d.,]+) (\w)?B", re.MULTILINE)
_DISK = re.compile(r"^(?:After this operation,(?=.*additional)| *Space needed:) ([\d.,]+) (\w)?B", re.MULTILINE)
_INST = re.compile(r"^Inst (\S+?)(?::\w+)? (?:\[([^\]]+)\] )?\((\S+)", re.MULTILINE)
_REMV = re.compile(r"^(?:Remv|Purg) (\S+?)(?::\w+)?(?: \[([^\]]+)\]| |$)", re.MULTILINE)
_KEEP = ("Dpkg::Options::=--force-confdef", "Dpkg::Options::=--force-confold")
_OVER_HOLDS = ("--ignore-hold", "--allow-change-held-packages")
_CONFIRMED = ("-y", "--no-install-recommends")


class Archive(t.NamedTuple):
    """One suite of a repository, and the components that are in use."""

    uri: str
    suite: str
    components: frozenset[str]


def parse_policy(text: str) -> dict[str, Package]:
    """What ``apt-cache policy NAME...`` prints; names without any version are left out."""
    found: dict[str, Package] = {}
    name, fields, versions = "", dict[str, str](), list[str]()
    for line in [*text.splitlines(), "end:"]:
        if line and not line.startswith(" "):
            if versions:
                values = [fields.get(key, "(none)") for key in ("Installed", "Candidate")]
                installed, candidate = (None if value == "(none)" else value for value in values)
                found[name] = Package(installed, candidate, tuple(versions))
            name, fields, versions = line.rstrip(":"), {}, []
        elif match := _VERSION.match(line):
            versions.append(match.group(1))
        else:
            key, _colon, value = line.strip().partition(": ")
            fields[key] = value
    return found


def parse_archives(text: str, origin: str) -> list[Archive]:
    """The suites of a distribution (``o=Debian``) in what ``apt-cache policy`` prints."""
    found: dict[tuple[str, str], set[str]] = {}
    source: re.Match[str] | None = None
    for line in text.splitlines():
        source = _SOURCE.match(line) or source
        values = [word.partition("=") for word in line.strip().removeprefix("release ").split(",")]
        if source and line.strip().startswith("release ") and ("o", "=", origin) in values:
            found.setdefault((source.group(1), source.group(2)), set()).add(source.group(3))
    return [Archive(uri, suite, frozenset(parts)) for (uri, suite), parts in found.items()]


def parse_transaction(simulated: str, sizes: str) -> Transaction:
    """What ``apt-get -s install`` said it would do, and the sizes that ``apt-get --print-uris install`` named."""
    rows = [match.groups() for match in _INST.finditer(simulated)]
    gone = {name: before or "" for name, before in _REMV.findall(simulated)}
    get, disk = _GET.search(sizes), _DISK.search(sizes)
    return Transaction(
        new={name: version for name, before, version in rows if before is None},
        upgraded={name: version for name, before, version in rows if before is not None},
        removed=tuple(gone),
        download=size_of(*get.groups()) if get else 0,
        disk=size_of(*disk.groups()) if disk else 0,
        before={**{name: before for name, before, _new in rows if before}, **gone},
    )


class Apt(Manager):
    """apt, with the sources of the node and, in a room, those that are written there."""

    name = "apt"
    unhold = "apt-mark unhold"

    def __init__(self, run: Runner = command.run, limit: float = 3600.0, room: str = "", etc: str = ETC) -> None:
        super().__init__(run, limit, room)
        self._etc = etc
        self._has_room = False

    def prepare(self, files: t.Mapping[str, bytes], lists: str = LISTS) -> None:
        self._has_room = True
        for name in ("sources.list.d", "preferences.d"):
            shutil.rmtree(f"{self.room}/{name}", ignore_errors=True)
            os.makedirs(f"{self.room}/{name}")
            for path in glob.glob(f"{self._etc}/{name}/*"):
                if os.path.isfile(path):
                    shutil.copy(path, f"{self.room}/{name}")
        self._placed(files, {f"{ETC}/{name}/": name for name in ("sources.list.d", "preferences.d")})
        os.makedirs(f"{self.room}/cache/archives/partial", exist_ok=True)
        if not os.path.isdir(f"{self.room}/lists"):
            os.makedirs(f"{self.room}/lists/partial")
            for path in glob.glob(f"{lists}/*_*"):  # what is there need not be downloaded again
                shutil.copy2(path, f"{self.room}/lists")

    def _options(self, more: t.Sequence[str] = ()) -> list[str]:
        """What every apt program is told."""
        wanted = ["DPkg::Lock::Timeout=300", "Dpkg::Use-Pty=0", "Acquire::Retries=3", *more]
        if self._has_room:
            wanted += [
                f"Dir::Etc::SourceParts={self.room}/sources.list.d",
                f"Dir::Etc::PreferencesParts={self.room}/preferences.d",
                f"Dir::State::Lists={self.room}/lists",
                f"Dir::Cache={self.room}/cache",
                "Acquire::Languages=none",
                "Acquire::http::Timeout=60",
                "Acquire::https::Timeout=60",
            ]
        return [word for option in wanted for word in ("-o", option)]

    def _get(self, limit: float, *words: str, options: t.Sequence[str] = ()) -> command.Outcome:
        return self._run([path_of("apt-get"), "-q", *self._options(options), *words], limit, env=QUIET)

    def _cache(self, *words: str) -> str:
        return self._run([path_of("apt-cache"), *self._options(), *words], QUERY_SECONDS, env=QUIET).out

    def installed(self, names: t.Sequence[str] | None = None) -> dict[str, str]:
        form = "-f=${db:Status-Status}\\t${Package}\\t${Version}\\n"
        outcome = self._run([path_of("dpkg-query"), "-W", form, *(names or ())], QUERY_SECONDS) if names != [] else None
        rows = [line.split("\t") for line in (outcome.out if outcome else "").splitlines()]
        return {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "installed"}

    def packages(self, names: t.Iterable[str]) -> dict[str, Package]:
        wanted = list(names)
        return parse_policy(self._cache("policy", *wanted)) if wanted else {}

    def archives_of(self, origin: str) -> list[Archive]:
        """The suites of the distribution that are in use."""
        return parse_archives(self._cache("policy"), origin)

    def versions(self, name: str) -> list[str]:
        candidate = re.search(r"^  Candidate: (\S+)$", self._cache("policy", name), re.MULTILINE)
        rows = [line.split("|") for line in self._cache("madison", name).splitlines()]
        found = [row[1].strip() for row in rows if len(row) > 2 and row[0].strip() == name]
        first = [candidate.group(1)] if candidate and candidate.group(1) in found else []
        return list(dict.fromkeys([*first, *found]))

    def left_of(self, names: t.Sequence[str]) -> set[str]:
        form = "-f=${db:Status-Status}\\t${Package}\\n"
        outcome = self._run([path_of("dpkg-query"), "-W", form, *names], QUERY_SECONDS) if names else None
        rows = [line.split("\t") for line in (outcome.out if outcome else "").splitlines()]
        return {row[1] for row in rows if len(row) == 2 and row[0] not in ("not-installed", "")}

    def held(self) -> set[str]:
        return set(self._run([path_of("apt-mark"), "showhold"], QUERY_SECONDS).out.split())

    def refresh(self) -> str:
        limit = self.limit if self.room else REFRESH_SECONDS
        outcome = self._get(limit, "update")
        named = [line for line in outcome.text.splitlines() if line.startswith(("E: ", "W: ", "Err:"))]
        if not self.room:
            named = [line for line in named if not line.startswith("W: ") or line.startswith("W: Failed")]
            self.complaint = "; ".join(named)[:MOST_REASON] if named or not outcome.ok else ""
        elif outcome.timed_out or outcome.rc not in (0, 100):  # 100: some list could not be read
            how = reason(outcome, limit) if outcome.timed_out else f"apt-get ended with {outcome.rc}"
            raise Fault(f"the package lists could not be read: {how}")
        return "\n".join(named)

    def _words(self, wants: t.Sequence[Want], drops: t.Sequence[str] = ()) -> list[str]:
        words = [f"{want.name}={want.version}" if want.version else want.name for want in wants]
        return ["install", *words, *(f"{name}-" for name in drops)]

    @property
    def _over_holds(self) -> tuple[str, ...]:
        return _OVER_HOLDS if self.room else ()

    def transaction(self, wants: t.Sequence[Want], drops: t.Sequence[str] = ()) -> Transaction:
        words, unlocked = [*self._over_holds, *self._words(wants, drops)], ["Debug::NoLocking=true"]
        simulated = self._get(QUERY_SECONDS, "-s", "--no-install-recommends", *words, options=unlocked)
        if not simulated.ok:
            raise Fault(f"{reason(simulated, QUERY_SECONDS)}{self._told()}")
        # --assume-no would install, unasked, what needs no other package; -s tells no sizes
        sizes = self._get(QUERY_SECONDS, "--print-uris", "--download-only", *_CONFIRMED, *words, options=unlocked)
        return parse_transaction(simulated.out, sizes.text)

    def removal(self, names: t.Sequence[str]) -> Transaction:
        if not names:
            return Transaction()
        what = "the packages could not be removed: "
        return parse_transaction(
            self._done(self._get(self.limit, "-s", *self._over_holds, "purge", *names), what).out, ""
        )

    def download(self, wants: t.Sequence[Want], drops: t.Sequence[str] = ()) -> None:
        words = [*_CONFIRMED, "--download-only", *self._over_holds, *self._words(wants, drops)]
        self._done(self._get(self.limit, *words), "the packages could not be downloaded: ")

    def downloaded(self) -> list[str]:
        return sorted(glob.glob(f"{self.room}/cache/archives/*.deb"))

    def unpack(self, path: str, directory: str) -> None:
        self._done(self._run([path_of("dpkg-deb"), "-x", path, directory], self.limit))

    def install(self, wants: t.Sequence[Want], drops: t.Sequence[str] = (), removes: bool = True) -> None:
        flags = [*_CONFIRMED, *([] if removes else ["--no-remove"]), *self._over_holds]
        flags += ["--no-download", "--allow-downgrades"] if self.room else []
        self._done(self._get(self.limit, *flags, *self._words(wants, drops), options=_KEEP))

    def remove(self, names: t.Sequence[str], forced: bool = False) -> None:
        if not names:
            return
        outcome = self._get(self.limit, "-y", *self._over_holds, "purge", *names, options=_KEEP)
        if forced and not outcome.ok:  # what is half unpacked is no package that apt would touch
            dpkg = [path_of("dpkg"), "--purge", "--force-remove-reinstreq", "--force-depends"]
            outcome = self._run([*dpkg, *names], self.limit, env=QUIET)
        self._done(outcome, "the packages could not be removed: ")

    def keep_old(self, versions: t.Mapping[str, str], directory: str) -> list[str]:
        os.makedirs(directory, exist_ok=True)
        wanted = [f"{name}={version}" for name, version in versions.items()]
        outcome = self._run([path_of("apt-get"), *self._options(), "download", *wanted], self.limit, cwd=directory)
        files = sorted(glob.glob(f"{directory}/*.deb"))
        return files if outcome.ok and len(files) == len(versions) else []

    def put_back(self, files: t.Sequence[str]) -> None:
        words = ["--allow-downgrades", *_CONFIRMED, *self._over_holds, "install", *files]
        self._done(self._get(self.limit, *words), "the old packages could not be put back: ")

    def hold(self, names: t.Sequence[str], is_held: bool = True) -> None:
        words = [path_of("apt-mark"), "hold" if is_held else "unhold", *names]
        if names and not self._run(words, QUERY_SECONDS, env=QUIET).ok:
            raise Fault(f"{', '.join(names)} could not be {'held' if is_held else 'released'} by apt-mark")
