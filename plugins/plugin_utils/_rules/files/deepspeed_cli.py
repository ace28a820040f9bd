# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on DeepSpeed's command lines in launch scripts, and on its filters.

Source: DeepSpeed 0.19.6 launcher/runner.py and multinode_runner.py.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import at_least
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import rows
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import inclusion, integer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launch_script import Command
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import DEEPSPEED
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files._starts import several_nodes

Filter = tuple[common.Copy, str, str, str]


def _alone(command: Command) -> bool:
    """Whether the command says itself that it is for one node."""
    nodes, chosen = command.options.get("num_nodes"), inclusion(command.options.get("include") or "")
    return nodes == "1" or set(chosen) == {"localhost"} or "help" in command.options or command.script is None


def _over_ssh(command: Command) -> bool:
    """Whether DeepSpeed starts the other nodes over pdsh."""
    return "no_ssh" not in command.options and (command.options.get("launcher") or "pdsh") == "pdsh"


def _file_exists(case: Case, host: str, path: str) -> bool | None:
    """Whether the user finds a file there, as far as it was looked for."""
    for file in rows(case.user.get(host), "files"):
        if dig(file, "path") == path:
            return bool(dig(file, "exists"))
    exists = dig(common.part(case, host, "asked").get(path), "exists")
    return None if exists is None else bool(exists)


@rule(
    About(
        "hostfile-silent-local",
        layer="launcher",
        severity=FAIL,
        also=(INFO,),
        title="Without its hostfile, each node trains alone",
        symptom="it runs, and the world size is that of one node",
        source="field notes, ACC#2839, ACC#1795, DeepSpeedExamples#575",
    ),
    needs=("user",),
    applies=common.given("launch_script", "accelerate"),
)
def silent_local(case: Case) -> t.Iterator[Answer]:
    """DeepSpeed without a hostfile trains on one node alone and does not say so."""
    cause = "Without a hostfile DeepSpeed only warns and starts on this node: every node would train alone."
    remedy = "Give --hostfile with an absolute path (deepspeed_hostfile in Accelerate's file) that exists there."
    if len(case.order) < 2:
        return
    for copy, _script, command in common.commands(case, DEEPSPEED):
        path = command.options.get("hostfile")
        severity = FAIL
        if _alone(command):
            continue
        if not path and _file_exists(case, copy.host, "/job/hostfile") is not True:
            seen = "deepspeed without --hostfile"
            # a script for one node, unless somebody says otherwise
            severity = FAIL if several_nodes(command) or common.for_cluster(case, copy) else INFO
        elif path and _file_exists(case, copy.host, path) is False:
            seen = f"--hostfile {path}, which does not exist"
        else:
            continue
        yield finding("hostfile-silent-local", severity, copy.host, f"{copy.at(command.line)}: {seen}", cause, remedy)
    for copy, data in common.mappings(case, "accelerate"):
        through = common.multinode_launcher(data)
        if not through or not common.multi_node(data) or through == "standard":
            continue
        if not isinstance(data.get("deepspeed_config", {}), (dict, type(None))):
            continue  # Accelerate does not get that far (acc-wrong-type)
        path = dig(data, "deepspeed_config.deepspeed_hostfile")
        if not path:
            seen = f"no deepspeed_hostfile with deepspeed_multinode_launcher {through}"
        elif _file_exists(case, copy.host, str(path)) is False:
            seen = f"deepspeed_hostfile {path}, which does not exist"
        else:
            continue
        yield finding("hostfile-silent-local", FAIL, copy.host, f"{copy.path}: {seen}", cause, remedy)


def _filters(case: Case) -> t.Iterator[Filter]:
    """(file, where, the filter, ``include`` or ``exclude``) of every filter of hosts and slots."""
    for copy, _script, command in common.commands(case, DEEPSPEED):
        for name in ("include", "exclude"):
            value = command.options.get(name)
            if value and "$" not in value:
                yield copy, copy.at(command.line), value, name
    for copy, data in common.mappings(case, "accelerate"):
        for name, key in (("include", "deepspeed_inclusion_filter"), ("exclude", "deepspeed_exclusion_filter")):
            value = dig(data, f"deepspeed_config.{key}")
            if value:
                yield copy, copy.path, str(value), name


@rule(
    About(
        "ds-include-no-slots",
        layer="launcher",
        severity=FAIL,
        title="A DeepSpeed filter names a node without slots",
        symptom="`list index out of range`, or the node vanishes silently",
        source="DS#6671, DS#6530, DS#8239",
    ),
    needs=("user",),
    applies=common.given("launch_script", "accelerate"),
)
def include_without_slots(case: Case) -> t.Iterator[Answer]:
    """A host in --include without slots, with a DeepSpeed that takes that for no slots."""
    for copy, place, value, name in _filters(case):
        bare = [host for host, slots in inclusion(value).items() if slots is None]
        have = common.version(case, copy.host, "deepspeed")
        touched = have is None or (at_least(have, "0.15.2") and not at_least(have, "0.19.7"))
        if name == "include" and bare and touched:
            yield finding(
                "ds-include-no-slots",
                FAIL,
                copy.host,
                f"{place}: {value} (DeepSpeed {have or 'of unknown version'})",
                "DeepSpeed 0.15.2 to 0.19.6 takes a host without slots for one with none: `list index out of range`.",
                "Write the slots: --include node1:0,1,2,3@node2:0,1,2,3.",
            )


@rule(
    About(
        "ds-include-bad-slot",
        layer="launcher",
        severity=FAIL,
        title="A DeepSpeed filter names a slot that does not exist",
        symptom="`invalid device ordinal`",
        source="DeepSpeed launcher/runner.py:391, DS#8239",
    ),
    About(
        "ds-subset-hostfile",
        layer="launcher",
        severity=FAIL,
        title="A filter names hosts that the hostfile lacks",
        symptom="`No slot ... specified on host`",
        source="DS#3624",
    ),
    needs=("user",),
    applies=common.given("launch_script", "accelerate"),
)
def include_slots(case: Case) -> t.Iterator[Answer]:
    """Slots in a filter that the node or the hostfile does not have."""
    gpus = common.gpus_of(case)
    for copy, place, value, name in _filters(case):
        hosts = common.hostfile_of(case, copy.host)
        listed = hosts.slots if hosts else {}
        for host, slots in inclusion(value).items():
            node = common.node_of(case, host)
            top = max(slots or [-1])
            text = f"{place}: --{name} {host}:{top}"
            if node in gpus and top >= gpus[node]:
                yield finding(
                    "ds-include-bad-slot",
                    FAIL,
                    copy.host,
                    f"{text}, but {node} has {gpus[node]} GPUs",
                    "The filter names a GPU that the node does not have, and not every DeepSpeed checks "
                    "it: invalid device.",
                    "Name slots from 0 to the number of GPUs less one.",
                )
            elif host in listed and top >= listed[host]:
                yield finding(
                    "ds-subset-hostfile",
                    FAIL,
                    copy.host,
                    f"{text}, but the hostfile says slots={listed[host]}",
                    "A filter chooses among the slots of the hostfile, which was trimmed already: `No "
                    "slot specified on host`.",
                    "Write all GPUs of the node as slots=N, and filter.",
                )


@rule(
    About(
        "ds-num-gpus-overrides",
        layer="launcher",
        severity=WARN,
        title="--num_gpus overrides the hostfile's slots",
        symptom="GPUs are missing, or more are asked for than there are",
        source="DeepSpeed launcher/runner.py",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def num_gpus(case: Case) -> t.Iterator[Answer]:
    """--num_gpus replaces the slots of every host."""
    for copy, _script, command in common.commands(case, DEEPSPEED):
        number = integer(command.options.get("num_gpus"))
        hosts = common.hostfile_of(case, copy.host)
        if number is None or number < 0 or hosts is None or not command.options.get("hostfile"):
            continue
        other = [f"{name} slots={slots}" for name, slots in hosts.slots.items() if slots != number]
        if other:
            yield finding(
                "ds-num-gpus-overrides",
                WARN,
                copy.host,
                f"{copy.at(command.line)}: --num_gpus {number}, the hostfile: {', '.join(other)}",
                "--num_gpus replaces the slots of every host by that number, whatever the hostfile says.",
                "Leave --num_gpus out, or choose with --include NAME:0,1@NAME:0,1.",
            )


@rule(
    About(
        "ds-cuda-visible-devices",
        layer="launcher",
        severity=WARN,
        title="DeepSpeed overwrites CUDA_VISIBLE_DEVICES",
        symptom="the wrong GPUs are used",
        source="DS#1331, DS#7155, DS#3262",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def visible_devices(case: Case) -> t.Iterator[Answer]:
    """CUDA_VISIBLE_DEVICES, which DeepSpeed overwrites."""
    for copy, script, command in common.commands(case, DEEPSPEED):
        variable = script.variables.get("CUDA_VISIBLE_DEVICES")
        value = command.environment.get("CUDA_VISIBLE_DEVICES") or (
            variable.value if variable and variable.exported else ""
        )
        if value and not _alone(command) and command.options.get("hostfile"):
            yield finding(
                "ds-cuda-visible-devices",
                WARN,
                copy.host,
                f"{copy.at(command.line)}: CUDA_VISIBLE_DEVICES={value}",
                "With a hostfile DeepSpeed overwrites it on every node with the numbers of the slots: "
                "other GPUs are used.",
                "Choose GPUs with --include NAME:2,3 instead.",
            )


@rule(
    About(
        "ds-master-addr-guessed",
        layer="launcher",
        severity=WARN,
        title="DeepSpeed guesses the master address",
        symptom="errno 110 or 111, or a hang",
        source="field notes, DS#2612, DS#695, DS#2837",
    ),
    needs=("user",),
    applies=common.given("launch_script", "accelerate"),
)
def master_guessed(case: Case) -> t.Iterator[Answer]:
    """Without --master_addr DeepSpeed takes the first address that the first host prints."""
    if len(case.order) < 2 or _one_address(case):
        return
    address = dig(case.plan, "master.address", "ADDRESS")
    cause = "The first word of `hostname -I` on the first host is taken; with several networks it may be the wrong one."
    remedy = f"Give --master_addr {address} (main_process_ip in Accelerate's file)."
    for copy, _script, command in common.commands(case, DEEPSPEED):
        guessed = command.options.get("hostfile") and not command.options.get("master_addr")
        if guessed and _over_ssh(command) and not _alone(command):
            yield finding(
                "ds-master-addr-guessed",
                WARN,
                copy.host,
                f"{copy.at(command.line)}: deepspeed without --master_addr",
                cause,
                remedy,
            )
    for copy, data in common.mappings(case, "accelerate"):
        through = common.multinode_launcher(data)
        if through == "pdsh" and common.multi_node(data) and data.get("main_process_ip") is None:
            yield finding("ds-master-addr-guessed", WARN, copy.host, f"{copy.path}: no main_process_ip", cause, remedy)


def _one_address(case: Case) -> bool:
    """True when the head is known to have a single address, which then is the right guess."""
    found = {
        str(dig(row, "address"))
        for interface in rows(case.fabric.get(case.order[0]), "interfaces")
        for row in rows(interface, "addresses")
        if dig(row, "scope") == "global"
    }
    return len(found) == 1


@rule(
    About(
        "ds-force-multi-missing",
        layer="launcher",
        severity=WARN,
        title="A one-node hostfile starts locally, not over ssh",
        symptom="the job runs locally",
        source="gpt-neox#849",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def force_multi(case: Case) -> t.Iterator[Answer]:
    """A hostfile with one host is started here, whichever host it names."""
    for copy, _script, command in common.commands(case, DEEPSPEED):
        hosts = common.hostfile_of(case, copy.host)
        if hosts is None or len(hosts.hosts) != 1 or not command.options.get("hostfile"):
            continue
        name = hosts.hosts[0].name
        if "force_multi" not in command.options and common.node_of(case, name) != copy.host:
            yield finding(
                "ds-force-multi-missing",
                WARN,
                copy.host,
                f"{copy.at(command.line)}: the hostfile has {name} alone, no --force_multi",
                "With a single host in the hostfile DeepSpeed starts the job on the node where the command is given.",
                "Add --force_multi, or start it on that host.",
            )


@rule(
    About(
        "ds-slurm-include",
        layer="launcher",
        severity=FAIL,
        title="Filters of DeepSpeed with its Slurm launcher",
        symptom="`srun: unrecognized option --include`",
        source="DeepSpeed launcher/multinode_runner.py:371, DS#8304",
    ),
    needs=("user",),
    applies=common.given("launch_script", "accelerate"),
)
def slurm_filters(case: Case) -> t.Iterator[Answer]:
    """Filters with the launcher slurm."""
    cause = "DeepSpeed hands the filter to srun, which does not know it, and counts the slots without it."
    remedy = "Choose the nodes with sbatch or srun, without a filter."
    for copy, _script, command in common.commands(case, DEEPSPEED):
        given = [name for name in ("include", "exclude", "num_nodes", "num_gpus") if name in command.options]
        if command.options.get("launcher") == "slurm" and given:
            yield finding(
                "ds-slurm-include",
                FAIL,
                copy.host,
                f"{copy.at(command.line)}: --launcher slurm with --{given[0]}",
                cause,
                remedy,
            )
    for copy, data in common.mappings(case, "accelerate"):
        if common.multinode_launcher(data) == "slurm" and dig(data, "deepspeed_config.deepspeed_inclusion_filter"):
            yield finding(
                "ds-slurm-include",
                FAIL,
                copy.host,
                f"{copy.path}: launcher slurm with deepspeed_inclusion_filter",
                cause,
                remedy,
            )


@rule(
    About(
        "pdsh-ssh-args-lost",
        layer="launcher",
        severity=FAIL,
        title="DeepSpeed drops its ssh arguments",
        symptom="options are ignored, or `KeyError: 'PDSH_SSH_ARGS_APPEND'`",
        source="DS#4370, DS#5318",
    ),
    needs=("user",),
    applies=common.given("launch_script"),
)
def ssh_args(case: Case) -> t.Iterator[Answer]:
    """--ssh_port with a DeepSpeed that loses it."""
    for copy, _script, command in common.commands(case, DEEPSPEED):
        have = common.version(case, copy.host, "deepspeed")
        if command.options.get("ssh_port") and common.older(have, "0.14.1"):
            yield finding(
                "pdsh-ssh-args-lost",
                FAIL,
                copy.host,
                f"{copy.at(command.line)}: --ssh_port with DeepSpeed {have}",
                "DeepSpeed before 0.14.1 overwrites PDSH_SSH_ARGS_APPEND, or stops with a KeyError when it is not set.",
                "Put the port into ~/.ssh/config (Host NAME, Port N) and leave --ssh_port out.",
            )


@rule(
    About(
        "ds-no-ssh-env",
        layer="launcher",
        severity=FAIL,
        title="ssh is asked for where there is no sshd",
        symptom="containers without sshd",
        source="DS#1603, DS#2679, DS#2920, DS#6875",
    ),
    needs=("user", "fabric"),
    applies=common.given("launch_script", "accelerate"),
)
def containers_without_sshd(case: Case) -> t.Iterator[Answer]:
    """A launcher over ssh, and containers in which no sshd runs."""
    wanted = any(_over_ssh(command) and not _alone(command) for _c, _s, command in common.commands(case, DEEPSPEED))
    given = [data for _copy, data in common.mappings(case, "accelerate")]
    wanted = wanted or any(common.multinode_launcher(data) == "pdsh" for data in given)
    for host, facts in case.fabric.items():
        bare = dig(facts, "sshd.ports", []) == [] and dig(facts, "sshd.config_ports") is None
        if wanted and bare and dig(facts, "container") and "sshd" in facts:
            yield finding(
                "ds-no-ssh-env",
                FAIL,
                host,
                f"a {facts['container']} container, no sshd configured or listening",
                "The launcher logs in to every node by ssh, also to itself.",
                "Run an sshd in the container on a port of its own, or start with --no_ssh --node_rank N "
                "on every node.",
            )
