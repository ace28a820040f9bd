# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wheels of packages that the index has as source distributions only: built here, checked before each use.

The archive is checked before anything of it runs. Its build requirements are pinned with hashes and installed into a
scratch environment; the build itself fetches nothing and sees neither tokens nor passwords of the caller.
"""

from __future__ import annotations

import dataclasses
import io
import os
import re
import sys
import tarfile
import tempfile
import typing as t
import zipfile

import tomllib

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import umask
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import fetch, index, lockfile
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.lockfile import File, Lock, Package, Pin, Wish
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import (
    ExchangedError,
    ToolError,
    Tools,
    sha256_of,
    text_of,
    wheels_in,
    write,
)

# What a build without a table [build-system] needs (PEP 518).
_DEFAULT = ("setuptools>=40.8.0", "wheel")


@dataclasses.dataclass
class Builder:
    """uv as a builder; ``options`` name the places it may look for build requirements in."""

    tools: Tools
    options: t.Sequence[str]

    def build(self, package: Package, source: str, pins: t.Mapping[str, Pin], scratch: str) -> dict[str, Pin]:
        """Build into ``scratch/out``; returns the build requirements used.

        ``source`` is the SHA-256 that the archive must have, ``pins`` the build requirements of an earlier build,
        empty for the first one. Raises ToolError.
        """
        if package.source is None or not source:
            raise ToolError(
                f"{package.name} {package.version} has no wheel, and no source distribution with a hash, on the index"
            )
        archive = os.path.join(scratch, package.source.name)
        fetch.fetch(package.source.url, archive, self.tools.index)
        if sha256_of(archive) != source:
            raise ToolError(lockfile.exchanged(f"the source of {package.name} {package.version}", "the index"))
        used = dict(pins) or self._resolve(build_requirements(archive), scratch)
        python = self._environment(used, scratch)
        words = ["build", "--wheel", "--no-build-isolation", "--python", python]
        with umask.readable():  # the modes of the files are part of the wheel and so of its hash
            self.tools.build([*words, "--out-dir", os.path.join(scratch, "out"), archive], scratch)
        return used

    def _resolve(self, wanted: t.Sequence[str], scratch: str) -> dict[str, Pin]:
        source, target = os.path.join(scratch, "build.in"), os.path.join(scratch, "pylock.build.toml")
        write(source, "".join(f"{line}\n" for line in wanted))
        words = ["pip", "compile", source, "--format", "pylock.toml", "--output-file", target]
        self.tools.uv_run([*words, "--python", sys.executable, "--only-binary", ":all:", *self.options])
        packages = lockfile.parse_pylock(text_of(target))
        return {one.name: Pin(one.version, tuple(sorted(file.sha256 for file in one.wheels))) for one in packages}

    def _environment(self, pins: t.Mapping[str, Pin], scratch: str) -> str:
        """The Python of a scratch environment with exactly these packages."""
        place, wanted = os.path.join(scratch, "venv"), os.path.join(scratch, "build.txt")
        python = os.path.join(place, "bin", "python")
        write(wanted, "".join(lockfile.pinned(name, pin) for name, pin in pins.items()))
        self.tools.uv_run(["venv", "--python", sys.executable, place])
        words = ["pip", "install", "--python", python, "--require-hashes", "--only-binary", ":all:", "--no-deps"]
        self.tools.uv_run([*words, "--requirement", wanted, *self.options])
        return python


def build_requirements(archive: str) -> list[str]:
    """The requirements that a source distribution names for its build; those of setuptools where it names none."""
    try:
        text = _project(archive)
        table = tomllib.loads(text).get("build-system", {})
        wanted = [str(line) for line in table.get("requires", _DEFAULT)]
    except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile, AttributeError) as error:
        raise ToolError(f"{os.path.basename(archive)} can't be read: {error}") from error
    # Releases of setuptools before 70.1 ask for wheel only once they run.
    legacy = any(line.startswith("setuptools") for line in wanted) and "wheel" not in wanted
    return [*wanted, "wheel"] if legacy else wanted


def _project(archive: str) -> str:
    """The text of pyproject.toml in the top directory, empty when there is none."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            names = [name for name in zipped.namelist() if _is_project(name)]
            return zipped.read(names[0]).decode() if names else ""
    with tarfile.open(archive) as packed:
        found = next((member for member in packed if _is_project(member.name) and member.isfile()), None)
        stream = packed.extractfile(found) if found else None
        return (stream or io.BytesIO()).read().decode()


def _is_project(name: str) -> bool:
    return name.removeprefix("./").count("/") == 1 and name.endswith("/pyproject.toml")


def built_name(scratch: str) -> str:
    """The name of the wheel that was built, empty when there is none."""
    return next(iter(wheels_in(os.path.join(scratch, "out"))), "")


@dataclasses.dataclass
class Built:
    """The directory ``wheels`` in the directory of the lock. ``places`` are uv's options for build requirements."""

    lock_dir: str
    wish: Wish
    tools: Tools
    places: t.Sequence[str]
    say: t.Callable[[str], None]

    @property
    def directory(self) -> str:
        """Where the wheels lie."""
        return os.path.join(self.lock_dir, "wheels")

    def of(self, lock: Lock) -> dict[str, str]:
        """The wheels of a lock, by package; raises ExchangedError for one whose hash is another."""
        names, found = wheels_in(self.directory), {}
        for name, pin in lock.pins.items():
            for file in lockfile.wheel_of(name, pin.version, names):
                path = os.path.join(self.directory, file)
                if sha256_of(path) not in pin.hashes:
                    raise ExchangedError(lockfile.exchanged(f"the wheel {file}", self.directory))
                found[name] = path
        return found

    def offer(self, lock: Lock | None, scratch: str) -> str:
        """A directory below ``scratch`` with the wheels of this lock and no other, for uv to look in."""
        place = os.path.join(scratch, "built")
        os.mkdir(place)
        for path in self.of(lock).values() if lock else ():
            os.symlink(path, os.path.join(place, os.path.basename(path)))
        return place

    def complete(self, packages: t.Iterable[Package], old: Lock | None) -> tuple[list[Package], dict[str, Pin]]:
        """The packages, each with a wheel, and the entries of sources and build requirements for the lock."""
        have = self.of(old) if old else {}
        done, extras = [], {}
        for package in packages:
            known = _known(package, old)
            path = have.get(package.name, "") if old and old.versions.get(package.name) == package.version else ""
            if path:
                extras.update(known or _source(package))
            elif not package.wheels and not package.is_direct:
                path, made = self._build(package, known, ())
                extras.update(made)
            wheels = package.wheels or ((File(os.path.basename(path), path, sha256_of(path)),) if path else ())
            origin = "a build on the controller" if path else package.origin
            done.append(dataclasses.replace(package, wheels=wheels, origin=origin))
        return done, extras

    def again(self, lock: Lock, packages: t.Mapping[str, Package]) -> dict[str, Pin]:
        """Build the wheels of a lock that are gone; returns all entries of sources and build requirements."""
        have, extras = self.of(lock), {}
        for name, package in packages.items():
            known = _known(package, lock)
            if name in have:
                extras.update(known or _source(package))
            elif not package.wheels:
                extras.update(self._build(package, known, lock.pins[name].hashes)[1])
        return extras

    def _build(
        self, package: Package, known: t.Mapping[str, Pin], hashes: t.Container[str]
    ) -> tuple[str, dict[str, Pin]]:
        """(path of the wheel, entries for the lock); one that has none of the ``hashes`` of a lock is not kept."""
        self.say(f"building the wheel of {package.name} {package.version}, once for all nodes")
        start = f"build {package.name} "
        pins = {key.removeprefix(start): pin for key, pin in known.items() if key.startswith(start)}
        entry = {**_source(package), **known}.get(f"source {package.name}")
        os.makedirs(self.directory, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.lock_dir) as scratch:
            builder = Builder(self.tools, self.places)
            try:
                used = builder.build(package, entry.hashes[0] if entry else "", pins, scratch)
            except ToolError as error:
                if not re.search(r"No module named|nvcc|CUDA_HOME", str(error)):
                    raise
                raise ToolError(index.unbuilt(package.name, str(error))) from error
            name = built_name(scratch)
            if not name or not lockfile.wheel_fits(name, self.wish.platform, self.wish.python_version):
                raise ToolError(
                    f"{package.name} {package.version} has no wheel for {self.wish.platform}, and one built here "
                    f"({name or 'none'}) does not fit the nodes: put a fitting wheel into the directory of "
                    "trainmesh_wheelhouse"
                )
            made = os.path.join(scratch, "out", name)
            if hashes and sha256_of(made) not in hashes:
                advice = f"Copy {name} from where the lock was made into {self.directory}. "
                raise ExchangedError(advice + lockfile.exchanged(f"the wheel {name}", "the build here"))
            os.replace(made, os.path.join(self.directory, name))
        entries = {f"source {package.name}": entry} if entry else {}
        return os.path.join(self.directory, name), {**entries, **{start + key: pin for key, pin in used.items()}}


def kept(package: Package, old: Lock | None, wish: Wish) -> Package:
    """The package with the hashes that the lock before has for this version; raises ValueError where all are others.

    Another Python or platform may need other wheels of the same version.
    """
    pin = old.pins.get(package.name) if old and old.head[1:3] == wish.head[1:3] else None
    if not pin or pin.version != package.version or not package.wheels:
        return package
    wheels = tuple(wheel for wheel in package.wheels if wheel.sha256 in pin.hashes)
    if not wheels:
        raise ValueError(lockfile.exchanged(f"{package.name} {package.version}", "the index"))
    return dataclasses.replace(package, wheels=wheels)


def _known(package: Package, lock: Lock | None) -> dict[str, Pin]:
    """The entries that a lock has for this version of a package."""
    name, extras = package.name, lock.extras if lock else {}
    source = extras.get(f"source {name}")
    if not source or source.version != package.version:
        return {}
    return {key: pin for key, pin in extras.items() if key == f"source {name}" or key.startswith(f"build {name} ")}


def _source(package: Package) -> dict[str, Pin]:
    """The entry of a source distribution as the index has it today."""
    if not package.source or not package.source.sha256:
        return {}
    return {f"source {package.name}": Pin(package.version, (package.source.sha256,))}
