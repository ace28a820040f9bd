# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the wheel of a package that the index has as a source distribution only.

The archive is checked before anything of it runs. Its build requirements are pinned with hashes and installed into a
scratch environment; the build itself fetches nothing and sees neither tokens nor passwords of the caller.
"""

from __future__ import annotations

import dataclasses
import io
import os
import sys
import tarfile
import typing as t
import zipfile

import tomllib

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import umask
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import fetch, lockfile
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.lockfile import Package, Pin
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import (
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


__all__ = ("Builder", "build_requirements", "built_name")
