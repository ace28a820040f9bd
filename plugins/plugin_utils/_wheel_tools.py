# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the tools that the controller makes lock and wheels with, run within bounds."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import re
import shutil
import sys
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils import _bounded
from ansible_collections.trainmesh.cluster.plugins.plugin_utils import _wheel_index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheel_lock import platform_tags

RESOLVE_SECONDS = 600.0
BUILD_SECONDS = 1200.0
# deepspeed compiles no operator while its wheel is built: what needs a GPU's compiler is built on the node when used.
_BUILD_ENVIRONMENT = {"DS_BUILD_OPS": "0", "SOURCE_DATE_EPOCH": "315532800"}


class ToolError(Exception):
    """A tool of the controller is missing or failed; the text is for the user."""


def sha256_of(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write(path: str, text: str) -> None:
    """Write a file at once, so that an interrupted run leaves the old one or the new one."""
    with open(f"{path}.new", "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(f"{path}.new", path)


def text_of(path: str) -> str:
    """The text of a file, empty when there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def wheels_in(directory: str) -> list[str]:
    """The names of the wheels in a directory, none when it does not exist."""
    try:
        return sorted(name for name in os.listdir(directory) if name.endswith(".whl"))
    except FileNotFoundError:
        return []


@dataclasses.dataclass
class Tools:
    """uv and pip of the controller's environment, and the index both look at.

    ``python_version`` and ``platform`` are those of the nodes.
    """

    python_version: str
    platform: str
    index_url: str = ""
    run: t.Callable[..., _bounded.Outcome] = _bounded.run
    _index: _wheel_index.Index | None = None

    @property
    def uv(self) -> str:
        """uv beside the interpreter that runs Ansible, or on the path."""
        beside = os.path.join(os.path.dirname(sys.executable), "uv")
        found = beside if os.access(beside, os.X_OK) else shutil.which("uv")
        if not found:
            raise ToolError(
                "uv is missing on the controller: install it into the environment that runs Ansible (pip install uv)"
            )
        return found

    @property
    def uv_version(self) -> str:
        """The version of uv, such as ``0.13.8``."""
        outcome = self.run([self.uv, "--version"], 60)
        match = re.match(r"uv (\d\S*)", outcome.out)
        if not match:
            raise ToolError(f"{self.uv} --version says {outcome.text.strip()[:200]!r}")
        return match.group(1)

    @property
    def index(self) -> _wheel_index.Index:
        """The index that pip is configured with here, read once."""
        if self._index is None:
            outcome = self.run([sys.executable, "-m", "pip", "config", "list"], 60)
            if not outcome.ok:
                raise ToolError(f"pip is missing in the environment that runs Ansible: {outcome.text.strip()[-200:]}")
            self._index = _wheel_index.from_pip(outcome.out, self.index_url)
        return self._index

    def compile(self, source: str, target: str, options: t.Sequence[str]) -> _bounded.Outcome:
        """Resolve ``source`` into ``target``, a pylock.toml, with uv; an older target's versions are preferred."""
        command = [self.uv, "pip", "compile", source, "--format", "pylock.toml", "--output-file", target, "--quiet"]
        command += ["--python-version", self.python_version, "--python-platform", self.platform, *options]
        return self.run(command, RESOLVE_SECONDS, env={**_BUILD_ENVIRONMENT, **_wheel_index.uv_environment(self.index)})

    def build(self, requirements: str, directory: str) -> None:
        """Build the wheels of source distributions named in a requirements file with hashes."""
        self._pip(
            ["wheel", "--use-pep517", "--no-deps", "--wheel-dir", directory, "--requirement", requirements],
            BUILD_SECONDS,
        )

    def download(self, requirements: t.Sequence[str], directory: str, links: t.Sequence[str], seconds: float) -> None:
        """Fetch the nodes' wheels for these arguments of ``pip download``."""
        words = ["download", "--no-deps", "--only-binary=:all:", "--dest", directory, "--implementation", "cp"]
        words += ["--python-version", self.python_version]
        words += [word for tag in platform_tags(self.platform) for word in ("--platform", tag)]
        words += [word for place in links for word in ("--find-links", place)]
        self._pip([*words, *requirements], seconds)

    def _pip(self, words: t.Sequence[str], seconds: float) -> None:
        command = [sys.executable, "-m", "pip", *words, "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--index-url", self.index_url] if self.index_url else []
        outcome = self.run(command, seconds, env=_BUILD_ENVIRONMENT)
        if outcome.timed_out:
            raise ToolError(f"pip {words[0]} did not end within {seconds:.0f} s; run it again to go on")
        if not outcome.ok:
            rows = [row for row in outcome.err.splitlines() if not row.startswith("WARNING")]
            raise ToolError(_wheel_index.redact_text(f"pip {words[0]}: {' '.join(rows)[-1500:]}"))

    def node_uv(self, directory: str) -> str:
        """The path of uv for the nodes: its wheel, or this machine's own uv where that cannot be had."""
        version = self.uv_version
        os.makedirs(directory, exist_ok=True)
        wheels = self._uv_wheels(directory, version)
        if not wheels:
            try:
                self.download([f"uv=={version}"], directory, [], BUILD_SECONDS)
            except ToolError:
                if not self.platform.startswith(f"{platform.machine()}-"):
                    raise
                return self.uv
            wheels = self._uv_wheels(directory, version)
        return os.path.join(directory, wheels[0])

    def _uv_wheels(self, directory: str, version: str) -> list[str]:
        tags = platform_tags(self.platform)
        return [
            name
            for name in wheels_in(directory)
            if name.startswith(f"uv-{version}-") and any(tag in name for tag in tags)
        ]


__all__ = ("RESOLVE_SECONDS", "ToolError", "Tools", "sha256_of", "text_of", "wheels_in", "write")
