# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.inventory_check)."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import typing as t

from ansible import constants as C
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import firewall
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import ssh
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import host_names as inventory_host_names
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import gpu_software
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import sources as inventory_sources
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import variables as inventory_variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.variables import PREFIX
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import expected, python, run_lock, state
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.cluster import HIGH_PORT
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import controller
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import sources as wheels_sources
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import wanted
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools

display = Display()
DEVICES_ROOT = "__trainmesh_devices_root"
ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "group": {"type": "str", "default": "all"},
    "teardown": {"type": "bool", "default": False},
    "read_only": {"type": "bool", "default": False},
    "may_rotate": {"type": "bool", "default": False},
}


def host_names(hosts: t.Mapping[str, t.Any]) -> list[str]:
    """The names by which the nodes know each other, as the plan will give them."""
    return [
        name
        if inventory_host_names.is_host_name(name)
        else inventory_host_names.host_name(name, host.get(PREFIX + "hostname"))
        for name, host in hosts.items()
    ]


def node_arguments(hosts: t.Mapping[str, t.Any], wishes: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What M(trainmesh.cluster.node_facts) has to look at on every node."""
    return {
        "peers": [
            str(host.get(PREFIX + "address") or host.get("ansible_host") or name) for name, host in hosts.items()
        ],
        "names": host_names(hosts),
        "paths": [wishes["prefix"], "~/.cache", "/tmp"],
        "python": wishes["verify_python"] or f"{wishes['prefix']}/env/bin/python",
        "import": wishes["verify_import"],
        **python.base(wishes),
        "ports": [wishes["master_port"], HIGH_PORT],
        "user_paths": wishes["paths"],
        "files": wishes["files"],
        "prefix": wishes["prefix"],
    }


def recorded_devices(extra: t.Mapping[str, t.Any]) -> dict[str, str]:
    """A test has nodes show the devices of recorded machines. The command line alone says so, never an inventory."""
    return {"devices_root": str(extra[DEVICES_ROOT])} if DEVICES_ROOT in extra else {}


def becomes(host: t.Mapping[str, t.Any]) -> bool:
    """Whether the job user is another than the login user; an inventory that wants no become at all gets none."""
    return host.get(PREFIX + "user") is not None and boolean(host.get("ansible_become", True), strict=False)


def become_faults(hosts: t.Mapping[str, t.Any], extra: t.Mapping[str, t.Any]) -> list[str]:
    """What the command line says of become beats every task's own word: a job user without a name would be root."""
    named = all(PREFIX + "user" in host or host.get("ansible_user") == "root" for host in hosts.values())
    if named or not boolean(extra.get("ansible_become", False), strict=False):
        return []
    advice = "leave it out (what needs root asks for it by itself), or name the job user with trainmesh_user"
    return [f"-e ansible_become={extra['ansible_become']} makes root the job user: {advice}"]


def rotates(hosts: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any]) -> bool:
    """Whether this run gives the nodes new keys: only one that hands them out makes them."""
    wanted = any(boolean(host.get(PREFIX + "rotate_keys") or False, strict=False) for host in hosts.values())
    return wanted and action.runs(variables, "ssh_mesh")


def rotation_faults(hosts: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any]) -> list[str]:
    """New keys that some nodes would not be told of: logins to those would fail."""
    if not variables.get("ansible_limit") or not rotates(hosts, variables):
        return []
    return [
        "trainmesh_rotate_keys with --limit: the nodes left out would not know the new keys; run it without --limit"
    ]


def leaving_faults(
    every: t.Mapping[str, t.Any], leaving: t.Sequence[str], teardown: bool, variables: t.Mapping[str, t.Any]
) -> list[str]:
    """What is wrong with nodes that are to leave, or with the end of a whole cluster."""
    if not teardown:
        all_leave = leaving and len(leaving) == len(every)
        return ["every node has trainmesh_state: absent: teardown.yml takes a whole cluster apart"] if all_leave else []
    confirmed = any(boolean(host.get(PREFIX + "teardown") or False, strict=False) for host in every.values())
    if confirmed or variables.get("ansible_check_mode"):
        return []
    return [
        f"this removes the cluster from {', '.join(leaving)}: environment, logs, keys, names, firewall rules. "
        "Look at it with --check --diff first; to do it, add -e trainmesh_teardown=true"
    ]


class ActionModule(ActionBase):
    """Checks the inventory on the controller; contacts no machine."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run once for all hosts; fails with every fault at once."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        hostvars = variables["hostvars"]
        _validation, given = self.validate_argument_spec(ARGUMENTS)
        try:
            names = action.members(variables, given["group"])
        except ValueError as error:
            return {**result, "failed": True, "msg": str(error)}
        every = {name: inventory_sources.host(hostvars[name]) for name in names}
        teardown = given["teardown"]
        leaving = [name for name, host in every.items() if teardown or action.leaves(host)]
        hosts = {name: host for name, host in every.items() if teardown or name not in leaving}
        faults = inventory_sources.faults(variables, hosts or every)
        faults += leaving_faults(every, leaving, teardown, variables)
        extra = load_extra_vars(self._loader)
        faults += become_faults(hosts, extra) + rotation_faults(hosts, variables)
        faults += self._controller(variables, names)
        if not faults and self._installs(variables):
            faults += self._sources(next(iter(hosts.values())), inventory_sources.origin)
            faults += self._requirements(next(iter(hosts.values())), inventory_sources.state_dir(variables))
        if faults:
            head = f"The inventory has {len(faults)} fault(s); no machine was touched."
            return {**result, "failed": True, "msg": action.numbered(head, faults)}
        if warning := inventory_sources.without_effect(hostvars, hosts):
            action.warn(warning)
        wishes = inventory_variables.read(next(iter(hosts.values()), {}), "cluster")
        place = inventory_sources.state_dir(variables)
        own_place = os.path.abspath(str(every[names[0]].get("trainmesh_state_dir") or place))
        try:
            interrupted = self._taken(own_place, variables)
        except run_lock.BusyError as error:
            return {**result, "failed": True, "msg": f"{error}."}
        asked = node_arguments(hosts, wishes)
        memory, keys = self._known(os.path.join(own_place, "cluster.json"), given["group"], hosts)
        return {
            **result,
            "changed": False,
            "hosts": [name for name in hosts if name not in leaving],
            "leaving": leaving,
            "state_dir": place,
            "become": {name: becomes(host) for name, host in every.items()},
            "interrupted": interrupted,
            "gpu_software": gpu_software.chosen({name: hosts[name] for name in hosts if name not in leaving}),
            "node_facts": {
                **asked,
                "addresses": expected.addresses(hosts, asked["peers"], memory),
                **({"keys": ssh.expected(keys)} if keys else {}),
                **recorded_devices(extra),
                "create_key": not given["read_only"],
                "rotate_key": given["may_rotate"] and rotates(hosts, variables),
            },
            "authorized_keys": keys,
            "present": {}
            if given["read_only"]
            else {"backends": firewall.backends(wishes["firewall"]), "port": wishes["master_port"]},
        }

    @staticmethod
    def _installs(variables: t.Mapping[str, t.Any]) -> bool:
        """Whether this run puts packages on the nodes."""
        read_only = boolean(variables.get("trainmesh_read_only") or False, strict=False)
        return not read_only and action.runs(variables, "torch_stack")

    @staticmethod
    def _sources(values: t.Mapping[str, t.Any], origin: t.Callable[[t.Any], str]) -> list[str]:
        """What is wrong with where the packages come from; pip is asked only where that may be wrong."""
        wishes = inventory_variables.read(values, "cluster")
        index = None
        if not wishes["index_insecure"]:
            with contextlib.suppress(ToolError):  # without pip nothing is fetched; the step that needs it says so
                index = Tools("", "", wishes["index_url"], insecure=True).index
        at = origin(values.get(PREFIX + "index_url")) if wheels_sources.is_forgeable(wishes["index_url"]) else ""
        return [f"{at}: {fault}" if at else fault for fault in wheels_sources.faults(wishes, index)]

    @staticmethod
    def _requirements(values: t.Mapping[str, t.Any], state_dir: str) -> list[str]:
        """What is wrong with the user's own file of requirements."""
        given = inventory_variables.read(values, "cluster")["requirements"]
        try:
            if given:
                wanted.read(wanted.path_of(given, state_dir))
        except wanted.FileFault as error:
            return error.faults
        return []

    @staticmethod
    def _controller(variables: t.Mapping[str, t.Any], names: t.Iterable[str]) -> list[str]:
        """What is missing on the controller for this run."""
        hostvars = variables["hostvars"]
        kinds = {str(hostvars[name].get("ansible_connection", "ssh")).rpartition(".")[2] for name in names}
        logs_in = bool(kinds & {"ssh", "smart"})
        return controller.missing(ActionModule._installs(variables), logs_in)

    @staticmethod
    def _known(path: str, group: str, hosts: t.Mapping[str, t.Any]) -> tuple[state.Memory, list[str]]:
        """What the last run remembers, and its authorized_keys; nothing where that is damaged, as the plan says."""
        try:
            at = {name: str(host.get("ansible_host") or name) for name, host in hosts.items()}
            memory = state.load(path, group, at)
            return memory, expected.authorized_keys(memory)
        except ValueError:
            return state.Memory({}, "", "", []), []

    def _taken(self, place: str, variables: t.Mapping[str, t.Any]) -> bool:
        """Have the inventory for this run; whether the last one was interrupted. Raises BusyError.

        Two runs would end each other's listeners and jobs. A check that changes nothing and listens nowhere may go on.
        """
        path = os.path.join(os.path.abspath(place), run_lock.FILE)
        mine = run_lock.own(time.time(), " ".join(os.path.basename(word) for word in sys.argv[:2]))
        try:
            if not self._task.check_mode:
                return run_lock.take(path, mine, os.path.dirname(C.DEFAULT_LOCAL_TMP))
            run_lock.check(path, mine)
        except run_lock.BusyError as error:
            if not self._task.check_mode or boolean(variables.get("trainmesh_read_only") or False, strict=False):
                raise
            action.warn(f"{error}: what follows may change under this check")
        except OSError as error:
            display.vv(f"{path} can't be written ({error}): two runs at once would not be noticed")
        return False
