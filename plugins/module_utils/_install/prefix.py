# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories of the prefix, the tools a node needs, the environment's state."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import re
import shutil
import stat
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command, root_path
from ansible_collections.trainmesh.cluster.plugins.module_utils._config.file_set import manifest_of
from ansible_collections.trainmesh.cluster.plugins.module_utils._install.packages import python_of, text_of

# Below a prefix of root's, these are the job user's; below a prefix of the user's, all is.
OF_THE_USER = ("env", "var", "workspace")
MANIFESTS = {manifest_of(name) for name in ("files", "secrets")}
OURS = {*OF_THE_USER, "environments", "activate", "bin", "conda", "etc", "lib", "libexec", "share", "tools", *MANIFESTS}
DIRECTORIES = ("workspace", "var", "var/cache", "var/tools")
# Directories that a login shell of root or a plain user may leave out of its search path.
_SEARCH = os.pathsep.join(
    ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/lib64/openmpi/bin")
)
COMMANDS = ("rsync", "pdsh", "mpirun")
# Pythons that the role python_env brings itself lie here, one directory for each version.
MANAGED = "var/python"
_ASK = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
_FAMILIES = {
    "debian": "debian",
    "ubuntu": "debian",
    "rhel": "redhat",
    "fedora": "redhat",
    "suse": "suse",
    "arch": "arch",
}
_START_SECONDS = 30.0


class Fault(Exception):
    """Something that only the user can put right; one sentence."""


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """An interpreter that was looked for; ``version`` is major.minor, ``problem`` why no venv can be made with it.

    Neither of them is there when it did not answer in time.
    """

    path: str = ""
    version: str = ""
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Environment:
    """The environment as it is: ``ok``, ``absent``, or ``wrong`` (another kind or version, or broken)."""

    state: str
    python: str
    reason: str = ""


def family(os_release: str) -> str:
    """Family of a distribution from the text of /etc/os-release: debian, redhat, suse, arch, or empty."""
    words: list[str] = []
    for key in ("ID", "ID_LIKE"):
        match = re.search(rf"^{key}=[\"']?([^\"'\n]*)", os_release, re.MULTILINE)
        words += match.group(1).lower().split() if match else []
    for word in words:
        for start, name in _FAMILIES.items():
            if word == start or word.startswith(f"{start}-") or (start == "suse" and "suse" in word):
                return name
    return ""


def missing_tools(
    tools: t.Sequence[t.Mapping[str, t.Any]], which: t.Callable[..., str | None] = shutil.which
) -> list[str]:
    """Commands that are on no usual search path."""
    return [str(tool["command"]) for tool in tools if not which(str(tool["command"]), path=_search_path())]


def commands(launchers: t.Collection[str], is_head: bool) -> list[str]:
    """The commands that a node needs for these launchers; the head starts the others with pdsh."""
    needed = {
        "rsync": True,
        "pdsh": is_head and bool(set(launchers) - {"mpirun"}),
        "mpirun": "mpirun" in launchers,
    }
    return [name for name in COMMANDS if needed[name]]


def _search_path() -> str:
    return os.environ.get("PATH", "") + os.pathsep + _SEARCH


def packages_of(tools: t.Sequence[t.Mapping[str, t.Any]], commands: t.Sequence[str], kind: str) -> list[str]:
    """The distribution packages that bring these commands; the command's own name where none is known."""
    names: list[str] = []
    for tool in tools:
        if tool["command"] in commands:
            names += tool.get("packages", {}).get(kind) or [str(tool["command"])]
    return list(dict.fromkeys(names))


def environment(
    prefix: str, kind: str, python_version: str, run: t.Callable[..., command.Outcome] = command.run
) -> Environment:
    """The environment below ``prefix`` compared with the kind (venv, conda) and version that are wanted."""
    return judged(environment_there(prefix, run), kind, python_version)


def environment_there(prefix: str, run: t.Callable[..., command.Outcome] = command.run) -> tuple[str, str] | None:
    """Kind and version of the environment, empty where not known; None when there is none."""
    path = f"{prefix}/env"
    if not os.path.isdir(path) or not os.listdir(path):
        return None
    found = "conda" if os.path.isdir(f"{path}/conda-meta") else "venv" if os.path.exists(f"{path}/pyvenv.cfg") else ""
    whole = found != "conda" or is_whole(path)
    return found, python_of(path, run) if whole else ""


def is_whole(directory: str) -> bool:
    """Whether conda has made this directory in full: it writes the history last, and installers make it empty first."""
    try:
        return os.stat(f"{directory}/conda-meta/history").st_size > 0
    except OSError:
        return False


def judged(there: t.Sequence[str] | None, kind: str, python_version: str) -> Environment:
    """What environment_there() found, compared with the kind and version that are wanted."""
    if there is None:
        return Environment("absent", "", "there is no environment yet")
    found, python = there
    if not found or not python:
        return Environment("wrong", python, "the environment is incomplete or its interpreter does not run")
    if found != kind:
        return Environment("wrong", python, f"the environment is of the kind {found}, and {kind} is wanted")
    if python != python_version:
        return Environment("wrong", python, f"the environment has Python {python}, and {python_version} is wanted")
    return Environment("ok", python)


def claim_fault(prefix: str, state: str, claim: str) -> str:
    """Why the environment may not be touched: it was there before us. Empty when it is ours or absent."""
    if state == "absent" or claim:
        return ""
    return f"{prefix}/env is there and was not made by this collection: move it away, or set another trainmesh_prefix"


def look(
    wanted: str, run: t.Callable[..., command.Outcome] = command.run, limit: float = _START_SECONDS, prefix: str = ""
) -> Interpreter:
    """The interpreter for a venv (a path, or a version such as 3.11), asked for its version.

    Of a version one that can make environments goes before others of that name, such as the stand-ins of pyenv; those
    that the role has brought below ``prefix`` are looked at as well.
    """
    name = wanted if "/" in wanted else f"python{wanted}"
    path = pythons(prefix).get(wanted) or shutil.which(name, path=_search_path())  # a path is taken as it is
    if not path:
        return Interpreter(problem=f"there is no interpreter {name}")
    outcome = run([path, "-I", "-c", _ASK], limit)
    if outcome.timed_out:
        return Interpreter(path)
    if not outcome.ok:
        last = outcome.text.strip().splitlines()[-1:] or [f"it ended with status {outcome.rc}"]
        return Interpreter(path, problem=f"{path} can't make environments ({last[0][:200]})")
    return Interpreter(path, outcome.out.strip())


def managed(prefix: str, version: str) -> str:
    """The directory of a Python of this version that the role brings itself."""
    return f"{prefix}/{MANAGED}/{version}"


def pythons(prefix: str = "") -> dict[str, str]:
    """The interpreters that can make a venv, by their versions (``{"3.11": "/usr/bin/python3.11"}``); none is started.

    Those of the search path come first, then those that the role has brought below ``prefix``.
    """
    brought = glob.glob(f"{glob.escape(prefix)}/{MANAGED}/3.*/bin") if prefix else []
    found: dict[str, str] = {}
    for directory in [*_search_path().split(os.pathsep), *sorted(brought)]:
        for path in glob.glob(f"{glob.escape(directory)}/python3.*"):
            match = re.search(r"/python(3\.\d+)\Z", path)
            if match and os.access(path, os.X_OK) and _has_venv(path, match.group(1)):
                found.setdefault(match.group(1), path)
    return found


def _has_venv(path: str, version: str) -> bool:
    """Whether the interpreter's library has the module venv: some distributions package it separately."""
    root = os.path.dirname(os.path.dirname(os.path.realpath(path)))
    return any(os.path.exists(f"{root}/{lib}/python{version}/venv/__init__.py") for lib in ("lib", "lib64"))


def interpreter(
    wanted: str, python_version: str, run: t.Callable[..., command.Outcome] = command.run, prefix: str = ""
) -> str:
    """The path of the interpreter for a venv of this version; raises Fault."""
    found = look(wanted, run, prefix=prefix)
    problem = found.problem
    if not problem and not found.version:
        problem = f"{found.path} did not answer within {_START_SECONDS:.0f} s"
    elif not problem and found.version != python_version:
        problem = f"{found.path} is Python {found.version}, and the cluster's environment is for {python_version}"
    if problem:
        advice = (
            "install it, or set trainmesh_python to one that every node has, or trainmesh_python_install: true to have "
            "one installed below the prefix"
        )
        raise Fault(f"{problem}: {advice}")
    return found.path


def owner_fault(prefix: str, uid: int, user: str) -> str:
    """Why an existing prefix can't be the job user's; empty when it can."""
    try:
        info = os.lstat(prefix)
    except FileNotFoundError:
        return ""
    if not os.path.isdir(prefix) or os.path.islink(prefix):
        return f"{prefix} is there and is not a directory"
    remedy = "change its owner, or set another trainmesh_prefix"
    names = set(os.listdir(prefix))
    is_laid_out = not MANIFESTS.isdisjoint(names) or names <= {*OF_THE_USER, "environments"} or read_claim(prefix)
    is_ours = info.st_uid == 0 and is_laid_out
    if info.st_uid != uid and names and not is_ours:
        return f"{prefix} belongs to another user than {user} and is not empty: {remedy}"
    var = f"{prefix}/var"
    if os.path.isdir(var) and os.listdir(var) and os.stat(var).st_uid != uid:
        return f"{var} belongs to another user than {user}: {remedy}"
    return ""


def is_laid_out_by_root(prefix: str) -> bool:
    """Whether root makes the prefix and keeps it; else all of it is the user's."""
    return os.geteuid() == 0 and root_path.is_roots(os.path.dirname(prefix)) and may_be_roots(prefix)


def prefix_to_make(prefix: str, uid: int, names: t.Sequence[str] = OF_THE_USER) -> list[str]:
    """The prefix and the directories that lie in it from the start, as far as they have to be made or to change.

    ``names`` are those of the user's.
    """
    if is_laid_out_by_root(prefix):
        return to_lay_out(prefix, uid, names)
    return [] if os.path.isdir(prefix) and os.lstat(prefix).st_uid == uid else [prefix]


def may_be_roots(prefix: str) -> bool:
    """Whether the prefix may be taken from the user: not where it is a directory of theirs with other things in it."""
    try:
        return os.lstat(prefix).st_uid == 0 or set(os.listdir(prefix)) <= OURS
    except FileNotFoundError:
        return True


def to_lay_out(prefix: str, uid: int, names: t.Sequence[str] = OF_THE_USER) -> list[str]:
    """The prefix and the user's directories in it, as far as root still has to make them or to change their owner."""
    try:
        info = os.lstat(prefix)
    except FileNotFoundError:
        return [prefix, *(f"{prefix}/{name}" for name in names)]
    paths = [f"{prefix}/{name}" for name in names]
    absent = [path for path in paths if not os.path.lexists(path) or _is_left(path, uid)]
    return ([prefix] if root_path.others_may_write(info) else []) + absent


def _is_left(path: str, uid: int) -> bool:
    """An empty directory of root's that the user should have: a run was interrupted."""
    info = os.lstat(path)
    return uid != 0 and info.st_uid == 0 and stat.S_ISDIR(info.st_mode) and not os.listdir(path)


def absent_directories(prefix: str) -> list[str]:
    """The directories below the prefix that have to be made."""
    return [path for path in (f"{prefix}/{name}" for name in DIRECTORIES) if not os.path.isdir(path)]


def claim_path(prefix: str) -> str:
    """The file that says that the environment is ours."""
    return f"{prefix}/var/environment.json"


def claim_text(kind: str, python_version: str) -> str:
    """What the claim says."""
    return json.dumps({"environment": kind, "python": python_version}, sort_keys=True) + "\n"


def read_claim(prefix: str) -> str:
    """The claim, empty when there is none."""
    return text_of(claim_path(prefix))
