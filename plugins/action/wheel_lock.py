# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.wheel_lock)."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import node_variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import lockfile, wanted
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.wheelhouse import Store

ARGUMENTS = {
    "state": {"type": "str", "choices": ["locked", "filled"], "default": "locked"},
    "state_dir": {"type": "path", "required": True},
    "python_version": {"type": "str", "required": True},
    "platform": {"type": "str", "required": True},
    "torch_build": {"type": "str", "default": ""},
    "torch_backend": {"type": "str", "default": ""},
    "requirements": {"type": "list", "elements": "str", "required": True},
    "requirements_file": {"type": "str", "default": ""},
    "index_url": {"type": "str", "default": "", "no_log": True},
    "index_insecure": {"type": "bool", "default": False},
    "torch_index_url": {"type": "str", "default": "", "no_log": True},
    "update": {"type": "bool", "default": False},
    "wheelhouse": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 3600},
}


class ActionModule(ActionBase):
    """Makes the lock and fills the wheelhouse on the controller; contacts no node."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run once for all nodes."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _report, args = self.validate_argument_spec(argument_spec=ARGUMENTS)
        variables = task_vars or {}
        notes: list[str] = []
        try:
            store = self._store(args)
            notes = store.notes
            node_variables.refuse(variables["hostvars"], variables["ansible_play_hosts_all"])
            with contextlib.nullcontext() if self._task.check_mode else store.alone():
                result.update(self._make(store, args))
        except (ToolError, ValueError, OSError) as error:
            result.update(failed=True, msg=str(error))
        for note in notes:
            action.warn(note)
        return result

    def _make(self, store: Store, args: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """What the module returns."""
        check = self._task.check_mode
        before = store.lock_text()
        if not before and check and args["state"] == "filled":
            return {"changed": True, "files": [], "offline": bool(store.wheelhouse), "torch_backend": ""}
        text = store.make(check, args["update"]) if args["update"] or not before else before
        made = text != before
        preview = made and check
        result = self._lock(store, text, made, preview)
        if args["state"] == "filled" and not preview:
            result.update(self._fill(store, args["timeout"], made))
        return result

    def _store(self, args: t.Mapping[str, t.Any]) -> Store:
        wish = lockfile.Wish(
            python_version=args["python_version"],
            platform=args["platform"],
            torch_build=args["torch_build"],
            requirements=tuple(args["requirements"]),
            torch_backend=args["torch_backend"],
            limits=wanted.limits_of(args["requirements_file"]),
        )
        return Store(
            state_dir=os.path.abspath(args["state_dir"]),
            wish=wish,
            tools=Tools(
                args["python_version"],
                args["platform"],
                args["index_url"],
                insecure=args["index_insecure"],
                torch_index_url=args["torch_index_url"],
            ),
            wheelhouse=args["wheelhouse"],
            say=lambda text: action.show(f"  {text}"),
        )

    @staticmethod
    def _lock(store: Store, text: str, made: bool, preview: bool) -> dict[str, t.Any]:
        lock = lockfile.read(text)
        return {
            "changed": made,
            "lock": store.lock_path,
            "key": lockfile.digest(text),
            "packages": lock.versions,
            "files": [],
            "offline": bool(store.wheelhouse) if preview else store.offline(lock),
            "torch_backend": lock.torch_backend,
            "diff": {"before": "", "after": text, "after_header": store.lock_path} if made else {},
        }

    def _fill(self, store: Store, seconds: float, made: bool) -> dict[str, t.Any]:
        """The files that a node needs, fetched and built where they are missing."""
        check = self._task.check_mode
        uv, completed = ("", False) if check else store.complete()
        lock = lockfile.read(store.lock_text())
        offline = store.offline(lock, notify=True)
        wheels, fetched = store.fill(seconds, check) if offline else (store.built(lock), False)
        files = [store.lock_path, *([uv] if uv else []), *wheels]
        return {
            "changed": made or completed or fetched,
            "key": lockfile.digest(store.lock_text()),
            "files": files,
            "megabytes": round(sum(os.path.getsize(path) for path in files) / 1e6),
            "offline": offline,
        }
