# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package index as pip on the controller knows it, told to uv and to the nodes.

uv reads neither pip.conf nor pip's environment variables, so what ``pip config list`` says is handed over.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import typing as t
import urllib.parse

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.plugins.module_utils._install.uv import find_links

# Sections of pip's configuration from the weakest to the strongest, for a command that downloads.
_SECTIONS = ("global", "install", "download", ":env:")
_LINE = re.compile(r"(?P<section>:env:|[\w-]+)\.(?P<key>[\w-]+)=(?P<value>.*)\Z")


@dataclasses.dataclass(frozen=True)
class Index:
    """Where packages are looked for; ``default`` empty means the tool's own default index."""

    default: str = ""
    extra: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    trusted_hosts: tuple[str, ...] = ()
    certificate: str = ""
    proxy: str = ""

    @property
    def places(self) -> list[str]:
        """Every place, without passwords, for messages."""
        first = [] if self.no_index else [self.default or "the default index"]
        return [redacted(place) for place in (*first, *self.extra, *self.find_links)]


def from_pip(listing: str, index_url: str = "") -> Index:
    """The index of ``pip config list``'s output; ``index_url`` takes the place of pip's own default index."""
    values: dict[str, str] = {}
    found: dict[tuple[str, str], str] = {}
    for line in listing.splitlines():
        match = _LINE.match(line.strip())
        if match:
            found[match["section"], match["key"]] = _value(match["value"])
    for section in _SECTIONS:
        values.update({key: value for (where, key), value in found.items() if where == section})
    return Index(
        default=index_url or values.get("index-url", ""),
        extra=tuple(values.get("extra-index-url", "").split()),
        find_links=tuple(values.get("find-links", "").split()),
        no_index=not index_url and values.get("no-index", "").lower() in ("1", "true", "yes", "on"),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        certificate=values.get("cert", ""),
        proxy=values.get("proxy", ""),
    )


def _value(quoted: str) -> str:
    """pip prints values as Python literals."""
    try:
        return str(ast.literal_eval(quoted))
    except (ValueError, SyntaxError):
        return quoted


def uv_arguments(index: Index) -> list[str]:
    """The options that give uv this index; a package comes from the first one that has it, extra ones before."""
    words = ["--no-index"] if index.no_index else []
    words += ["--default-index", index.default] if index.default and not index.no_index else []
    if index.extra and not index.no_index:
        words += [word for url in index.extra for word in ("--index", url)]
    words += [word for place in index.find_links for word in ("--find-links", place)]
    return words + [word for host in index.trusted_hosts for word in ("--allow-insecure-host", host)]


def in_environment(words: t.Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """(words, variables): the addresses among uv's options go to the environment.

    They may hold a password, and everybody on the controller sees the command line.
    """
    places: dict[str, list[str]] = {"--default-index": [], "--index": [], "--find-links": []}
    kept, rest = [], iter(words)
    for word in rest:
        if word in places:
            places[word].append(next(rest))
        else:
            kept.append(word)
    variables = {"UV_DEFAULT_INDEX": " ".join(places["--default-index"]), "UV_INDEX": " ".join(places["--index"])}
    return kept, {**{name: text for name, text in variables.items() if text}, **find_links(places["--find-links"])}


def uv_environment(index: Index) -> dict[str, str]:
    """The environment variables that give uv the certificates and the proxy that pip was given."""
    variables = {"UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    if index.certificate:
        variables["SSL_CERT_FILE"] = index.certificate
    if index.proxy:
        variables.update({"HTTP_PROXY": index.proxy, "HTTPS_PROXY": index.proxy})
    return variables


def for_nodes(index: Index, torch_backend: str = "", torch_index: str = "") -> dict[str, t.Any]:
    """What of this index a node can use: URLs, no path of the controller.

    ``torch_index`` takes the place of PyTorch's own index where the lock needs a build of it (``torch_backend``).
    """
    second = [torch_index] if torch_backend and torch_index else []
    return {
        "default": "" if _is_local(index.default) else index.default,
        "extra": [url for url in (*second, *index.extra) if not _is_local(url)],
        "torch_backend": "" if torch_index else torch_backend,
        "find_links": [place for place in index.find_links if not _is_local(place)],
        "trusted_hosts": list(index.trusted_hosts),
        "proxy": index.proxy,
    }


def _is_local(place: str) -> bool:
    return not place.startswith(("http://", "https://"))


def redacted(url: str) -> str:
    """A URL without user name and password."""
    parts = urllib.parse.urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urllib.parse.urlunsplit(parts._replace(netloc="****@" + parts.netloc.rpartition("@")[2]))


def reasons(answer: str) -> str:
    """What uv said (its standard error) in one line, without passwords."""
    rows = [masked(row.strip()) for row in answer.splitlines() if row.strip()]
    said = [re.sub(r"^(error|cause|hint|×|╰─▶|\s)+:?\s*", "", row) for row in rows][:6]
    return " ".join(said) or "nothing"


def is_conflict(answer: str) -> bool:
    """Whether uv says that packages contradict each other, and not that one can't be had."""
    text = " ".join(answer.split())
    if re.search(r"not found in the package registry|no versions? of|was not found|only the following versions", text):
        return False
    return "unsatisfiable" in text and ("depends on" in text or text.count("you require") > 1 or " and " in text)


def is_final(answer: str) -> bool:
    """Whether another index would not help."""
    return is_conflict(answer) or bool(build_failure(answer))


def conflict(answer: str, places: t.Mapping[str, str]) -> str:
    """One message for packages that contradict each other; ``places`` are the lines of the user's file by package."""
    text = re.sub(r" hint: .*", "", " ".join(reasons(answer).split()))
    text = re.sub(r", we can conclude that your requirements are unsatisfiable\.?|No solution found when resolving "
                  r"dependencies:? ?", "", text).strip()  # fmt: skip
    named = [
        f"{name} stands in {place}" for name, place in places.items() if re.search(rf"(?<![\w-]){name}(?![\w-])", text)
    ]
    where = f" {', '.join(named[:4])}: change that." if named else " Change one of them in the inventory."
    return f"The packages asked for contradict each other. uv says: {text[:900].rstrip('.')}.{where}"


_CAUSE = re.compile(
    r"ModuleNotFoundError: No module named '[\w.]+'|\S*(?:nvcc|CUDA_HOME)\b.*|error: command .* failed.*|\w*Error: .*"
)


def build_failure(answer: str) -> str:
    """One message for a package that uv can't build here; empty where that is not what failed."""
    name = re.search(r"Failed to build `?([A-Za-z0-9._-]+)", answer)
    return unbuilt(name[1], answer) if name else ""


def unbuilt(name: str, text: str) -> str:
    """Why a package can't be built on the controller, and where it can; ``text`` is what its build says."""
    cause = _CAUSE.search(text)
    why = masked(cause[0].strip())[:300] if cause else "its build failed"
    return (
        f"{name} has no wheel, and the controller can't build it: {why}. What compiles against torch or CUDA is built "
        f"once on a node: trainmesh pip install --no-build-isolation --on NODE {name} on the head. To have it in the "
        "lock, copy its wheel from var/added/wheels there into the directory of trainmesh_wheelhouse."
    )


def explain(answer: str, places: t.Sequence[str], wanted: t.Sequence[str], note: str = "") -> str:
    """One message for a resolution that failed: what was wanted, where it was looked for, what to set.

    ``answer`` is uv's standard error, ``note`` a sentence more.
    """
    rows = [masked(row.strip()) for row in answer.splitlines() if row.strip()]
    shadow = re.search(r"`([^`]+)` was found on (\S+), but not at", " ".join(rows))
    way_out = (
        f"{shadow[1]} was taken from {shadow[2]} alone, as of several indexes the first one that has a package serves; "
        "trainmesh_index_insecure: true takes the best version out of all. "
        if shadow
        else ""
    )
    return (
        f"The packages for the nodes could not be found. Wanted: {', '.join(wanted)}. Looked in: {', '.join(places)}. "
        f"uv says: {reasons(answer)} {way_out}{note}"
        "Set trainmesh_index_url to an index or mirror that has them, or trainmesh_wheelhouse to a directory on the "
        "controller that holds the wheels."
    )
