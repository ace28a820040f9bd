# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh exec``: a command on every node, equal answers told once."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
import typing as t

from trainmesh import fanout
from trainmesh.installation import Installation, Refused, find
from trainmesh.run import chosen_nodes, seconds

ABOUT = """Runs a command on every node and shows what they have answered; equal answers are shown once.

As with ssh, the words are joined with blanks and given to a shell, in the home directory. Quote what the shells of the
nodes are to replace: trainmesh exec 'echo $HOSTNAME'. The environment's programs come first in PATH. Ctrl-C ends the
command on every node. The exit status is the highest one, 255 where ssh failed, 124 where the time was over.
"""


def add_to(commands: t.Any, _prefix: str) -> None:
    """The command line of it."""
    parser = commands.add_parser(
        "exec", help="run a command on every node", usage="%(prog)s [options] COMMAND [WORDS]", description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--nodes", metavar="A,B", help="on these nodes alone")
    parser.add_argument("--limit", metavar="SECONDS", type=seconds, default=seconds("86400"),
                        help="end it after this time (default: a day)")  # fmt: skip
    parser.set_defaults(action=execute, sub=parser, before_script=True)


def execute(prefix: str, options: argparse.Namespace, words: t.Sequence[str]) -> int:
    """Run the command and show the answers."""
    installation = find(prefix)
    fanout.may_reach(installation)
    if not words:
        raise Refused("which command? (--help)")
    names = [node.name for node in chosen_nodes(installation, options.nodes)[0]]
    # the mark by which trainmesh-stop finds what is to be ended with it
    run = f"exec-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    path = shlex.quote(f"{installation.prefix}/env/bin")  # on each node that of its own link
    settings = f'export TRAINMESH_RUN_ID={run} PATH={path}:"$PATH"; '
    try:
        answers = fanout.on(installation, names, settings + " ".join(words), options.limit)
    except KeyboardInterrupt:
        end(installation, run)
        return 130
    if any(answer.status is None for answer in answers.values()):
        end(installation, run)
    for line in folded(answers):
        sys.stdout.write(line + "\n")
    return max(124 if answer.status is None else answer.status % 256 for answer in answers.values())


def end(installation: Installation, run: str) -> None:
    """End what is left of the command on every node."""
    subprocess.run([f"{installation.prefix}/bin/trainmesh-stop", "--quiet", run], stdin=subprocess.DEVNULL, check=False)


def folded(answers: t.Mapping[str, fanout.Answer]) -> list[str]:
    """The answers, those of nodes that have said the same in one, the most frequent one first."""
    groups: dict[fanout.Answer, list[str]] = {}
    for node, answer in answers.items():
        groups.setdefault(answer, []).append(node)
    lines: list[str] = []
    for answer, nodes in sorted(groups.items(), key=lambda each: -len(each[1])):
        status = "no answer in time" if answer.status is None else f"exit status {answer.status}"
        count = "" if len(answers) == 1 else f" ({len(nodes)} of {len(answers)})"
        lines.append(f"--- {' '.join(nodes)}{count}{'' if answer.status == 0 else f': {status}'}")
        lines += [line for text in (answer.out, answer.err) for line in text.rstrip("\n").split("\n") if text]
    return lines
