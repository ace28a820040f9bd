# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requirements of a project: pyproject.toml, uv.lock, or pylock.toml (PEP 621, PEP 751)."""

from __future__ import annotations

import contextlib
import re
import typing as t

import tomllib

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.wanted import (
    STACK,
    VARIABLE,
    FileFault,
    Line,
    Wanted,
    line_of,
)

with contextlib.suppress(ImportError):  # ansible-core brings it; only its own test of imports is without
    from packaging.utils import canonicalize_name

Table = t.Mapping[str, t.Any]
_WHEEL = "put its wheel into the directory of trainmesh_wheelhouse, and name a version of it here"
_EXPORT = "export it: uv export --no-hashes --no-emit-project -o requirements.txt, and name that file"


def read(path: str, text: str) -> Wanted:
    """Read such a file; raises FileFault."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FileFault([f"{VARIABLE}: {path} is no TOML: {error}"]) from None
    try:
        if "lock-version" in document:
            return _pylock(path, text, document)
        if isinstance(document.get("package"), list):
            return _uv_lock(path, text, document)
        return _project(path, text, document)
    except (AttributeError, KeyError, TypeError) as error:
        raise FileFault([f"{VARIABLE}: {path} has another form than expected ({error!r}): {_EXPORT}"]) from None


def _place(path: str, text: str, pattern: str) -> str:
    """The line on which this stands for the first time; the file alone where it does not stand as it is."""
    match = re.search(pattern, text)
    return f"{path}:{text.count(chr(10), 0, match.start()) + 1}" if match else path


def _lines(pairs: t.Iterable[tuple[str, str, tuple[str, ...]]]) -> list[Line]:
    """Lines of (requirement, place, hashes); raises FileFault."""
    found, faults = [], []
    for text, place, hashes in pairs:
        try:
            found.append(line_of(text, place, hashes))
        except ValueError as error:
            faults.append(f"{place}: {error}")
    if faults:
        raise FileFault(faults)
    return found


def _project(path: str, text: str, document: Table) -> Wanted:
    project, tools = document.get("project"), document.get("tool", {})
    if project is None:
        advice = "poetry export -f requirements.txt -o requirements.txt" if "poetry" in tools else "write one"
        raise FileFault([f"{VARIABLE}: {path} has no table [project] with dependencies: {advice}"])
    if "dependencies" in project.get("dynamic", []):
        raise FileFault([f"{_place(path, text, 'dynamic')}: the dependencies are dynamic, so only its build knows "
                         "them: uv pip compile pyproject.toml -o requirements.txt, and name that file"])  # fmt: skip
    uv = tools.get("uv", {})
    rows = [(str(row), _place(path, text, re.escape(str(row)))) for row in project.get("dependencies", [])]
    lines = _lines((row, place, ()) for row, place in rows)
    limits = [str(row) for row in uv.get("constraint-dependencies", [])]
    constraints = _lines((row, _place(path, text, re.escape(row)), ()) for row in limits)
    faults = [
        f"{_place(path, text, f'(?m)^{re.escape(name)} *=')}: [tool.uv.sources] takes {name} from elsewhere than the "
        f"index: {_WHEEL}"
        for name, source in uv.get("sources", {}).items()
        if canonicalize_name(name) in {line.name for line in lines} and not _is_index(source, canonicalize_name(name))
    ]
    if uv.get("override-dependencies"):
        faults.append(f"{_place(path, text, 'override-dependencies')}: overrides are not kept by the lock: {_EXPORT}")
    if faults:
        raise FileFault(faults)
    return Wanted(tuple(lines), tuple(constraints), str(project.get("requires-python", "")))


def _is_index(source: t.Any, name: str) -> bool:
    """Whether [tool.uv.sources] only names an index for the build of torch, which the plan chooses."""
    sources = source if isinstance(source, list) else [source]
    return name in STACK and all("index" in each for each in sources)


def _uv_lock(path: str, text: str, document: Table) -> Wanted:
    """The dependencies of its projects, with all its versions as constraints; groups and extras are left out."""
    packages = document["package"]
    roots = [one for one in packages if {"virtual", "editable"} & set(one.get("source", {}))]
    if not roots:
        raise FileFault([f"{VARIABLE}: {path} has no project of its own: {_EXPORT}"])
    wanted, constraints, faults = [], [], []
    for root in roots:
        for each in root.get("dependencies", []):
            extras = f"[{','.join(each['extra'])}]" if each.get("extra") else ""
            marker = f" ; {each['marker']}" if each.get("marker") else ""
            if each["name"] not in {one["name"] for one in roots}:
                wanted.append((f"{each['name']}{extras}{marker}", _at(path, text, each["name"]), ()))
    for one in packages:
        place = _at(path, text, one["name"])
        if one in roots:
            continue
        if "registry" not in one.get("source", {}):
            faults.append(
                f"{place}: {one['name']} is from elsewhere than an index ({', '.join(one['source'])}): {_WHEEL}"
            )
            continue
        markers = " or ".join(f"({marker})" for marker in one.get("resolution-markers", []))
        files = [*one.get("wheels", []), *([one["sdist"]] if one.get("sdist") else [])]
        hashes = () if one["name"] in STACK else _hashes(files)
        constraints.append((f"{one['name']}=={one['version']}{f' ; {markers}' if markers else ''}", place, hashes))
    if faults:
        raise FileFault(faults)
    return Wanted(tuple(_lines(wanted)), tuple(_lines(constraints)), str(document.get("requires-python", "")))


def _at(path: str, text: str, name: str) -> str:
    return _place(path, text, rf'(?m)^name = "{re.escape(name)}"')


def _hashes(files: t.Iterable[Table]) -> tuple[str, ...]:
    """The SHA-256 of files; none where one has another, or none."""
    found = [str(file.get("hash") or "").partition(":") for file in files]
    return tuple(value for _kind, _colon, value in found) if all(each[0] == "sha256" for each in found) else ()


def _pylock(path: str, text: str, document: Table) -> Wanted:
    """All its packages at their versions."""
    wanted, faults = [], []
    for one in document.get("packages", []):
        place = _at(path, text, one["name"])
        if "version" not in one or {"vcs", "archive", "directory"} & set(one):
            faults.append(f"{place}: {one['name']} is from elsewhere than an index: {_WHEEL}")
            continue
        files = [*one.get("wheels", []), *([one["sdist"]] if one.get("sdist") else [])]
        sums = [str(file.get("hashes", {}).get("sha256", "")) for file in files]
        hashes = tuple(sums) if all(sums) and canonicalize_name(one["name"]) not in STACK else ()
        marker = f" ; {one['marker']}" if one.get("marker") else ""
        wanted.append((f"{one['name']}=={one['version']}{marker}", place, hashes))
    if faults:
        raise FileFault(faults)
    return Wanted(tuple(_lines(wanted)), (), str(document.get("requires-python", "")))
