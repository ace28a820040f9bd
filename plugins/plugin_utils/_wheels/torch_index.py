# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second index, of which nothing but torch and its companions is taken: a mirror of PyTorch's own.

The other packages that lie there too (numpy is one) are old ones, and never take the place of those of the first index.
"""

from __future__ import annotations

import json
import re
import typing as t
import urllib.parse

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.lockfile import Wish

PACKAGES = ("torch", "torchvision", "torchaudio")
OWN = "https://download.pytorch.org/whl"
_BUILD = re.compile(r"(?:cpu|cu\d+|rocm[\d.]+|xpu)\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# uv takes the login of an index of this name from the environment.
_INDEX = "torch"


def of_build(url: str, build: str) -> str:
    """The index of one build: its name at the end of the address, as on PyTorch's own, unless a build is there."""
    place = url.rstrip("/")
    return place if _BUILD.match(place.rpartition("/")[2]) else f"{place}/{build}"


def project(wish: Wish, url: str) -> str:
    """The wish as a pyproject.toml, in which uv reads that torch is taken from this index and nothing else is."""
    names = {match[0].lower() for line in wish.requirements if (match := _NAME.match(line))}
    sources = [f'{name} = {{index = "{_INDEX}"}}' for name in PACKAGES if name in names]
    lines = [
        "[project]",
        'name = "trainmesh-environment"',
        'version = "0"',
        f'requires-python = ">={wish.python_version}"',
        f"dependencies = {json.dumps(list(wish.requirements))}",
        "[tool.uv.sources]",
        *sources,
        "[[tool.uv.index]]",
        f'name = "{_INDEX}"',
        f"url = {json.dumps(_parts(url)[0])}",
        "explicit = true",
    ]
    return "\n".join(lines) + "\n"


def variables(url: str) -> dict[str, str]:
    """The login of the address, where nobody else sees it."""
    _place, user, word = _parts(url)
    start = f"UV_INDEX_{_INDEX.upper()}"
    return {f"{start}_USERNAME": user, f"{start}_PASSWORD": word} if user else {}


def with_login(file: str, url: str) -> str:
    """The address of a file of this index, with the login of the index; that of another host stays as it is."""
    parts, known = urllib.parse.urlsplit(file), urllib.parse.urlsplit(url)
    if not known.username or parts.username or (parts.hostname, parts.port) != (known.hostname, known.port):
        return file
    return urllib.parse.urlunsplit(parts._replace(netloc=f"{known.netloc.rpartition('@')[0]}@{parts.netloc}"))


def _parts(url: str) -> tuple[str, str, str]:
    """(address without a login, user, password)."""
    parts = urllib.parse.urlsplit(url)
    if not parts.username:
        return url, "", ""
    plain = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return plain, urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")


def note(wish: Wish, url: str, shown: str, answer: str | None, reasons: t.Callable[[str], str]) -> str:
    """Where the build lies, if it is no default one, and what came of asking there (``answer``, None: nobody did).

    ``shown`` is ``url`` without a password. Empty where the build is not what is missing.
    """
    tagged = any(line.startswith("torch==") and "+" in line for line in wish.requirements)
    if not tagged and answer is None:
        return ""
    asked = f"which says: {reasons(answer)}" if answer is not None else "which was not asked, as pip has no-index here"
    if url:
        return (
            f"The build {wish.torch_build} of torch was looked for on trainmesh_torch_index_url too, {shown}, {asked} "
        )
    place = of_build(OWN, wish.torch_build)
    only = "is only on PyTorch's own index" if tagged else "was looked for on PyTorch's own index too"
    return (
        f"The build {wish.torch_build} of torch {only}, {place}, {asked} Let the controller reach it, or set "
        f"trainmesh_torch_index_url to a mirror of {OWN}. "
    )
