# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python environment of the plan: versions, build, platform."""

from __future__ import annotations

import hashlib
import json
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import key, table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.torch_builds import (
    BuildChoice,
    GpuFact,
    choose_build,
    requires_python,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import common_python, prefix
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import python as plan_python
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.fault import Fault


def make(
    cluster: Cluster,
    stacks: t.Mapping[str, t.Mapping[str, t.Any]],
    options: t.Mapping[str, t.Any],
    gpus: list[GpuFact],
    faults: list[Fault],
    reasons: list[str],
) -> dict[str, t.Any]:
    """What python_env and torch_stack install; sentences go to ``faults`` and ``reasons``.

    ``stacks`` are the stack facts of the nodes that were read, by name.
    """
    tested = table("stack")
    torch = options["torch"] or tested["torch"]
    python = plan_python.choose(cluster, stacks, options, faults, reasons)
    faults += prefix.faults(cluster, stacks, options)
    try:
        choice = choose_build(torch, options["torch_build"], [] if options["torch_build"] == "cpu" else gpus)
    except ValueError as error:
        faults.append(Fault(str(error)))
        return {}
    reasons += choice.reasons
    wish = {
        "python_env": python.kind,
        "python": python.python,
        "python_version": python.version,
        "platform": _platform(cluster, faults),
        "torch_build": choice.build,
        "torch_backend": choice.uv_torch_backend,
        "requirements": _requirements(choice, options, tested, python.version, cluster.nodes[0].arch, faults),
        "requirements_file": options.get("requirements_file", ""),
    }
    digest = hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()[:16]
    # no address that may hold a password: the roles take index and installer from the inventory
    names = ("index_insecure", "lock_update", "wheelhouse", "packages_install")
    conda = {name: options[f"conda_{name}"] for name in ("installer_checksum", "init")}
    return {
        **wish,
        **{name: options[name] for name in names},
        "conda": conda,
        "python_installs": list(python.installs),
        "key": digest,
    }


def own(
    main: t.Mapping[str, t.Any],
    arch: str,
    options: t.Mapping[str, t.Any],
    gpus: list[GpuFact],
    faults: list[Fault],
) -> list[dict[str, t.Any]]:
    """The environments of trainmesh_environments: what each has instead of the stack ``main``.

    Python and the versions that it does not name are those of all jobs, the packages are its own.
    """
    rows = []
    for wish in options.get("environments") or []:
        mine = {**options, "user_lines": None, "torch_companions": [], "extra_packages": [], **wish}
        own_faults: list[Fault] = []
        try:
            asked = [] if options["torch_build"] == "cpu" else gpus
            choice = choose_build(mine["torch"] or table("stack")["torch"], options["torch_build"], asked)
            lines = _requirements(choice, mine, table("stack"), main["python_version"], arch, own_faults)
            span = requires_python(_bare(choice.torch_requirement))
            if main["python_version"] and span and not common_python.fits(main["python_version"], span):
                own_faults.append(
                    Fault(f"torch {_bare(choice.torch_requirement)} has wheels for Python {span[0]} to {span[1]}, and "
                          f"the environments have {main['python_version']}")
                )  # fmt: skip
            rows.append(
                {
                    "name": wish["name"],
                    "torch_build": choice.build,
                    "torch_backend": choice.uv_torch_backend,
                    "requirements": lines,
                    "requirements_file": "",
                }
            )
        except ValueError as error:
            own_faults.append(Fault(str(error)))
        faults += [Fault(f"trainmesh_environments: {wish['name']}: {one}") for one in own_faults]
    return rows


def _platform(cluster: Cluster, faults: list[Fault]) -> str:
    """The platform of the wheels: the machine type and the oldest glibc of the cluster, as uv names it."""
    machines = sorted({node.arch for node in cluster.nodes})
    if len(machines) > 1:
        found = ", ".join(f"{node.name} {node.arch}" for node in cluster.nodes)
        faults.append(Fault(f"the nodes have unlike processors ({found}): one lock can't serve them all"))
    oldest = min((node.glibc for node in cluster.nodes if node.glibc), key=key, default="2.28")
    if key(oldest) < (2, 17):
        faults.append(Fault(f"glibc {oldest} is older than 2.17, and no wheel of torch runs there"))
    supported = (40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 28, 17)
    minor = next((number for number in supported if (2, number) <= key(oldest)[:2]), 17)
    return f"{machines[0]}-manylinux_2_{minor}"


def _requirements(
    choice: BuildChoice,
    options: t.Mapping[str, t.Any],
    tested: t.Mapping[str, t.Any],
    python_version: str,
    arch: str,
    faults: list[Fault],
) -> list[str]:
    """The lines of the stack, of the inventory and of the user's file, which is read by ``options["user_lines"]``."""
    read = options.get("user_lines")
    named = [name for name in ("torchvision", "torchaudio") if read and name in read.names]
    lines, versions = [choice.torch_requirement], {"torch": _bare(choice.torch_requirement)}
    for companion in dict.fromkeys([*options["torch_companions"], *named]):
        version = getattr(choice, companion)
        if version:
            tag = f"+{choice.build}" if "+" in choice.torch_requirement else ""
            lines.append(f"{companion}=={version}{tag}")
            versions[companion] = version
        elif companion in options["torch_companions"]:
            unknown = f"no {companion} is known to match {choice.torch_requirement}"
            faults.append(Fault(f"trainmesh_torch_companions: {unknown}"))
    for name in ("deepspeed", "accelerate"):
        versions[name] = options[name] or tested[name]
        lines.append(f"{name}=={versions[name]}")
    lines += [*tested["also"], *options["extra_packages"]]
    if read:
        own, wrong = read(versions, choice.build, python_version, arch)
        lines += own
        faults += [Fault(one) for one in wrong]
    return list(dict.fromkeys(lines))


def _bare(requirement: str) -> str:
    """The version of an exact requirement without the tag of its build."""
    return requirement.partition("==")[2].partition("+")[0]
