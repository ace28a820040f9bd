# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of two things go together, as pure functions on versions.

What is not known (None) breaks nothing. The tables are ``data/version_rules.json`` and its neighbours.
"""

from __future__ import annotations

import re
import typing as t
from collections import abc

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import (
    at_least,
    key,
    minor,
    satisfies,
    table,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.torch_builds import architectures

Facts = t.Mapping[str, t.Any]

_ARCHITECTURE = re.compile(r"(sm|compute)_(\d{1,2})(\d)\Z")
_TAG = re.compile(r"\+(cpu|cu\d{3})")


def look_up(facts: t.Any, path: str) -> t.Any:
    """The value at a dotted path of nested facts; None when any part of the way is missing."""
    for part in path.split("."):
        facts = facts.get(part) if isinstance(facts, abc.Mapping) else None
    return facts


def text_at(facts: t.Any, path: str) -> str | None:
    """The same, when it is a text that is not empty; else None."""
    value = look_up(facts, path)
    return value if isinstance(value, str) and value else None


def nvcc_torch_problem(nvcc: str | None, torch_cuda: str | None) -> str | None:
    """Why DeepSpeed refuses to compile with this nvcc for that PyTorch, in words; None when it does not.

    Equal releases always fit; unlike ones only within the same major version, as far as DeepSpeed's
    own list goes (``cuda_minor_mismatch_ok``): it has no entry for CUDA 13.
    """
    if not key(nvcc) or not key(torch_cuda) or minor(nvcc) == minor(torch_cuda):
        return None
    same_major = table("version_rules")["nvcc_same_major"].get(str(key(torch_cuda)[0]), [])
    if minor(nvcc) in same_major and minor(torch_cuda) in same_major:
        return None
    return f"nvcc {nvcc} cannot build DeepSpeed's operations for a PyTorch of CUDA {torch_cuda}"


def requirement_problems(versions: t.Mapping[str, str | None]) -> list[str]:
    """The requirements between packages that do not hold, in words.

    ``versions`` has the packages by name and ``python``; what is None is not checked.
    """
    problems = []
    for entry in table("version_rules")["requires"]:
        have = versions.get(entry["package"])
        if not have or not at_least(have, entry["from"]) or ("until" in entry and at_least(have, entry["until"])):
            continue
        for name, wanted in entry["needs"].items():
            found = versions.get(name)
            if found and not satisfies(found, wanted):
                problems.append(f"{entry['package']} {have} needs {name} {wanted}, and {name} is {found}")
    return problems


def pair_problem(package: str, have: str | None, torch: str | None) -> tuple[str, str] | None:
    """(severity, sentence) when torchvision or torchaudio does not belong to that torch; None otherwise.

    Another minor version fails when it is imported; another patch only breaks the package's own pin.
    """
    until = table("version_rules")["pins_torch_until"].get(package)
    release = table("torch_builds")["releases"].get(minor(torch), {})
    wanted = release.get("patches", {}).get(_base(torch), {}).get(package)
    if not have or not until or not wanted or (at_least(have, until) and key(have) != key(until)):
        return None
    if key(have) == key(wanted):
        return None
    severity = "warn" if minor(have) == minor(wanted) else "fail"
    return severity, f"{package} {have} does not belong to torch {torch}, which goes with {package} {wanted}"


def tag_problem(package: str, have: str | None, torch: str | None) -> tuple[str, str] | None:
    """(severity, sentence) when the builds of torch and of its companion differ (``+cu126``, ``+cpu``)."""
    mine, other = _TAG.search(have or ""), _TAG.search(torch or "")
    if not mine or not other or mine.group(1) == other.group(1):
        return None
    severity = "warn" if mine.group(1)[:4] == other.group(1)[:4] else "fail"  # cu12 of cu126: the CUDA major version
    return severity, f"{package} is the build {mine.group(1)} and torch the build {other.group(1)}"


def kernels(stack: Facts) -> list[str]:
    """The compute capabilities that the installed PyTorch has kernels for; [] when that is not known.

    From the installed library where it says, else from the table of builds.
    """
    said = look_up(stack, "torch.arch_list")
    found = []
    for entry in said if isinstance(said, list) else []:
        match = _ARCHITECTURE.match(entry) if isinstance(entry, str) else None
        if match:
            found.append(f"{match.group(2)}.{match.group(3)}" + ("+PTX" if match.group(1) == "compute" else ""))
    cuda = text_at(stack, "torch.cuda")
    return found or architectures(text_at(stack, "torch.version") or "", f"cu{(cuda or '').replace('.', '')}")


def _base(version: str | None) -> str:
    return (version or "").partition("+")[0]
