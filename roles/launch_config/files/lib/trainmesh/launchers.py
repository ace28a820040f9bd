# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of each launcher, and its environment.

On the head, or on each node where the launcher wants to be started everywhere (``part``). Sources: DeepSpeed 0.19
``launcher/runner.py``, Accelerate 1.15 ``commands/launch.py``, torch 2.14 ``distributed/run.py``, Open MPI 4.1.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import typing as t

from trainmesh.installation import Installation, Refused, settings
from trainmesh.job import CHECK, Job
from trainmesh.words import decode, encode

LAUNCHERS = ("deepspeed", "accelerate", "accelerate-standard", "torchrun", "mpirun")
ON_EACH_NODE = ("accelerate-standard", "torchrun")
CONFIGS = {"accelerate": "deepspeed_pdsh", "accelerate-standard": "deepspeed_standard"}
SSH = "-oBatchMode=yes"


def command(installation: Installation, job: Job) -> list[str]:
    """What the head starts."""
    if job.launcher in ON_EACH_NODE:
        return on_every_node(installation, job)
    return {"deepspeed": deepspeed, "accelerate": accelerate, "mpirun": mpirun}[job.launcher](installation, job)


def environment(installation: Installation, job: Job) -> dict[str, str]:
    """The launcher's environment: nothing of the caller's shell but the names, and what every node must share."""
    account = pwd.getpwuid(os.geteuid())
    name = os.environ.get("USER", account.pw_name)
    values = {
        "HOME": os.environ.get("HOME", account.pw_dir),
        "USER": name,
        "LOGNAME": os.environ.get("LOGNAME", name),
        "PATH": installation.path,
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "TRAINMESH_RUN_ID": job.run_id,
        "PDSH_RCMD_TYPE": "ssh",
        "PDSH_SSH_ARGS_APPEND": SSH,
        **settings(installation.text("etc/deepspeed_env")),
    }
    if job.run_id.startswith(CHECK):
        # torchrun's own files, which would stay in /tmp when it is killed, go with the records of the check
        values["TMPDIR"] = f"{directory_of(installation, job.run_id)}/tmp"
    if job.launcher == "deepspeed":
        values["DS_ENV_FILE"] = f"{installation.prefix}/etc/deepspeed_env"
    if job.launcher == "accelerate":
        values["DS_ENV_FILE"] = f"{directory_of(installation, job.run_id)}/deepspeed_env"
    if job.launcher == "accelerate-standard" and os.path.basename(config_file(installation, job.config)) == "cpu.yaml":
        # Accelerate takes the ranks for CPU ranks of one world only when it is told so in the environment
        values["ACCELERATE_USE_CPU"] = "true"
    if job.launcher == "mpirun":
        values["MASTER_PORT"] = str(job.port)
    return values


def directory_of(installation: Installation, run_id: str) -> str:
    """Where the files of a run are."""
    return f"{installation.prefix}/var/runs/{run_id}"


def run_files(installation: Installation, job: Job) -> dict[str, str]:
    """What the launcher reads of this run alone: file name below directory_of() to content."""
    files = {}
    if job.launcher == "accelerate":
        # Accelerate appends the launcher's whole environment to this file and DeepSpeed sends it to every node: a new
        # one for every run, so that nothing of an earlier one is left in it
        files["deepspeed_env"] = installation.text("etc/deepspeed_env")
    if job.chosen and job.launcher not in ON_EACH_NODE:
        files["hostfile"] = "".join(f"{node.name} slots={node.slots}\n" for node in job.nodes)
    return files


def hostfile(installation: Installation, job: Job) -> str:
    """The hostfile of the run."""
    return f"{directory_of(installation, job.run_id)}/hostfile" if job.chosen else f"{installation.prefix}/etc/hostfile"


def config_file(installation: Installation, config: str) -> str:
    """The file that --config means."""
    named = os.path.join(f"{installation.prefix}/etc/accelerate", f"{re.sub('[.]yaml$', '', config)}.yaml")
    path = config if os.path.isabs(config) else named
    if not os.access(path, os.R_OK):
        raise Refused(f"there is no readable file {path}")
    return path


def deepspeed(installation: Installation, job: Job) -> list[str]:
    """DeepSpeed starts every rank of every node over pdsh."""
    alone = ["--force_multi"] if job.chosen and len(job.nodes) == 1 else []  # else it would be started here
    return [
        *(*installation.program("deepspeed"), "--hostfile", hostfile(installation, job)),
        *("--master_addr", job.master, "--master_port", str(job.port), "--no_ssh_check", *alone),
        *(*job.launcher_arguments, "--no_python", installation.rank_program, *job.rank_words()),
    ]


def accelerate(installation: Installation, job: Job) -> list[str]:
    """Accelerate, which starts DeepSpeed's launcher."""
    chosen = []
    if job.chosen:
        # with explicit slot numbers: DeepSpeed 0.15.2 and later take a bare host name for no slots at all
        slots = ((node.name, ",".join(map(str, range(node.slots)))) for node in job.nodes)
        chosen = ["--num_machines", str(len(job.nodes)), "--num_processes", str(job.world_size)]
        chosen += ["--main_process_ip", job.master, "--deepspeed_hostfile", hostfile(installation, job)]
        chosen += ["--deepspeed_inclusion_filter", "@".join(f"{name}:{numbers}" for name, numbers in slots)]
        if len(job.nodes) == 1 and not installation.is_head():
            raise Refused("Accelerate starts a job of one node on this node alone: use --launcher deepspeed")
    return [
        *(*installation.program("accelerate"), "launch", "--config_file", config_file(installation, job.config)),
        *("--main_process_port", str(job.port), *chosen, *job.launcher_arguments),
        *("--no_python", installation.rank_program, *job.rank_words()),
    ]


def mpirun(installation: Installation, job: Job) -> list[str]:
    """Open MPI; the ranks find each other by the variables that libexec/trainmesh-rank makes of Open MPI's."""
    if not shutil.which("mpirun", path=installation.path):
        raise Refused("mpirun is not installed: ask for it with trainmesh_launchers and run the site playbook")
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    # from some number of nodes on Open MPI's daemons start each other, from node to node
    star = [] if installation.values["TRAINMESH_SSH_TOPOLOGY"] == "mesh" else ["--mca", "plm_rsh_no_tree_spawn", "1"]
    return [
        *("mpirun", *root, "--hostfile", hostfile(installation, job), "-np", str(job.world_size)),
        *("--map-by", "slot", "--bind-to", "none", "--mca", "plm_rsh_args", f"{SSH} -oConnectTimeout=10", *star),
        *("--mca", "mca_base_param_files", f"{installation.prefix}/etc/openmpi-mca-params.conf", "-x", "MASTER_PORT"),
        *(*job.launcher_arguments, installation.rank_program, *job.rank_words()),
    ]


def on_every_node(installation: Installation, job: Job) -> list[str]:
    """The same command on every node at once, each with its own part."""
    where = ",".join(node.name for node in job.nodes) if job.chosen else f"^{installation.prefix}/etc/hosts"
    words = [f"launcher={job.launcher}", f"port={job.port}"]
    words += [f"config={encode(job.config)}"] if job.config else []
    words += [f"argument={encode(word)}" for word in job.launcher_arguments]
    remote = ["exec", f"{installation.prefix}/bin/trainmesh", "part", *words, *job.rank_words()]
    return ["pdsh", "-S", "-R", "ssh", "-f", "1024", "-w", where, *remote]


class Part(t.NamedTuple):
    """What this node starts of a job: the command and its environment."""

    command: t.Sequence[str]
    environment: t.Mapping[str, str]


def part(installation: Installation, job: Job) -> Part:
    """This node's part of a job of a launcher that is started on each node."""
    name, values = installation.values["TRAINMESH_NODE_NAME"], installation.values
    names = [node.name for node in job.nodes]
    rank, count = values["TRAINMESH_NODE_RANK"], values["TRAINMESH_NNODES"]
    master = values["TRAINMESH_MASTER_ADDR"]
    if job.chosen:
        own = installation.nodes()[int(rank)].name
        if own not in names:
            raise Refused(f"{name} is none of the nodes of this run: {', '.join(names)}")
        rank, count, master = str(names.index(own)), str(len(names)), job.master
    slots, starts = values["TRAINMESH_NODE_SLOTS"], [*job.launcher_arguments]
    rank_command = [installation.rank_program, *job.rank_words()]
    if job.launcher == "torchrun":
        words = [*installation.program("torchrun"), "--nnodes", count, "--node-rank", rank, "--nproc-per-node", slots]
        words += ["--master-addr", master, "--master-port", str(job.port), *starts, "--no-python", *rank_command]
        return Part(words, environment(installation, job))
    chosen = []
    if job.chosen:
        total = str(int(slots) * len(names))  # Accelerate gives each node its share of it
        chosen = ["--num_machines", count, "--machine_rank", rank, "--num_processes", total]
        chosen += ["--main_process_ip", master]
    words = [*installation.program("accelerate"), "launch", "--config_file", config_file(installation, job.config)]
    words += ["--main_process_port", str(job.port), *chosen, *starts, "--no_python", *rank_command]
    return Part(words, environment(installation, job))


def part_words(words: t.Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """(the launcher's own options, its arguments, the words of the ranks) of what on_every_node() has sent."""
    options, arguments = {}, []
    for at, word in enumerate(words):
        name, _equals, value = word.partition("=")
        if name == "argument":
            arguments.append(decode(value))
        elif name in ("launcher", "port", "config"):
            options[name] = decode(value)
        else:
            return options, arguments, list(words[at:])
    return options, arguments, []
