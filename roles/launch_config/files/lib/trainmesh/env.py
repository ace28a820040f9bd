# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh env``: the environment of the jobs, and whether every node has the same."""

from __future__ import annotations

import argparse
import sys
import typing as t

from trainmesh import fanout
from trainmesh.doctor import report, same_environment
from trainmesh.installation import environments, find

ANSWER_SECONDS = 30.0
NAMED = ("torch", "deepspeed", "accelerate", "transformers", "datasets", "numpy", "triton", "nvidia-nccl-cu12",
         "nvidia-nccl-cu13", "flash-attn")  # fmt: skip


def add_to(commands: t.Any, prefix: str) -> None:
    """The command line of it."""
    parser = commands.add_parser(
        "env", help="the environment of the jobs on every node", allow_abbrev=False,
        description=f"Shows the Python and the packages of {prefix}/env, the environments beside it, and the "
        "nodes that differ. The exit status is 1 when a node differs or does not answer.",
    )  # fmt: skip
    parser.add_argument("-a", "--all", action="store_true", help="every package, as pip freeze shows them")
    parser.set_defaults(action=show, sub=parser)


def show(prefix: str, options: argparse.Namespace) -> int:
    """Ask every node and show what is the same."""
    installation = find(prefix)
    fanout.may_reach(installation)
    names = [node.name for node in installation.nodes()]
    said, silent = fanout.ask(installation, names, ["env"], ANSWER_SECONDS)
    facts = {name: {"environment": answer} for name, answer in said.items()}
    own = said.get(fanout.own_name(installation), {"python": [], "packages": {}})
    for name in environments(prefix):
        sys.stdout.write(f"{prefix}/environments/{name}{' (in use)' if name == installation.environment else ''}\n")
    sys.stdout.write(f"{prefix}/env: {' '.join(own['python']) or 'no Python'}, {len(own['packages'])} packages\n")
    for name, version in sorted(own["packages"].items()):
        if options.all or name in NAMED:
            sys.stdout.write(f"{name}=={version}\n")
    check = same_environment(facts)
    for line in report([check]):
        sys.stdout.write(line + "\n")
    for name, trouble in silent.items():
        sys.stdout.write(f"{name}: not known ({trouble})\n")
    return 1 if silent or not check.ok else 0
