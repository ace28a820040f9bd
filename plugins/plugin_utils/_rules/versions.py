# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what was planned, and on what compiles and loads libraries.

Which versions have to be equal is in ``versions_equal``, what fits on one node in ``versions_node``.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import key, minor, table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.torch_builds import requires_python
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    cpu_torch_only,
    gpus,
    has_gpus,
    rows,
    shortened,
    text,
    texts,
    uses_nccl,
    variables,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.versions_node import (
    cpu_build,
    driver_too_old,
    gpu_kernels,
)

_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;,]+)\Z")
_CACHES = ("torch_extensions", "triton")


@rule(
    About(
        "ver-torch-silently-replaced",
        layer="versions",
        severity=WARN,
        title="PyTorch is not the planned version",
        symptom="another torch than planned",
        source="field notes",
    ),
    needs=("stack",),
)
def replaced(case: Case) -> t.Iterator[Answer]:
    """Another torch than the plan's on every node; where nodes differ, ver-python-torch-differs says so.

    One that was made beside it and could not be put into use has a finding of its own.
    """
    if dig(case.plan, "managed") is not True or case.switch:
        return
    pins = [match for line in texts(case.plan, "stack.requirements") if (match := _PIN.match(line))]
    installed = {host: text(facts, "packages.torch") for host, facts in case.stack.items()}
    installed = {host: version for host, version in installed.items() if version}
    wanted = next((match[2] for match in pins if match[1] == "torch"), "")
    if not wanted or len(set(installed.values())) != 1:
        return
    have = next(iter(installed.values()), "")
    if have == wanted or ("+" not in wanted and have.partition("+")[0] == wanted):
        return
    same_release = have.partition("+")[0] == wanted.partition("+")[0]
    # a build that does not fit the machines is rightly replaced by another one
    if same_release and any(True for check in (driver_too_old, gpu_kernels, cpu_build) for _found in check(case)):
        return
    for host in installed:
        yield finding(
            "ver-torch-silently-replaced",
            WARN,
            host,
            f"torch {have}",
            f"PyTorch is {have}, and the plan asks for {wanted}: another one was installed, or the inventory changed.",
            "Run site.yml, which brings back the plan's, or set trainmesh_torch and trainmesh_torch_build.",
        )


@rule(
    About(
        "ver-python-eol",
        layer="versions",
        severity=WARN,
        also=(INFO,),
        title="Python is past its end of life",
        symptom="packages of years ago, other ones on each node",
        source="field notes",
    ),
    needs=("stack",),
)
def python_ended(case: Case) -> t.Iterator[Answer]:
    """A Python for which nothing new is published: installers fall back to packages years old."""
    ended = table("version_rules")["python_ended"]
    span = requires_python(table("stack")["torch"])
    old = "This Python is no longer maintained, and PyTorch has no wheels for it any more: installers take old ones."
    late = "This Python is no longer maintained; the tested PyTorch still has wheels for it."
    remedy = "Set trainmesh_python to a newer interpreter, or trainmesh_python_env: conda, and run site.yml."
    for host, facts in case.stack.items():
        version = text(facts, "python.version")
        if minor(version) in ended:
            evidence = f"Python {version}, ended {ended[minor(version)]}"
            usable = bool(span and key(version)[:2] >= key(span[0]))
            severity, cause = (INFO, late) if usable else (WARN, old)
            yield finding("ver-python-eol", severity, host, evidence, cause, remedy)


@rule(
    About(
        "nccl-system-install-unneeded",
        layer="nccl",
        severity=WARN,
        title="A system NCCL takes precedence over PyTorch's own",
        symptom="two versions of NCCL",
        source="field notes",
    ),
    needs=("stack",),
    applies=uses_nccl,
)
def system_nccl(case: Case) -> t.Iterator[Answer]:
    """Another NCCL comes before the one that PyTorch brings, by LD_PRELOAD or LD_LIBRARY_PATH."""
    cause = "PyTorch brings an NCCL of its own, and another one is put before it: nodes come to run unlike versions."
    remedy = "Take it out of LD_PRELOAD and LD_LIBRARY_PATH; PyTorch needs no NCCL from the system."
    for host, facts in case.stack.items():
        own = text(facts, "torch.nccl")
        preloaded = [
            each for each in re.split(r"[:\s]+", variables(case, host).get("LD_PRELOAD", "")) if "libnccl" in each
        ]
        before = [
            f"{text(each, 'path')} ({text(each, 'version') or 'unknown version'})"
            for each in rows(facts, "nccl")
            if text(each, "place") == "library_path" and text(each, "version") != own
        ]
        if preloaded and dig(facts, "torch"):
            yield finding(
                "nccl-system-install-unneeded",
                WARN,
                host,
                shortened(f"LD_PRELOAD={' '.join(preloaded)}; PyTorch brings {own or 'its own'}"),
                cause,
                remedy,
            )
        elif before and own:
            yield finding(
                "nccl-system-install-unneeded",
                WARN,
                host,
                shortened(f"in LD_LIBRARY_PATH: {', '.join(before)}; PyTorch brings {own}"),
                cause,
                remedy,
            )


@rule(
    About(
        "env-ldpath-cuda-clash",
        layer="versions",
        severity=FAIL,
        also=(WARN, INFO),
        title="LD_LIBRARY_PATH shadows PyTorch's CUDA libraries",
        symptom="`symbol cublasSetWorkspace_v2 ... libcublas.so.11 not defined`",
        source="field notes, PT#103578, PT#103832, PT#111469, PT#134929, PT#152783",
    ),
    needs=("stack",),
)
def library_path(case: Case) -> t.Iterator[Answer]:
    """An older CUDA of the same major version in LD_LIBRARY_PATH: the same file names, fewer symbols.

    Where PyTorch was imported, that has proven the one or the other.
    """
    for host, facts in case.stack.items():
        wanted = key(text(facts, "torch.cuda"))[:2]
        if len(wanted) < 2 or dig(facts, "torch_import") is not None:
            continue
        older = [
            f"CUDA {text(each, 'version')} in {os.path.dirname(text(each, 'path'))}"
            for each in rows(facts, "library_path_cuda")
            if text(each, "library") == "libcudart"
            and key(text(each, "version"))[:1] == wanted[:1]
            and key(text(each, "version"))[:2] < wanted
        ]
        if older:
            yield finding(
                "env-ldpath-cuda-clash",
                INFO if dig(case.plan, "managed") is True else WARN,
                host,
                shortened(f"{', '.join(older)}; PyTorch is built for CUDA {text(facts, 'torch.cuda')}"),
                "LD_LIBRARY_PATH puts libraries of an older CUDA before PyTorch's own, under the same names: it may "
                "not import ('symbol ... not defined in file libcublas.so').",
                "Take the CUDA directories out of LD_LIBRARY_PATH for the user who trains (~/.bashrc, "
                "/etc/environment).",
            )


@rule(
    About(
        "build-ninja-missing",
        layer="versions",
        severity=WARN,
        also=(FAIL,),
        title="ninja is not found by launched ranks",
        symptom="`Ninja is required`, on several nodes only",
        source="DS#3772, DS#1687, DS#5627",
    ),
    needs=("stack",),
)
def ninja(case: Case) -> t.Iterator[Answer]:
    """DeepSpeed compiles its operations with ninja, which ranks started by ssh must find."""
    for host, facts in case.stack.items():
        if not dig(facts, "deepspeed") or not isinstance(dig(facts, "tools"), t.Mapping):
            continue
        if not dig(facts, "tools.ninja"):
            yield finding(
                "build-ninja-missing",
                WARN,
                host,
                "no ninja",
                "ninja is not installed: DeepSpeed cannot compile an operation on first use.",
                "Run pip install ninja in the environment.",
            )
        elif dig(facts, "tools.ninja.on_path") is False and dig(case.plan, "managed") is not True:
            yield finding(
                "build-ninja-missing",
                WARN if has_gpus(case) else INFO,
                host,
                f"{text(facts, 'tools.ninja.path')}, not on the PATH of an ssh session",
                "A rank that is started by ssh does not find ninja: DeepSpeed fails to compile, in jobs "
                "of many nodes only.",
                "Put the environment's bin directory on PATH in .deepspeed_env, or install ninja-build "
                "from the distribution.",
            )
    # without GPUs DeepSpeed compiles nothing that a job cannot do without


@rule(
    About(
        "build-cpu-adam",
        layer="versions",
        severity=WARN,
        also=(FAIL, INFO),
        title="DeepSpeed's CPU optimizer cannot be built",
        symptom="errors when the CPU optimizer is built or loaded",
        source="field notes",
    ),
    About(
        "build-aio-missing",
        layer="versions",
        severity=INFO,
        title="DeepSpeed lacks libaio for async I/O",
        symptom="`async_io ... [NO]`",
        source="field notes",
    ),
    needs=("stack",),
)
def compilers(case: Case) -> t.Iterator[Answer]:
    """What DeepSpeed's offloading has to compile, and what is missing for it: worth knowing, rarely needed."""
    for host, facts in case.stack.items():
        built = texts(facts, "deepspeed.installed_ops")
        if not dig(facts, "deepspeed") or not isinstance(dig(facts, "compilers"), t.Mapping):
            continue
        missing = ["g++"] if not dig(facts, "compilers.g++") else []
        missing += ["Python.h"] if dig(facts, "python.headers") is False else []
        missing += ["nvcc"] if text(facts, "torch.cuda") and not dig(facts, "cuda.build_home") else []
        if missing and "cpu_adam" not in built:
            yield finding(
                "build-cpu-adam",
                INFO,
                host,
                f"missing: {', '.join(missing)}",
                "DeepSpeed cannot compile its CPU optimizer there, which ZeRO-Offload needs.",
                "trainmesh_node_base: [compilers, python_headers] for g++ and Python.h (by hand g++, python3-dev), and "
                "the CUDA toolkit of PyTorch's version. Only for offloading.",
            )
        parts = [part for part in ("library", "header") if not dig(facts, f"libaio.{part}")]
        if parts and "async_io" not in built:
            yield finding(
                "build-aio-missing",
                INFO,
                host,
                f"libaio: no {' and no '.join(parts)}",
                "DeepSpeed cannot compile async_io there, which offloading to NVMe disks needs.",
                "trainmesh_node_base: [libaio], or by hand libaio-dev (Debian, Ubuntu) or libaio-devel (RHEL). "
                "Only for that.",
            )


@rule(
    About(
        "build-ext-mixed-arch",
        layer="versions",
        severity=FAIL,
        title="Mixed GPUs share one cache of compiled operators",
        symptom="`no kernel image`, or missing symbols on other nodes",
        source="DeepSpeed op_builder/builder.py, DS#3011",
    ),
    needs=("user", "gpu"),
)
def shared_cache(case: Case) -> t.Iterator[Answer]:
    """One cache of compiled kernels for unlike GPUs; the caches of site.yml are local to each node.

    That a shared cache is slow and may hang is judged with the disks (build-ext-cache-nfs).
    """
    if dig(case.plan, "managed") is True or cpu_torch_only(case):
        return
    shared: dict[str, str] = {}
    for host, facts in case.user.items():
        for name in _CACHES:
            if dig(facts, f"caches.{name}.local") is False:
                where = text(facts, f"caches.{name}.path") or name
                shared.setdefault(host, f"{where} ({text(facts, f'caches.{name}.fs_type') or 'a network file system'})")
    kinds = {host: {text(gpu, "compute_capability") for gpu in gpus(case, host)} - {""} for host in shared}
    if len(shared) < 2 or len({kind for found in kinds.values() for kind in found}) < 2:
        return
    for host, evidence in {
        host: f"{where}; compute capability {', '.join(sorted(kinds[host])) or '?'}" for host, where in shared.items()
    }.items():
        yield finding(
            "build-ext-mixed-arch",
            FAIL,
            host,
            evidence,
            "Nodes with unlike GPUs share one cache of compiled kernels: 'no kernel image is available' on the others.",
            "Set trainmesh_env: {TORCH_EXTENSIONS_DIR: /var/tmp/extensions, TRITON_CACHE_DIR: /var/tmp/triton}.",
        )
