# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the values in Accelerate's files: what it does not know, cannot use, or makes another job of.

Source: accelerate 1.15 utils/dataclasses.py, utils/launch.py, commands/launch.py and parallelism_config.py.
"""

from __future__ import annotations

import math
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    Data,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import ACCELERATE
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files.accelerate import configurations
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files.syntax import near

VALUES: t.Mapping[str, tuple[str, ...]] = {
    "rdzv_backend": ("static", "c10d", "etcd", "etcd-v2", "zeus"),
    "compute_environment": ("LOCAL_MACHINE", "AMAZON_SAGEMAKER"),
    "deepspeed_config.deepspeed_multinode_launcher": ("pdsh", "standard", "openmpi", "mvapich", "mpich", "nossh",
                                                      "slurm", "impi"),
}  # fmt: skip
# Those at whose words Accelerate stops have a rule of their own (acc-wrong-type).
_TYPED = frozenset(
    ("num_machines", "num_processes", "machine_rank", "main_process_port", "distributed_type", "mixed_precision")
)
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]\w*")
_SIZES = re.compile(r"(?:parallelism_config_)?(?:tp|cp|sp|dp_shard|dp_replicate)_size\Z")


def _flat(data: Data) -> t.Iterator[tuple[str, t.Any]]:
    """The settings, and those of the sections below."""
    for name, value in data.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{below}", inner) for below, inner in value.items())
        else:
            yield str(name), value


@rule("launch-option-misspelt", needs=("user",), applies=common.given("accelerate"))
def misspelt(case: Case) -> t.Iterator[Answer]:
    """Values that are nearly those that Accelerate knows."""
    for copy, data in common.mappings(case, "accelerate"):
        for name, known in VALUES.items():
            value = dig(data, name)
            text = str(value)
            if not isinstance(value, str) or text.lower() in [one.lower() for one in known] or _VARIABLE.search(text):
                continue
            meant = near(text, known)
            if meant:
                yield finding(
                    "launch-option-misspelt",
                    FAIL,
                    copy.host,
                    f"{copy.path}: {name}: {text} ({meant} is meant)",
                    "Accelerate does not know it, and stops before it starts a rank.",
                    f"Write {meant}.",
                )


@rule(
    About(
        "acc-variable-in-file",
        layer="accelerate",
        severity=WARN,
        title="Accelerate's file has variables of a shell",
        symptom="`invalid literal for int()`, a host named ${MASTER_ADDR}",
        source="Accelerate commands/config/config_args.py",
    ),
    needs=("user",),
    applies=common.given("accelerate"),
)
def shell_variables(case: Case) -> t.Iterator[Answer]:
    """``$NAME`` in a file of YAML, which nothing replaces."""
    for copy, data in common.mappings(case, "accelerate"):
        found = [
            f"{name}: {value}"
            for name, value in _flat(data)
            if isinstance(value, str) and name not in _TYPED and _VARIABLE.search(value)
        ]
        if found:
            yield finding(
                "acc-variable-in-file",
                WARN,
                copy.host,
                f"{copy.path}: {', '.join(found[:4])}",
                "Accelerate takes the text as it is: nothing puts in the variable, unless a script makes the file of a "
                "template.",
                "accelerate launch --machine_rank $NODE_RANK --main_process_ip $MASTER_ADDR: give what differs as "
                "options, which go before the file.",
            )


@rule(
    About(
        "acc-not-distributed",
        layer="accelerate",
        severity=FAIL,
        title="Accelerate is given several machines and no distribution",
        symptom="one process a node, each of which trains alone",
        source="Accelerate commands/launch.py",
    ),
    needs=("user",),
    applies=common.given("accelerate"),
)
def not_distributed(case: Case) -> t.Iterator[Answer]:
    """``distributed_type: 'NO'`` with more than one machine."""
    options = [command.options for _c, _s, command in common.commands(case, ACCELERATE)]
    if any({"multi_gpu", "use_deepspeed", "use_fsdp", "use_megatron_lm"} & set(one) for one in options):
        return
    for copy, data in configurations(case):
        if str(data.get("distributed_type")).upper() == "NO":
            yield finding(
                "acc-not-distributed",
                FAIL,
                copy.host,
                f"{copy.path}: distributed_type 'NO' with num_machines {data['num_machines']}",
                "Accelerate then starts one process on each node, which knows nothing of the others.",
                "distributed_type: MULTI_GPU (DEEPSPEED, FSDP), the same on every node.",
            )


@rule("master-addr-malformed", needs=("user",), applies=common.given("accelerate"))
def without_master(case: Case) -> t.Iterator[Answer]:
    """Several machines without main_process_ip, where neither pdsh nor a handed-in command says it."""
    commands = [command.options for _c, _s, command in common.commands(case, ACCELERATE)]
    for copy, data in configurations(case):
        sends = common.multinode_launcher(data) not in ("", *common.NO_SSH_LAUNCHERS)
        said = any("main_process_ip" in options for options in commands)
        if sends or said or not commands or "main_process_ip" in data or dig(data, "mpirun_config"):
            continue
        yield finding(
            "master-addr-malformed",
            FAIL,
            copy.host,
            f"{copy.path}: num_machines {data['num_machines']} without main_process_ip",
            "Accelerate hands the word None on as the master's address, which no node resolves.",
            f"main_process_ip: {dig(case.plan, 'master.address', 'ADDRESS')}, the same on every node.",
        )


@rule("acc-num-processes-floor", needs=("user", "gpu"), applies=common.given("accelerate"))
def gpu_ids(case: Case) -> t.Iterator[Answer]:
    """More processes on a node than gpu_ids names."""
    for copy, data in common.mappings(case, "accelerate"):
        ids = [one for one in re.split(r"[,\s]+", str(data.get("gpu_ids") or "").strip("'\" ")) if one.isdigit()]
        total, machines = integer(data.get("num_processes")), integer(data.get("num_machines")) or 1
        share = (total or 0) // machines
        if ids and share > len(ids) and data.get("use_cpu") is not True:
            yield finding(
                "acc-num-processes-floor",
                FAIL,
                copy.host,
                f"{copy.path}: num_processes {total} on {machines} machines is {share} on each, and gpu_ids "
                f"has {len(ids)}",
                "Accelerate shows the processes only the GPUs of gpu_ids: those beyond stop with `invalid device "
                "ordinal`.",
                "gpu_ids: all, or num_processes as many as machines times these GPUs.",
            )


@rule("app-world-size-hardcoded", needs=("user",), applies=common.given("accelerate"))
def parallel_sizes(case: Case) -> t.Iterator[Answer]:
    """Sizes of parallelism_config whose product is not the number of processes."""
    for copy, data in common.mappings(case, "accelerate"):
        given = data.get("parallelism_config") or {}
        if not isinstance(given, dict):
            continue
        sizes = {str(name): integer(value) for name, value in given.items() if _SIZES.match(str(name))}
        total, known = integer(data.get("num_processes")), [size for size in sizes.values() if size]
        product = math.prod(known)
        if total and len(known) == len(sizes) and product > 1 and product != total:
            seen = " x ".join(
                f"{name.removeprefix('parallelism_config_')} {size}" for name, size in sizes.items() if size != 1
            )
            yield finding(
                "app-world-size-hardcoded",
                FAIL,
                copy.host,
                f"{copy.path}: {seen} is {product}, and num_processes {total}",
                "Accelerate stops where the product of the parallel sizes is not the number of all ranks.",
                "parallelism_config_dp_replicate_size (or dp_shard_size) takes what is left of num_processes.",
            )


@rule("acc-config-differs", needs=("user",), applies=common.given("accelerate"))
def alone(case: Case) -> t.Iterator[Answer]:
    """A node whose file is for one machine, while the same file of others is for several."""
    for_several = {copy.path: (copy, data) for copy, data in configurations(case)}
    if any("num_machines" in command.options for _c, _s, command in common.commands(case, ACCELERATE)):
        return
    for copy, data in common.mappings(case, "accelerate"):
        if copy.path in for_several and not common.multi_node(data):
            other, theirs = for_several[copy.path]
            yield finding(
                "acc-config-differs",
                FAIL,
                copy.host,
                f"{copy.path}: num_machines {data.get('num_machines', 1)}, and {theirs['num_machines']} "
                f"on {other.host}",
                "This node trains alone, and the others wait for it.",
                "Use one file on all nodes, in which only machine_rank differs.",
            )
