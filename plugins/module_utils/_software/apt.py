# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""apt in a room of its own: sources, lists and packages beside those of the node.

So it is known what an installation would do, and all packages are there and checked, before anything of the node is
changed; what fails until then leaves nothing behind. What apt is configured with on the node, such as proxies, counts.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import path_of
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked

ETC = "/etc/apt"
LISTS = "/var/lib/apt/lists"
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "APT_LISTCHANGES_FRONTEND": "none"}
_VERSION = re.compile(r" (?:\*\*\*|   ) (\S+) (-?\d+)\Z")
_STEP = re.compile(r"(Inst|Remv|Purg) (\S+)(?: \[([^]]*)\])?(?: \((\S+))?")
_SOURCE = re.compile(r"\s*-?\d+ (\S+) (\S+)/(\S+) \S+ Packages\Z")
_SIZE = re.compile(r"([\d.,]+) ?([kMGT]?)B")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_TOLD = re.compile(r"E: |W: |Err:|dpkg: error|[\w.+:-]+ : (?:Pre-)?(?:Depends|Conflicts|Breaks)")
# Who has put a hold on what is looked at before: those of an earlier run are not in the way.
_HELD = ("--ignore-hold", "--allow-change-held-packages")
_SHOWN = 6  # lines of an error


class SoftwareError(Exception):
    """What could not be done with packages; the text is for the user."""


class Package(t.NamedTuple):
    """Installed version (None for none), the one that apt would take, and all that there are."""

    installed: str | None
    candidate: str | None
    versions: tuple[str, ...]


class Steps(t.NamedTuple):
    """What an installation would do: name to (old or None, new), and name to old of what it would remove."""

    install: dict[str, tuple[str | None, str]]
    remove: dict[str, str | None]


_NONE = Steps({}, {})


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


def parse_steps(text: str) -> Steps:
    """What ``apt-get --simulate`` prints."""
    steps = Steps({}, {})
    for line in text.splitlines():
        match = _STEP.match(line)
        if match and match.group(1) == "Inst":
            steps.install[match.group(2)] = (match.group(3), match.group(4) or "")
        elif match:
            steps.remove[match.group(2)] = match.group(3)
    return steps


def parse_sizes(text: str) -> tuple[int, int]:
    """Bytes to download, and bytes that the installation takes, as apt-get announces them."""

    def after(pattern: str) -> int:
        found = re.search(rf"(?:{pattern})\s*{_SIZE.pattern}", text)
        return int(float(found.group(1).replace(",", "")) * _UNITS[found.group(2)]) if found else 0

    return after("Need to get|Download size:"), after("After this operation,|Space needed:")


def upstream(version: str) -> str:
    """The version without the distribution's part: ``535.309.01-0+deb12u1`` is ``535.309.01``."""
    bare = version.partition(":")[2] or version
    return re.split(r"[-~+]", bare, maxsplit=1)[0]


def parse_installed(text: str) -> dict[str, str]:
    """Name to version of what dpkg has installed in full; what is held has another first letter."""
    rows = [line.split() for line in text.splitlines()]
    return {row[1]: row[2] for row in rows if len(row) == 3 and row[0][1:2] == "i"}


def explained(text: str) -> str:
    """The lines of apt that say what is wrong, without logins of repositories."""
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if _TOLD.match(line)]
    told = [line for line in dict.fromkeys(told) if "Some index files failed to download" not in line]
    return masked(" ".join((told or [line for line in lines if line])[-_SHOWN:]))


class Apt:
    """apt with the sources of the node and those that are written into ``directory``, which is root's."""

    def __init__(
        self, directory: str, limit: float, run: t.Callable[..., command.Outcome] = command.run, etc: str = ETC
    ) -> None:
        self.directory, self.limit, self._run, self._etc = directory, limit, run, etc
        self.archives = f"{directory}/cache/archives"
        self._has_room = False

    def prepare(self, files: t.Mapping[str, bytes], lists: str = LISTS) -> None:
        """Make the room, with these files (names below /etc/apt) beside those of the node."""
        self._has_room = True
        for name in ("sources.list.d", "preferences.d"):
            shutil.rmtree(f"{self.directory}/{name}", ignore_errors=True)
            os.makedirs(f"{self.directory}/{name}")
            for path in glob.glob(f"{self._etc}/{name}/*"):
                if os.path.isfile(path):
                    shutil.copy(path, f"{self.directory}/{name}")
        for name, content in files.items():
            os.makedirs(os.path.dirname(f"{self.directory}/{name}"), exist_ok=True)
            with open(f"{self.directory}/{name}", "wb") as stream:
                stream.write(content)
        os.makedirs(f"{self.archives}/partial", exist_ok=True)
        if not os.path.isdir(f"{self.directory}/lists"):
            os.makedirs(f"{self.directory}/lists/partial")
            for path in glob.glob(f"{lists}/*_*"):  # what is there need not be downloaded again
                shutil.copy2(path, f"{self.directory}/lists")

    @property
    def _options(self) -> list[str]:
        values = {
            "Dir::Etc::SourceParts": f"{self.directory}/sources.list.d",
            "Dir::Etc::PreferencesParts": f"{self.directory}/preferences.d",
            "Dir::State::Lists": f"{self.directory}/lists",
            "Dir::Cache": f"{self.directory}/cache",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "60",
            "Acquire::https::Timeout": "60",
            "DPkg::Lock::Timeout": "300",
            "Dpkg::Use-Pty": "0",
        }
        return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]

    def _call(self, program: str, *words: str) -> command.Outcome:
        options = self._options if program != "apt-mark" and self._has_room else []
        return self._run([path_of(program), *options, *words], self.limit, env=QUIET)

    def _get(self, what: str, *words: str) -> str:
        outcome = self._call("apt-get", *words)
        if outcome.timed_out:
            raise SoftwareError(f"{what}: apt-get did not end within {self.limit:.0f} s")
        if not outcome.ok:
            raise SoftwareError(f"{what}: {explained(outcome.text)}")
        return outcome.text

    def refresh(self) -> str:
        """Read the lists of all sources; what apt says of those that could not be read, which need not be ours."""
        outcome = self._call("apt-get", "update")
        if outcome.timed_out:
            raise SoftwareError(f"the package lists could not be read within {self.limit:.0f} s")
        if outcome.rc not in (0, 100):  # 100: some list could not be read
            raise SoftwareError(f"the package lists could not be read: apt-get ended with {outcome.rc}")
        return "\n".join(line for line in outcome.text.splitlines() if re.match(r"E: |W: |Err:", line))

    def archives_of(self, origin: str) -> list[Archive]:
        """The suites of the distribution that are in use."""
        return parse_archives(self._call("apt-cache", "policy").out, origin)

    def packages(self, names: t.Iterable[str]) -> dict[str, Package]:
        """What there is of these names."""
        return parse_policy(self._call("apt-cache", "policy", *names).out)

    def installed(self) -> dict[str, str]:
        """The packages of the node, with their versions."""
        form = "${db:Status-Abbrev} ${Package} ${Version}\\n"
        return parse_installed(self._run([path_of("dpkg-query"), "-W", "-f", form], self.limit).out)

    def steps(self, wanted: t.Sequence[str]) -> Steps:
        """What installing would do; raises SoftwareError where it can't be."""
        words = ("--simulate", "--no-install-recommends", *_HELD)
        text = self._get("the packages do not fit together", "install", *words, *wanted)
        return parse_steps(text)

    def sizes(self, wanted: t.Sequence[str]) -> tuple[int, int]:
        """Bytes to download and to unpack. Not with --assume-no: where no package comes along, apt asks nothing and
        installs."""
        words = ("-y", "--print-uris", "--download-only", "--no-install-recommends", *_HELD)
        return parse_sizes(self._call("apt-get", "install", *words, *wanted).text)

    def download(self, wanted: t.Sequence[str]) -> None:
        """Fetch and check all packages."""
        words = ("-y", "--download-only", "--no-install-recommends", *_HELD)
        self._get("the packages could not be downloaded", "install", *words, *wanted)

    def install(self, wanted: t.Sequence[str]) -> None:
        """Install what was downloaded; a configuration file that the user has changed stays."""
        words = ["-y", "--no-download", "--no-install-recommends", *_HELD]
        words += [
            "--allow-downgrades",
            "-o",
            "Dpkg::Options::=--force-confdef",
            "-o",
            "Dpkg::Options::=--force-confold",
        ]
        self._get("the packages could not be installed", "install", *words, *wanted)

    def remove(self, names: t.Sequence[str]) -> None:
        """Take packages off, with their configuration, and nothing else."""
        if names:
            words = ("-y", *_HELD)
            self._get("the packages could not be removed", "purge", *words, *names)

    def removal(self, names: t.Sequence[str]) -> Steps:
        """What removing would do; raises SoftwareError."""
        words = ("--simulate", *_HELD)
        return parse_steps(self._get("the packages could not be removed", "purge", *words, *names)) if names else _NONE

    def keep_old(self, packages: t.Mapping[str, str], directory: str) -> list[str]:
        """Fetch installed versions, for a way back; their files, or none where one of them is no longer offered."""
        os.makedirs(directory, exist_ok=True)
        wanted = [f"{name}={version}" for name, version in packages.items()]
        outcome = self._run([path_of("apt-get"), *self._options, "download", *wanted], self.limit, cwd=directory)
        files = sorted(glob.glob(f"{directory}/*.deb"))
        return files if outcome.ok and len(files) == len(packages) else []

    def put_back(self, files: t.Sequence[str]) -> None:
        """Install the old versions again."""
        words = ("-y", "--allow-downgrades", *_HELD, "--no-install-recommends")
        self._get("the old packages could not be put back", "install", *words, *files)

    def held(self) -> set[str]:
        """Packages that nobody may change."""
        return set(self._call("apt-mark", "showhold").out.split())

    def hold(self, names: t.Sequence[str], is_held: bool = True) -> None:
        """Hold packages, or release them."""
        if names and not self._call("apt-mark", "hold" if is_held else "unhold", *names).ok:
            raise SoftwareError(f"{', '.join(names)} could not be {'held' if is_held else 'released'} by apt-mark")
