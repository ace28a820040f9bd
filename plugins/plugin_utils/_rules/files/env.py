# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on environment files, and on ssh's configuration."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    login_sources,
    rows,
)
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
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import formats
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import DEEPSPEED
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common

# what Accelerate's launcher pushes from its own node, and no other node should have
_OF_ONE_NODE = frozenset(("HOSTNAME", "PWD", "OLDPWD", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "TMPDIR"))
_STEERING = re.compile(r"NCCL_|GLOO_|TP_|CUDA_VISIBLE_DEVICES$|MASTER_|RANK$|WORLD_SIZE$|LD_LIBRARY_PATH$|PYTHONPATH$")
_SECRET = re.compile(r"TOKEN|KEY|PASSW|SECRET|CREDENTIAL|AUTH", re.IGNORECASE)
_NO_SECRET = frozenset(("NCCL_IB_PKEY",))


def environment_files(case: Case) -> list[common.Copy]:
    """DeepSpeed's environment files: user files, and those that the nodes have where DeepSpeed looks for them."""
    found = common.copies(case, "deepspeed_env")
    for host in case.order:
        for file in rows(case.user.get(host), "deepspeed_env"):
            copy = common.Copy(host, str(dig(file, "path", ".deepspeed_env")), str(dig(file, "text", "")))
            if (copy.host, copy.path) not in [(one.host, one.path) for one in found]:
                found.append(copy)
    return found


def _has_environment_files(case: Case) -> bool:
    return bool(environment_files(case))


@rule(
    About(
        "ds-env-file-unparsable",
        layer="launcher",
        severity=FAIL,
        also=(WARN,),
        title="DeepSpeed cannot parse .deepspeed_env",
        symptom="`not enough values to unpack`, or the command vanishes",
        source="DS#8154, DeepSpeed launcher/runner.py",
    ),
    needs=("user",),
    applies=_has_environment_files,
)
def unparsable(case: Case) -> t.Iterator[Answer]:
    """Lines that DeepSpeed stops at, that cut its command off, or whose values are not what they look like."""
    said = {"blank": "a blank line", "comment": "a comment", "no_value": "a line without ="}
    kept = {
        "quoted": "single quotes, which become a part of the value",
        "remark": "a comment behind the value, which becomes a part of it",
        "blanks": "double quotes around blanks, at which the value ends",
    }
    for copy in environment_files(case):
        for problem in formats.environment_file(copy.text)[1]:
            if problem.what in kept:
                name = problem.text.partition("=")[0].strip()
                yield finding(
                    "ds-env-file-unparsable",
                    WARN,
                    copy.host,
                    f"{copy.at(problem.line)}: {name} has {kept[problem.what]}",
                    "DeepSpeed reads no quotes and no comments here: it puts double quotes of its own around a value.",
                    f"{name}=VALUE without quotes and without a comment.",
                )
                continue
            yield finding(
                "ds-env-file-unparsable",
                FAIL,
                copy.host,
                f"{copy.at(problem.line)}: {said[problem.what]}",
                "DeepSpeed stops with `not enough values to unpack`; a comment hides the rest of the remote command.",
                "Keep only lines of the form KEY=VALUE in the file.",
            )


@rule(
    About(
        "acc-env-file-stale",
        layer="accelerate",
        severity=WARN,
        title="Accelerate's environment file is left from an earlier run",
        symptom="old settings come back, PATH and HOSTNAME of one node on all",
        source="ACC#2565, ACC#514, ACC#741",
    ),
    About(
        "ds-env-file-stale",
        layer="launcher",
        severity=WARN,
        also=(INFO,),
        title="A leftover .deepspeed_env changes every job",
        symptom="settings nobody remembers",
        source="DeepSpeed launcher/runner.py",
    ),
    needs=("user",),
)
def stale(case: Case) -> t.Iterator[Answer]:
    """Files that an earlier launch of Accelerate filled, and files that steer every DeepSpeed job of the user."""
    cause = "DeepSpeed sends these variables to every node with every job that is started there, and does not say so."
    remedy = "Delete the file, or name the one that is meant with DS_ENV_FILE=/absolute/path."
    given = {(copy.host, copy.path) for copy in common.copies(case, "deepspeed_env")}
    for copy in environment_files(case):
        names = list(formats.environment_file(copy.text)[0])
        of_node = [name for name in names if name.startswith("ACCELERATE_") or name in _OF_ONE_NODE]
        steers = [name for name in names if _STEERING.match(name)]
        if of_node:
            yield finding(
                "acc-env-file-stale",
                WARN,
                copy.host,
                f"{copy.path}: {', '.join(of_node[:5])}",
                "Accelerate adds its whole environment to the file at every launch: old settings of one "
                "node go to all.",
                "Delete the file before each launch.",
            )
        elif (copy.host, copy.path) not in given and names:
            evidence = f"{copy.path}: {', '.join((steers or names)[:5])}"
            yield finding("ds-env-file-stale", WARN if steers else INFO, copy.host, evidence, cause, remedy)


@rule(
    About(
        "acc-env-file-secrets",
        layer="accelerate",
        severity=WARN,
        title="Accelerate writes tokens of the shell to a file",
        symptom="tokens in the list of processes, logs and files",
        source="Accelerate utils/launch.py",
    ),
    needs=("user",),
    applies=_has_environment_files,
)
def secrets(case: Case) -> t.Iterator[Answer]:
    """Tokens in a file that is sent over command lines."""
    for copy in environment_files(case):
        values = formats.environment_file(copy.text)[0]
        names = [name for name, value in values.items() if value and _SECRET.search(name) and name not in _NO_SECRET]
        if names:
            yield finding(
                "acc-env-file-secrets",
                WARN,
                copy.host,
                f"{copy.path}: {', '.join(names)}",
                "DeepSpeed puts these variables into the command line on every node, where all users and "
                "logs see them.",
                "Take them out, renew them, and let the program read them from a file that only the user may read.",
            )


@rule(
    About(
        "ssh-port-mismatch",
        layer="ssh",
        severity=FAIL,
        title="The ssh port differs from the one that others use",
        symptom="connection refused, or another machine answers",
        source="field notes, DS#4649",
    ),
    needs=("user",),
)
def port_mismatch(case: Case) -> t.Iterator[Answer]:
    """ssh is told another port than the one on which the peer's sshd listens; the node that goes wrong is named.

    Where logins were tried by the configuration in force, their outcome says more (_rules_ssh_ports).
    """
    listening, sources = common.ssh_ports(case), login_sources(case)
    for host, place, name, port in _ssh_ways(case):
        target = common.node_of(case, name)
        if host not in sources or target is None or port is None:
            continue
        if not listening[target] or port in listening[target]:
            continue
        in_force = integer(dig(common.part(case, host, "ssh_client.targets").get(name), "port"))
        if not (port == in_force and (case.mesh.get(host) or {}).get(target)):
            ports = ", ".join(str(one) for one in sorted(listening[target]))
            yield finding(
                "ssh-port-mismatch",
                FAIL,
                host,
                f"{place}: port {port} for {name}, its sshd listens on {ports}",
                "ssh connects to a port on which nothing, or another sshd, listens.",
                "Set the port in ~/.ssh/config of the user: Host NAME, Port N; and leave --ssh_port out.",
            )


def _ssh_ways(case: Case) -> t.Iterator[tuple[str, str, str, int | None]]:
    """(node, where it is written, name, port) of every port that ssh is told."""
    for host in case.order:
        for name, target in common.part(case, host, "ssh_client.targets").items():
            yield host, "ssh -G", name, integer(dig(target, "port"))
    for copy in common.copies(case, "ssh_config"):
        for block in formats.ssh_config(copy.text)[0]:
            for pattern in block.patterns:
                if block.get("port"):
                    known = common.node_of(case, pattern)
                    name = pattern if known else block.get("hostname") or pattern
                    yield copy.host, copy.at(block.line), name, integer(block.get("port"))
    for copy, _script, command in common.commands(case, DEEPSPEED):
        if command.options.get("ssh_port"):
            for name in case.order:
                yield copy.host, f"{copy.at(command.line)}: --ssh_port", name, integer(command.options["ssh_port"])
