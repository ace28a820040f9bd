# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import PyTorch once in a child process and ask it everything at once.

When that fails, it is tried again without LD_LIBRARY_PATH: if it works then, another CUDA's
libraries were loaded before PyTorch's own (``libcublas`` symbol errors), and PyTorch is sound.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, printable
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack.python import child_environment

Runner = t.Callable[..., command.Outcome]
Record = dict[str, t.Any]

_MARK = "trainmesh-torch "
_LONGEST = 4000

# bf16 from the compute capability: torch.cuda.is_bf16_supported() also says yes when it emulates.
_CHILD = """
import json, os, time
start = time.time()
import torch
facts = {"seconds": round(time.time() - start, 2), "version": str(torch.__version__), "cuda": torch.version.cuda}
def attempt(name, call):
    try:
        facts[name] = call()
    except Exception as error:
        facts[name] = None
def nccl():
    version = torch.cuda.nccl.version()
    return ".".join(map(str, version)) if isinstance(version, tuple) else str(version)
def devices():
    found = [torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())]
    facts["bf16"] = min(found)[0] >= 8 if found else None
    return ["%d.%d" % pair for pair in found]
attempt("cuda_available", torch.cuda.is_available)
attempt("device_count", torch.cuda.device_count)
attempt("compute_capabilities", devices)
attempt("arch_list", torch.cuda.get_arch_list)
attempt("cudnn", torch.backends.cudnn.version)
attempt("nccl", nccl)
attempt("nccl_available", torch.distributed.is_nccl_available)
if torch.version.cuda and not facts["cuda_available"]:
    try:
        torch.cuda.init()
    except Exception as error:
        facts["cuda_error"] = str(error)
os.write(1, ("\\ntrainmesh-torch " + json.dumps(facts) + "\\n").encode())
os._exit(0)
"""

FIELDS: dict[str, type | tuple[type, ...]] = {
    "seconds": (int, float),
    "version": str,
    "cuda": str,
    "cuda_available": bool,
    "device_count": int,
    "compute_capabilities": list,
    "bf16": bool,
    "arch_list": list,
    "cudnn": int,
    "nccl": str,
    "nccl_available": bool,
    "cuda_error": str,
}
"""What the child process reports, with its types; everything else it prints is ignored."""


def parse(text: str) -> Record | None:
    """The facts that the child process printed behind our mark; None when it did not get that far."""
    for line in reversed(text.splitlines()):
        if not line.startswith(_MARK):
            continue
        try:
            said = json.loads(line[len(_MARK) :])
        except (ValueError, RecursionError):
            return None
        if not isinstance(said, dict):
            return None
        return {name: said[name] if isinstance(said.get(name), kind) else None for name, kind in FIELDS.items()}
    return None


def attempt(tree: Tree, python: str, environment: t.Mapping[str, str], run: Runner, limit: float) -> Record:
    """One import in ``environment``: ``ok``, ``error`` (the end of what it said) and the :data:`FIELDS`."""
    words, variables = child_environment(environment)
    outcome = run([*words, tree.path(python), "-B", "-c", _CHILD], limit, env=variables, cwd="/")
    said = parse(outcome.out)
    if said is not None:
        return {"ok": True, "error": None, **said}
    error = f"importing torch did not end in {limit:g} s" if outcome.timed_out else outcome.text.strip()[-_LONGEST:]
    empty: Record = dict.fromkeys(FIELDS)
    # a time limit of ours says nothing of PyTorch, which may load from a cold or slow disk
    ok = None if outcome.timed_out else False
    return {"ok": ok, "error": printable(error) or f"it ended with status {outcome.rc}", **empty}


def torch_import(tree: Tree, python: str, environment: t.Mapping[str, str], run: Runner, limit: float) -> Record:
    """The import as a rank would do it; after a failure also without LD_LIBRARY_PATH.

    ``without_ld_library_path`` is None when that second attempt was not needed or not possible.
    """
    result = attempt(tree, python, environment, run, limit)
    result["without_ld_library_path"] = None
    if result["ok"] is False and environment.get("LD_LIBRARY_PATH"):
        rest = {name: value for name, value in environment.items() if name != "LD_LIBRARY_PATH"}
        second = attempt(tree, python, rest, run, limit)
        result["without_ld_library_path"] = {"ok": second["ok"], "error": second["error"]}
    return result
