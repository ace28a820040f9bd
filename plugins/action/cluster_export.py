# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.cluster_export)."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_write
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.textfile import Change, read_text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action, redact
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import sources
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import variables as inventory_variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import offline, state
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.cluster import PlanError
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import places
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import Play, Target, target
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import export, ssh

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "group": {"type": "str", "default": "all"},
    "directory": {"type": "path"},
}
Variables = t.Mapping[str, t.Any]


class ActionModule(ActionBase):
    """Writes files on the controller; contacts no host."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Fails with everything that is missing at once, and has written nothing then."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, given = self.validate_argument_spec(ARGUMENTS)
        group, hostvars = given["group"], variables["hostvars"]
        try:
            every = {name: sources.host(hostvars[name]) for name in action.members(variables, group)}
            hosts = {name: host for name, host in every.items() if not action.leaves(host)}
            if faults := sources.faults(variables, hosts):
                raise PlanError(faults)
            options = inventory_variables.read(next(iter(hosts.values())), "cluster")
            directory = os.path.abspath(given["directory"] or os.path.expanduser(options["export_dir"]))
            refuse(directory, variables.get("ansible_inventory_sources") or [])
            cluster, assumed = self._cluster(hosts, options, group, variables)
            changes = differences(directory, export.files(cluster))
            if not self._task.check_mode:
                for change in changes:
                    write(change)
        except PlanError as error:
            head = f"The launch configuration can't be written ({len(error.faults)} reason(s)); nothing was written."
            return {**result, "failed": True, "msg": redact.harmless(action.numbered(head, error.faults))}
        except (ValueError, OSError) as error:
            return {**result, "failed": True, "msg": redact.harmless(str(error))}
        action.show(summary(cluster, directory, assumed))
        answer = {**result, "changed": bool(changes), "directory": directory, "assumed": assumed}
        answer["files"] = [os.path.relpath(change.path, directory) for change in changes]
        return {**answer, "diff": [change.diff for change in changes]} if self._task.diff else answer

    def _cluster(
        self, hosts: Variables, options: Variables, group: str, variables: Variables
    ) -> tuple[Cluster, list[str]]:
        """The model, by the inventory, the state file if there is one, and the controller's ssh configuration."""
        path = os.path.join(options["state_dir"] or sources.state_dir(variables), "cluster.json")
        named = {name: str(host.get("ansible_host") or name) for name, host in hosts.items()}
        memory = state.load(path, group, named)
        play = Play({"remote_user": self._task.remote_user, "port": self._task.port}, None, None)
        targets = [target(name, variables["hostvars"][name], play) for name in hosts]
        # Of a host without ssh only what the inventory says of its address counts.
        targets = [Target(one.name, named[one.name], untested=one.untested) if one.untested else one for one in targets]
        wishes = {name: inventory_variables.read(host, "host") for name, host in hosts.items()}
        return offline.make(wishes, places.find(targets), options, memory.nodes)


def refuse(directory: str, inventory: t.Iterable[str]) -> None:
    """Raise ValueError for a directory of somebody else's: with an inventory or other files in it, or in an inventory.

    Ansible reads everything below an inventory that is a directory.
    """
    real = os.path.realpath(directory)
    for source in inventory:
        place = os.path.realpath(source)
        if "," not in source and os.path.commonpath([real, place]) in (real, place):
            raise ValueError(
                f"{directory} and the inventory {source} would mix: set trainmesh_export_dir to another one"
            )
    entries = os.listdir(directory) if os.path.isdir(directory) else []
    if entries and not read_text(os.path.join(directory, "ssh_config")).startswith(ssh.WRITTEN):
        advice = "set trainmesh_export_dir to a new directory, or to that of an earlier export"
        raise ValueError(f"{directory} holds other files ({', '.join(sorted(entries)[:3])}): {advice}")


def differences(directory: str, files: t.Mapping[str, str]) -> list[Change]:
    """What has to change; files of ranks that are no more go."""
    wanted = {os.path.join(directory, name): text for name, text in files.items()}
    names = {os.path.basename(path) for path in files if re.match(r"accelerate/rank\d+/", path)}
    stale = [
        path
        for path in sorted(glob.glob(os.path.join(glob.escape(directory), "accelerate/rank[0-9]*/*")))
        if os.path.basename(path) in names and path not in wanted
    ]
    changes = [Change(path, read_text(path), text) for path, text in [*wanted.items(), *((path, "") for path in stale)]]
    return [change for change in changes if change.before != change.after]


def write(change: Change) -> None:
    """Make one change. Raises OSError."""
    if change.after:
        os.makedirs(os.path.dirname(change.path), exist_ok=True)
        file_write.replace(change.path, file_write.to_bytes(change.after))
        return
    os.unlink(change.path)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(change.path))


def summary(cluster: Cluster, directory: str, assumed: t.Sequence[str]) -> str:
    """Where the files are and what they are for."""
    lines = [
        "",
        f"The launch configuration of {len(cluster.nodes)} node(s) with {cluster.world_size} slot(s): {directory}",
        "  hostfile     for deepspeed and mpirun",
        "  ssh_config   to include in ~/.ssh/config",
        "  etc_hosts    a block for /etc/hosts",
        f"  accelerate/  with deepspeed/ and hostfile for {cluster.prefix}/etc; rankN for the node of rank N alone",
        *(["  Assumed, as no host was asked:", *(f"    {one}" for one in assumed)] if assumed else []),
    ]
    return "\n".join(lines)
