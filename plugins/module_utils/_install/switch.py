# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try an environment, and make it the one in use.

The link is exchanged in one step. What was made as the directory ``env`` is moved first, after a copy of its records:
an interrupted switch leaves a whole environment under a name, and the next run links to the one wanted.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command, root_path, umask
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import environments

UNKNOWN = "torch-unknown"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# A sum on the processor and on every GPU: a build that has no code for a GPU is imported without a word.
_PROGRAM = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
import torch
for number in range(-1, torch.cuda.device_count()):
    device = "cpu" if number < 0 else "cuda:%d" % number
    ones = torch.ones(8, 8, device=device)
    if float((ones @ ones).sum()) != 512.0:
        sys.exit("torch on %s computes 8 x 8 ones wrongly" % device)
print(json.dumps({"version": str(torch.__version__), "cuda": torch.version.cuda, "gpus": torch.cuda.device_count()}))
"""


class SwitchError(Exception):
    """An environment that can't be used, or not be switched to; one sentence."""


def verify(
    base: str,
    modules: t.Sequence[str],
    build: str,
    gpus: int,
    seconds: float,
    run: t.Callable[..., command.Outcome] = command.run,
) -> dict[str, t.Any]:
    """Import the modules in an environment and let torch add on each of at least so many GPUs; raises SwitchError.

    Returns what torch says of itself: ``version``, ``cuda``, ``gpus``.
    """
    python = f"{base}/env/bin/python"
    variables = {"PATH": f"{base}/env/bin:{SYSTEM_PATH}", "HOME": os.environ.get("HOME", "/")}
    outcome = run([python, "-I", "-c", _PROGRAM, *modules], seconds, env=variables, clean=True, cwd="/")
    if outcome.timed_out:
        raise SwitchError(f"{python} did not import {', '.join(modules)} within {seconds:.0f} s")
    last = outcome.out.strip().splitlines()[-1:] or [""]
    try:
        said: dict[str, t.Any] = json.loads(last[0]) if outcome.ok else {}
    except ValueError:
        said = {}
    if not said:
        tail = masked("; ".join(outcome.text.strip().splitlines()[-3:]))[-800:]
        raise SwitchError(f"{python} can't use {', '.join(modules)}: {tail or f'status {outcome.rc}'}")
    found = build_of(said)
    if build and found and found != build:
        raise SwitchError(f"torch in {base}/env is the build {found}, and {build} was planned")
    if said["gpus"] < gpus:
        raise SwitchError(f"torch in {base}/env finds {said['gpus']} of {gpus} GPUs: nvidia-smi tells why")
    return said


def build_of(said: t.Mapping[str, t.Any]) -> str:
    """The build of torch by its tag, or by its CUDA; empty where it does not say."""
    tag = str(said["version"]).partition("+")[2]
    return tag or (f"cu{str(said['cuda']).replace('.', '')}" if said["cuda"] else "")


class Change(t.NamedTuple):
    """From where to where ``env`` leads, and the names of the environments that are removed after it.

    ``moved`` is the name that the directory ``env`` gets; empty where there is none to move.
    """

    before: str
    after: str
    moved: str
    remove: t.Sequence[str]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to do."""
        return self.before == self.after and not self.remove


def plan(prefix: str, name: str) -> Change:
    """What is to do, so that ``env`` leads to this environment; reads only. Raises SwitchError."""
    now, path = environments.linked(prefix), f"{prefix}/env"
    if environments.is_fixed(prefix):
        raise SwitchError(f"{path} is a mount, or a link that the roles have not made: nothing can be switched there")
    moved = _name_of_directory(prefix, name) if not now and os.path.isdir(path) and os.listdir(path) else ""
    before = now or moved
    # One for the way back; without a switch this is the newest of the others.
    others = [each for each in environments.names(prefix) if each not in (name, before)]
    earlier = [before] if before and before != name else sorted(others, key=lambda each: _age(prefix, each))[:1]
    remove = [each for each in others if each not in earlier]
    remove += [moved] if moved.startswith(UNKNOWN) else []
    return Change(f"{environments.DIRECTORY}/{now}/env" if now else "", _target(name), moved, remove)


def _target(name: str) -> str:
    return f"{environments.DIRECTORY}/{name}/env"


def _age(prefix: str, name: str) -> float:
    """Newest first."""
    try:
        return -os.stat(environments.base_of(prefix, name)).st_mtime
    except OSError:
        return 0.0


def _name_of_directory(prefix: str, wanted: str) -> str:
    """The name for what was made as a directory: the one wanted if it is that, and another where its own is taken."""
    found = environments.content(prefix)
    name = wanted if found and environments.is_same(found, wanted) else found or UNKNOWN
    taken = os.path.lexists(f"{environments.base_of(prefix, name)}/env")
    return f"{name}-{os.stat(f'{prefix}/env').st_ino}" if taken else name


def check(prefix: str, name: str) -> None:
    """Raises SwitchError where the environment is not whole."""
    if not environments.is_whole(environments.base_of(prefix, name)):
        raise SwitchError(f"{environments.base_of(prefix, name)} has no whole environment: run the site playbook again")


def copy_records(prefix: str, moved: str) -> None:
    """Copy the records of the directory ``env`` to where they lie after the move; as the user. Raises OSError."""
    base = environments.base_of(prefix, moved)
    target = f"{base}/var"
    with umask.readable():
        for path in environments.absent_directories(base):
            os.makedirs(path, mode=0o755, exist_ok=True)
        for name in environments.RECORDS:
            source = f"{prefix}/var/{name}"
            if os.path.isdir(source):
                shutil.rmtree(f"{target}/{name}", ignore_errors=True)
                shutil.copytree(source, f"{target}/{name}")
            elif os.path.exists(source):
                shutil.copy2(source, f"{target}/{name}")


def remove_records(prefix: str) -> None:
    """Remove the records whose environment was moved, the claim last; as the user. Raises OSError."""
    for name in reversed(environments.RECORDS):
        path = f"{prefix}/var/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)


def lay_out(prefix: str, moved: str, uid: int, gid: int) -> None:
    """Make the directory to which ``env`` is moved, with C(var) in it for the user. Raises OSError."""
    base = environments.base_of(prefix, moved)
    if os.geteuid() == 0 and root_path.is_roots(prefix):
        root_path.lay_out(base, ("var",), uid, gid)
    else:
        os.makedirs(f"{base}/var", mode=0o755, exist_ok=True)


def link(prefix: str, change: Change) -> None:
    """Let ``env`` lead to the environment; by whoever may write the prefix. Raises OSError.

    The link is relative to its later place, and is moved there.
    """
    path, temporary = f"{prefix}/env", f"{prefix}/{environments.DIRECTORY}/.next"
    if os.path.lexists(temporary):  # an interrupted run has left it
        os.unlink(temporary)
    os.symlink(change.after, temporary)
    try:
        if change.moved:
            os.rename(path, f"{environments.base_of(prefix, change.moved)}/env")
        elif os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)  # an empty one, which an interrupted run has left
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def remove(prefix: str, names: t.Iterable[str]) -> None:
    """Remove environments; by whoever may write the prefix. Raises OSError."""
    for name in names:
        base = environments.base_of(prefix, name)
        if stat.S_ISDIR(os.lstat(base).st_mode):
            shutil.rmtree(base)
