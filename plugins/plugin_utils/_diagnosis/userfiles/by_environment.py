# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts of a job that name node and master in other ways than torchrun's options.

Lightning's ``fabric run`` is torchrun with other names, TRL's commands take the options of ``accelerate launch`` among
their own; MosaicML's ``composer`` counts ranks in the place of nodes and
falls back on the environment; and ``python train.py`` with NODE_RANK or RANK and MASTER_ADDR is what Lightning and
``init_process_group("env://")`` read. Sources: lightning 2.5 fabric/cli.py and environments/lightning.py, composer
0.32 cli/launcher.py, torch 2.14 distributed/rendezvous.py.
"""

from __future__ import annotations

import re
import typing as t

Options = dict[str, t.Optional[str]]

# click takes them before and behind the script
_FABRIC = {
    "num_nodes": "nnodes", "node_rank": "node_rank", "main_address": "master_addr", "main_port": "master_port",
    "devices": "nproc_per_node", "accelerator": "", "strategy": "", "precision": "",
}  # fmt: skip
_TRL = {
    "num_machines": "num_machines", "machine_rank": "machine_rank", "main_process_ip": "main_process_ip",
    "main_process_port": "main_process_port", "num_processes": "num_processes", "config_file": "config_file",
    "accelerate_config": "config_file",
}  # fmt: skip
_COMPOSER = {
    "LOCAL_WORLD_SIZE": "nproc", "WORLD_SIZE": "world_size", "BASE_RANK": "base_rank", "NODE_RANK": "node_rank",
    "MASTER_ADDR": "master_addr", "MASTER_PORT": "master_port",
}  # fmt: skip
_NODES = re.compile(r"(?:--)?(?:[\w.]+\.)?(?:num_?nodes|nnodes)(?:=(.*))?\Z")
_LOOPBACK = re.compile(r"(?:127\.|localhost|::1)")


def fabric(words: t.Sequence[str]) -> list[str]:
    """The words behind ``fabric run`` as torchrun has them."""
    options, rest = _picked(words, _FABRIC)
    return [*options, *rest]


def trl(words: t.Sequence[str]) -> list[str]:
    """The words behind ``trl sft`` and its kin as ``accelerate launch`` has them: its options stand among TRL's own."""
    options, rest = _picked(words, _TRL)
    return [*options, "-m", "trl", *rest]


def _picked(words: t.Sequence[str], table: t.Mapping[str, str]) -> tuple[list[str], list[str]]:
    """(the options of a table under the launcher's names, the other words)."""
    options: list[str] = []
    rest: list[str] = []
    at = 0
    while at < len(words):
        name, equals, value = words[at].partition("=")
        option = table.get(name[2:].replace("-", "_")) if name.startswith("--") else None
        if option is None:
            rest.append(words[at])
        else:
            at += 0 if equals else 1
            value = value if equals else words[at] if at < len(words) else ""
            options += [f"--{option}={value}"] if option else []
        at += 1
    return options, rest


def composer(options: Options, given: t.Mapping[str, str]) -> Options:
    """The options of composer with what the environment adds; a number of nodes in the place of one of ranks.

    What neither says comes from outside, or composer stops at once.
    """
    found = {name: given[variable] for variable, name in _COMPOSER.items() if variable in given}
    found.update({name: value or "" for name, value in options.items()})
    world, each, base = (_number(found.get(name)) for name in ("world_size", "nproc", "base_rank"))
    if "world_size" not in found:
        return {**options, "nnodes": "1"}
    nodes = f"{-(-world // each)}" if world and each else "$WORLD_SIZE"
    if "node_rank" not in found:
        found["node_rank"] = f"{base // each}" if base is not None and each else "$NODE_RANK"
    return {"master_addr": "$MASTER_ADDR", "master_port": "$MASTER_PORT", **found, "nnodes": nodes}


def plain(words: t.Sequence[str], given: t.Mapping[str, str]) -> Options | None:
    """What ``python train.py`` is told by its environment, as torchrun's options; None where it is no such start.

    ``words`` are those behind python. A LOCAL_RANK is given to each of several processes of a node: a launcher of the
    user's own.
    """
    script = next((word for word in words if not word.startswith("-")), "")
    if "MASTER_ADDR" not in given or "LOCAL_RANK" in given or not (script.endswith(".py") or "-m" in words[:2]):
        return None
    found: Options = {"master_addr": given["MASTER_ADDR"]}
    if "MASTER_PORT" in given:
        found["master_port"] = given["MASTER_PORT"]
    if "NODE_RANK" in given:
        nodes = _nodes(words)
        alone = nodes is None and _LOOPBACK.match(given["MASTER_ADDR"])
        return None if alone else {**found, "node_rank": given["NODE_RANK"], "nnodes": nodes or "$NNODES"}
    if "RANK" in given and "WORLD_SIZE" in given:
        return {**found, "node_rank": given["RANK"], "nnodes": given["WORLD_SIZE"]}
    return None


def _nodes(words: t.Sequence[str]) -> str | None:
    """The number of nodes among the arguments of a script: ``--num_nodes 2``, ``trainer.num_nodes=2``."""
    for at, word in enumerate(words):
        match = _NODES.match(word)
        if match and match.group(1) is not None:
            return match.group(1)
        if match and word.startswith("--") and at + 1 < len(words):
            return words[at + 1]
    return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,7}", text) else None
