# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's own file of requirements: a requirements.txt, pyproject.toml, uv.lock or pylock.toml.

What the lock can't hold is a fault with file and line: nothing is left out without a word, and options that say where
packages come from stay in the inventory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked

with contextlib.suppress(ImportError):  # ansible-core brings it; only its own test of imports is without
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.utils import canonicalize_name

VARIABLE = "trainmesh_requirements"
STACK = ("torch", "torchvision", "torchaudio", "deepspeed", "accelerate")
"""Packages whose versions the plan sets."""

_HASH = re.compile(r"--hash[= ]\s*(?P<kind>\w+):(?P<value>[0-9a-fA-F]+)\Z")
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_URL = re.compile(r"(?:[a-z]+\+)?(?:https?|file|ssh|git)://|git\+", re.IGNORECASE)
_WHEEL = "build or download its wheel, put it into the directory of trainmesh_wheelhouse, and write NAME==VERSION here"
_ELSEWHERE = "take the line away; the inventory says where packages come from: "
# Options of pip that stand on a line of their own, and what to do instead; None for those that the lock does anyway.
_OPTIONS: dict[str, str | None] = {
    "--require-hashes": None,
    "--prefer-binary": None,
    **dict.fromkeys(("-i", "--index-url", "--pypi-url", "--no-index"), _ELSEWHERE + "trainmesh_index_url"),
    "--extra-index-url": _ELSEWHERE + "trainmesh_index_url, and for builds of torch trainmesh_torch_index_url",
    **dict.fromkeys(("-f", "--find-links"), _ELSEWHERE + "trainmesh_wheelhouse, a directory on the controller"),
    "--trusted-host": _ELSEWHERE + "trainmesh_index_insecure: true accepts an index without a certificate",
    **dict.fromkeys(("-e", "--editable"), f"an editable package is a directory of one host: {_WHEEL}"),
    "--pre": "take the line away, and name the pre-release itself, such as NAME==2.0rc1",
    "--no-binary": "take the line away: nodes get wheels, and what has none is built once on the controller",
    "--only-binary": "take the line away: nodes get wheels, and what has none is built once on the controller",
}
_NOT_READ = {
    "environment.yml": "export the packages of pip: pip list --format=freeze > requirements.txt",
    "environment.yaml": "export the packages of pip: pip list --format=freeze > requirements.txt",
    "poetry.lock": "poetry export -f requirements.txt -o requirements.txt",
    "pipfile": "pipenv requirements > requirements.txt",
    "pipfile.lock": "pipenv requirements > requirements.txt",
    "pdm.lock": "pdm export -o requirements.txt",
    "setup.py": "uv pip compile setup.py -o requirements.txt",
    "setup.cfg": "uv pip compile setup.cfg -o requirements.txt",
}


@dataclasses.dataclass(frozen=True)
class Line:
    """A requirement: its text without options, its normalised name, where it stands, and the SHA-256 it may have."""

    text: str
    name: str
    place: str
    hashes: tuple[str, ...] = ()


class Wanted(t.NamedTuple):
    """What the file asks for; ``python`` is its requires-python, empty for none."""

    lines: tuple[Line, ...] = ()
    constraints: tuple[Line, ...] = ()
    python: str = ""


class Limits(t.NamedTuple):
    """What the lock has to keep to besides the requirements; ``hashes`` are the files allowed, by name of package."""

    constraints: tuple[str, ...] = ()
    hashes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    places: tuple[tuple[str, str], ...] = ()

    @property
    def head(self) -> list[str]:
        """The line of it in a lock; none where there is nothing."""
        if not (self.constraints or self.hashes):
            return []
        digest = hashlib.sha256(repr((self.constraints, self.hashes)).encode()).hexdigest()[:16]
        return [f"# within {len(self.constraints)} constraints and hashes of {len(self.hashes)} packages ({digest})"]


NO_LIMITS = Limits()


class FileFault(ValueError):
    """What is wrong with the file, one sentence each."""

    def __init__(self, faults: t.Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = list(faults)


def path_of(value: str, state_dir: str) -> str:
    """The file on the controller: an absolute path, or one that begins in the directory of the inventory."""
    return os.path.normpath(os.path.join(os.path.dirname(state_dir), os.path.expanduser(value)))


def read(path: str) -> Wanted:
    """Read the file; raises FileFault with everything that is wrong."""
    name = os.path.basename(path).lower()
    if name in _NOT_READ:
        raise FileFault([f"{VARIABLE}: {path}: expected a requirements.txt, pyproject.toml, uv.lock or pylock.toml: "
                         f"{_NOT_READ[name]}"])  # fmt: skip
    if name.endswith((".toml", ".lock")):
        from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import wanted_toml

        return wanted_toml.read(path, content(path))
    reader = _Reader()
    reader.file(path, "", is_constraint=False)
    if reader.faults:
        raise FileFault(reader.faults)
    return Wanted(tuple(reader.lines), tuple(reader.constraints))


def limits(found: Wanted) -> Limits:
    """Constraints and hashes; the versions of the stack's own packages are the plan's."""
    hashes: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    for line in (*found.lines, *found.constraints):
        places.setdefault(line.name, line.place)
        if line.hashes:
            hashes.setdefault(line.name, []).extend(line.hashes)
    kept = tuple(dict.fromkeys(line.text for line in found.constraints if line.name not in STACK))
    return Limits(kept, tuple((name, tuple(sorted(set(each)))) for name, each in sorted(hashes.items())),
                  tuple(places.items()))  # fmt: skip


def limits_of(path: str) -> Limits:
    """Those of a file; none where there is no file."""
    return limits(read(path)) if path else NO_LIMITS


def content(path: str, at: str = "") -> str:
    """The text of a file in the encoding that its first bytes tell, as pip reads it; raises FileFault."""
    start = f"{at}: " if at else f"{VARIABLE}: "
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise FileFault([f"{start}{path} can't be read on the controller: {error.strerror}"]) from None
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise FileFault([f"{path}:{line}: expected text in UTF-8, found the byte 0x{data[error.start]:02x}: save the "
                         "file as UTF-8"]) from None  # fmt: skip


class _Reader:
    """A requirements.txt with the files that it names."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.constraints: list[Line] = []
        self.faults: list[str] = []
        self._open: list[tuple[str, bool]] = []
        self._done: set[tuple[str, bool]] = set()

    def file(self, path: str, at: str, is_constraint: bool) -> None:
        """Read one file, which ``at`` names."""
        key = (os.path.realpath(path), is_constraint)
        if key in self._open:
            self.faults.append(f"{at}: {path} is being read already: files that name each other have no end")
            return
        if key in self._done:
            return
        try:
            text = content(path, at)
        except FileFault as error:
            self.faults += error.faults
            return
        self._open.append(key)
        for number, row in joined(text):
            self._row(path, f"{path}:{number}", row, is_constraint)
        self._done.add(self._open.pop())

    def _row(self, path: str, place: str, row: str, is_constraint: bool) -> None:
        if re.search(r"\$\{[A-Z0-9_]+\}", row):
            self.faults.append(f"{place}: expected a value, found {masked(row)!r}: variables are not replaced; write "
                               "it out, and a login into the file ~/.netrc")  # fmt: skip
        elif row.startswith("-"):
            self._option(path, place, row, is_constraint)
        else:
            try:
                line = _line(row, place)
            except ValueError as error:
                self.faults.append(f"{place}: {error}")
                return
            (self.constraints if is_constraint else self.lines).append(line)

    def _option(self, path: str, place: str, row: str, is_constraint: bool) -> None:
        name, value = option(row)
        if name in ("-r", "--requirement", "-c", "--constraint"):
            if not value or "://" in value:
                self.faults.append(f"{place}: expected a file beside this one, found {masked(row)!r}: copy it here")
                return
            inner = os.path.join(os.path.dirname(path), value)
            self.file(inner, place, is_constraint or name in ("-c", "--constraint"))
            return
        advice = _OPTIONS.get(name, "take the line away: it is no option that a lock can keep")
        if advice is not None:
            self.faults.append(f"{place}: expected a requirement, found the option {masked(row)!r}: {advice}")


def joined(text: str) -> t.Iterator[tuple[int, str]]:
    """(number, line) without comments and blank lines, those that end in a backslash joined with the next."""
    start, parts = 0, list[str]()
    for number, row in enumerate([*text.splitlines(), ""], 1):
        start = start or number
        is_comment = row.lstrip().startswith("#")  # within joined lines pip leaves it out
        if row.endswith("\\") and not is_comment:
            parts.append(row[:-1])
            continue
        whole = re.sub(r"(^|\s+)#.*$", "", "".join([*parts, "" if is_comment else row])).strip()
        if whole:
            yield start, whole
        start, parts = 0, []


def option(row: str) -> tuple[str, str]:
    """(name, value) of a line that is an option: ``-r FILE``, ``-rFILE``, ``--requirement=FILE``."""
    try:
        words = shlex.split(row)
    except ValueError:
        words = row.split()
    first = words[0] if words else row
    if first.startswith("--"):
        name, equals, value = first.partition("=")
        return name, value if equals else " ".join(words[1:])
    return first[:2], first[2:].lstrip("=") or " ".join(words[1:])


def _line(row: str, place: str) -> Line:
    """A requirement with its options; raises ValueError with what was expected."""
    text, *options = re.split(r"\s+(?=--?[a-z])", row)
    hashes = []
    for each in options:
        match = _HASH.match(each)
        if not match:
            raise ValueError(f"expected no option but --hash, found {masked(each)!r}: take it away")
        if match["kind"] != "sha256" or len(match["value"]) != 64:
            raise ValueError(f"expected --hash=sha256: and 64 digits, found {each[:40]!r}: pip hash WHEEL tells it")
        hashes.append(match["value"].lower())
    return line_of(text, place, tuple(hashes))


def line_of(text: str, place: str, hashes: tuple[str, ...] = ()) -> Line:
    """A requirement of an index; raises ValueError for anything else."""
    try:
        wanted = Requirement(text)
    except InvalidRequirement as error:
        if _URL.match(text) or text.endswith((".whl", ".tar.gz", ".zip")) or text.startswith((".", "/", "~")):
            raise ValueError(
                f"expected NAME==VERSION, found an address or a path, {masked(text)!r}: {_WHEEL}"
            ) from None
        why = " ".join(str(error).splitlines()[0].split())
        advice = "one = makes no version: write ==" if re.match(r"[\w.\[\],-]+\s*=[^=]", text) else why
        raise ValueError(
            f"expected a requirement such as transformers==4.57.0, found {masked(text)!r}: {advice}"
        ) from None
    if wanted.url is None:
        return Line(str(wanted), canonicalize_name(wanted.name), place, hashes)
    if re.match(r"file:.*(?:/croot/|/feedstock_root/|/conda-bld/)", wanted.url):
        raise ValueError(f"expected NAME==VERSION, found {masked(text)!r}, the directory in which conda has built it: "
                         "pip list --format=freeze > requirements.txt writes versions")  # fmt: skip
    raise ValueError(f"expected NAME==VERSION, found {masked(text)!r}, which has no hash on an index: {_WHEEL}")


class Planned(t.NamedTuple):
    """What the plan has decided: version by name of package, build of torch, and the nodes' Python and processor."""

    versions: t.Mapping[str, str]
    build: str
    python: str
    arch: str


def merged(found: Wanted, planned: Planned) -> tuple[list[str], list[str]]:
    """(requirements for the lock, what contradicts the plan): what the plan brings anyway is left out."""
    lines, faults = [], []
    if found.python and not SpecifierSet(found.python).contains(f"{planned.python}.99"):
        faults.append(f"{VARIABLE}: the project asks for Python {found.python}, and the plan is Python {planned.python}"
                      ": set trainmesh_python to one that fits")  # fmt: skip
    for line in found.lines:
        wanted = Requirement(line.text)
        if line.name not in planned.versions:
            lines.append(line.text)
        elif wanted.extras:
            lines.append(f"{line.name}[{','.join(sorted(wanted.extras))}]")
    for line in (*found.lines, *found.constraints):
        if line.name in planned.versions:
            faults += _against(line, planned)
    return list(dict.fromkeys(lines)), list(dict.fromkeys(faults))


def _against(line: Line, planned: Planned) -> list[str]:
    """How a line contradicts the version, or the build, that the plan has chosen."""
    wanted, version = Requirement(line.text), planned.versions[line.name]
    if wanted.marker and not wanted.marker.evaluate(_environment(planned)):
        return []
    local = {match[1] for each in wanted.specifier if (match := re.search(r"\+(.+)", each.version))}
    public = SpecifierSet(re.sub(r"\+[^,\s]+", "", str(wanted.specifier)))
    if not public.contains(version, prereleases=True):
        exact = next((each.version for each in public if each.operator == "=="), "")
        variable = "trainmesh_torch" if line.name in ("torchvision", "torchaudio") else f"trainmesh_{line.name}"
        to = f": {exact}" if exact and variable.endswith(line.name) else " to what you need"
        return [f"{line.place}: {line.text} contradicts {line.name} {version} of the plan: set {variable}{to}, or take "
                "the version away here"]  # fmt: skip
    if local - {planned.build}:
        return [f"{line.place}: {line.text} contradicts the build {planned.build} of the plan: set "
                f"trainmesh_torch_build: {min(local)}, or take the +{min(local)} away here"]  # fmt: skip
    return []


def _environment(planned: Planned) -> dict[str, str]:
    """What markers of requirements ask of a node."""
    return {
        "python_version": planned.python,
        "python_full_version": f"{planned.python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": planned.arch,
        "extra": "",
    }


class Reader:
    """The file for the plan, which asks for its lines when it knows the versions of the stack."""

    def __init__(self, path: str) -> None:
        self.path, self.found = path, read(path)

    @property
    def names(self) -> set[str]:
        """The packages it asks for."""
        return {line.name for line in self.found.lines}

    def __call__(
        self, versions: t.Mapping[str, str], build: str, python: str, arch: str
    ) -> tuple[list[str], list[str]]:
        """(requirements for the lock, what contradicts the plan)."""
        return merged(self.found, Planned(versions, build, python, arch))
