# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packages of an environment against a lock, without importing any.

What is installed is read from the names of the dist-info directories, the build of torch from its version file.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command

_DIST_INFO = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)\.dist-info\Z")
_VERSION = re.compile(r"^__version__\s*=\s*['\"]([^'\"]+)", re.MULTILINE)
_CUDA = re.compile(r"^cuda\b[^=\n]*=\s*['\"](\d+)\.(\d+)", re.MULTILINE)
_ASK = "import sys; print('%d.%d' % sys.version_info[:2])"
_ADDED = re.compile(r"[a-z0-9][a-z0-9-]*==[A-Za-z0-9.!+_-]+\Z")
START_SECONDS = 30.0
MOST_ADDED = 100


@dataclasses.dataclass(frozen=True)
class Have:
    """An environment as it is; ``python`` is major.minor, empty when no interpreter there runs.

    ``packages`` has more than one version of a name when an upgrade was cut off. ``unfinished`` means
    that an installation began and did not end.
    """

    python: str = ""
    packages: t.Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    torch_build: str = ""
    unfinished: bool = False
    earlier: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """What would have to be done, in the words of the user: empty when the environment equals the lock.

    ``unrecorded`` are packages that users have installed and that are of the lock now, where nothing else is to do.
    """

    missing: tuple[str, ...] = ()
    different: tuple[tuple[str, str, str], ...] = ()
    stale: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    unfinished: bool = False
    unrecorded: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True when nothing has to be done."""
        return not (self.missing or self.different or self.stale or self.problems or self.unfinished)


def normal(name: str) -> str:
    """The normalised name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _comparable(version: str) -> str:
    return re.sub(r"[-_]", ".", version.lower())


def python_of(environment: str, run: t.Callable[..., command.Outcome] = command.run) -> str:
    """Major.minor of the interpreter in an environment, empty when it does not run."""
    python = f"{environment}/bin/python"
    if not os.path.exists(python):
        return ""
    outcome = run([python, "-I", "-S", "-c", _ASK], START_SECONDS)
    return outcome.out.strip() if outcome.ok else ""


def packages_in(site: str) -> dict[str, tuple[str, ...]]:
    """Versions by normalised name; a directory without RECORD is what an interrupted installation left."""
    found: dict[str, list[str]] = {}
    try:
        entries = sorted(os.listdir(site))
    except OSError:
        return {}
    for entry in entries:
        match = _DIST_INFO.match(entry)
        if match and os.path.exists(os.path.join(site, entry, "RECORD")):
            found.setdefault(normal(match["name"]), []).append(match["version"])
    return {name: tuple(versions) for name, versions in found.items()}


def torch_build(text: str) -> str:
    """The build of torch from the text of its version.py: ``cpu``, ``cu126``; empty when it does not say."""
    version = _VERSION.search(text)
    if not version:
        return ""
    tag = version.group(1).partition("+")[2]
    if tag:
        return tag
    cuda = _CUDA.search(text)
    return f"cu{cuda.group(1)}{cuda.group(2)}" if cuda else ""


def read(environment: str, marker: str, record: str, python: str | None = None) -> Have:
    """The environment; ``marker`` stands while an installation runs, ``record`` lists what the last one brought.

    ``python`` is what python_of() said of it, where it was asked already.
    """
    python = python_of(environment) if python is None else python
    if not python:
        return Have(unfinished=os.path.exists(marker))
    site = os.path.join(environment, "lib", f"python{python}", "site-packages")
    return Have(
        python=python,
        packages=packages_in(site),
        torch_build=torch_build(text_of(os.path.join(site, "torch", "version.py"))),
        unfinished=os.path.exists(marker),
        earlier=tuple(text_of(record).split()),
    )


def text_of(path: str) -> str:
    """The text of a small file, empty when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def added(prefix: str) -> list[str]:
    """What ``trainmesh pip install`` was asked for on this node, with versions; what is no package is left out."""
    try:
        record = json.loads(text_of(f"{prefix}/var/added/record.json") or "{}")
        found = [f"{name}=={record['packages'][name]}" for name in record.get("roots", [])]
    except (ValueError, LookupError, TypeError, AttributeError):
        return []
    return [pin for pin in found if _ADDED.match(pin)][:MOST_ADDED]


def plan(wish: t.Mapping[str, str], python: str, build: str, have: Have) -> Plan:
    """Compare: ``wish`` maps normalised names to versions, ``python`` is major.minor, ``build`` that of torch.

    Packages that users installed by themselves are none of our business; those that an earlier lock
    brought and this one does not have are stale.
    """
    problems = []
    if have.python != python:
        found = f"Python {have.python}" if have.python else "no interpreter that runs"
        problems.append(f"the environment has {found}, not Python {python}")
    missing = sorted(name for name in wish if name not in have.packages)
    different = [
        (name, ", ".join(have.packages[name]), wish[name])
        for name in sorted(wish)
        if name in have.packages and [_comparable(one) for one in have.packages[name]] != [_comparable(wish[name])]
    ]
    changes_torch = "torch" in missing or any(name == "torch" for name, _old, _new in different)
    if not changes_torch and is_other_build(wish, build, have.torch_build):
        problems.append(f"torch is the build {have.torch_build}, not {build}")
    stale = sorted(name for name in have.earlier if name not in wish and name in have.packages)
    result = Plan(tuple(missing), tuple(different), tuple(stale), tuple(problems), have.unfinished)
    new = tuple(sorted(name for name in wish if name not in have.earlier))
    return dataclasses.replace(result, unrecorded=new) if result.is_empty else result


def brought(have: Have) -> list[tuple[str, list[str]]]:
    """What is there of the last lock, by name, as locked() tells it."""
    names = sorted({*have.earlier} & {*have.packages})
    return [(name, [_comparable(one) for one in have.packages[name]]) for name in names]


def locked(wish: t.Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """What brought() finds where the environment equals the lock."""
    return [(name, [_comparable(wish[name])]) for name in sorted(wish)]


def is_other_build(wish: t.Mapping[str, str], build: str, found: str) -> bool:
    """Whether torch says that it is another build than the one wanted."""
    return "torch" in wish and bool(build and found) and found != build


def faults(wish: t.Mapping[str, str], python: str, build: str, have: Have) -> list[str]:
    """What still differs from the lock after an installation, in words: the proof fails on any."""
    found = plan(wish, python, build, have)
    result = list(found.problems)
    result += [f"{name} {wish[name]} is not there" for name in found.missing]
    result += [f"{name} is {have_version}, not {want}" for name, have_version, want in found.different]
    result += ["torch does not say which build it is"] if "torch" in wish and build and not have.torch_build else []
    return result


def diff_of(wish: t.Mapping[str, str], found: Plan, have: Have) -> dict[str, str]:
    """Before and after, only of the packages that change."""
    before = [f"{name}=={old}" for name, old, _new in found.different]
    before += [f"{name}=={', '.join(have.packages[name])}" for name in found.stale]
    after = [f"{name}=={new}" for name, _old, new in found.different] + [
        f"{name}=={wish[name]}" for name in found.missing
    ]
    if found.unfinished:
        before.append("# an installation that did not end")
    return {"before": _lines(before), "after": _lines(after)}


def _lines(rows: t.Iterable[str]) -> str:
    return "".join(f"{row}\n" for row in sorted(rows))
