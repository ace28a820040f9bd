# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools that the controller makes lock and wheels with, run within bounds."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import re
import sys
import tempfile
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command as base_command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_write
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.controller import beside_python
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import index as wheels_index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import sources
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.lockfile import (
    Pin,
    exchanged,
    platform_tags,
)

RESOLVE_SECONDS = 600.0
BUILD_SECONDS = 1200.0
# deepspeed compiles no operator while its wheel is built: what needs a GPU's compiler is built on the node when used.
# The date and the hash seed make a build give the same file again: a set in setup.py is written in the order of hashes.
_BUILD_ENVIRONMENT = {"DS_BUILD_OPS": "0", "SOURCE_DATE_EPOCH": "315532800", "PYTHONHASHSEED": "0"}
# What uv needs of the caller's environment: it may have to run a source distribution's build to learn its requirements.
_KEPT = (
    *("PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "NETRC", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("UV_CACHE_DIR", "UV_HTTP_TIMEOUT", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS", "UV_LINK_MODE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)

# How a site without internet tells uv of Pythons of its own.
_KEPT_FOR_PYTHONS = ("UV_PYTHON_DOWNLOADS_JSON_URL",)


class ToolError(Exception):
    """A tool of the controller is missing or failed; the text is for the user."""


class ExchangedError(ToolError):
    """A file is not the one that the lock names."""


def sha256_of(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write(path: str, text: str) -> None:
    """Write a file at once, so that an interrupted run leaves the old one or the new one."""
    file_write.replace(path, text.encode(), 0o644)


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

    ``python_version`` and ``platform`` are those of the nodes, ``insecure`` allows an index that could be forged, and
    ``torch_index_url`` is asked in the place of PyTorch's own.
    """

    python_version: str
    platform: str
    index_url: str = ""
    run: t.Callable[..., base_command.Outcome] = base_command.run
    _index: wheels_index.Index | None = None
    insecure: bool = False
    torch_index_url: str = ""

    @property
    def uv(self) -> str:
        """uv beside the interpreter that runs Ansible, or on the path."""
        found = beside_python("uv")
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
    def index(self) -> wheels_index.Index:
        """The index that pip is configured with here, read once; one that could be forged is refused."""
        if self._index is None:
            outcome = self.run([sys.executable, "-m", "pip", "config", "list"], 60)
            if not outcome.ok:
                raise ToolError(f"pip is missing in the environment that runs Ansible: {outcome.text.strip()[-200:]}")
            index = wheels_index.from_pip(outcome.out, self.index_url)
            places = [] if self.insecure else sources.forgeable(index)
            if places:
                raise ToolError(sources.refusal(places))
            self._index = index
        return self._index

    def compile(
        self, source: str, target: str, options: t.Sequence[str], variables: t.Mapping[str, str] | None = None
    ) -> base_command.Outcome:
        """Resolve ``source`` into ``target``, a pylock.toml, with uv; an older target's versions are preferred."""
        command = [self.uv, "pip", "compile", source, "--format", "pylock.toml", "--output-file", target, "--quiet"]
        words, places = wheels_index.in_environment(options)
        command += ["--python-version", self.python_version, "--python-platform", self.platform, *words, "--no-config"]
        env = {**self._uv_environment(), **places, **(variables or {})}
        return self.run(command, RESOLVE_SECONDS, env=env, clean=True)

    def uv_run(self, words: t.Sequence[str]) -> None:
        """Run uv with the index of pip; raises ToolError."""
        kept, places = wheels_index.in_environment(words)
        command = [self.uv, *kept, "--no-config", "--quiet"]
        env = {**self._uv_environment(), **places}
        self._checked(self.run(command, RESOLVE_SECONDS, env=env, clean=True), f"uv {words[0]}")

    def python(self, words: t.Sequence[str], variables: t.Mapping[str, str]) -> base_command.Outcome:
        """Run ``uv python``, which may fetch Pythons; addresses go to the ``variables``."""
        kept = {name: os.environ[name] for name in _KEPT_FOR_PYTHONS if name in os.environ}
        env = {**self._uv_environment(), **kept, "UV_PYTHON_DOWNLOADS": "manual", **variables}
        return self.run([self.uv, "python", *words, "--no-config"], BUILD_SECONDS, env=env, clean=True)

    def build(self, words: t.Sequence[str], scratch: str) -> None:
        """Run uv for a build: foreign code, which is told no index and no secret, and fetches nothing."""
        env = {**_BUILD_ENVIRONMENT, "PATH": os.environ.get("PATH", os.defpath), "HOME": scratch, "TMPDIR": scratch}
        command = [self.uv, *words, "--offline", "--no-index", "--no-config", "--no-cache", "--quiet"]
        self._checked(self.run(command, BUILD_SECONDS, env=env, clean=True), "uv build")

    def _uv_environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return {**kept, **_BUILD_ENVIRONMENT, **wheels_index.uv_environment(self.index)}

    @staticmethod
    def _checked(outcome: base_command.Outcome, what: str) -> None:
        if outcome.timed_out:
            raise ToolError(f"{what} did not end in time; run it again to go on")
        if not outcome.ok:
            raise ToolError(f"{what}: {masked(' '.join(outcome.err.split()))[-1500:]}")

    def download(self, requirements: t.Sequence[str], directory: str, links: t.Sequence[str], seconds: float) -> None:
        """Fetch the nodes' wheels for these arguments of ``pip download``."""
        words = ["download", "--no-deps", "--only-binary=:all:", "--dest", directory, "--implementation", "cp"]
        words += ["--python-version", self.python_version]
        words += [word for tag in platform_tags(self.platform) for word in ("--platform", tag)]
        words += [word for place in links for word in ("--find-links", place)]
        self._pip([*words, *requirements], seconds)

    def _pip(self, words: t.Sequence[str], seconds: float) -> None:
        command = [sys.executable, "-m", "pip", *words, "--quiet", "--disable-pip-version-check", "--no-input"]
        # pip's strongest source but for the command line, which everybody on the controller sees
        index = {"PIP_INDEX_URL": self.index_url} if self.index_url else {}
        outcome = self.run(command, seconds, env={**_BUILD_ENVIRONMENT, **index})
        if outcome.timed_out:
            raise ToolError(f"pip {words[0]} did not end within {seconds:.0f} s; run it again to go on")
        if not outcome.ok:
            rows = [row for row in outcome.err.splitlines() if not row.startswith("WARNING")]
            raise ToolError(f"pip {words[0]}: {masked(' '.join(rows))[-1500:]}")

    def node_uv(self, directory: str, pin: Pin | None, again: bool = False) -> tuple[str, Pin | None]:
        """The path of uv for the nodes, and what the lock shall say of it; raises ToolError for one that was exchanged.

        That is its wheel, of the version and hash of ``pin``; without a pin, or ``again``, it is fetched and gives one.
        Where the index does not answer, a wheel of an earlier run gives the pin, or it is this machine's own uv.
        """
        version = pin.version if pin else self.uv_version
        os.makedirs(directory, exist_ok=True)
        found = [] if again or not pin else self._uv_wheels(directory, version)
        if not found:
            try:
                found = [self._fetch_uv(directory, version, pin)]
            except ToolError as error:
                found = self._uv_wheels(directory, version)
                own = self.platform.startswith(f"{platform.machine()}-")
                if isinstance(error, ExchangedError) or not (found or own):
                    raise
                if not found:
                    return self.uv, None
        path = os.path.join(directory, found[0])
        digest = sha256_of(path)
        if pin and digest not in pin.hashes:
            raise ExchangedError(exchanged(f"uv {version}", path))
        return path, pin or Pin(version, (digest,))

    def _fetch_uv(self, directory: str, version: str, pin: Pin | None) -> str:
        """Fetch uv's wheel; one that is not the pinned one never lies where an older run would take it from."""
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            self.download([f"uv=={version}"], scratch, [], BUILD_SECONDS)
            name = next(iter(self._uv_wheels(scratch, version)), "")
            if not name:
                raise ToolError(f"the index gave no wheel of uv {version}")
            if pin and sha256_of(os.path.join(scratch, name)) not in pin.hashes:
                raise ExchangedError(exchanged(f"uv {version}", "the index"))
            os.replace(os.path.join(scratch, name), os.path.join(directory, name))
        return name

    def _uv_wheels(self, directory: str, version: str) -> list[str]:
        tags = platform_tags(self.platform)
        return [
            name
            for name in wheels_in(directory)
            if name.startswith(f"uv-{version}-") and any(tag in name for tag in tags)
        ]
