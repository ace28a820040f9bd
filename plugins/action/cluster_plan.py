# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.cluster_plan)."""

from __future__ import annotations

import functools
import os
import secrets
import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action, redact
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import node_variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import variables as inventory_variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import (
    changes,
    changes_text,
    conda,
    environments,
    membership,
    nodes,
    removed_keys,
    role_inputs,
    state,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import cluster as plan_cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.authority import Authority
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.nodes import Host, logins_at_once
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.trust import Seen, Trust
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import lockfile, wanted
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.conda import Installer
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.pythons import Pythons
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import Tools
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.wheelhouse import Store

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "group": {"type": "str", "default": "all"},
    "state_dir": {"type": "path", "required": True},
    "read_only": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """Computes the cluster model once, on the controller, from what the play has gathered."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run once for all hosts; fails with every reason at once."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, given = self.validate_argument_spec(ARGUMENTS)
        group, read_only = given["group"], given["read_only"]
        hostvars, members = variables["hostvars"], variables["groups"][group]
        names = [name for name in members if not action.is_leaving(hostvars, name)]
        live = set(variables["ansible_play_hosts"])
        try:
            node_variables.refuse(hostvars, names)
            hosts, refused = nodes.checked([self._host(name, hostvars, name in live) for name in names])
            options = {**self._options(hostvars[names[0]], hosts), "refused": refused}
            options["installs"] = action.runs(variables, "python_env", "torch_stack")
            if options["requirements"] and options["installs"] and not read_only:
                options["requirements_file"] = wanted.path_of(options["requirements"], given["state_dir"])
                options["user_lines"] = wanted.Reader(options["requirements_file"])
            options["conda_problem"] = functools.partial(self._conda_problem, given["state_dir"], dict(options))
            options["conda_lock_python"] = self._locked_python(options["conda_lock"])
            options["python_problem"] = self._pythons(given["state_dir"], options).problem
            path = os.path.join(given["state_dir"], "cluster.json")
            memory = state.load(path, group, {host.name: host.ansible_host for host in hosts})
            plan = plan_cluster.make(hosts, options, memory.nodes, strict=not read_only)
            self._environments(plan, hosts, hostvars, options["installs"] and not read_only)
            removed = self._removed(memory, plan["model"], self._user_facts(hostvars, names, live))
            identity = self._identity(hosts, plan, memory, options["takeover"], strict=not read_only)
            seen = Seen.of(hosts, self._user_facts(hostvars, names, live), memory.nodes, identity)
            writes = not self._task.check_mode and not read_only
            Trust(plan["model"], Authority(given["state_dir"], identity), seen, options, writes).enter(plan)
        except (ValueError, plan_cluster.PlanError) as error:
            faults = error.faults if isinstance(error, plan_cluster.PlanError) else [str(error)]
            head = f"These machines can't make the cluster asked for ({len(faults)} reason(s)); nothing was installed."
            text = "\n".join([head, *(f"  {number}. {fault}" for number, fault in enumerate(faults, 1))])
            return {**result, "failed": True, "msg": redact.harmless(text)}
        cluster, plan["logins_at_once"] = plan.pop("model"), logins_at_once(hosts)
        if writes:
            plan["warnings"] += self._moved(memory.prefix, cluster.prefix)
            state.save(path, state.text(cluster, identity, group, memory.others, removed))
        for name, node in plan["nodes"].items():
            node["become"] = variables["trainmesh_inventory"]["become"][name]
        rows = (action.stored(hostvars, names[0]).get("trainmesh_reach") or {}).get("hosts") or {}
        plan["warnings"] += self._lost([name for name in members if name not in names], rows)
        for warning in plan["warnings"]:
            action.warn(warning)
        if not read_only:
            plan["reasons"] += self._added(plan, hostvars, live, given["state_dir"])
        action.show(self._summary(plan))
        differs = {} if read_only else self._changes(plan, identity, variables, live, given["state_dir"])
        if not read_only:
            leaving = [name for name in members if name not in names and (rows.get(name) or {}).get("ok") is not False]
            action.show(changes_text.table(differs, leaving))
        del plan["warnings"]  # shown above; Ansible would print them once more for every host
        unreached = nodes.unreached({name: rows[name] for name in names if name in rows}, plan["nodes"])
        place = {"identity": identity, "read_only": read_only, "state_dir": os.path.dirname(path)}
        unchanged = [node.name for node in cluster.nodes if read_only or not node.reachable]
        place["removed_keys"] = removed_keys.for_rules(removed, unchanged)
        # New in each run: by it the probes and their listeners know each other.
        place["probe_token"] = secrets.token_hex(16)
        place["changes"] = {name: [change._asdict() for change in found] for name, found in differs.items() if found}
        place["plays"] = {name: changes.plays(found) for name, found in differs.items() if found}
        return {**result, **plan, "changed": False, "unreached": unreached, **place}

    @staticmethod
    def _environments(
        plan: dict[str, t.Any], hosts: t.Sequence[Host], hostvars: t.Mapping[str, t.Any], installs: bool
    ) -> None:
        """Where the environment of each node is made; raises PlanError where there is no room beside the one in use."""
        reached = [host for host in hosts if host.fabric and host.name in plan["nodes"]]
        presents = {host.name: action.facts(hostvars, host.name).get("trainmesh_facts_present") for host in reached}
        disks = {host.name: (host.fabric.get("disks") or {}).get(plan["prefix"]) or {} for host in reached}
        free = {name: disk.get("free_bytes") for name, disk in disks.items()}
        faults = environments.enter(plan, presents, free)
        if faults and installs:
            raise plan_cluster.PlanError(faults)
        plan["reasons"] += environments.left(plan, presents)

    def _changes(
        self,
        plan: t.Mapping[str, t.Any],
        identity: str,
        variables: t.Mapping[str, t.Any],
        live: t.Collection[str],
        state_dir: str,
    ) -> dict[str, list[changes.Change]]:
        """What the roles of this run would change, for each node of it."""
        hostvars, key = variables["hostvars"], str(variables["trainmesh_run_key"])
        desired = changes.Desired({**plan, "identity": identity}, key, role_inputs.launch_scripts())
        lock, why = self._lock(plan["stack"], state_dir)
        own_locks = {
            each["name"]: self._lock({**plan["stack"], **each}, f"{state_dir}/environments/{each['name']}")[0]
            for each in plan["stack"].get("environments") or []
        }
        roles = [role for role in changes.ROLES if action.runs(variables, role)]
        found = {}
        for name in (name for name in plan["order"] if name in live):
            stored, facts = action.stored(hostvars, name), action.facts(hostvars, name)
            given = changes.Given(
                env=hostvars[name]["trainmesh_env"] if "trainmesh_env" in stored else {},
                ssh_port=int(hostvars[name]["trainmesh_ssh_port"] or 0) if "trainmesh_ssh_port" in stored else 0,
                lock=lock,
                lock_why=why,
                own_locks=own_locks,
                overridden={role: role_inputs.overridden(role, stored) for role in roles},
                block=(facts.get("trainmesh_facts_fabric") or {}).get("cluster_block"),
            )
            every = changes.changes(desired, name, facts.get("trainmesh_facts_present"), given)
            found[name] = [change for change in every if change.role in roles]
        return found

    @staticmethod
    def _lock(stack: t.Mapping[str, t.Any], state_dir: str) -> tuple[t.Mapping[str, str] | None, str]:
        """(the packages of the lock, why it has to be made): None where none is for this plan, or none can be read."""
        wish = lockfile.Wish(
            python_version=stack["python_version"],
            platform=stack["platform"],
            torch_build=stack["torch_build"],
            requirements=tuple(stack["requirements"]),
            torch_backend=stack["torch_backend"] or "",
            limits=wanted.limits_of(stack["requirements_file"]),
        )
        store = Store(os.path.abspath(state_dir), wish, Tools("", ""))
        try:
            text = store.lock_text()
            return (lockfile.read(text).versions, "") if text else (None, store.why_new())
        except ValueError:
            return None, ""  # the role says what is wrong with it

    def _added(
        self, plan: t.Mapping[str, t.Any], hostvars: t.Mapping[str, t.Any], live: t.Collection[str], state_dir: str
    ) -> list[str]:
        """What was added with ``trainmesh pip install`` on the nodes, and is not in the lock.

        It never joins the lock by itself: a node does not say what the controller fetches and builds.
        """
        if plan["head"] not in live:
            return []
        present = action.facts(hostvars, plan["head"]).get("trainmesh_facts_present")
        stack = present.get("torch_stack") if isinstance(present, dict) else None
        pins = [str(pin) for pin in stack.get("added") or []] if isinstance(stack, dict) else []
        if not pins:
            return []
        lock = self._lock(plan["stack"], state_dir)[0] or {}
        rest = [pin for pin in pins if pin.partition("==")[0] not in lock]
        lacking = "the new environment lacks them" if environments.is_new(plan) else "new nodes lack them"
        advice = f"name them in trainmesh_extra_packages or in the file of trainmesh_requirements, or {lacking}"
        return [f"added with trainmesh pip install, and not in the lock: {', '.join(rest)}: {advice}"] if rest else []

    @staticmethod
    def _lost(leaving: t.Iterable[str], rows: t.Mapping[str, t.Any]) -> list[str]:
        """Of nodes that leave, those on which nothing can be removed."""
        lost = [name for name in leaving if (rows.get(name) or {}).get("ok") is False]
        return [f"{name} leaves and can't be used: the others forget it; what is on it stays there" for name in lost]

    @staticmethod
    def _moved(before: str, prefix: str) -> list[str]:
        """What stays on the nodes where the prefix is another one than in the last run."""
        if before in ("", prefix):
            return []
        stays = f"what is there stays on the nodes (environment, logs): remove it when nobody needs {before}"
        return [f"trainmesh_prefix was {before} and is {prefix} now; {stays} any more"]

    @staticmethod
    def _removed(
        memory: state.Memory,
        cluster: Cluster,
        users: t.Mapping[str, t.Any],
    ) -> list[removed_keys.Removed]:
        """Keys of nodes that left, made new ones or log in no more, which other nodes may still have."""
        return removed_keys.still_open(memory.removed, memory.nodes, cluster, users, memory.login_sources)

    @staticmethod
    def _user_facts(
        hostvars: t.Mapping[str, t.Any], names: t.Iterable[str], live: t.Container[str]
    ) -> dict[str, t.Mapping[str, t.Any]]:
        """What the nodes of this run say of the job user."""
        return {name: action.facts(hostvars, name).get("trainmesh_facts_user") or {} for name in names if name in live}

    @staticmethod
    def _identity(
        hosts: t.Sequence[Host],
        plan: dict[str, t.Any],
        memory: state.Memory,
        takeover: bool,
        strict: bool,
    ) -> str:
        """What tells this cluster from others; raises PlanError for nodes of another one, before anything changes."""
        addresses: set[t.Any] = {host.ansible_host for host in hosts}
        for node in plan["model"].nodes:
            addresses.update(node.addresses)
        for known in memory.nodes.values():
            addresses.update([known.get("address"), *(known.get("addresses") or ())])
        blocks = {host.name: host.fabric.get("cluster_block") for host in hosts if host.fabric}
        foreign = membership.others(blocks, memory.identity, addresses)
        faults = [membership.words(name, block) for name, block in foreign.items()]
        if faults and strict and not takeover:
            raise plan_cluster.PlanError(faults)
        plan["warnings"] += faults
        return memory.identity or membership.adopted(blocks, foreign) or secrets.token_hex(4)

    @staticmethod
    def _host(name: str, hostvars: t.Mapping[str, t.Any], live: bool) -> Host:
        values, facts = hostvars[name], action.facts(hostvars, name) if live else {}
        return Host(
            name=name,
            wish=inventory_variables.read(values, "host"),
            ansible_host=str(values.get("ansible_host") or name),
            ansible_port=int(values.get("ansible_port") or 22),
            fabric=facts.get("trainmesh_facts_fabric") or {},
            gpu=facts.get("trainmesh_facts_gpu") or {},
            identity=facts.get("trainmesh_facts_identity") or {},
            sshd=user.get("sshd") or {} if isinstance(user := facts.get("trainmesh_facts_user"), dict) else {},
            stack=facts.get("trainmesh_facts_stack") or {},
        )

    @staticmethod
    def _options(variables: t.Mapping[str, t.Any], hosts: t.Sequence[Host]) -> dict[str, t.Any]:
        options = inventory_variables.read(variables, "cluster")
        users = sorted({str(host.identity["user"]) for host in hosts if host.identity.get("user")})
        if options["user"] is None and len(users) > 1:
            raise ValueError(
                f"the login users differ ({', '.join(users)}): set trainmesh_user to the one that runs the jobs"
            )
        options["user"] = options["user"] or (users[0] if users else "root")
        return options

    @staticmethod
    def _pythons(state_dir: str, options: t.Mapping[str, t.Any]) -> Pythons:
        """uv's Pythons, which are asked for only where a node lacks one."""
        return Pythons(os.path.abspath(state_dir), Tools("", "", insecure=True), options["python_mirror"])

    def _locked_python(self, path: str) -> str:
        """The version in the lock of conda, empty where there is none; raises ValueError for one that can't be used."""
        if not path:
            return ""
        try:
            with open(self._find_needle("files", path), encoding="utf-8") as stream:
                return conda.locked_python(stream.read())
        except (AnsibleError, OSError, ValueError) as error:
            raise ValueError(f"trainmesh_conda_lock: {path}: {error}") from error

    def _conda_problem(self, state_dir: str, options: t.Mapping[str, t.Any], arch: str) -> str:
        """Why the installer of conda can't be had on the controller; a path is looked for as the role does."""
        place = options["conda_installer"]
        if not place or "://" in place:
            tools = Tools("", "", insecure=True)
            return Installer(os.path.abspath(state_dir), tools, place, options["conda_installer_checksum"]).problem(
                arch
            )
        try:
            found = self._find_needle("files", place)
        except AnsibleError:
            return f"trainmesh_conda_installer: there is no {place} on the controller"
        readable = os.path.isfile(found) and os.access(found, os.R_OK)
        return "" if readable else f"trainmesh_conda_installer: {found} is no file that can be read on the controller"

    @staticmethod
    def _summary(plan: t.Mapping[str, t.Any]) -> str:
        lines = ["", "The plan:"]
        for name in plan["order"]:
            node = plan["nodes"][name]
            gpus = f", {len(node['gpus'])} x {node['gpus'][0]}" if node["gpus"] else ", no GPU"
            away = "" if node["reachable"] else " (not reached)"
            place = (
                f"{node['address']} on {node['interface']}, ssh port {node['ssh_port']}, {node['slots']} slot(s){gpus}"
            )
            lines.append(f"  rank {node['rank']}  {name}  {place}{away}")
        return "\n".join([*lines, *(f"  {reason}" for reason in plan["reasons"])])
