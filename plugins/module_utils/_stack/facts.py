# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the readers of the software stack together to one set of facts."""

from __future__ import annotations

import os
import time
import types
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command, isolated, job_user
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, printable
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import base as stack_base
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import cuda, login_env, tools
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import libraries as stack_libraries
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import nccl as stack_nccl
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import python as stack_python
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import torch as stack_torch

Runner = t.Callable[..., command.Outcome]
Record = dict[str, t.Any]

TIMEOUT_S = 120.0
"""Seconds that all commands together get where nobody says otherwise, an import of PyTorch included."""

OPTIONS: dict[str, dict[str, t.Any]] = {
    "python": {"type": "path", "default": "/opt/trainmesh/env/bin/python"},
    "import": {"type": "bool", "default": False},
    "user": {"type": "str"},
    "base_python": {"type": "str"},
    "base_conda": {"type": "path"},
    "base_prefix": {"type": "path"},
}
"""The options of every module that returns these facts; documented in the fragment ``node.stack``."""

COMMAND_LIMIT = 10.0
"""Seconds for each small command (nvcc --version, pdsh -V); the interpreter and NCCL get it too."""


MOST_NAMES = 16 * 1024
"""Characters of the names of all packages."""


class Budget:
    """Runs commands until the time of all of them together is spent; after that none is started."""

    def __init__(self, run: Runner, seconds: float) -> None:
        self._run = run
        self._end = time.monotonic() + seconds

    def __call__(self, argv: t.Sequence[str], limit: float, **options: t.Any) -> command.Outcome:
        """Like ``command.run``, with what is left of the budget as the upper limit."""
        left = self._end - time.monotonic()
        if left <= 0:
            return command.Outcome(None, "", "", True, False, 0.0)
        return self._run(argv, min(limit, left), **options)


class Wish(t.NamedTuple):
    """The options of the module."""

    python: str
    import_torch: bool
    timeout: float
    user: str | None = None
    base: stack_base.Wish = stack_base.Wish()


def wish_of(options: t.Mapping[str, t.Any], limit: float) -> Wish:
    """What the options of a module ask for."""
    base = stack_base.Wish(options["base_python"], options["base_conda"], options["base_prefix"])
    return Wish(options["python"], options["import"], limit, options["user"], base)


def start(wish: Wish, environ: t.Mapping[str, str]) -> isolated.Process:
    """Begin to read the facts of this node as ``wish.user``; its ``result()`` has them.

    Raises ValueError when there is no such user, or when this process may not become that user.
    """
    if wish.import_torch:
        _importer()  # now: the process can't read this archive once it is that user
    account = job_user.account(wish.user) if wish.user else None
    became = account is not None and account.pw_uid != os.geteuid()

    def work() -> Record:
        # once it is another user, root's variables are gone, and must not come back from here
        return gather(wish, Tree(), dict(os.environ) if became else environ, became=became)

    return isolated.start(work, account)


def read(wish: Wish, environ: t.Mapping[str, str]) -> Record:
    """All facts of this node as ``wish.user``. Raises ValueError as :func:`start` does, or when nothing came back."""
    return t.cast(Record, start(wish, environ).result(wish.timeout))


def gather(
    wish: Wish, tree: Tree, environ: t.Mapping[str, str], run: Runner = command.run, *, became: bool = False
) -> Record:
    """All facts of one node, as the module returns them under ``trainmesh_facts_stack``; never raises.

    ``environ`` is the process's own environment, ``became`` whether it took another user's rights itself.
    """
    run, limit = Budget(run, wish.timeout), min(COMMAND_LIMIT, wish.timeout)
    source, shell, login = login_env.read(tree, environ, run, limit, became=became)
    path = login.get("PATH")
    shown, hidden = login_env.chosen(login)
    python = stack_python.interpreter(tree, wish.python, login, run, limit)
    sites, prefix = python["sites"], python["prefix"]
    libraries = stack_libraries.system_directories(tree)
    compilers = cuda.Compilers(tree, run, limit)
    toolkits = cuda.toolkits(tree, login, prefix, compilers)
    library_path = stack_libraries.split_path(login.get("LD_LIBRARY_PATH"))
    everywhere = [*library_path, *libraries, *(f"{one['path']}/lib64" for one in toolkits)]
    found = stack_nccl.find(tree, sites, prefix, library_path, everywhere)
    facts: Record = {
        "login_environment": {"source": source, "shell": shell, "variables": shown, "hidden": hidden},
        "cuda": {
            "toolkits": toolkits,
            "nvcc": cuda.first_nvcc(tree, path, compilers),
            "build_home": cuda.build_home(tree, login, compilers),
        },
        "cudnn": cuda.cudnn(tree, [one["path"] for one in toolkits], sites, everywhere),
        "nccl": stack_nccl.with_versions(tree, found, run, limit),
        "library_path_cuda": stack_libraries.cuda_in(tree, library_path),
        "python": python,
        "compilers": tools.compilers(tree, path, run, limit),
        "libaio": tools.libaio(tree, everywhere),
        "launchers": tools.launchers(tree, path),
        "tools": tools.tools(tree, path, os.path.dirname(wish.python), run, limit),
        "base": stack_base.read(wish.base, run, limit),
    }
    facts.update(environment(tree, sites, facts["nccl"]))
    facts["torch_import"] = None
    if wish.import_torch and facts["torch"] and not python["problem"]:
        facts["torch_import"] = _importer().torch_import(tree, wish.python, login, run, wish.timeout)
    return t.cast(Record, printable(facts))


def _importer() -> types.ModuleType:
    """The reader that imports PyTorch, which most runs do without."""
    # pylint: disable-next=import-outside-toplevel
    from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import torch_import

    return torch_import


def environment(tree: Tree, sites: t.Sequence[str], nccl: t.Sequence[Record]) -> Record:
    """``packages``, ``other_copies``, ``torch`` and ``deepspeed`` of the search path ``sites``.

    The NCCL of PyTorch is the one in the wheel beside it, as the library itself says; PyTorch up to
    1.13 has it built in, and then only an import tells.
    """
    installed = stack_python.distributions(tree, sites)
    versions, copies = stack_torch.packages(installed)
    metadata = dict(versions)
    torch = stack_torch.torch(tree, sites, versions)
    deepspeed = stack_torch.deepspeed(tree, sites, versions)
    for name in ("torch", "torchvision", "torchaudio"):  # their version files name the build, their metadata may not
        build = stack_torch.text_of(stack_torch.version_file(tree, sites, name)[1], "__version__")
        versions[name] = build or versions[name]
    if torch and torch["cuda"]:
        torch["nccl"] = next((one["version"] for one in nccl if one["place"] in ("wheel", "torch")), None)
    return {
        "packages": versions,
        "package_names": " ".join(sorted({name for name, _version, _path in installed}))[:MOST_NAMES],
        "code_versions": stack_torch.code_versions(tree, sites, metadata),
        "other_copies": copies,
        "torch": torch,
        "deepspeed": deepspeed,
    }
