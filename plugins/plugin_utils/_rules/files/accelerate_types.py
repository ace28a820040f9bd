# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rule on values of Accelerate's files that are of another type than Accelerate wants.

Accelerate takes the values of a file as YAML gives them, where a command line has words: a number in quotes is text,
and a bare ``no`` is false. Source: accelerate 1.15 commands/launch.py, utils/launch.py, utils/dataclasses.py; each
value was given to them.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import at_least, key
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    Data,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import loose_json
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer, word
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import ACCELERATE
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.value_kinds import (
    named,
    number_in,
    shown,
    truth,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files.syntax import near

PRECISIONS = ("no", "fp16", "bf16", "fp8")
DISTRIBUTED = (
    "NO", "MULTI_CPU", "MULTI_GPU", "MULTI_NPU", "MULTI_MLU", "MULTI_SDAA", "MULTI_MUSA", "MULTI_XPU", "MULTI_HPU",
    "MULTI_NEURON", "DEEPSPEED", "FSDP", "XLA", "TPU", "MEGATRON_LM",
)  # fmt: skip
_ELSEWHERE = ("XLA", "TPU")
# A bare `no` of mixed_precision is taken by these alone (accelerate#1386, #3029).
_BARE_NO = ("0.19", "0.34")
_PORT_IS_TRIED = "0.21"
_POINT = "Accelerate hands the number on with its point, at which torchrun and DeepSpeed stop."
# section -> distributed type that reads it; empty for all
_SECTIONS = {
    "deepspeed_config": "DEEPSPEED",
    "fsdp_config": "FSDP",
    "megatron_lm_config": "MEGATRON_LM",
    "dynamo_config": "",
    "mpirun_config": "MULTI_CPU",
}
_FSDP_SWITCHES = (
    "offload_params", "forward_prefetch", "use_orig_params", "cpu_ram_efficient_loading", "sync_module_states",
    "activation_checkpointing",
)  # fmt: skip


class Fault(t.NamedTuple):
    """A value at its place: what is wanted there, why it matters, and how to write it."""

    place: tuple[str, ...]
    value: t.Any
    severity: str
    wants: str
    cause: str
    fix: str


Faults = t.Iterator[Fault]


@rule(
    About(
        "acc-wrong-type",
        layer="accelerate",
        severity=FAIL,
        also=(WARN,),
        title="A value of another type than Accelerate wants",
        symptom="`'bool' object has no attribute 'lower'`, `'>' not supported between instances of 'str' and 'int'`",
        source="ACC#1386, arbor#156, Accelerate commands/launch.py",
    ),
    needs=("user",),
    applies=common.given("accelerate"),
)
def accelerate_values(case: Case) -> t.Iterator[Answer]:
    """Values at which Accelerate stops, and those that it reads as something else."""
    for copy, data in common.mappings(case, "accelerate"):
        if "sagemaker" in word(data.get("compute_environment")) or data.get("distributed_type") in _ELSEWHERE:
            continue
        launches = [command.options for one, _s, command in common.commands(case, ACCELERATE) if one.host == copy.host]
        have = common.version(case, copy.host, "accelerate")
        for fault in (*_counts(data), *_port(data, have), *_words(data, have), *_sections(data), *_values(data)):
            if launches and all(fault.place[-1] in options for options in launches):
                continue
            line = loose_json.line_of(copy.text, fault.place)
            yield finding(
                "acc-wrong-type",
                fault.severity,
                copy.host,
                f"{copy.at(line)}: {'.'.join(fault.place)}: {shown(fault.value)}, {named(fault.value)} in the place of "
                f"{fault.wants}",
                fault.cause,
                fault.fix,
            )


def _whole(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _as_number(name: str, value: t.Any, example: int) -> str:
    number = number_in(str(value)) if isinstance(value, (str, float)) else None
    return f"{name}: {number if isinstance(number, int) else example} (a number without quotes) in its place."


def _counts(data: Data) -> Faults:
    """Numbers of machines and processes, and the rank."""
    machines = data.get("num_machines", 1)
    if machines is True:
        cause = "Accelerate takes true for 1: each node trains alone, or waits for nobody."
        yield Fault(("num_machines",), machines, WARN, "a whole number", cause, "num_machines: N, the number of nodes.")
    elif not _whole(machines):
        cause = (
            "Accelerate compares it with a number and stops: `'>' not supported between instances of 'str' and 'int'`."
        )
        cause = _POINT if isinstance(machines, float) else cause
        yield Fault(("num_machines",), machines, FAIL, "a whole number", cause, _as_number("num_machines", machines, 2))
    total = data.get("num_processes", -1)
    if not _whole(total) and ((integer(machines) or 1) > 1 or not isinstance(total, str)):
        cause = "Accelerate divides it by the number of machines and stops: `unsupported operand type(s) for //`."
        cause = _POINT if isinstance(total, float) else cause
        if "num_processes" in data:
            fix = _as_number("num_processes", total, 8)
            yield Fault(("num_processes",), total, FAIL, "a whole number", cause, fix)
    rank = data.get("machine_rank", 0)
    if not isinstance(rank, (int, float)) and integer(rank) is None:
        cause = "Accelerate makes a number of it and stops: `int() argument must be a string, ... or a real number`."
        fix = _as_number("machine_rank", rank, 0)
        yield Fault(("machine_rank",), rank, FAIL, "a whole number", cause, fix)


def _port(data: Data, have: str | None) -> Faults:
    """The port, which only the first node tries, and the address."""
    port, address = data.get("main_process_port"), data.get("main_process_ip")
    first = not integer(data.get("machine_rank")) or not common.multi_node(data)
    tried = not key(have) or at_least(have, _PORT_IS_TRIED)
    if port is True or (port is not None and not _whole(port) and ((first and tried) or integer(port) is None)):
        cause = "Accelerate tries the port before it starts, and stops: `object cannot be interpreted as an integer`."
        fix = _as_number("main_process_port", port, 29500)
        yield Fault(("main_process_port",), port, FAIL, "a whole number", cause, fix)
    if address is not None and not isinstance(address, str):
        cause = "Accelerate writes it into the endpoint as Python shows it, which is the address of no node."
        fix = "main_process_ip: 10.0.0.1 in its place, one address or name of the first node."
        yield Fault(("main_process_ip",), address, FAIL, "an address", cause, fix)


def _words(data: Data, have: str | None) -> Faults:
    """Words that Accelerate looks up, of which YAML makes truth values and numbers; and switches that are words."""
    precision = data.get("mixed_precision")
    old = precision is False and key(have) and at_least(have, _BARE_NO[0]) and not at_least(have, _BARE_NO[1])
    if precision is not None and not old and str(precision).lower() not in PRECISIONS:
        bare = isinstance(precision, bool)
        cause = (
            "YAML reads a bare no, yes, on or off as a truth value, and Accelerate stops: `'bool' object has no "
            "attribute 'lower'`."
        )
        if not bare:
            cause = "Accelerate knows no, fp16, bf16 and fp8, and stops: `Unknown mixed_precision mode`."
        fix = "mixed_precision: 'no' (with quotes), bf16 or fp16 in its place."
        yield Fault(("mixed_precision",), precision, FAIL, "no, fp16, bf16 or fp8", cause, fix)
    kind = data.get("distributed_type")
    if isinstance(kind, str) and kind not in DISTRIBUTED:
        alike = near(kind, DISTRIBUTED) or "MULTI_GPU"
        cause = f"Accelerate stops: `'{shown(kind)[1:-1]}' is not a valid DistributedType`."
        yield Fault(
            ("distributed_type",), kind, FAIL, "a known type", cause, f"distributed_type: {alike} in its place."
        )
    elif not isinstance(kind, (str, bool, type(None))):
        cause = "Accelerate takes it for no distributed training at all, and starts one process."
        yield Fault(("distributed_type",), kind, WARN, "text", cause, "distributed_type: MULTI_GPU in its place.")
    gpus = data.get("gpu_ids")
    if gpus is not None and not isinstance(gpus, str):
        cause = "Accelerate splits it at commas and stops: `object has no attribute 'split'`."
        ids = ",".join(map(str, gpus)) if isinstance(gpus, list) else str(gpus) if _whole(gpus) else "all"
        fix = f"gpu_ids: '{shown(ids)[1:-1]}' (text, with quotes) in its place."
        yield Fault(("gpu_ids",), gpus, FAIL, "text", cause, fix)
    for place, backend in ((("dynamo_backend",), data.get("dynamo_backend")), *_dynamo(data)):
        if backend is not None and not isinstance(backend, str):
            cause = "YAML reads a bare NO as false, and Accelerate stops: `'bool' object has no attribute 'upper'`."
            yield Fault(place, backend, FAIL, "text", cause, f"{place[-1]}: 'NO' (with quotes) in its place.")
    for name in ("same_network", "debug", "enable_cpu_affinity"):
        value = data.get(name)
        if isinstance(value, str) and value and truth(value) is not True:
            cause = "Accelerate takes any text for true, the word false as well: the setting is on."
            yield Fault((name,), value, WARN, "true or false", cause, f"{name}: false (without quotes) in its place.")


def _dynamo(data: Data) -> list[tuple[tuple[str, ...], t.Any]]:
    section = data.get("dynamo_config")
    if not isinstance(section, dict):
        return []
    names = ("dynamo_backend", "backend")
    return [(("dynamo_config", name), section[name]) for name in names if name in section]


def _sections(data: Data) -> Faults:
    """Sections that are no mappings."""
    for name, reader in _SECTIONS.items():
        value = data.get(name)
        if value is None or isinstance(value, dict) or reader not in ("", data.get("distributed_type")):
            continue
        stops = name == "deepspeed_config"
        cause = "Accelerate passes over a section that is no mapping: all of its settings have no effect."
        fix = f"{name}: with its keys below, each on an indented line of its own."
        if stops:
            cause = "Accelerate stops: `object has no attribute 'keys'`."
            path = value if isinstance(value, str) and "\n" not in value and "/" in value else "/absolute/ds.json"
            fix = f"deepspeed_config: {{deepspeed_config_file: {path}}} in its place, or its keys below."
        yield Fault((name,), value, FAIL if stops else WARN, "a mapping", cause, fix)


def _values(data: Data) -> Faults:
    """Values below the section that the distributed type reads."""
    kind = data.get("distributed_type")
    for name, reader, judge in (
        ("deepspeed_config", "DEEPSPEED", _deepspeed),
        ("fsdp_config", "FSDP", _fsdp),
        ("parallelism_config", "FSDP", _parallel),
    ):
        section = data.get(name)
        if kind == reader and isinstance(section, dict):
            yield from judge(section)


def _through_environment(name: str, value: t.Any, wants: str, example: str) -> Fault:
    place = ("fsdp_config" if name.startswith("fsdp") else "deepspeed_config", name)
    cause = "Accelerate writes it into a variable, of which each rank makes its own value, and stops: `ValueError`."
    return Fault(place, value, FAIL, wants, cause, f"{name}: {example} in its place.")


def _deepspeed(section: Data) -> Faults:
    """What goes to the plugin of DeepSpeed through variables, as text."""
    flag, save = section.get("zero3_init_flag"), section.get("zero3_save_16bit_model")
    if flag is not None and truth(str(flag)) is None:
        yield _through_environment("zero3_init_flag", flag, "true or false", "true")
    if section.get("deepspeed_config_file"):
        return
    stage = section.get("zero_stage")
    if stage is not None and (isinstance(stage, (bool, float)) or integer(stage) not in (0, 1, 2, 3)):
        number = integer(stage)
        example = str(number) if number in (0, 1, 2, 3) and not isinstance(stage, bool) else "2"
        yield _through_environment("zero_stage", stage, "a stage (0, 1, 2 or 3)", example)
    steps = section.get("gradient_accumulation_steps")
    if steps is not None and steps != "auto" and (isinstance(steps, bool) or not str(steps).isdigit()):
        meant = number_in(str(steps))
        example = str(meant if isinstance(meant, int) else 1)
        yield _through_environment("gradient_accumulation_steps", steps, "a whole number", example)
    clipping = section.get("gradient_clipping")
    if clipping is not None and str(clipping).lower() != "auto" and number_in(str(clipping)) is None:
        yield _through_environment("gradient_clipping", clipping, "a number", "1.0")
    for name in ("offload_optimizer_device", "offload_param_device"):
        if section.get(name) is not None and str(section[name]).lower() not in ("none", "cpu", "nvme"):
            yield _through_environment(name, section[name], "none, cpu or nvme", "none")
    if save is not None and str(save).lower() not in ("true", "false") and truth(str(save)) is not False:
        cause = "Accelerate knows the word true alone, and takes this for false: with ZeRO-3 saved weights are empty."
        fix = "zero3_save_16bit_model: true (without quotes) in its place."
        yield Fault(("deepspeed_config", "zero3_save_16bit_model"), save, WARN, "true or false", cause, fix)


def _fsdp(section: Data) -> Faults:
    """What goes to the plugin of FSDP through variables, as text; the prefix of its keys may lack."""
    names = {(name if name.startswith("fsdp_") else f"fsdp_{name}"): name for name in map(str, section)}
    values = {full: section.get(name) for full, name in names.items()}
    for short in _FSDP_SWITCHES:
        full = f"fsdp_{short}"
        if values.get(full) is not None and truth(str(values[full])) is None:
            fault = _through_environment(full, values[full], "true or false", "false")
            yield fault._replace(place=("fsdp_config", names[full]))
    policy = str(values.get("fsdp_auto_wrap_policy"))
    counted = [("fsdp_version", "2")] + [("fsdp_min_num_params", "100000000")] * (policy == "SIZE_BASED_WRAP")
    for full, example in counted:
        value = values.get(full)
        if value is not None and (isinstance(value, (bool, float)) or integer(value) is None):
            number = number_in(str(value))
            fault = _through_environment(full, value, "a whole number", str(number) if _whole(number) else example)
            yield fault._replace(place=("fsdp_config", names[full]))
    layers = values.get("fsdp_transformer_layer_cls_to_wrap")
    if policy == "TRANSFORMER_BASED_WRAP" and layers is not None and not isinstance(layers, str):
        listed = ",".join(map(str, layers)) if isinstance(layers, list) else "LlamaDecoderLayer"
        name = names["fsdp_transformer_layer_cls_to_wrap"]
        cause = "Accelerate hands it on as Python shows it, and stops: `Could not find the transformer layer class`."
        fix = f"{name}: {shown(listed)[1:-1]} (names with commas between them) in its place."
        yield Fault(("fsdp_config", name), layers, FAIL, "text", cause, fix)


def _parallel(section: Data) -> Faults:
    """Sizes that Accelerate compares with numbers."""
    for name in ("parallelism_config_cp_size", "parallelism_config_sp_size"):
        if name in section and not isinstance(section[name], (int, float)):
            cause = "Accelerate compares it with a number and stops: `'>' not supported between instances`."
            fix = _as_number(name, section[name], 1)
            yield Fault(("parallelism_config", name), section[name], FAIL, "a whole number", cause, fix)
