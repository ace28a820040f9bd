# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules on handed-in files share: who has which text, and what the nodes are."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import at_least, key
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import cpu_torch_only, rows
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, dig, once
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import formats, launch_script

NO_SSH_LAUNCHERS = ("standard", "nossh")


class Copy(t.NamedTuple):
    """A handed-in file as one node has it."""

    host: str
    path: str
    text: str

    def at(self, line: int) -> str:
        """The place of a line for a person."""
        return f"{self.path} line {line}" if line else self.path


def copies(case: Case, kind: str) -> list[Copy]:
    """The handed-in files of a kind that could be read, on every node that has them."""
    return [
        Copy(host, str(dig(file, "path", "")), file["text"])
        for host in case.order
        for file in rows(case.user.get(host), "files")
        if dig(file, "kind") == kind and isinstance(dig(file, "text"), str)
    ]


def for_cluster(case: Case, copy: Copy) -> bool:
    """Whether a file was named as what starts the job on the whole cluster."""
    files = rows(case.user.get(copy.host), "files")
    return any(dig(file, "path") == copy.path and dig(file, "cluster") is True for file in files)


def given(*kinds: str) -> t.Callable[[Case], bool]:
    """Whether a file of one of these kinds was given: what ``applies`` of a rule asks."""
    return lambda case: any(copies(case, kind) for kind in kinds)


def scripts(case: Case) -> list[tuple[Copy, launch_script.Script]]:
    """The handed-in launch scripts."""
    return [(copy, launch_script.launch_script(copy.text)) for copy in copies(case, "launch_script")]


def commands(case: Case, *launchers: str) -> t.Iterator[tuple[Copy, launch_script.Script, launch_script.Command]]:
    """The commands of these launchers in all handed-in scripts."""
    for copy, script in scripts(case):
        for command in script.commands:
            if command.launcher in launchers:
                yield copy, script, command


def mappings(case: Case, kind: str) -> list[tuple[Copy, Data]]:
    """The handed-in YAML or JSON files of a kind that are mappings, as far as they can be read."""
    strict = kind == "deepspeed_json"
    found = [(copy, formats.mapping(copy.text, strict)[0]) for copy in copies(case, kind)]
    return [(copy, data) for copy, data in found if data]


def hostfile_of(case: Case, host: str) -> formats.Hostfile | None:
    """The user's hostfile, as this node has it; None without one."""
    texts = [copy.text for copy in copies(case, "hostfile") if copy.host == host]
    return formats.hostfile(texts[0]) if texts else None


def unequal_hostfiles(case: Case) -> list[tuple[Copy, dict[str, int]]]:
    """The hostfiles whose hosts have unlike numbers of slots, and these; none counts with 0."""
    found = []
    for copy in copies(case, "hostfile"):
        numbers = {name: slots for name, slots in formats.hostfile(copy.text).slots.items() if slots}
        if len(set(numbers.values())) > 1:
            found.append((copy, numbers))
    return found


def of_unequal_hostfile(case: Case, ranks: t.Any) -> bool:
    """Whether a job has as many ranks as such a hostfile has slots."""
    return any(sum(numbers.values()) == ranks for _copy, numbers in unequal_hostfiles(case))


def node_of(case: Case, name: str) -> str | None:
    """The node that a name, alias or address means, None for one that is none of the cluster."""
    return _named(case).get(name.rpartition("@")[2].strip("[]").lower())


@once
def _named(case: Case) -> dict[str, str]:
    """The node of each name, alias and address: the first in rank order."""
    found: dict[str, str] = {}
    for host in case.order:
        node = case.node(host)
        for one in [host, dig(node, "address"), dig(node, "hostname"), dig(node, "fqdn"), *dig(node, "names", [])]:
            if one:
                found.setdefault(str(one).lower(), host)
    return found


def gpu_count(case: Case, host: str) -> int | None:
    """GPUs (or parts of them) that a job can use; None where the node's GPUs are not all well, which others judge."""
    facts = case.gpu.get(host)
    status = dig(facts, "status")
    if status == "none":
        return 0
    return len(rows(facts, "mig_devices") or rows(facts, "gpus")) if status == "ok" else None


def gpus_of(case: Case) -> dict[str, int]:
    """GPUs of every node where that is known; empty on a cluster without any, where slots are free to choose."""
    counts = {host: count for host in case.order if (count := gpu_count(case, host)) is not None}
    return counts if any(counts.values()) and not cpu_torch_only(case) else {}


def world_size(case: Case, host: str) -> int:
    """Ranks of a job: the slots of the user's hostfile, else those of the plan."""
    given = hostfile_of(case, host)
    return sum(given.slots.values()) if given and given.hosts else int(dig(case.plan, "world_size", 0))


def version(case: Case, host: str, package: str) -> str | None:
    """The installed version of a package on a node, else on the first node that has it."""
    places = [host, *case.order]
    found = (dig(case.stack.get(one), f"packages.{package}") for one in places)
    return next((str(one) for one in found if one), None)


def older(have: str | None, than: str) -> bool:
    """True when a version is known and older."""
    return bool(key(have)) and not at_least(have, than)


def multi_node(data: Data) -> bool:
    """Whether an Accelerate configuration is for several machines."""
    return (formats.integer(data.get("num_machines")) or 1) > 1


def multinode_launcher(data: Data) -> str:
    """How an Accelerate configuration with DeepSpeed starts the other nodes; empty without DeepSpeed."""
    if str(data.get("distributed_type")).upper() != "DEEPSPEED":
        return ""
    return str(dig(data, "deepspeed_config.deepspeed_multinode_launcher", "pdsh")).lower()


def ssh_ports(case: Case) -> dict[str, set[int]]:
    """The ports on which each node's sshd is known to listen."""
    found: dict[str, set[int]] = {}
    for host in case.order:
        ports = [dig(case.node(host), "ssh_port")]
        for facts in (case.fabric.get(host), case.user.get(host)):
            listed = dig(facts, "sshd.ports")
            ports += listed if isinstance(listed, list) else []
        found[host] = {port for port in ports if isinstance(port, int)}
    return found


def part(case: Case, host: str, path: str) -> Data:
    """The mapping at a dotted path of a node's user facts; an empty one where there is none."""
    found = dig(case.user.get(host), path)
    return found if isinstance(found, t.Mapping) else {}
