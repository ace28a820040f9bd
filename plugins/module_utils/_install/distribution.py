# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of the distribution: what an installation would do is known, and judged, before it is done.

An installation that would remove a package, change one that is held, or not fit on the disk is refused while the node
is still as it was. One that fails half-way is taken back: the packages that it brought are removed again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import path_of, which

Runner = t.Callable[..., command.Outcome]

QUERY_SECONDS = 120.0
REFRESH_SECONDS = 600.0
SPARE_BYTES = 256 * 2**20
"""What must be left on the disk for the others."""
ARCHIVES = {"apt": "/var/cache/apt/archives", "dnf": "/var/cache"}
MOST_REASON = 400

_UNITS = {"b": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
# apt before 2.9, and since
_APT_GET = re.compile(r"^(?:Need to get| *Download size:) ([\d.,]+) (\w)?B", re.MULTILINE)
_APT_DISK = re.compile(r"^(?:After this operation,(?=.*additional)| *Space needed:) ([\d.,]+) (\w)?B", re.MULTILINE)
_APT_INST = re.compile(r"^Inst (\S+?)(?::\w+)? (?:\[([^\]]+)\] )?\((\S+)", re.MULTILINE)
_APT_REMV = re.compile(r"^Remv (\S+?)(?::\w+)? ", re.MULTILINE)
_DNF_GET = re.compile(r"^(?:Total download size:|.*Need to download) ([\d.]+) ?(\w)?", re.MULTILINE)
_DNF_DISK = re.compile(r"^(?:Installed size:|After this operation,) ([\d.]+) ?(\w)?", re.MULTILINE)
_DNF_SECTION = re.compile(r"^([A-Z][a-z]+)[\w ,]*:\s*$")
_DNF_ROW = re.compile(r"(\S+)\s+(?:x86_64|aarch64|noarch|i686)\s+(\S+)\s+\S+\s+[\d.]+ ?\w*")
_DNF_HELD = re.compile(r"^!?([\w.+-]+?)-(?:\d+:)?[^-\s]+-[^-\s]+$", re.MULTILINE)


class Fault(Exception):
    """Why packages can't be installed: one message; the node is as it was unless it says otherwise."""


class Unknown(Fault):
    """The lists of packages, which may be old, do not have what is wanted."""


class Want(t.NamedTuple):
    """A package, and the version wanted; empty for whichever there is."""

    name: str
    version: str = ""


@dataclasses.dataclass(frozen=True)
class Transaction:
    """What an installation would do: packages by name with their version, removals, and bytes."""

    new: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    upgraded: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    removed: tuple[str, ...] = ()
    download: int = 0
    disk: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether all is there already."""
        return not (self.new or self.upgraded or self.removed)


def size_of(number: str, unit: str) -> int:
    """Bytes of a size as a package manager writes it."""
    return int(float(number.replace(",", "")) * _UNITS.get((unit or "b").lower(), 1))


def apt_transaction(simulated: str, sizes: str) -> Transaction:
    """What ``apt-get -s install`` said it would do, and the sizes that ``apt-get --print-uris install`` named."""
    rows = [match.groups() for match in _APT_INST.finditer(simulated)]
    get, disk = _APT_GET.search(sizes), _APT_DISK.search(sizes)
    return Transaction(
        new={name: version for name, before, version in rows if before is None},
        upgraded={name: version for name, before, version in rows if before is not None},
        removed=tuple(dict.fromkeys(_APT_REMV.findall(simulated))),
        download=size_of(*get.groups()) if get else 0,
        disk=size_of(*disk.groups()) if disk else 0,
    )


def dnf_transaction(text: str) -> Transaction:
    """What ``dnf install --assumeno`` said it would do (dnf 4 and 5)."""
    rows: dict[str, list[str]] = {}
    section = ""
    for line in text.splitlines():
        head = _DNF_SECTION.match(line)
        section = head.group(1) if head else ("" if not line.strip() or line.startswith("Transaction") else section)
        if section and not head:
            rows.setdefault(section, []).append(line)
    found = {section: dict(_DNF_ROW.findall(" ".join(lines))) for section, lines in rows.items()}
    get, disk = _DNF_GET.search(text), _DNF_DISK.search(text)
    return Transaction(
        new=found.get("Installing", {}),
        upgraded={**found.get("Upgrading", {}), **found.get("Downgrading", {}), **found.get("Reinstalling", {})},
        removed=tuple(found.get("Removing", {})),
        download=size_of(*get.groups()) if get else 0,
        disk=size_of(*disk.groups()) if disk else 0,
    )


def reason(outcome: command.Outcome, limit: float) -> str:
    """Why a package manager failed, in its own words."""
    if outcome.timed_out:
        return f"no end after {limit:g} s"
    lines = [line.strip() for line in outcome.text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"E: |Error:? |dpkg: error|No match for argument", line)]
    unmet = [line for line in lines if re.match(r"(?:\S+ : )?(?:Pre-?Depends|Depends|Breaks|Conflicts): ", line)]
    words = [*unmet, *named][:3] or lines[-2:] or [f"exit status {outcome.rc}"]
    return "; ".join(re.sub(r"^(E|Error): ", "", line) for line in words)[:MOST_REASON]


class Manager:
    """What both package managers have in common; ``run`` is how commands are run."""

    name = ""

    def __init__(self, run: Runner = command.run, limit: float = 3600.0) -> None:
        self._run = run
        self.limit = limit
        self.complaint = ""

    def installed(self, names: t.Sequence[str]) -> dict[str, str]:
        """The versions of those packages that are installed."""
        raise NotImplementedError

    def versions(self, name: str) -> list[str]:
        """The versions of a package that the node's repositories offer, the preferred one first."""
        raise NotImplementedError

    def held(self) -> set[str]:
        """The packages that somebody has pinned to their version."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Read the lists of the repositories anew; what one of them lacks is kept for the message of a failure."""
        raise NotImplementedError

    def transaction(self, wants: t.Sequence[Want]) -> Transaction:
        """What an installation would do; raises Fault where it can't be done."""
        raise NotImplementedError

    def install(self, wants: t.Sequence[Want], removes: bool) -> command.Outcome:
        """Install them."""
        raise NotImplementedError

    def remove(self, names: t.Sequence[str]) -> command.Outcome:
        """Remove them with their settings."""
        raise NotImplementedError

    def left_of(self, names: t.Sequence[str]) -> set[str]:
        """Those packages of which anything is on the node, also what is only half there."""
        return set(self.installed(names))

    def choose(self, name: str, version: str) -> Want:
        """The package in the version that is, or begins with, the one asked for; raises Fault with those there are."""
        offered = self.versions(name)
        if not offered:
            raise Fault(f"no repository of this node has a package {name}{self._complaint()}")
        if not version:
            return Want(name, offered[0])
        for one in offered:
            if one == version or re.match(rf"(?:\d+:)?{re.escape(version)}(?![\d])", one):
                return Want(name, one)
        few = ", ".join(offered[:8])
        raise Fault(f"no repository of this node has {name} {version}; there is {few}{self._complaint()}")

    def _complaint(self) -> str:
        return f" (reading the lists of packages: {self.complaint})" if self.complaint else ""


class Apt(Manager):
    """Debian, Ubuntu and those that come from them."""

    name = "apt"
    _ENV: t.ClassVar[dict[str, str]] = {
        "DEBIAN_FRONTEND": "noninteractive",
        "NEEDRESTART_MODE": "l",  # it would ask, or restart services on its own
        "APT_LISTCHANGES_FRONTEND": "none",
        "COLUMNS": "200",
    }
    _KEEP = ("Dpkg::Options::=--force-confdef", "Dpkg::Options::=--force-confold", "DPkg::Lock::Timeout=120")

    def _get(self, limit: float, *words: str, options: t.Sequence[str] = ()) -> command.Outcome:
        flags = [word for option in options for word in ("-o", option)]
        return self._run([path_of("apt-get"), "-q", *flags, *words], limit, env=self._ENV)

    def installed(self, names: t.Sequence[str]) -> dict[str, str]:
        form = "-f=${db:Status-Status}\\t${Package}\\t${Version}\\n"
        outcome = self._run([path_of("dpkg-query"), "-W", form, *names], QUERY_SECONDS) if names else None
        rows = [line.split("\t") for line in (outcome.out if outcome else "").splitlines()]
        return {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "installed"}

    def versions(self, name: str) -> list[str]:
        policy = self._run([path_of("apt-cache"), "policy", name], QUERY_SECONDS).out
        candidate = re.search(r"^  Candidate: (\S+)$", policy, re.MULTILINE)
        table = self._run([path_of("apt-cache"), "madison", name], QUERY_SECONDS).out
        rows = [line.split("|") for line in table.splitlines()]
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

    def refresh(self) -> None:
        outcome = self._get(REFRESH_SECONDS, "update", options=self._KEEP[-1:])
        named = [line for line in outcome.text.splitlines() if line.startswith(("E: ", "W: Failed", "Err:"))]
        self.complaint = "; ".join(named)[:MOST_REASON] if named or not outcome.ok else ""

    def _words(self, wants: t.Sequence[Want]) -> list[str]:
        return [f"{want.name}={want.version}" if want.version else want.name for want in wants]

    def transaction(self, wants: t.Sequence[Want]) -> Transaction:
        install = ("--no-install-recommends", "install", *self._words(wants))
        simulated = self._get(QUERY_SECONDS, "-s", *install, options=["Debug::NoLocking=true"])
        if not simulated.ok:
            raise Fault(f"{reason(simulated, QUERY_SECONDS)}{self._complaint()}")
        # --assume-no would install, unasked, what needs no other package; -s tells no sizes
        sizes = ("--print-uris", "--download-only", "-y")
        return apt_transaction(
            simulated.out, self._get(QUERY_SECONDS, *sizes, *install, options=["Debug::NoLocking=true"]).out
        )

    def install(self, wants: t.Sequence[Want], removes: bool) -> command.Outcome:
        flags = ["-y", "--no-install-recommends"] + ([] if removes else ["--no-remove"])
        return self._get(
            self.limit, *flags, "install", *self._words(wants), options=[*self._KEEP, "Acquire::Retries=3"]
        )

    def remove(self, names: t.Sequence[str]) -> command.Outcome:
        outcome = self._get(self.limit, "-y", "purge", *names, options=self._KEEP)
        if not outcome.ok:  # what is half unpacked is no package that apt would touch
            dpkg = [path_of("dpkg"), "--purge", "--force-remove-reinstreq", "--force-depends"]
            outcome = self._run([*dpkg, *names], self.limit, env=self._ENV)
        return outcome


class Dnf(Manager):
    """The RHEL family and Fedora."""

    name = "dnf"
    _WEAK = "--setopt=install_weak_deps=False"

    def _dnf(self, limit: float, *words: str) -> command.Outcome:
        return self._run([which("dnf") or path_of("yum"), *words], limit, env={"COLUMNS": "200"})

    def installed(self, names: t.Sequence[str]) -> dict[str, str]:
        form = "%{NAME}\\t%{VERSION}-%{RELEASE}\\n"
        outcome = self._run([path_of("rpm"), "-q", "--qf", form, *names], QUERY_SECONDS) if names else None
        rows = [line.split("\t") for line in (outcome.out if outcome else "").splitlines()]
        return {row[0]: row[1] for row in rows if len(row) == 2}

    def versions(self, name: str) -> list[str]:
        form = "%{name} %{version}-%{release}\n"
        rows = [
            line.split() for line in self._dnf(QUERY_SECONDS, "-q", "repoquery", "--qf", form, name).out.splitlines()
        ]
        return list(dict.fromkeys(row[1] for row in reversed(rows) if len(row) == 2 and row[0] == name))

    def held(self) -> set[str]:
        return set(_DNF_HELD.findall(self._dnf(QUERY_SECONDS, "-q", "versionlock", "list").out.replace(".*", "")))

    def refresh(self) -> None:
        outcome = self._dnf(REFRESH_SECONDS, "-q", "makecache")
        self.complaint = "" if outcome.ok else reason(outcome, REFRESH_SECONDS)

    def _words(self, wants: t.Sequence[Want]) -> list[str]:
        return [f"{want.name}-{want.version}" if want.version else want.name for want in wants]

    def transaction(self, wants: t.Sequence[Want]) -> Transaction:
        outcome = self._dnf(REFRESH_SECONDS, "install", "--assumeno", self._WEAK, *self._words(wants))
        found = dnf_transaction(outcome.text)
        # what --assumeno says no to ends with 1, as a failure does
        if not outcome.ok and found.is_empty:
            raise Fault(f"{reason(outcome, REFRESH_SECONDS)}{self._complaint()}")
        return found

    def install(self, wants: t.Sequence[Want], removes: bool) -> command.Outcome:
        erasing = ["--allowerasing"] if removes else []
        return self._dnf(self.limit, "install", "-y", self._WEAK, *erasing, *self._words(wants))

    def remove(self, names: t.Sequence[str]) -> command.Outcome:
        return self._dnf(self.limit, "remove", "-y", "--setopt=clean_requirements_on_remove=False", *names)


def manager(run: Runner = command.run, limit: float = 3600.0) -> Manager:
    """The node's package manager; raises Fault where it is none of those known here."""
    if which("apt-get") and which("dpkg-query"):
        return Apt(run, limit)
    if which("dnf") or which("yum"):
        return Dnf(run, limit)
    raise Fault("expected apt-get or dnf on this node, and found neither: install the packages by hand")


def judged(manager: Manager, found: Transaction, may_remove: t.Collection[str] = (), what: str = "") -> Transaction:
    """The transaction, where it may be done; raises Fault with why not."""
    held = sorted((set(found.new) | set(found.upgraded) | set(found.removed)) & manager.held())
    if held:
        unhold = "apt-mark unhold" if manager.name == "apt" else "dnf versionlock delete"
        raise Fault(f"{what}{', '.join(held)} would change, and is held on this node: {unhold} {' '.join(held)} first")
    removed = [name for name in found.removed if name not in may_remove]
    if removed:
        raise Fault(f"{what}the installation would remove {', '.join(removed)}: remove it first if it is not needed")
    check_spaces({ARCHIVES[manager.name]: found.download, "/usr": found.disk}, what)
    return found


def planned(
    manager: Manager, groups: t.Sequence[t.Sequence[Want]], may_remove: t.Collection[str], what: str
) -> tuple[list[Want], Transaction]:
    """What an installation would do, where it may be done; each group has a package's names, the preferred one first.

    Raises Unknown where the lists of packages do not have them, and Fault for what must not be done.
    """
    try:
        wants = [_first(manager, group) for group in groups]
        found = manager.transaction(wants)
    except Fault as error:
        raise Unknown(f"{what}{error}") from None
    return wants, judged(manager, found, may_remove, what)


def _first(manager: Manager, group: t.Sequence[Want]) -> Want:
    """The first of these packages that there is. Raises Fault."""
    for want in group[:-1]:
        with contextlib.suppress(Fault):
            return manager.choose(*want)
    return manager.choose(*group[-1])


def check_spaces(sizes: t.Mapping[str, int], what: str = "") -> None:
    """As check_space(), for paths that may be on one disk."""
    needs: dict[int, tuple[str, int]] = {}
    for path, size in sizes.items():
        device = os.stat(_existing(path)).st_dev
        first, before = needs.get(device, (path, 0))
        needs[device] = (first, before + size)
    for path, size in needs.values():
        check_space(path, size, what)


def check_space(path: str, size: int, what: str = "") -> None:
    """Raises Fault where fewer than ``size`` bytes and a spare are free at a path."""
    found = os.statvfs(_existing(path))
    free = found.f_bavail * found.f_frsize
    if size and free < size + SPARE_BYTES:
        raise Fault(
            f"{what}{(size + SPARE_BYTES) / 2**20:.0f} MiB are needed on the disk of {path}, and "
            f"{free / 2**20:.0f} MiB are free: make room there"
        )


def _existing(path: str) -> str:
    while not os.path.exists(path) and path != "/":
        path = os.path.dirname(path)
    return path


def apply(manager: Manager, wants: t.Sequence[Want], found: Transaction, what: str = "") -> None:
    """Install; a failure is taken back, and raises Fault."""
    outcome = manager.install(wants, bool(found.removed))
    missing = sorted({want.name for want in wants} - set(manager.installed([want.name for want in wants])))
    if outcome.ok and not missing:
        return
    why = reason(outcome, manager.limit) if not outcome.ok else f"{', '.join(missing)} is not there afterwards"
    raise Fault(f"{what}{why}; {taken_back(manager, found)}")


def taken_back(manager: Manager, found: Transaction) -> str:
    """Remove what a failed installation has brought; what that came to, in words."""
    brought = sorted(manager.left_of(list(found.new)))
    if not brought:
        return "the node is as it was"
    manager.remove(brought)
    left = sorted(manager.left_of(list(found.new)))
    if left:
        return f"{', '.join(left)} could not be removed again: see to it by hand"
    changed = f", except {', '.join(found.upgraded)}, which may be newer" if found.upgraded else ""
    return f"what it had installed was removed again, and the node is as it was{changed}"


def diff_of(found: Transaction) -> dict[str, str]:
    """The packages that change, as Ansible's diff shows them."""
    before = [*(f"{name}\n" for name in found.removed), *(f"{name} (another version)\n" for name in found.upgraded)]
    after = [f"{name} {version}\n" for name, version in sorted({**found.new, **found.upgraded}.items())]
    return {"before_header": "packages", "after_header": "packages", "before": "".join(before), "after": "".join(after)}
