# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which build of PyTorch and which precision a cluster gets, and why.

One build for the whole cluster, because the builds of one release carry different versions of NCCL.
Tables: ``data/torch_builds.json``, ``data/cuda_drivers.json``, ``data/compute_capabilities.json``.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import (
    at_least,
    capability_facts,
    driver_floor,
    key,
    minor,
    own_driver,
    runs_on,
    short_name,
    table,
)

_EXACT = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc|\.post|\.dev)\d+)?\Z")
_BUILD = re.compile(r"auto\Z|cpu\Z|cu\d{3}\Z")


@dataclasses.dataclass(frozen=True)
class GpuFact:
    """One GPU of the cluster, as gpu_facts read it.

    ``name`` is without the vendor, ``compute_capability`` like ``"9.0"``; None means not known.
    """

    host: str
    name: str
    compute_capability: str | None
    driver_version: str | None


@dataclasses.dataclass(frozen=True)
class BuildChoice:
    """The build to install on every node, what it brings, and sentences that say why.

    ``torchvision`` and ``torchaudio`` are the versions that match, empty when the table has none.
    """

    build: str
    torch_requirement: str
    cuda: str | None
    reasons: list[str]
    torchvision: str
    torchaudio: str
    uv_torch_backend: str


def choose_build(torch: str, build: str, gpus: t.Sequence[GpuFact]) -> BuildChoice:
    """The build of ``torch`` (an exact version) that every GPU and driver of the cluster can run.

    ``build`` is ``auto`` or the tag of a build (``cu126``, ``cpu``); ``gpus`` are all GPUs of all
    nodes, and an empty list means that no node has one. Raises ValueError with one sentence for
    the user if nothing fits or the question makes no sense.
    """
    _check_question(torch, build)
    if build != "auto":
        return _choice(torch, build, _explicit(torch, build, gpus))
    if not gpus:
        return _choice(torch, "cpu", ["cpu: no node of the cluster has a GPU."])
    release = _release(torch)
    if not release:
        known = table("torch_builds")["releases"]
        raise ValueError(
            f"torch {torch} is not in the table of builds (it has {min(known, key=key)} to {max(known, key=key)}): "
            "set trainmesh_torch to one of those, or name the build in trainmesh_torch_build."
        )
    rejected: list[str] = []
    for candidate in _candidates(release):
        problem = _problem(torch, candidate, gpus)
        if not problem:
            return _choice(torch, candidate, _why(torch, candidate, release, rejected, gpus))
        rejected.append(problem)
    raise ValueError(
        f"No build of torch {torch} runs on every GPU of the cluster: {'; '.join(rejected)}. {_advice(torch, gpus)}"
    )


def choose_precision(gpus: t.Sequence[GpuFact]) -> tuple[str, str]:
    """The precision (``bf16``, ``fp16`` or ``fp32``) that every GPU can train in, and why.

    The same for all nodes: ranks that compute in different precisions do not fit together.
    """
    if not gpus:
        return "fp32", "fp32: no node of the cluster has a GPU"
    weakest = min(gpus, key=lambda gpu: key(gpu.compute_capability) or (99,))
    able = capability_facts(weakest.compute_capability)
    blank = next((gpu for gpu in gpus if not key(gpu.compute_capability)), None)
    if blank and (not able or able["bf16"]):
        return "fp16", f"fp16: the compute capability of {short_name(blank.name)} on {blank.host} is not known"
    if able.get("bf16"):
        return "bf16", f"bf16: every GPU can; the weakest: {_described(weakest)}"
    precision = "fp16" if able.get("fp16") else "fp32"
    return precision, f"{precision}: {_described(weakest)}"


def requires_python(torch: str) -> tuple[str, str] | None:
    """The oldest and newest Python, like ``("3.10", "3.14")``, with wheels of that torch; None if unknown."""
    release = _release(torch)
    return (release["python"][0], release["python"][1]) if release else None


def builds_of(torch: str) -> list[str]:
    """The known builds of that torch version, newest CUDA first, ``cpu`` last; empty if unknown."""
    release = _release(torch)
    tags = sorted(release["stable"] + release["experimental"], key=_cuda_key, reverse=True) if release else []
    return [*tags, "cpu"] if tags else []


def architectures(torch: str, build: str) -> list[str]:
    """The compute capabilities that the build has kernels for; empty for ``cpu`` or an unknown build."""
    entry = table("torch_builds")["builds"].get(build, {})
    special: list[str] | None = entry.get("architectures_of", {}).get(minor(torch))
    return list(special or entry.get("architectures", []))


def cuda_of(build: str) -> str | None:
    """The CUDA version of a build tag: ``cu126`` is ``12.6``; None for ``cpu``."""
    return f"{build[2:-1]}.{build[-1]}" if build.startswith("cu") else None


def _check_question(torch: str, build: str) -> None:
    if not _EXACT.match(torch):
        raise ValueError(f"trainmesh_torch must be an exact version like 2.13.0, without a build, and is {torch!r}.")
    if not _BUILD.match(build):
        raise ValueError(f"trainmesh_torch_build must be auto, cpu or a CUDA build like cu126, and is {build!r}.")


def _release(torch: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = table("torch_builds")["releases"].get(minor(torch), {})
    return found


def _cuda_key(build: str) -> tuple[int, ...]:
    return key(cuda_of(build))


def _candidates(release: dict[str, t.Any]) -> list[str]:
    """Newest first; a build that PyTorch calls experimental only after every stable one."""
    return [
        build for kind in ("stable", "experimental") for build in sorted(release[kind], key=_cuda_key, reverse=True)
    ]


def _described(gpu: GpuFact) -> str:
    return f"{gpu.host} has {short_name(gpu.name)}, compute capability {gpu.compute_capability}"


def _gpu_problem(torch: str, build: str, gpus: t.Sequence[GpuFact]) -> str | None:
    """The weakest GPU that the build has no kernels for, in words; None if there is none."""
    able = architectures(torch, build)
    unfit = [gpu for gpu in gpus if key(gpu.compute_capability) and able and not runs_on(gpu.compute_capability, able)]
    if not unfit:
        return None
    gpu = min(unfit, key=lambda one: key(one.compute_capability))
    return f"{build} has kernels for {', '.join(able)} only, and {_described(gpu)}"


def _driver_problem(build: str, gpus: t.Sequence[GpuFact]) -> str | None:
    """The oldest driver, if it is too old for the build, in words; None otherwise."""
    floor = driver_floor(cuda_of(build) or "")
    known = [gpu for gpu in gpus if key(gpu.driver_version)]
    if not floor or not known:
        return None
    gpu = min(known, key=lambda one: key(one.driver_version))
    if at_least(gpu.driver_version, floor):
        return None
    return f"{build} needs driver {floor} or newer, and {gpu.host} ({short_name(gpu.name)}) has {gpu.driver_version}"


def _problem(torch: str, build: str, gpus: t.Sequence[GpuFact]) -> str | None:
    return None if build == "cpu" else _gpu_problem(torch, build, gpus) or _driver_problem(build, gpus)


def _explicit(torch: str, build: str, gpus: t.Sequence[GpuFact]) -> list[str]:
    """The reasons for a build that the user named; raises ValueError when it cannot work."""
    known = builds_of(torch)
    if known and build not in known:
        raise ValueError(f"torch {torch} has no build {build}; it has {', '.join(known)}.")
    problem = _problem(torch, build, gpus)
    if problem:
        raise ValueError(f"trainmesh_torch_build is {build}, but {problem}. {_advice(torch, gpus)}")
    if not gpus and build != "cpu":
        return [f"{build}: set by trainmesh_torch_build; no node of the cluster has a GPU to check it against."]
    if gpus and build == "cpu":
        return ["cpu: set by trainmesh_torch_build, although the cluster has GPUs; they will not be used."]
    return [f"{build}: set by trainmesh_torch_build.", *_footnotes(build, gpus)]


def _why(
    torch: str, build: str, release: dict[str, t.Any], rejected: t.Sequence[str], gpus: t.Sequence[GpuFact]
) -> list[str]:
    """Sentences on an automatic choice: the rule, what ruled out newer builds, what was not known."""
    reasons = [f"{build}: the newest build of torch {torch} that every GPU and driver of the cluster can run."]
    reasons += [f"{problem}." for problem in rejected]
    newer = [other for other in release["experimental"] if _cuda_key(other) > _cuda_key(build)]
    if build in release["experimental"]:
        reasons.append(f"{build} is experimental in torch {torch}, but no stable build fits.")
    elif newer:
        reasons.append(f"{', '.join(newer)} is experimental in torch {torch} and is used only when nothing else fits.")
    return reasons + _footnotes(build, gpus)


def _footnotes(build: str, gpus: t.Sequence[GpuFact]) -> list[str]:
    """What a careful reader wants to know of a build that fits."""
    notes = []
    blank = next((gpu for gpu in gpus if not key(gpu.compute_capability)), None)
    if blank:
        notes.append(f"The compute capability of {short_name(blank.name)} on {blank.host} is not known: not checked.")
    without = next((gpu for gpu in gpus if not key(gpu.driver_version)), None)
    if without:
        notes.append(f"The driver version of {without.host} is not known and was not checked.")
    own = own_driver(cuda_of(build) or "")
    older = [gpu for gpu in gpus if own and key(gpu.driver_version) and not at_least(gpu.driver_version, own)]
    if older:
        gpu = min(older, key=lambda one: key(one.driver_version))
        notes.append(
            f"The driver of {gpu.host}, {gpu.driver_version}, is older than CUDA {cuda_of(build)}'s own ({own}) "
            "and runs it by CUDA minor-version compatibility."
        )
    return notes


def _advice(torch: str, gpus: t.Sequence[GpuFact]) -> str:
    """What would fit instead: a newer driver, another build, another release of torch."""
    drivers = [tag for tag in builds_of(torch)[:-1] if not _gpu_problem(torch, tag, gpus)]
    fitting = [tag for tag in drivers if not _driver_problem(tag, gpus)]
    if fitting:
        return f"{fitting[0]} fits."
    other = _other_release(torch, gpus)
    advice = []
    if drivers:
        floor = driver_floor(cuda_of(drivers[-1]) or "")
        advice.append(f"With driver {floor} or newer on every node {drivers[-1]} fits.")
    if other:
        advice.append(f"The build {other[1]} of torch {other[0]} fits.")
    return " ".join(advice) or "No build of any known torch fits all of these GPUs together."


def _other_release(torch: str, gpus: t.Sequence[GpuFact]) -> tuple[str, str] | None:
    """The newest other release, with its build, that runs on every GPU and driver."""
    releases = table("torch_builds")["releases"]
    for name in sorted(releases, key=key, reverse=True):
        version = max(releases[name]["patches"], key=key)
        if name == minor(torch):
            continue
        for build in _candidates(releases[name]):
            if not _problem(version, build, gpus):
                return version, build
    return None


def _choice(torch: str, build: str, reasons: list[str]) -> BuildChoice:
    release = _release(torch)
    pair = release.get("patches", {}).get(torch, {})
    plain = release.get("default") == build
    return BuildChoice(
        build=build,
        torch_requirement=f"torch=={torch}" if plain else f"torch=={torch}+{build}",
        cuda=cuda_of(build),
        reasons=reasons,
        torchvision=pair.get("torchvision", ""),
        torchaudio=pair.get("torchaudio", ""),
        uv_torch_backend=build,
    )
