# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pythons for nodes that have none that fits: uv's builds, fetched once by the controller and kept beside the lock.

uv knows the hash of each build and refuses another file. What is kept bears the beginning of its hash in its name, as
uv names it, and is checked against that before it is handed to a node.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import os
import tempfile
import typing as t
import urllib.parse

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import key
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import fetch
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools, sha256_of

# The part of an address of uv's that a mirror has in common with every other place.
_COMMON = "/releases/download/"


@dataclasses.dataclass
class Pythons:
    """The directory ``python`` beside the lock; ``mirror`` is a URL or a directory, empty for uv's own place."""

    state_dir: str
    tools: Tools
    mirror: str = ""

    @property
    def directory(self) -> str:
        """Where the archives are kept."""
        return os.path.join(self.state_dir, "lock", "python")

    def kept(self, version: str, arch: str) -> str:
        """The path of the newest archive of this version (major.minor); empty when there is none that is whole."""
        place = glob.escape(self.directory)
        found = glob.glob(f"{place}/*-cpython-{version}.*-{arch}-unknown-linux-gnu-*.tar.gz")
        whole = [path for path in found if sha256_of(path).startswith(os.path.basename(path).partition("-")[0])]
        return max(whole, key=_release, default="")

    def problem(self, version: str, arch: str) -> str:
        """Why no archive can be had; empty when one is kept, or the place that has it answers."""
        if self.kept(version, arch):
            return ""
        try:
            url = self._url(version, arch)
            if url.startswith(("http://", "https://")):
                fetch.answers(url, self.tools.index)
                return ""
        except ToolError as error:
            return str(error)
        path = urllib.parse.unquote(url)
        return "" if os.path.isfile(path) else f"there is no {path} on the controller"

    def fetch(self, version: str, arch: str) -> str:
        """The path of an archive, fetched by uv where none is kept; raises ToolError."""
        kept = self.kept(version, arch)
        if kept:
            return kept
        os.makedirs(self.directory, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
            cache = os.path.join(scratch, "cache")
            variables = {"UV_PYTHON_CACHE_DIR": cache, **self._mirror_variable()}
            words = ["install", "--install-dir", os.path.join(scratch, "python"), "--no-bin", _key(version, arch)]
            outcome = self.tools.python(words, variables)
            if not outcome.ok:
                advice = "set trainmesh_python_mirror to a URL or a directory that has uv's Pythons"
                told = "it took too long" if outcome.timed_out else masked(" ".join(outcome.err.split()))[-600:]
                raise ToolError(f"uv could not fetch Python {version} for {arch}: {told}: {advice}")
            for name in os.listdir(cache):
                os.replace(os.path.join(cache, name), os.path.join(self.directory, name))
        found = self.kept(version, arch)
        if not found:
            raise ToolError(f"uv {self.tools.uv_version} left no archive of Python {version} for {arch}")
        return found

    def _url(self, version: str, arch: str) -> str:
        """Where the archive lies: a URL, or a path below a directory; raises ToolError."""
        words = ["list", "--only-downloads", "--output-format", "json", _key(version, arch)]
        outcome = self.tools.python(words, {})
        rows: list[t.Mapping[str, t.Any]] = []
        with contextlib.suppress(ValueError):
            rows = json.loads(outcome.out)
        if not rows:
            raise ToolError(f"uv {self.tools.uv_version} knows no Python {version} for {arch}")
        url = str(rows[0].get("url") or "")
        return self.mirror.removeprefix("file://").rstrip("/") + "/" + url.partition(_COMMON)[2] if self.mirror else url

    def _mirror_variable(self) -> dict[str, str]:
        """Not an option: a mirror's address may hold a password."""
        if not self.mirror:
            return {}
        is_url = "://" in self.mirror
        return {"UV_PYTHON_INSTALL_MIRROR": self.mirror if is_url else f"file://{os.path.abspath(self.mirror)}"}


def _key(version: str, arch: str) -> str:
    """A build as uv names it."""
    return f"cpython-{version}-linux-{arch}-gnu"


def _release(path: str) -> tuple[int, ...]:
    return key(os.path.basename(path).partition("cpython-")[2])
