# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh plan-memory``: does a model fit, with which ZeRO stage, and the DeepSpeed JSON for it."""

from __future__ import annotations

import argparse
import json
import re
import sys
import typing as t

from trainmesh import memory, shapes
from trainmesh.installation import Installation, Refused
from trainmesh.look import aligned
from trainmesh.memory import GIB, Need, Setup

HEADER = (
    "STRATEGY", "PARAMETERS", "GRADIENTS", "OPTIMIZER", "BUFFERS", "ACTIVATIONS", "STEP", "TOTAL", "HOST",
    "LARGEST BATCH", "",
)  # fmt: skip
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
PRECISIONS = {"bf16": 2, "fp16": 2, "fp32": 4}


def add_to(commands: t.Any, _prefix: str) -> None:
    """The command line of it."""
    parser = commands.add_parser(
        "plan-memory", help="does a model fit, and with which ZeRO stage", allow_abbrev=False,
        description="Reckons parameters, gradients, optimizer and activations on the smallest GPU of this cluster for "
        "each ZeRO stage and offload, names the fastest that fits, and writes the DeepSpeed JSON for it. The exit "
        "status is 1 when nothing fits.",
    )  # fmt: skip
    model = parser.add_argument_group("the model")
    model.add_argument("--model", metavar="FILE", help="its config.json (Hugging Face, or UER-py), or the directory")
    model.add_argument("--params", metavar="N", type=number, help="instead: so many parameters, such as 3.9e9 or 7B")
    for name in ("layers", "hidden", "heads"):
        model.add_argument(f"--{name}", metavar="N", type=number, help=argparse.SUPPRESS if name != "layers" else
                           "with --params: the shape, also --hidden and --heads; else assumed")  # fmt: skip
    model.add_argument("--vocab", metavar="N", type=number, help="size of the vocabulary")
    run = parser.add_argument_group("the run")
    run.add_argument("--seq", metavar="N", type=number, default=512, help="tokens of a sample (default 512)")
    run.add_argument("--batch", metavar="N", type=number, default=1, help="samples on a GPU at once (default 1)")
    run.add_argument("--accumulation", metavar="N", type=number, default=1, help="gradient accumulation steps")
    run.add_argument("--precision", choices=PRECISIONS, help="default: the cluster's")
    run.add_argument("--optimizer", choices=memory.OPTIMIZERS, default="adamw", help="default adamw")
    run.add_argument("--checkpointing", choices=("on", "off", "auto"), default="auto", help="of activations")
    run.add_argument("--attention", choices=("fused", "eager"),
                     help="fused: flash attention or torch's SDPA; default: where the model has it")  # fmt: skip
    cluster = parser.add_argument_group("the cluster, where it is another than this one")
    cluster.add_argument("--nodes", metavar="N", type=number)
    cluster.add_argument("--gpus", metavar="N", type=number, help="GPUs of a node")
    cluster.add_argument("--gpu-memory", metavar="SIZE", type=size, help="of the smallest GPU, such as 24GiB")
    cluster.add_argument("--host-memory", metavar="SIZE", type=size, help="of the smallest node")
    cluster.add_argument("--reserved", metavar="SIZE", type=size, help="not for the model; default: see the output")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="everything as JSON")
    output.add_argument("--strategy", metavar="NAME", help="write the file of this one instead of the fastest")
    output.add_argument("--write", metavar="FILE", help="write the DeepSpeed JSON; - prints it alone")
    output.add_argument("--auto", action="store_true", help="for Accelerate and the Trainer, which set the batch")
    parser.set_defaults(action=plan, sub=parser)


def number(text: str) -> int:
    """A whole number above 0, also as 3.9e9 or 7B."""
    factors = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
    factor = factors.get(text[-1:].upper(), 1)
    try:
        value = round(float(text[:-1] if factor > 1 else text) * factor)
    except (ValueError, OverflowError):
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 such as 8, 3.9e9 or 7B, found {text!r}")
    return value


def size(text: str) -> int:
    """Bytes; a number without a unit is GiB, and GB are read as GiB, which is what vendors mean by them."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?B)?", text.strip(), re.IGNORECASE)
    if not found or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"expected a size such as 24GiB, found {text!r}")
    return round(float(found[1]) * UNITS[found[2].upper() or ("" if found[3] else "G")])


def plan(prefix: str, options: argparse.Namespace) -> int:
    """Reckon, and tell it."""
    installation = Installation(prefix, {})
    model = the_model(options)
    setup, where, precision = the_setup(installation, options, model)
    checkpointing = {"on": True, "off": False, "auto": None}[options.checkpointing]
    needs = memory.needs(model, setup, checkpointing)
    best = chosen(needs, options.strategy)
    text = ""
    if options.write and best:
        text = deepspeed_json(installation, options, model, best, precision)
    if options.write == "-":
        sys.stdout.write(text)
    elif options.json:
        sys.stdout.write(json.dumps(as_data(model, setup, precision, needs, best), indent=2) + "\n")
    else:
        lines = [*heading(model, setup, where, precision), "", *table(needs, setup), "",
                 *advice(setup, needs, best, precision), "", *assumptions(setup)]  # fmt: skip
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    if text and options.write != "-":
        save(options.write, text)
        sys.stderr.write(f"written: {options.write}\n")
    return 0 if best and best.fits else 1


def the_model(options: argparse.Namespace) -> shapes.Model:
    """The model of the file, or of the numbers."""
    if bool(options.model) == bool(options.params):
        raise Refused("expected one of --model config.json and --params N")
    if options.params:
        return shapes.of_numbers(options.params, options.layers, options.hidden, options.heads, options.vocab)
    if options.layers or options.hidden or options.heads:
        raise Refused("--layers, --hidden and --heads are for --params; --model has them in its file")
    path = options.model
    try:
        with open(path, encoding="utf-8") as source:
            config = json.loads(source.read(1 << 22))
    except IsADirectoryError:
        options.model = f"{path.rstrip('/')}/config.json"
        return the_model(options)
    except OSError as error:
        raise Refused(f"{path} can't be read ({error.strerror})") from None
    except ValueError as error:
        raise Refused(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise Refused(f"{path}: expected the object of a config.json, found {type(config).__name__}")
    return shapes.of_config(config, path, options.vocab)


def the_setup(installation: Installation, options: argparse.Namespace, model: shapes.Model) -> tuple[Setup, str, str]:
    """(the cluster and the run, where the memory is, the precision)."""
    # a cluster that the options describe wholly needs no installation
    described: t.Mapping[str, t.Any] = {}
    if not (options.nodes and options.gpus and options.gpu_memory and options.precision):
        described = json.loads(installation.text("etc/cluster.json"))
    nodes = described.get("nodes", [])
    gpus = bool(options.gpus or options.gpu_memory or (nodes and all(node["gpus"] for node in nodes)))
    count = options.nodes or len(nodes)
    most = options.gpus or max(len(node["ranks"]) for node in nodes)
    ranks = count * most if options.nodes or options.gpus else sum(len(node["ranks"]) for node in nodes)
    host, host_name = smallest(nodes, "memory_gib", GIB, options.host_memory)
    if gpus:
        capacity, name = smallest(nodes, "gpu_memory_mib", 1 << 20, options.gpu_memory)
        if capacity is None:
            raise Refused(f"{installation.prefix}/etc/cluster.json does not tell the GPUs' memory: say --gpu-memory "
                          "24GiB, or run the site playbook again")  # fmt: skip
        where = f"the smallest GPU has {gib(capacity)}{name}"
        where += f", the smallest host {gib(host)}{host_name}" if host else "; the hosts' memory is not known"
    else:
        shares = [(node["memory_gib"] * GIB // len(node["ranks"]), f" ({node['name']})") for node in nodes
                  if node.get("memory_gib")]  # fmt: skip
        if options.host_memory:
            shares = [(options.host_memory // most, "")]
        if not shares:
            raise Refused(f"{installation.prefix}/etc/cluster.json does not tell the hosts' memory: say --host-memory "
                          "64GiB, or run the site playbook again")  # fmt: skip
        capacity, name = min(shares)
        where = f"no GPUs: training is in host memory, of which a rank has {gib(capacity)}{name}"
    precision = options.precision or described.get("precision", "bf16")
    reserved = options.reserved
    if reserved is None:
        reserved = memory.CONTEXT + (memory.NCCL if ranks > 1 else 0) if gpus else memory.PROCESS
    fused = model.fused if options.attention is None else options.attention == "fused"
    setup = Setup(
        count, ranks, most, capacity, host, gpus, PRECISIONS[precision], memory.OPTIMIZERS[options.optimizer],
        model.tokens or options.seq, options.batch, fused, reserved, accumulation=options.accumulation,
        roots=memory.ROOTS.get(options.optimizer, (0, 0)),
    )  # fmt: skip
    return setup, where, precision


def smallest(nodes: t.Sequence[t.Mapping[str, t.Any]], key: str, unit: int, said: int | None) -> tuple[int | None, str]:
    """(bytes of the node with the least of it, and its name), or what was said."""
    found = [(node[key] * unit, f" ({node['name']})") for node in nodes if node.get(key)]
    return (said, "") if said else min(found) if found else (None, "")


def chosen(needs: t.Sequence[Need], name: str | None) -> Need | None:
    """The fastest that fits; of one name the first that fits, or the first."""
    named = [each for each in needs if name in (None, each.strategy.name)]
    if not named:
        raise Refused(f"--strategy: expected one of {', '.join(dict.fromkeys(each.strategy.name for each in needs))}")
    fitting = [each for each in named if each.fits]
    return fitting[0] if fitting else named[0] if name else None


def heading(model: shapes.Model, setup: Setup, where: str, precision: str) -> list[str]:
    """What was reckoned with."""
    widths = ", ".join(f"{each.number} layers of {each.hidden}" for each in model.layers)
    vocabulary = f", vocabulary {model.vocabulary}" if model.vocabulary else ", no vocabulary"
    fused = "fused attention" if setup.fused else "attention that is not fused"
    each = "GPU" if setup.gpus else "rank"
    return [
        f"Model: {model.kind}, {model.parameters:,} parameters, {widths}{vocabulary}",
        *(f"  {note}" for note in model.notes),
        f"Run: {setup.batch} x {setup.tokens} tokens a {each}, {precision}, {fused}; {setup.ranks} ranks on "
        f"{setup.nodes} nodes",
        f"Memory: {where}; {gib(setup.reserved)} a {each} are not for the model",
    ]


def table(needs: t.Sequence[Need], setup: Setup) -> list[str]:
    """A row for each way to train; sizes are GiB."""
    rows = [tuple(HEADER)]
    for each in needs:
        name = each.strategy.name + (" + checkpointing" if each.checkpointing else "")
        sizes = (
            each.parameters,
            each.gradients,
            each.optimizer,
            each.buffers,
            each.activations,
            each.update,
            each.total,
        )
        host = f"{each.offloaded / GIB:.1f}" if each.offloaded else "-"
        batch = str(each.batch) if each.batch else "none"
        rows.append((name, *(f"{value / GIB:.1f}" for value in sizes), host, batch, "fits" if each.fits else ""))
    what = "GPU" if setup.gpus else "rank"
    return [f"GiB a {what}, and of host memory a node; the largest micro batch that fits:", *aligned(rows)]


def advice(setup: Setup, needs: t.Sequence[Need], best: Need | None, precision: str) -> list[str]:
    """What to take, and why."""
    if best is None or not best.fits:
        return nothing_fits(setup, needs, best)
    lines = [f"Fastest that fits: {title(best)} ({best.strategy.cost}{recomputed(best)})"]
    faster = needs[: needs.index(best)]
    if faster:
        nearest = min(faster, key=lambda each: each.total)
        lines.append(f"  what is faster needs {gib(nearest.total)} or more ({title(nearest)})"
                     if nearest.total > setup.capacity else "  what is faster needs more host memory")  # fmt: skip
    lines.append(f"  largest micro batch with it: {best.batch}")
    saving = next((each for each in needs if each.checkpointing and each.strategy == best.strategy), None)
    if saving and not best.checkpointing and saving.batch > best.batch:
        lines.append(f"  with activation checkpointing: {saving.batch} (a third more computation)")
    if best.checkpointing:
        lines.append("  switch it on: model.gradient_checkpointing_enable(), or the Trainer's --gradient_checkpointing")
    if setup.gpus and setup.host is not None and best.loading > setup.host:
        lines.append(
            f"  loading: {setup.ranks_per_node} ranks that each build the model in host memory in float32 take up to "
            f"{gib(best.loading)} of {gib(setup.host)}: build it under torch.device('cuda'), or in {precision}"
        )
    if best.strategy.stage == 3:
        lines.append("  loading: build the model under deepspeed.zero.Init(), as the Trainer does")
    return lines


def nothing_fits(setup: Setup, needs: t.Sequence[Need], best: Need | None) -> list[str]:
    """What fits instead."""
    what = f"{best.strategy.name} does not fit" if best else "Nothing fits"
    lines = [f"{what} with a micro batch of {setup.batch}."]
    if best and best.batch:
        lines.append(f"  --batch {best.batch} does")
    if not any(each.checkpointing for each in needs):
        lines.append("  activation checkpointing takes less: leave out --checkpointing off")
    smaller = max(needs, key=lambda each: each.batch)
    if smaller.batch:
        first = next(each for each in needs if each.batch)
        lines.append(f"  --batch {first.batch} fits with {title(first)}, {smaller.batch} with {title(smaller)}; "
                     "gradient accumulation keeps the effective batch")  # fmt: skip
    else:
        least = min(needs, key=lambda each: each.total)
        host = f" and {gib(least.offloaded)} of host memory a node" if least.offloaded else ""
        lines.append(f"  even one sample does not: for --batch {setup.batch} {title(least)} needs {gib(least.total)} a "
                     f"{'GPU' if setup.gpus else 'rank'}{host}: more nodes, a shorter --seq, --optimizer adamw-8bit, "
                     "or a smaller model")  # fmt: skip
    return lines


def title(need: Need) -> str:
    """The strategy's name, with checkpointing."""
    return need.strategy.name + (" with activation checkpointing" if need.checkpointing else "")


def recomputed(need: Need) -> str:
    """What checkpointing costs."""
    return ", the forward pass twice" if need.checkpointing else ""


def assumptions(setup: Setup) -> list[str]:
    """What no file says, with its source."""
    sources = memory.SOURCES_GPU if setup.gpus else memory.SOURCES_HOST
    taken = setup.roots[0 if setup.gpus else 1]
    roots = (memory.SOURCE_ROOTS.format(taken),) if taken else ()
    offload = (memory.SOURCE_OFFLOAD,) if setup.gpus else ()
    return ["Assumed:", *(f"  {each}" for each in (*sources, *roots, *offload))]


def gib(value: int) -> str:
    """A size for people."""
    return f"{value / GIB:.1f} GiB"


def as_data(
    model: shapes.Model, setup: Setup, precision: str, needs: t.Sequence[Need], best: Need | None
) -> dict[str, t.Any]:
    """All of it for programs; sizes are bytes."""
    rows = [{**each._asdict(), "strategy": each.strategy.name} for each in needs]
    return {
        "model": {**model._asdict(), "layers": [each._asdict() for each in model.layers]},
        "setup": {**setup._asdict(), "precision": precision},
        "strategies": rows,
        "fastest": rows[needs.index(best)] if best else None,
    }


def deepspeed_json(
    installation: Installation, options: argparse.Namespace, model: shapes.Model, need: Need, precision: str
) -> str:
    """The installed file of the strategy, with this run's batch and the buckets that were reckoned with."""
    name = need.strategy.name
    installed = "zero3_offload" if name == "zero3_offload_optimizer" else name
    path = f"etc/deepspeed/{'auto/' if options.auto else ''}{installed}.json"
    data = json.loads(installation.text(path))
    if not options.auto:
        data["train_micro_batch_size_per_gpu"] = options.batch
        data["gradient_accumulation_steps"] = options.accumulation
    for each in ("fp16", "bf16"):
        if data[each]["enabled"] != (each == precision):
            data[each] = {"enabled": each == precision}
    zero = data["zero_optimization"]
    if not need.strategy.parameter_offload:
        zero.pop("offload_param", None)
    zero.update(buckets(model, need.strategy))
    return json.dumps(data, indent=2) + "\n"


def buckets(model: shapes.Model, strategy: memory.Strategy) -> dict[str, int]:
    """The sizes that were reckoned with, as keys of ``zero_optimization``."""
    if strategy.stage == 0:
        return {}
    found = {"reduce_bucket_size": memory.BUCKET}
    if strategy.stage < 3:
        return {**found, "allgather_bucket_size": memory.BUCKET}
    live = memory.live_parameters(model)
    return {**found, "stage3_prefetch_bucket_size": memory.BUCKET, "stage3_max_live_parameters": live,
            "stage3_max_reuse_distance": live}  # fmt: skip


def save(path: str, text: str) -> None:
    """Write the file."""
    try:
        with open(path, "w", encoding="utf-8") as target:
            target.write(text)
    except OSError as error:
        raise Refused(f"{path} can't be written ({error.strerror})") from None
