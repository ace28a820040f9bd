# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installer of conda: fetched once by the controller, checked, and kept beside the lock.

A node that is added later gets the same one. What is kept bears the beginning of its SHA-256 in its name.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import os
import re
import tempfile
import urllib.parse

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import fetch
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.index import redacted
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools, sha256_of, text_of

# Its publisher names the checksum of each release in a file beside it.
MINIFORGE = "https://github.com/conda-forge/miniforge/releases/latest/download/Miniforge3-Linux-{}.sh"
_CHECKSUM = "trainmesh_conda_installer_checksum"
_SHA256 = re.compile(r"\b[0-9a-f]{64}\b")


@dataclasses.dataclass
class Installer:
    """An installer: a URL or a path, empty for Miniforge; ``checksum`` is as ``sha256:...``, empty for none."""

    state_dir: str
    tools: Tools
    installer: str = ""
    checksum: str = ""

    @property
    def directory(self) -> str:
        """Where it is kept."""
        return os.path.join(self.state_dir, "lock", "conda")

    def url(self, arch: str) -> str:
        """Where it comes from: Miniforge's own place, where nothing else was set."""
        return self.installer or MINIFORGE.format(arch)

    def shown(self, arch: str) -> str:
        """The same without a password."""
        return redacted(self.url(arch))

    def kept(self, arch: str) -> str:
        """The path of the installer, if it is here and whole, and the one that the checksum asks for; else empty."""
        if self._is_file(arch):
            return self.installer
        name = glob.escape(_name(self.url(arch)))
        for path in sorted(glob.glob(f"{glob.escape(self.directory)}/*-{name}")):
            whole = sha256_of(path).startswith(os.path.basename(path).partition("-")[0])
            if whole and self._fits(path):
                return path
        return ""

    def problem(self, arch: str) -> str:
        """Why it can't be had; empty when it is kept, or the place that has it answers."""
        if self.kept(arch):
            return ""
        try:
            fetch.answers(self.url(arch), self.tools.index)
        except ToolError as error:
            return str(error)
        return ""

    def get(self, arch: str) -> str:
        """The path of the installer, fetched where it is not kept; raises ToolError."""
        path = self.kept(arch) or self._fetch(arch)
        if not self._fits(path):
            raise ToolError(self._other(arch, path))
        return path

    def _is_file(self, arch: str) -> bool:
        return "://" not in self.url(arch)

    def _fits(self, path: str) -> bool:
        algorithm, _colon, wanted = self.checksum.rpartition(":")
        if not wanted:
            return True
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, algorithm or "sha256").hexdigest() == wanted.lower()

    def _other(self, arch: str, path: str) -> str:
        """What to say of another file than the one that is expected."""
        return (
            f"{self.shown(arch)} has the checksum sha256:{sha256_of(path)}, and {_CHECKSUM} asks for {self.checksum}: "
            "nothing was run. Compare both with what its publisher gives"
        )

    def _fetch(self, arch: str) -> str:
        os.makedirs(self.directory, exist_ok=True)
        url = self.url(arch)
        with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
            path = os.path.join(scratch, _name(url))
            fetch.fetch(url, path, self.tools.index)
            digest = sha256_of(path)
            if not self.checksum:
                wanted = self._published(url, scratch)
                if wanted != digest:
                    raise ToolError(f"{self.shown(arch)} has the checksum sha256:{digest}, and its publisher {wanted}")
            elif not self._fits(path):
                raise ToolError(self._other(arch, path))
            target = os.path.join(self.directory, f"{digest[:9]}-{_name(url)}")
            os.replace(path, target)
        return target

    def _published(self, url: str, scratch: str) -> str:
        """The checksum in the file beside the installer; of Miniforge alone, that of any other place is asked for."""
        if self.installer:
            raise ToolError(f"{redacted(url)} would be run without a check: set {_CHECKSUM} to its sha256:...")
        path = os.path.join(scratch, "sha256")
        fetch.fetch(f"{url}.sha256", path, self.tools.index)
        match = _SHA256.search(text_of(path).lower())
        if not match:
            raise ToolError(f"{redacted(url)}.sha256 names no checksum: set {_CHECKSUM}")
        return match[0]


def _name(url: str) -> str:
    """The name of the file at the end of an address."""
    return os.path.basename(urllib.parse.urlsplit(url).path) or "installer.sh"
