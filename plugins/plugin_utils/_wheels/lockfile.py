# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of the Python environment: its text, and uv's answer it is made from.

Pure functions. The lock is a requirements file with hashes, made once and kept beside the inventory;
its head names the wish it was made for, and a lock whose head equals the wish is used as it is.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import hashlib
import re
import typing as t
import urllib.parse

import tomllib

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.index import redacted
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.wanted import NO_LIMITS, VARIABLE, Limits

with contextlib.suppress(ImportError):  # ansible-core brings it; only its own test of imports is without
    from packaging import tags
    from packaging.utils import canonicalize_name, parse_wheel_filename

TITLE = "# trainmesh.cluster lock: the packages of every node's environment"
_MADE = "# made "
_PIN = re.compile(r"(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_EXTRA = re.compile(
    r"# (?P<key>tool uv|source [\w.-]+|build [\w.-]+ [\w.-]+)==(?P<version>\S+)(?: --hash=sha256:[0-9a-f]{64})+\Z"
)
_PLATFORM = re.compile(r"(?P<arch>[a-z0-9_]+?)-manylinux_2_(?P<minor>\d+)\Z")
# The oldest glibc that each legacy name of a platform stands for (PEP 513, 571, 599).
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the environment shall hold, and for which nodes.

    ``platform`` is as uv names it (``x86_64-manylinux_2_28``), ``torch_backend`` uv's name of the
    build's index, empty for none.
    """

    python_version: str
    platform: str
    torch_build: str
    requirements: tuple[str, ...]
    torch_backend: str = ""
    limits: Limits = NO_LIMITS

    @property
    def head(self) -> tuple[str, ...]:
        """The first lines of a lock for this wish."""
        return (
            TITLE,
            f"# python {self.python_version}",
            f"# platform {self.platform}",
            f"# torch build {self.torch_build or 'any'}",
            *(f"# asked for {line}" for line in self.requirements),
            *self.limits.head,
        )


@dataclasses.dataclass(frozen=True)
class File:
    """One file that an index offers: its name, where it lies (URL or path) and its SHA-256."""

    name: str
    url: str
    sha256: str

    @property
    def is_remote(self) -> bool:
        """True when a node could fetch it as well as the controller."""
        return self.url.startswith(("http://", "https://"))


@dataclasses.dataclass(frozen=True)
class Package:
    """One resolved package; ``source`` is its source distribution, None when the index has none.

    ``origin`` is the index, or the directory, that it was found in, without a login.
    """

    name: str
    version: str
    wheels: tuple[File, ...] = ()
    source: File | None = None
    is_direct: bool = False
    origin: str = ""


class Pin(t.NamedTuple):
    """One package of a lock: its version and the hashes of the wheels that may be installed."""

    version: str
    hashes: tuple[str, ...]


class Lock(t.NamedTuple):
    """A lock as it lies on disk: head without the line on its making, backend used, packages by name.

    ``extras`` are comments at its end: ``tool uv``, which installs it, and of each package that was built here
    ``source NAME`` and ``build NAME REQUIREMENT``. A lock of before has none.
    """

    head: tuple[str, ...]
    torch_backend: str
    pins: dict[str, Pin]
    extras: dict[str, Pin]

    @property
    def versions(self) -> dict[str, str]:
        """Version of every package, by normalised name."""
        return {name: pin.version for name, pin in self.pins.items()}


def digest(text: str) -> str:
    """A short name of a lock: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def inputs(wish: Wish) -> str:
    """The text of requirements.in."""
    return "\n".join([*wish.head[:4], *wish.requirements]) + "\n"


def text(
    wish: Wish,
    packages: t.Sequence[Package],
    extras: t.Mapping[str, Pin],
    uv: str,
    torch_backend: str,
    day: datetime.date,
) -> str:
    """The lock; ``packages`` have wheels only. Raises ValueError for one that can't be pinned.

    It tells where the packages were found, and of each that came from elsewhere where that is.
    """
    origins = collections.Counter(package.origin for package in packages if package.origin)
    usual = origins.most_common(1)[0][0] if origins else ""
    place = f" from {usual}" if usual else ""
    backend = f", torch backend {torch_backend}" if torch_backend else ""
    lines = [*wish.head, f"{_MADE}on {day.isoformat()} with {uv}{place}{backend}", ""]
    for package in sorted(packages, key=lambda one: one.name):
        hashes = sorted({wheel.sha256 for wheel in package.wheels if wheel.sha256})
        if package.is_direct or not hashes:
            raise ValueError(
                f"{package.name} {package.version} can't be pinned by a hash of a wheel on an index: build its wheel, "
                "put that into a directory, and name the directory in trainmesh_wheelhouse"
            )
        if package.origin != usual:
            lines.append(f"# from {package.origin or 'a place unknown'}")
        lines.append(pinned(package.name, Pin(package.version, tuple(hashes))).rstrip("\n"))
    return "\n".join(lines) + "\n" + "".join(_extra(key, pin) for key, pin in sorted(extras.items()))


def read(lock: str) -> Lock:
    """Read a lock; raises ValueError when a line is no pinned package or a package has no hash."""
    rows = lock.splitlines()
    head = tuple(
        row.rstrip() for row in rows[: next((n for n, row in enumerate(rows) if not row.startswith("#")), len(rows))]
    )
    made = next((row for row in head if row.startswith(_MADE)), "")
    backend = re.search(r"torch backend (\S+)", made)
    pins: dict[str, Pin] = {}
    for entry in _entries(rows):
        match = _PIN.match(entry)
        if not match:
            raise ValueError(f"the lock has a line that is no pinned package: {entry[:80]}")
        hashes = tuple(_HASH.findall(entry))
        if not hashes:
            raise ValueError(f"the lock has no hash for {match['name']}")
        pins[canonicalize_name(match["name"])] = Pin(match["version"], hashes)
    extras = {
        match["key"]: Pin(match["version"], tuple(_HASH.findall(row))) for row in rows if (match := _EXTRA.match(row))
    }
    head = tuple(row for row in head if not row.startswith(_MADE))
    return Lock(head, backend.group(1) if backend else "", pins, extras)


def with_extras(lock: str, extras: t.Mapping[str, Pin]) -> str:
    """The lock with these entries at its end; those that it has already stay as they are."""
    known = read(lock).extras
    return lock + "".join(_extra(key, pin) for key, pin in sorted(extras.items()) if key not in known)


def _extra(key: str, pin: Pin) -> str:
    return f"# {key}=={pin.version} {' '.join(f'--hash=sha256:{one}' for one in pin.hashes)}\n"


def pinned(name: str, pin: Pin) -> str:
    """A package as a line with hashes, for pip and uv."""
    return " \\\n    ".join([f"{name}=={pin.version}", *(f"--hash=sha256:{one}" for one in pin.hashes)]) + "\n"


def exchanged(what: str, where: str) -> str:
    """What to say of a file that is not the one of the lock."""
    return (
        f"{what} from {where} has another hash than in the lock: it was exchanged, or the lock was made elsewhere. "
        "Nothing was changed. Find out which; to accept what is there now, run once with -e trainmesh_lock_update=true"
    )


def _entries(rows: t.Sequence[str]) -> t.Iterator[str]:
    """Requirement lines with their continuations joined, without comments and blanks."""
    joined = "\n".join(re.sub(r"(^|\s)#.*$", "", row) for row in rows).replace("\\\n", " ")
    return (row.strip() for row in joined.splitlines() if row.strip())


def parse_pylock(document: str) -> list[Package]:
    """The packages of a pylock.toml as ``uv pip compile --format pylock.toml`` writes it (PEP 751)."""
    packages = []
    for entry in tomllib.loads(document).get("packages", []):
        direct = any(kind in entry for kind in ("vcs", "archive", "directory"))
        wheels = tuple(_file(wheel) for wheel in entry.get("wheels", []))
        source = _file(entry["sdist"]) if "sdist" in entry else None
        origin = redacted(str(entry.get("index") or _directory([*wheels, *([source] if source else [])])))
        packages.append(
            Package(canonicalize_name(entry["name"]), str(entry.get("version", "")), wheels, source, direct, origin)
        )
    return packages


def _directory(files: t.Sequence[File]) -> str:
    """Where the first of the files lies."""
    return files[0].url.rpartition("/")[0] if files else ""


def _file(entry: t.Mapping[str, t.Any]) -> File:
    url = str(entry.get("url") or entry.get("path") or "")
    name = str(entry.get("name") or urllib.parse.unquote(url.rsplit("/", 1)[-1].split("#", maxsplit=1)[0]))
    return File(name, url, str(entry.get("hashes", {}).get("sha256", "")))


def wrong_build(packages: t.Iterable[Package], build: str) -> str:
    """The version of torch that was resolved when it is another build than planned; empty when it fits.

    The default build of a release has no tag on the default index, so no tag says nothing.
    """
    for package in packages:
        tag = package.version.partition("+")[2]
        if package.name == "torch" and tag and tag != build:
            return package.version
    return ""


def platform_tags(platform: str) -> list[str]:
    """The platforms that pip shall accept for uv's ``platform``, newest first; raises ValueError if unknown."""
    match = _PLATFORM.match(platform)
    if not match:
        raise ValueError(f"{platform!r} is no platform such as x86_64-manylinux_2_28")
    arch, newest = match["arch"], int(match["minor"])
    found = []
    for minor in range(newest, 4, -1):
        found.append(f"manylinux_2_{minor}_{arch}")
        if minor in _LEGACY:
            found.append(f"{_LEGACY[minor]}_{arch}")
    return [*found, f"linux_{arch}"]


def wheel_fits(filename: str, platform: str, python_version: str) -> bool:
    """Whether a wheel that was built on the controller can be installed on the nodes, by its name (PEP 427)."""
    version, platforms = [int(part) for part in python_version.split(".")[:2]], platform_tags(platform)
    own = f"cp{version[0]}{version[1]}"
    accepted = {*tags.cpython_tags(version, [own], platforms), *tags.compatible_tags(version, own, platforms)}
    return not accepted.isdisjoint(parse_wheel_filename(filename)[3])


def wheel_of(name: str, version: str, filenames: t.Iterable[str]) -> list[str]:
    """The wheels of one package and version among some file names."""
    found = []
    for filename in filenames:
        parts = filename.split("-")
        if (
            filename.endswith(".whl")
            and len(parts) >= 5
            and canonicalize_name(parts[0]) == name
            and parts[1] == version
        ):
            found.append(filename)
    return sorted(found)


def within(package: Package, limits: Limits) -> Package:
    """The package with those of its files that the user's hashes allow; raises ValueError where these allow none."""
    allowed = dict(limits.hashes).get(package.name)
    if allowed is None:
        return package
    wheels = tuple(file for file in package.wheels if file.sha256 in allowed)
    source = package.source if package.source and package.source.sha256 in allowed else None
    if wheels or source:
        return dataclasses.replace(package, wheels=wheels, source=source)
    place = dict(limits.places).get(package.name, VARIABLE)
    raise ValueError(
        f"{place}: no file of {package.name} {package.version} on {package.origin or 'the index'} has one of the "
        "hashes given for it: correct them, or take them away"
    )


def asked_anew(old: t.Sequence[str], new: t.Sequence[str]) -> str:
    """What is asked for now and was not, and what no more, for the plan."""
    start = "# asked for "
    parts = []
    for word, rows, other in (("adds", new, old), ("drops", old, new)):
        names = [row.removeprefix(start) for row in rows if row.startswith(start) and row not in other]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        parts += [f"{word} {', '.join(names[:4])}{more}"] if names else []
    limits = [row for row in (*old, *new) if row.startswith("# within ")]
    parts += ["other constraints"] if len(set(limits)) != len(limits) / 2 else []
    return "; ".join(parts)


def changed_head(old: t.Sequence[str], new: t.Sequence[str]) -> str:
    """What differs between the head of a lock and the wish, in words."""
    gone = [row.removeprefix("# ") for row in old if row not in new]
    added = [row.removeprefix("# ") for row in new if row not in old]
    return f"it was made for {', '.join(gone) or 'less'}; now {', '.join(added) or 'less'}"
