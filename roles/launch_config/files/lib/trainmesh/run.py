# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh run``: a job on every node."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import time
import typing as t

from trainmesh import launchers, runs
from trainmesh.again import Attempts, Wish
from trainmesh.installation import Installation, Node, Refused, environments, find
from trainmesh.job import RUN_ID, VARIABLE, Job, check_port, here, place, told
from trainmesh.relay import Sink, outputs

ABOUT = """Runs a job on every node.

The script is started from the directory you are in, which must exist on every node (PREFIX/workspace does). Its
arguments stand behind it. Every line of output begins with its node and rank; of progress bars that of rank 0 is shown.
Ctrl-C stops the job on every node, and so does one rank that fails; its node, its cause and its last lines are printed
last. The exit status is not 0 when any rank failed. With DeepSpeed the script gets --local_rank=N as its first
argument.
"""


def add_to(commands: t.Any, prefix: str) -> None:
    """The command line of it."""
    parser = commands.add_parser(
        "run",
        help="run a job on every node",
        usage="%(prog)s [options] script.py [script arguments]",
        description=ABOUT.replace("PREFIX", prefix),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--launcher", choices=launchers.LAUNCHERS, default="torchrun", help="what starts the ranks (default torchrun)")
    add("-m", "--module", action="store_true", help="the next word is a Python module, not a file")
    add("--no-python", action="store_true", help="the next word is a program to run as it is")
    add("--nodes", metavar="A,B", help="train on these nodes alone, in the order of the hostfile")
    add("--sync", action="store_true", help="bring the current directory to the nodes first (see trainmesh sync)")
    add("--detach", action="store_true", help="go on when the terminal closes; see trainmesh logs, ps and stop")
    secrets = f"secrets belong in {prefix}/etc/job.env on every node"
    add("--env", metavar="KEY=VALUE", action="append", default=[], help="set a variable for every rank (may be "
        f"repeated; visible in the process list: {secrets}); --env NAME is --environment NAME")  # fmt: skip
    add("--master-port", metavar="N", help="port of the rendezvous; give a second job another one")
    add("--launcher-arg", metavar="A", action="append", default=[], help="one more argument for the launcher itself "
        "(may be repeated)")  # fmt: skip
    add("--environment", metavar="NAME", help=f"another environment than the one in use: one of {prefix}/environments, "
        "that of before an upgrade or one of trainmesh_environments")  # fmt: skip
    add("--run-id", metavar="ID", help="name of the run (default: date and process number)")
    add("--config", metavar="NAME", help=f"for Accelerate: a file of {prefix}/etc/accelerate or an absolute path "
        "(default deepspeed_pdsh or deepspeed_standard)")  # fmt: skip
    add("--bars", choices=("first", "all", "none"), default="first", help="whose progress bars are shown (default: "
        "those of rank 0)")  # fmt: skip
    add("--restarts", metavar="N", type=count, default=0, help="start it again, at most N times, after a rank has "
        "failed or a node was away: the script goes on from its checkpoint (TRAINMESH_RESTART counts)")  # fmt: skip
    add("--wait", metavar="SECONDS", type=seconds, default=seconds("600"), help="how long a restart waits for "
        "nodes that are away (default 600)")  # fmt: skip
    add("--node-only", action="store_true", help="for torchrun and accelerate-standard: this node's part alone")
    add("--dry-run", action="store_true", help="print the command instead of running it")
    parser.set_defaults(action=run, sub=parser, before_script=True)


def count(text: str) -> int:
    """A number of restarts."""
    if not re.fullmatch(r"[0-9]{1,6}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"a number, not {text}")
    return int(text)


def seconds(text: str) -> float:
    """A time limit."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"a number of seconds, not {text}")
    return value


def run(prefix: str, options: argparse.Namespace, words: t.Sequence[str]) -> int:
    """Run a job; ``words`` are the script and its arguments."""
    named = [word for word in options.env if "=" not in word]
    options.env = [word for word in options.env if "=" in word]
    if len([*named, *filter(None, [options.environment])]) > 1:
        raise Refused(f"--env wants KEY=VALUE, not {named[-1]}")
    wanted = named[0] if named else options.environment
    installation = find(prefix, wanted)
    if wanted is not None and wanted not in environments(prefix):
        there = ", ".join(environments(prefix)) or "none"
        asked = f"--env {wanted} is no KEY=VALUE, and" if named else "--environment:"
        raise Refused(f"{asked} there is no {wanted} here; in {prefix}/environments: {there}")
    job = made(installation, options, words)
    if options.node_only:
        if options.sync:
            raise Refused("--sync copies from the head to all nodes: not with --node-only")
        starts = launchers.part(installation, job)
        by_hand = {**starts.environment, "TRAINMESH_NODE_ONLY": "1"}
        return start_part(starts._replace(environment=by_hand), installation)
    if not installation.is_head():
        head, name = installation.values.get("TRAINMESH_HEAD"), installation.values.get("TRAINMESH_NODE_NAME")
        raise Refused(f"start it on the head, {head} (this is {name})")
    command, environment = launchers.command(installation, job), launchers.environment(installation, job)
    if options.dry_run:
        pairs = [f"{name}={value}" for name, value in environment.items()]
        sys.stdout.write(" ".join(map(shlex.quote, ["env", "-i", *pairs, *command])) + "\n")
        return 0
    if options.sync:
        from trainmesh import sync  # which needs this module

        sync.only_head(installation)
        sync.before_run(installation, job.directory, [node.name for node in job.nodes])
    wish = Wish(options.restarts, options.wait)
    return detached(installation, job, wish) if options.detach else followed(installation, job, wish)


def made(installation: Installation, options: argparse.Namespace, words: t.Sequence[str]) -> Job:
    """The job that the command line means; Refused with one sentence when it means none."""
    if not words:
        raise Refused("which script? (--help)")
    if not os.access(f"{installation.bin}/python", os.X_OK):
        raise Refused(f"{installation.bin}/python is missing: run the site playbook")
    for pair in options.env:
        if not VARIABLE.match(pair):
            raise Refused(f"--env wants KEY=VALUE, not {pair}")
    run_id = options.run_id or f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    if not RUN_ID.match(run_id):
        raise Refused(f"--run-id wants letters, digits, dots and dashes, not {run_id}")
    if options.config and options.launcher not in launchers.CONFIGS:
        raise Refused("this launcher has no --config")
    if options.node_only and options.launcher not in launchers.ON_EACH_NODE:
        raise Refused(f"{options.launcher} starts all nodes from the head: --node-only is for torchrun")
    port, warning = check_port(installation, options.master_port or installation.values["TRAINMESH_MASTER_PORT"])
    if warning:
        sys.stderr.write(f"trainmesh run: {warning}\n")
    kind = "module" if options.module else "program" if options.no_python else "script"
    directory = here()
    nodes, chosen = chosen_nodes(installation, options.nodes)
    return Job(
        run_id,
        options.launcher,
        port,
        kind,
        place(kind, words[0], directory),
        words[1:],
        [*options.env, f"TRAINMESH_LAUNCHER={options.launcher.replace('-', '_')}"],
        directory,
        options.launcher_arg,
        options.config or launchers.CONFIGS.get(options.launcher, ""),
        options.bars,
        nodes,
        chosen,
        installation.environment,
    )


def chosen_nodes(installation: Installation, names: str | None) -> tuple[list[Node], bool]:
    """(the nodes that train, whether these are not all), always in the order of the hostfile."""
    nodes = installation.nodes()
    if names is None:
        master = installation.values["TRAINMESH_MASTER_ADDR"]
        return [nodes[0]._replace(address=master), *nodes[1:]], False
    wanted = [name for name in names.split(",") if name]
    unknown = [name for name in wanted if name not in [node.name for node in nodes]]
    if unknown or not wanted:
        raise Refused(f"--nodes: {', '.join(unknown) or 'nothing'} is no node; there are "
                      f"{', '.join(node.name for node in nodes)}")  # fmt: skip
    return [node for node in nodes if node.name in wanted], True


def followed(installation: Installation, job: Job, wish: Wish, sinks: t.Mapping[int, Sink] | None = None) -> int:
    """Run it in the foreground."""
    record = runs.begin(installation, job)
    status, log = 70, None
    try:
        if runs.logged(job) and sinks is None:
            log = Sink(opened(installation, job), own=True)
        status = Attempts(installation, job, wish, sinks or outputs(), log).run()
    finally:
        runs.end(installation, job, record, status)
    return status


def opened(installation: Installation, job: Job) -> int:
    """The log of the run, empty."""
    path = f"{launchers.directory_of(installation, job.run_id)}/{runs.LOG}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused(f"{path} can't be written: {error.strerror}") from None


def detached(installation: Installation, job: Job, wish: Wish) -> int:
    """Run it in a session of its own, in which no terminal's end is heard; its only output is the log."""
    before = runs.read(launchers.directory_of(installation, job.run_id))
    if before is not None and runs.goes_on(before):
        raise Refused(f"a run {job.run_id} goes on already (process {before['pid']}): choose another --run-id")
    log = opened(installation, job)
    if os.fork() > 0:
        name = f"{installation.prefix}/bin/trainmesh"
        sys.stdout.write(f"{job.run_id}\n")
        sys.stdout.flush()
        sys.stderr.write(f"follow it with {name} logs -f {job.run_id}, end it with {name} stop {job.run_id}\n")
        return 0
    os.setsid()
    if os.fork() > 0:
        os._exit(0)
    import signal

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with open(os.devnull, encoding="ascii") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    only = Sink(log, own=True)
    status = 70
    try:
        status = followed(installation, job, wish, {1: only, 2: only})
    except Refused as error:
        sys.stderr.write(f"trainmesh run: {error}\n")
    finally:
        sys.stderr.flush()
        os._exit(status)


def part(prefix: str, words: t.Sequence[str]) -> int:
    """This node's part of a job that the head has started everywhere."""
    options, arguments, rank_words = launchers.part_words(words)
    rank = told(rank_words)
    installation = find(prefix, rank.options.get("environment", ""))
    wanted = rank.options.get("nodes", "")
    nodes, chosen = chosen_nodes(installation, wanted or None)
    job = Job(
        rank.run_id, options["launcher"], int(options["port"]), rank.kind, rank.program, rank.arguments,
        rank.variables, rank.directory, arguments, options.get("config", ""), rank.options.get("bars", "first"),
        nodes, chosen, installation.environment,
    )  # fmt: skip
    return start_part(launchers.part(installation, job), installation)


def start_part(starts: launchers.Part, installation: Installation) -> int:
    """Become the launcher."""
    if "TMPDIR" in starts.environment:
        os.makedirs(starts.environment["TMPDIR"], exist_ok=True)
    os.chdir(installation.prefix)
    with open(os.devnull, encoding="ascii") as nothing:
        os.dup2(nothing.fileno(), 0)
    try:
        os.execve(starts.command[0], list(starts.command), dict(starts.environment))
    except OSError as error:
        raise Refused(f"{starts.command[0]} can't be started: {error.strerror}: run the site playbook") from None
