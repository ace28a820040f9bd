# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on Accelerate's configuration files and on ``accelerate launch``.

Source: accelerate 1.15 commands/config/config_args.py, commands/launch.py, utils/launch.py, utils/dataclasses.py.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import at_least, key, table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import rows
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer, word
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import (
    ACCELERATE,
    DEEPSPEED,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files.syntax import near

CONFLICTS = (
    "gradient_accumulation_steps", "gradient_clipping", "zero_stage", "offload_optimizer_device",
    "offload_param_device", "offload_optimizer_nvme_path", "offload_param_nvme_path", "zero3_save_16bit_model",
)  # fmt: skip
"""Keys that Accelerate refuses beside deepspeed_config_file (utils/dataclasses.py)."""

PER_NODE = frozenset(("machine_rank", "gpu_ids", "num_processes", "mixed_precision"))
"""Keys that may differ between nodes, or that a rule of their own looks at."""


def configurations(case: Case) -> list[tuple[common.Copy, Data]]:
    """The user files of Accelerate that are for several machines."""
    return [(copy, data) for copy, data in common.mappings(case, "accelerate") if common.multi_node(data)]


@rule(
    About(
        "acc-main-ip-ignored",
        layer="accelerate",
        severity=WARN,
        title="This Accelerate ignores main_process_ip",
        symptom="the master is on the wrong network",
        source="ACC#953, ACC#2468, DS#5136",
    ),
    needs=("user",),
    applies=common.given("accelerate"),
)
def main_ip_ignored(case: Case) -> t.Iterator[Answer]:
    """An Accelerate that does not hand main_process_ip to pdsh."""
    for copy, data in configurations(case):
        have = common.version(case, copy.host, "accelerate")
        if common.multinode_launcher(data) == "pdsh" and data.get("main_process_ip") and common.older(have, "0.29"):
            yield finding(
                "acc-main-ip-ignored",
                WARN,
                copy.host,
                f"{copy.path}: main_process_ip {data['main_process_ip']} with accelerate {have}",
                "Accelerate before 0.29 does not pass main_process_ip on, so DeepSpeed guesses the master's address.",
                "Install accelerate 0.29 or newer on every node.",
            )


@rule(
    About(
        "acc-default-config-leak",
        layer="accelerate",
        severity=WARN,
        also=(INFO,),
        title="A default configuration of Accelerate leaks in",
        symptom="other settings than expected",
        source="field notes",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def default_leak(case: Case) -> t.Iterator[Answer]:
    """A default configuration that is taken without being named."""
    launches = [(copy, command) for copy, _script, command in common.commands(case, ACCELERATE) if command.script]
    careless = [copy.at(command.line) for copy, command in launches if "config_file" not in command.options]
    for host in case.order:
        for file in rows(case.user.get(host), "accelerate_default"):
            path = str(dig(file, "path", "default_config.yaml"))
            used = f", used by accelerate launch in {careless[0]}" if careless else ""
            yield finding(
                "acc-default-config-leak",
                WARN if careless else INFO,
                host,
                path + used,
                "`accelerate launch` without --config_file takes its settings from this file, and does not say so.",
                "Give --config_file with an absolute path, and remove the file where nobody needs it.",
            )


@rule(
    About(
        "acc-relative-paths",
        layer="accelerate",
        severity=WARN,
        title="Relative paths in Accelerate's configuration",
        symptom="files are not found from another directory",
        source="field notes",
    ),
    needs=("user",),
    applies=common.given("accelerate", "launch_script"),
)
def relative_paths(case: Case) -> t.Iterator[Answer]:
    """Paths that depend on the directory in which a command is given."""
    cause = "They are looked for in the directory where the command is given, and on the other nodes in the same one."
    remedy = "Write absolute paths that are the same on every node."
    for copy, data in common.mappings(case, "accelerate"):
        for name in ("deepspeed_config_file", "deepspeed_hostfile"):
            value = dig(data, f"deepspeed_config.{name}")
            if value and not str(value).startswith(("/", "~", "$")):
                yield finding("acc-relative-paths", WARN, copy.host, f"{copy.path}: {name}: {value}", cause, remedy)
    for copy, _script, command in common.commands(case, ACCELERATE, DEEPSPEED):
        names = ("config_file", "hostfile", "deepspeed_hostfile")
        given = [(f"--{name} ", command.options.get(name)) for name in names]
        module = {"m", "module", "no_python"} & set(command.options)
        given += [] if module else [("the script ", command.script)]
        given += [(f"--{name} ", command.argument(name)) for name in ("deepspeed_config", "deepspeed")]
        for what, value in given:
            if value and not value.startswith(("/", "~", "$", "-", '"')) and ("/" in value or "." in value):
                yield finding(
                    "acc-relative-paths", WARN, copy.host, f"{copy.at(command.line)}: {what}{value}", cause, remedy
                )


@rule(
    About(
        "acc-unknown-key",
        layer="accelerate",
        severity=FAIL,
        also=(WARN, INFO),
        title="A key that this Accelerate does not know",
        symptom="`had unknown keys`",
        source="ACC#2744, EasyPhoto#446",
    ),
    needs=("user",),
    applies=common.given("accelerate"),
)
def unknown_key(case: Case) -> t.Iterator[Answer]:
    """Keys that the installed Accelerate does not know."""
    keys = table("accelerate_keys")["keys"]
    for copy, data in common.mappings(case, "accelerate"):
        have = common.version(case, copy.host, "accelerate")
        bad = [name for name in data if name not in keys or not _known(keys[name], have)]
        if bad and "sagemaker" not in word(data.get("compute_environment")):
            yield finding(
                "acc-unknown-key",
                FAIL,
                copy.host,
                f"{copy.path}: {', '.join(map(_with_near, sorted(bad)))} (accelerate {have or 'of unknown version'})",
                "Accelerate stops at a key that its version does not know: `The config file had unknown keys`.",
                "Take these keys out, or install the version of accelerate that wrote the file on every node.",
            )


def _with_near(name: str) -> str:
    """A key with the one that may be meant."""
    keys = table("accelerate_keys")["keys"]
    alike = "" if name in keys else near(name, keys)
    return f"{name} ({alike} is meant)" if alike else name


def _known(entry: Data, have: str | None) -> bool:
    """Whether a version has a key; an unknown version has all of them."""
    if not key(have):
        return True
    return at_least(have, entry.get("since", "0")) and not ("until" in entry and at_least(have, entry["until"]))


def _used(case: Case) -> list[tuple[common.Copy, Data]]:
    """The configurations that jobs take: user files, else the nodes' default files if a script relies on them."""
    given = configurations(case)
    silent = any("config_file" not in command.options for _c, _s, command in common.commands(case, ACCELERATE))
    if given or not silent:
        return given
    files = [(host, file) for host in case.order for file in rows(case.user.get(host), "accelerate_default")]
    found = [(common.Copy(host, str(dig(file, "path")), ""), nested(dig(file, "values"))) for host, file in files]
    return [(copy, data) for copy, data in found if common.multi_node(data)]


def nested(flat: t.Any) -> Data:
    """Dotted names as mappings again."""
    whole: dict[str, t.Any] = {}
    for name, value in flat.items() if isinstance(flat, t.Mapping) else ():
        *above, last = str(name).split(".")
        place = whole
        for part in above:
            inner = place.setdefault(part, {})
            place = inner if isinstance(inner, dict) else {}
        place[last] = value
    return whole


def _odd(values: t.Mapping[str, str]) -> dict[str, str]:
    """The hosts outside the majority; with as many for one value as for another, those that differ from the first."""
    groups: dict[str, list[str]] = {}
    for host, value in values.items():
        groups.setdefault(value, []).append(host)
    largest = max(groups.values(), key=len, default=[])
    return {host: value for host, value in values.items() if host not in largest}


@rule(
    About(
        "acc-mixed-precision-differs",
        layer="accelerate",
        severity=FAIL,
        title="Precision differs between nodes",
        symptom="one rank in bf16, another in fp32: wrong numbers, or a hang",
        source="field notes",
    ),
    About(
        "acc-config-differs",
        layer="accelerate",
        severity=FAIL,
        title="Accelerate's configuration differs between nodes",
        symptom="nodes wait for each other, or for nobody",
        source="Accelerate commands/config",
    ),
    needs=("user",),
    applies=common.given("accelerate"),
)
def differing(case: Case) -> t.Iterator[Answer]:
    """Settings that have to be equal in the files of all nodes."""
    first = {copy.host: (copy, data) for copy, data in reversed(_used(case))}
    values = {host: word(first[host][1].get("mixed_precision")) for host in case.order if host in first}
    usual = next((value for host, value in values.items() if host not in _odd(values)), "")
    for host, value in _odd(values).items():
        yield finding(
            "acc-mixed-precision-differs",
            FAIL,
            host,
            f"{first[host][0].path}: mixed_precision {value}, elsewhere {usual}",
            "Some ranks compute in another precision than the others: the job hangs, or the result is not a number.",
            "Use one file on all nodes, in which only machine_rank differs.",
        )
    names = {name for _copy, data in first.values() for name in data} - PER_NODE
    for name in sorted(names):
        values = {host: str(first[host][1].get(name)) for host in case.order if host in first}
        for host, value in _odd(values).items():
            yield finding(
                "acc-config-differs",
                FAIL,
                host,
                f"{first[host][0].path}: {name}: {value}",
                "Only machine_rank and gpu_ids may differ between nodes; with other differences the ranks do not meet.",
                "Use one file on all nodes, in which only machine_rank differs.",
            )


@rule(
    About(
        "acc-num-processes-floor",
        layer="accelerate",
        severity=FAIL,
        also=(WARN,),
        title="The number of processes does not divide by nodes",
        symptom="fewer ranks than meant",
        source="field notes, ACC#2521, ACC#2818",
    ),
    About(
        "acc-unequal-nodes",
        layer="accelerate",
        severity=WARN,
        title="Nodes have different GPU counts, which Accelerate ignores",
        symptom="GPUs are lost, or a hang",
        source="ACC#1291, ACC#3894, ACC#2335",
    ),
    needs=("user",),
    applies=common.given("accelerate"),
)
def processes(case: Case) -> t.Iterator[Answer]:
    """num_processes counts all ranks, and is divided by num_machines without a rest."""
    floor_cause = "num_processes is the total over all nodes, and each gets num_processes // num_machines of them."
    floor_remedy = "Set num_processes to num_machines times the GPUs of one node."
    gpus = common.gpus_of(case)
    for copy, data in _used(case):
        total, machines = integer(data.get("num_processes")), integer(data.get("num_machines")) or 1
        if total is None or total < 1 or dig(data, "deepspeed_config.deepspeed_inclusion_filter"):
            continue
        share = total // machines
        nodes = [copy.host] if common.multinode_launcher(data) != "pdsh" else list(case.order)
        text = f"{copy.path}: num_processes {total} on {machines} machines is {share} on each"
        wrong = [f"but {node} has {gpus[node]} GPUs" for node in nodes if node in gpus and share > gpus[node]]
        if total % machines:
            wrong.insert(0, f"{total - share * machines} are lost")
        elif machines == len(case.order) and len(set(gpus.values())) == 1 and share < min(gpus.values()):
            seen = f"{text}, but every node has {min(gpus.values())} GPUs"
            yield finding("acc-num-processes-floor", WARN, copy.host, seen, floor_cause, floor_remedy)
        for seen in wrong:
            yield finding("acc-num-processes-floor", FAIL, copy.host, f"{text}, {seen}", floor_cause, floor_remedy)
        if len(nodes) > 1 and len(set(gpus.values())) > 1 and share <= min(gpus.values()):
            idle = [f"{node} has {gpus[node]}" for node in nodes if gpus.get(node, 0) > share]
            yield finding(
                "acc-unequal-nodes",
                WARN,
                copy.host,
                f"{text}, but {', '.join(idle)} GPUs",
                "Accelerate starts as many ranks on every node, so the GPUs of the larger ones stay idle.",
                "Set deepspeed_inclusion_filter: node1:0,1,2,3@node2:0,1, or start with torchrun.",
            )


@rule(
    About(
        "acc-machine-rank-duplicate",
        layer="accelerate",
        severity=FAIL,
        title="Two nodes have the same machine_rank",
        symptom="a hang",
        source="ACC#2362",
    ),
    needs=("user",),
    applies=common.given("accelerate"),
)
def machine_rank(case: Case) -> t.Iterator[Answer]:
    """Two nodes with one rank, or a rank beyond the last one."""
    cause = "Every node needs a machine_rank of its own from 0 to num_machines - 1; otherwise all wait for each other."
    remedy = "Set machine_rank in the file of each node, or give accelerate launch --machine_rank N there."
    if any("machine_rank" in command.options for _c, _s, command in common.commands(case, ACCELERATE)):
        return
    taken: dict[int, str] = {}
    for copy, data in _used(case):
        through = common.multinode_launcher(data)
        if through and through not in common.NO_SSH_LAUNCHERS:
            continue
        rank, machines = integer(data.get("machine_rank")) or 0, integer(data.get("num_machines")) or 1
        if rank >= machines:
            seen = f"machine_rank {rank} of {machines} machines"
        elif taken.setdefault(rank, copy.host) != copy.host:
            seen = f"machine_rank {rank}, as on {taken[rank]}"
        else:
            continue
        yield finding("acc-machine-rank-duplicate", FAIL, copy.host, f"{copy.path}: {seen}", cause, remedy)


@rule(
    About(
        "acc-dsjson-conflict",
        layer="accelerate",
        severity=FAIL,
        title="Accelerate and the DeepSpeed file both say it",
        symptom="`ValueError`: the settings `will be ignored`",
        source="Accelerate utils/dataclasses.py:1527",
    ),
    needs=("user",),
    applies=common.given("accelerate"),
)
def json_conflict(case: Case) -> t.Iterator[Answer]:
    """Settings beside deepspeed_config_file that only the JSON may have."""
    for copy, data in common.mappings(case, "accelerate"):
        plugin = dig(data, "deepspeed_config")
        if not isinstance(plugin, dict) or not plugin.get("deepspeed_config_file"):
            continue
        both = [name for name in CONFLICTS if name in plugin]
        both += ["mixed_precision"] if data.get("mixed_precision") is not None else []
        if both:
            yield finding(
                "acc-dsjson-conflict",
                FAIL,
                copy.host,
                f"{copy.path}: {', '.join(both)}",
                "With deepspeed_config_file Accelerate refuses them: `config variables will be ignored` (ValueError).",
                "Take them out of the YAML; the JSON of DeepSpeed says it.",
            )


@rule(
    About(
        "acc-same-network-cli",
        layer="accelerate",
        severity=FAIL,
        title="--same_network is given a value",
        symptom="`false` is taken for the script",
        source="ACC#1489, ACC#694, ACC#1837",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def same_network(case: Case) -> t.Iterator[Answer]:
    """--same_network takes no value: the word behind it becomes the script."""
    for copy, _script, command in common.commands(case, ACCELERATE):
        words = list(command.words)
        for name in ("--same_network", "--same-network"):
            following = words[words.index(name) + 1 :][:1] if name in words else []
            if following and following[0].lower() in ("true", "false", "yes", "no", "1", "0"):
                yield finding(
                    "acc-same-network-cli",
                    FAIL,
                    copy.host,
                    f"{copy.at(command.line)}: {name} {following[0]}",
                    "The option is a switch without a value, so the word behind it is taken for the training script.",
                    "Write --same_network alone, or set same_network in the configuration file.",
                )


@rule(
    About(
        "acc-cpu-silent-single",
        layer="accelerate",
        severity=FAIL,
        title="CPU ranks that each train alone",
        symptom="every rank says num_processes=1",
        source="Accelerate state.py",
    ),
    needs=("user",),
    applies=common.given("accelerate"),
)
def cpu_single(case: Case) -> t.Iterator[Answer]:
    """Training on CPUs, where each rank may believe to be alone."""
    name = "ACCELERATE_USE_CPU"
    cause = "Each process sees a world of one rank, trains by itself, and does not say so."
    remedy = f"Use distributed_type MULTI_GPU with use_cpu: true, and export {name}=true in the script."
    exported = name in dig(case.plan, "env", {}) or any(
        name in script.variables and script.variables[name].exported for _copy, script in common.scripts(case)
    )
    for copy, data in configurations(case):
        kind = str(data.get("distributed_type")).upper()
        have = common.version(case, copy.host, "accelerate")
        silent = kind == "MULTI_GPU" and data.get("use_cpu") is True and common.scripts(case)
        if kind == "MULTI_CPU" and not dig(data, "mpirun_config"):
            seen = "distributed_type MULTI_CPU without mpirun_config"
        elif silent and not exported and not common.older(have, "1.13"):
            seen = f"use_cpu, and the launch script does not export {name}"
        else:
            continue
        yield finding("acc-cpu-silent-single", FAIL, copy.host, f"{copy.path}: {seen}", cause, remedy)


@rule(
    About(
        "acc-dynamo-multinode",
        layer="accelerate",
        severity=WARN,
        title="torch.compile with ZeRO on several nodes",
        symptom="`InternalTorchDynamoError`, graph breaks",
        source="field notes, PT#115484, PT#96960, PT#141646, ACC#2460",
    ),
    needs=("user",),
    applies=common.given("accelerate"),
)
def dynamo(case: Case) -> t.Iterator[Answer]:
    """torch.compile by configuration."""
    for copy, data in _used(case):
        backend = dig(data, "dynamo_config.dynamo_backend")
        if word(backend) not in ("no", "", "none"):
            yield finding(
                "acc-dynamo-multinode",
                WARN,
                copy.host,
                f"{copy.path}: dynamo_backend: {backend}",
                "torch.compile with ZeRO-3 or on several nodes breaks graphs and often fails in ways that "
                "look like others.",
                "Set dynamo_backend: 'NO' until the job runs so.",
            )
