# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.node_facts)."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action

# Lists of as many texts as there are nodes. Ansible looks through each element, several times, for each node.
OF_EVERY_NODE = ("names", "peers", "addresses")


class ActionModule(ActionBase):
    """Runs the module, with what the inventory of this run says it has to look at."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        if "trainmesh_inventory" in variables:
            name = variables["inventory_hostname"]
            stored = action.stored(variables["hostvars"], name)
            arguments = {
                **stored["trainmesh_inventory"]["node_facts"],
                "user": variables.get("trainmesh_user") or self._login_user(stored, name),
                "key_comment": f"trainmesh {name}",
                **arguments,
            }
            lists = {name: arguments[name] for name in OF_EVERY_NODE if arguments.get(name)}
            arguments.update({name: ",".join(texts) for name, texts in lists.items() if isinstance(texts, list)})
            arguments.update(self._present(arguments, stored, variables))
        return {**result, **self._execute_module(module_args=arguments, task_vars=variables)}

    @staticmethod
    def _present(
        arguments: t.Mapping[str, t.Any], stored: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any]
    ) -> dict[str, t.Any]:
        """What the part C(present) needs; a run that only reads leaves it out, as nothing is to be changed."""
        parts = list(arguments.get("gather") or [])
        if "present" not in parts:
            return {}
        wish = stored["trainmesh_inventory"]["present"]
        if not wish:
            return {"gather": [part for part in parts if part != "present"]}
        ssh_port = int(variables.get("trainmesh_ssh_port") or 0)
        own = {"key": str(stored["trainmesh_run_key"]), "ssh_port": ssh_port}
        return {"present": {**wish, **own, **(arguments.get("present") or {})}}

    def _login_user(self, stored: t.Mapping[str, t.Any], name: str) -> str | None:
        """The user who logs in: the module runs as root and can't tell. The preflight knows it, else the host tells."""
        row = ((stored.get("trainmesh_reach") or {}).get("hosts") or {}).get(name) or {}
        if row.get("user"):
            return str(row["user"])
        answer = self._low_level_execute_command("id -un", sudoable=False)
        return str(answer["stdout"]).strip() or None if answer.get("rc") == 0 else None
