# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The RHEL family and Fedora, with dnf 4 and 5. What dnf is configured with on the node, such as proxies, counts."""

from __future__ import annotations

import glob
import os
import re
import shutil
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import path_of, which
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.manager import (
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

REPOSITORIES = "/etc/yum.repos.d"
KEYS = "/etc/pki/rpm-gpg"
_GET = re.compile(r"^(?:Total download size:|.*Need to download) ([\d.]+) ?(\w)?", re.MULTILINE)
_DISK = re.compile(r"^(?:Installed size:|After this operation,) ([\d.]+) ?(\w)?", re.MULTILINE)
_SECTION = re.compile(r"^([A-Z][a-z]+)[\w ,]*:\s*$")
_ROW = re.compile(r"(\S+)\s+(?:x86_64|aarch64|noarch|i686)\s+(\S+)\s+\S+\s+[\d.]+ ?\w*")
_REPLACED = re.compile(r"^\s+replacing\s+(\S+?)(?:\.(?:x86_64|aarch64|noarch|i686)\s+|\s+\S+\s+)(\S+)", re.MULTILINE)
_HELD = re.compile(r"^!?([\w.+-]+?)-(?:\d+:)?[^-\s]+-[^-\s]+$", re.MULTILINE)
_HELD_OF_5 = re.compile(r"^Package name: (\S+)\s*$", re.MULTILINE)
_WEAK = "--setopt=install_weak_deps=False"
_ALONE = "--setopt=clean_requirements_on_remove=False"


def parse_transaction(text: str) -> Transaction:
    """What ``dnf install --assumeno`` said it would do (dnf 4 and 5)."""
    rows: dict[str, list[str]] = {}
    section = ""
    for line in text.splitlines():
        head = _SECTION.match(line)
        section = head.group(1) if head else ("" if not line.strip() or line.startswith("Transaction") else section)
        if section and not head and not _REPLACED.match(line):
            rows.setdefault(section, []).append(line)
    found = {section: dict(_ROW.findall(" ".join(lines))) for section, lines in rows.items()}
    gone = {**found.get("Removing", {}), **dict(_REPLACED.findall(text))}
    upgraded = {**found.get("Upgrading", {}), **found.get("Downgrading", {}), **found.get("Reinstalling", {})}
    get, disk = _GET.search(text), _DISK.search(text)
    return Transaction(
        new=found.get("Installing", {}),
        upgraded=upgraded,
        removed=tuple(name for name in gone if name not in upgraded),  # an old version is no removal
        download=size_of(*get.groups()) if get else 0,
        disk=size_of(*disk.groups()) if disk else 0,
        before={name: version for name, version in gone.items() if name not in upgraded},
    )


def parse_held(text: str) -> set[str]:
    """What ``dnf versionlock list`` prints (dnf 4 and 5)."""
    return set(_HELD.findall(text.replace(".*", ""))) | set(_HELD_OF_5.findall(text))


def addresses(text: str) -> dict[str, str]:
    """Address to name of the repositories in a file of yum.repos.d."""
    found, name = {}, ""
    for line in text.splitlines():
        section, setting = re.match(r"\[([^]\s]+)\]", line), re.match(r"baseurl[ \t]*=[ \t]*(\S+)", line)
        name = section.group(1) if section else name
        if setting and name:
            found[setting.group(1).rstrip("/")] = name
    return found


class Dnf(Manager):
    """dnf, with the repositories of the node and, in a room, those that are written there."""

    name = "dnf"
    unhold = "dnf versionlock delete"

    def __init__(
        self, run: Runner = command.run, limit: float = 3600.0, room: str = "", etc: str = REPOSITORIES
    ) -> None:
        super().__init__(run, limit, room)
        self._etc = etc
        self._has_room = False
        self._unfiltered: list[str] = []  # repositories whose modules hide nothing

    def _is_5(self) -> bool:
        return os.path.basename(os.path.realpath(which("dnf") or "")) == "dnf5"

    def prepare(self, files: t.Mapping[str, bytes]) -> None:
        self._has_room = True
        shutil.rmtree(f"{self.room}/repositories", ignore_errors=True)
        os.makedirs(f"{self.room}/repositories")
        for path in glob.glob(f"{self._etc}/*.repo"):
            shutil.copy(path, f"{self.room}/repositories")
        self._placed(files, {f"{REPOSITORIES}/": "repositories"})

    def repositories(self) -> dict[str, str]:
        """Address to name of the repositories that the node has."""
        found: dict[str, str] = {}
        for path in sorted(glob.glob(f"{self._etc}/*.repo")):
            with open(path, encoding="utf-8", errors="replace") as stream:
                found.update(addresses(stream.read()))
        return found

    def unfilter(self, name: str) -> None:
        """Let no module (nvidia-driver:570-dkms) hide packages of this repository: the version says it all."""
        self._unfiltered.append(name)

    def _options(self) -> list[str]:
        found = [f"--setopt={name}.module_hotfixes=1" for name in self._unfiltered]
        if not self._has_room:
            return found
        # holds are judged before; for dnf 5 see suspend()
        locks = [] if self._is_5() else ["--disableplugin=versionlock"]
        room = [f"reposdir={self.room}/repositories", f"cachedir={self.room}/cache", "keepcache=1", "timeout=60"]
        return [*found, *locks, *(f"--setopt={setting}" for setting in [*room, "*.skip_if_unavailable=1"])]

    def _dnf(self, limit: float, *words: str) -> command.Outcome:
        options = [] if words[0] == "versionlock" or words[:2] == ("-q", "versionlock") else self._options()
        return self._run([which("dnf") or path_of("yum"), *options, *words], limit, env={"COLUMNS": "200"})

    def installed(self, names: t.Sequence[str] | None = None) -> dict[str, str]:
        form = "%{NAME}\\t%{VERSION}-%{RELEASE}\\n"
        words = ["-qa"] if names is None else ["-q", *names]
        outcome = self._run([path_of("rpm"), "--qf", form, *words], QUERY_SECONDS) if names != [] else None
        rows = [line.split("\t") for line in (outcome.out if outcome else "").splitlines()]
        return {row[0]: row[1] for row in rows if len(row) == 2 and row[0] != "gpg-pubkey"}

    def packages(self, names: t.Iterable[str]) -> dict[str, Package]:
        wanted = list(dict.fromkeys(names))
        have, found = self.installed(wanted), self._offered(wanted)
        known = {name: found.get(name, []) for name in wanted if found.get(name) or name in have}
        return {
            name: Package(have.get(name), next(iter(versions), None), tuple(versions))
            for name, versions in known.items()
        }

    def _offered(self, names: t.Sequence[str]) -> dict[str, list[str]]:
        """The versions that the repositories have, the newest first."""
        if not names:
            return {}
        form = "%{name} %{version}-%{release}\n"
        limit = self.limit if self.room else QUERY_SECONDS
        outcome = self._dnf(limit, "-q", "repoquery", "--qf", form, *names)
        found: dict[str, list[str]] = {}
        for row in reversed([line.split() for line in outcome.out.splitlines()]):
            if len(row) == 2 and row[0] in names and row[1] not in found.setdefault(row[0], []):
                found[row[0]].append(row[1])
        return found

    def versions(self, name: str) -> list[str]:
        return self._offered([name]).get(name, [])

    def held(self) -> set[str]:
        return parse_held(self._dnf(QUERY_SECONDS, "-q", "versionlock", "list").out)

    def keys(self) -> set[str]:
        form = "%{NAME}-%{VERSION}-%{RELEASE}\\n"
        outcome = self._run([path_of("rpm"), "-q", "--qf", form, "gpg-pubkey"], QUERY_SECONDS)
        return set(outcome.out.split()) if outcome.ok else set()  # else it says in words that there is none

    def refresh(self) -> str:
        limit = self.limit if self.room else REFRESH_SECONDS
        outcome = self._dnf(limit, *([] if self.room else ["-q"]), "makecache", *(["--refresh"] if self.room else []))
        if self.room and (outcome.timed_out or outcome.rc is None):
            raise Fault(f"the package lists could not be read: {reason(outcome, limit)}")
        # with a room a repository that can't be read is left out, and named
        told = [] if outcome.ok else [reason(outcome, limit)]
        told += [line for line in outcome.text.splitlines() if re.match(r"Error:|Errors during|  - |Ignoring ", line)]
        self.complaint = "" if outcome.ok else reason(outcome, REFRESH_SECONDS)
        return "\n".join(told)

    def _words(self, wants: t.Sequence[Want]) -> list[str]:
        return [f"{want.name}-{want.version}" if want.version else want.name for want in wants]

    @property
    def _erasing(self) -> list[str]:
        """With a room an installation may replace what it conflicts with, which is judged before."""
        return ["--allowerasing"] if self.room else []

    def transaction(self, wants: t.Sequence[Want], drops: t.Sequence[str] = ()) -> Transaction:
        outcome = self._dnf(REFRESH_SECONDS, "install", "--assumeno", _WEAK, *self._erasing, *self._words(wants))
        found = parse_transaction(outcome.text)
        # what --assumeno says no to ends with 1, as a failure does
        if not outcome.ok and found.is_empty:
            raise Fault(f"{reason(outcome, REFRESH_SECONDS)}{self._told()}")
        have = self.installed([*found.upgraded, *found.removed, *drops])
        removed = list(dict.fromkeys([*found.removed, *(name for name in drops if name in have)]))
        before = {**found.before, **have}
        return Transaction(found.new, found.upgraded, tuple(removed), found.download, found.disk, before)

    def removal(self, names: t.Sequence[str]) -> Transaction:
        if not names:
            return Transaction()
        outcome = self._dnf(QUERY_SECONDS, "remove", "--assumeno", _ALONE, *names)
        found = parse_transaction(outcome.text)
        if not outcome.ok and found.is_empty:
            raise Fault(f"the packages could not be removed: {reason(outcome, QUERY_SECONDS)}")
        return found

    def download(self, wants: t.Sequence[Want], drops: t.Sequence[str] = ()) -> None:  # noqa: ARG002
        words = ["install", "-y", "--downloadonly", _WEAK, *self._erasing, *self._words(wants)]
        keys = self.keys()
        outcome = self._dnf(self.limit, *words)
        self.forget_keys(self.keys() - keys)  # with which it has checked the packages; the node trusts them no sooner
        self._done(outcome, "the packages could not be downloaded: ")

    def downloaded(self) -> list[str]:
        return sorted(glob.glob(f"{self.room}/cache/*/packages/*.rpm"))

    def unpack(self, path: str, directory: str) -> None:
        # rpm2archive is not in every version; cpio comes with dracut
        script = 'rpm2cpio "$1" | cpio --extract --make-directories --quiet --no-absolute-filenames'
        self._done(self._run(["/bin/sh", "-c", f"set -e; {script}", "sh", path], self.limit, cwd=directory))

    def install(self, wants: t.Sequence[Want], drops: t.Sequence[str] = (), removes: bool = True) -> None:
        cached = ["--cacheonly"] if self.room else []
        erasing = ["--allowerasing"] if removes else []
        self._done(self._dnf(self.limit, "install", "-y", _WEAK, *cached, *erasing, *self._words(wants)))
        self.remove(list(self.installed(drops)) if drops else [])

    def remove(self, names: t.Sequence[str], forced: bool = False) -> None:  # noqa: ARG002 # rpm has no half
        if names:
            outcome = self._dnf(self.limit, "remove", "-y", _ALONE, *names)
            self._done(outcome, "the packages could not be removed: ")

    def keep_old(self, versions: t.Mapping[str, str], directory: str) -> list[str]:
        os.makedirs(directory, exist_ok=True)
        wanted = self._words([Want(name, version) for name, version in versions.items()])
        words = ["reinstall", "-y", "--downloadonly", f"--setopt=destdir={directory}", *wanted]
        outcome = self._dnf(self.limit, *words)
        # a package that they lack by now may come along
        names = tuple(f"{word}." for word in wanted)
        files = [path for path in sorted(glob.glob(f"{directory}/*.rpm")) if os.path.basename(path).startswith(names)]
        return files if outcome.ok and len(files) == len(versions) else []

    def put_back(self, files: t.Sequence[str]) -> None:
        words = ["install", "-y", "--allowerasing", _WEAK, *files]
        self._done(self._dnf(self.limit, *words), "the old packages could not be put back: ")

    def hold(self, names: t.Sequence[str], is_held: bool = True) -> None:
        if not names:
            return
        if is_held:  # a second entry would allow another version too
            self._dnf(QUERY_SECONDS, "versionlock", "delete", *names)
        outcome = self._dnf(QUERY_SECONDS, "versionlock", "add" if is_held else "delete", *names)
        if not outcome.ok:
            what = f"{', '.join(names)} could not be {'held' if is_held else 'released'} by dnf versionlock"
            raise Fault(f"{what}: {reason(outcome, QUERY_SECONDS)}")

    def suspend(self, names: t.Sequence[str]) -> None:
        if self._is_5():  # its locks are built in, and no option leaves them out
            self.hold(names, is_held=False)

    def resume(self, names: t.Sequence[str]) -> None:
        if self._is_5() and names:
            self.hold(sorted(self.installed(names)))

    def releasable(self, names: t.Sequence[str]) -> list[str]:
        have = self.held() if names else set()  # also of packages that are gone
        return [name for name in names if name in have]

    def holder(self) -> list[str]:
        if self._dnf(QUERY_SECONDS, "-q", "versionlock", "list").ok:
            return []
        return ["python3-dnf-plugin-versionlock"]

    def forget_keys(self, keys: t.Collection[str]) -> None:
        if keys:
            self._done(self._run([path_of("rpm"), "-e", "--allmatches", *keys], QUERY_SECONDS))
