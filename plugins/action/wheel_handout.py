# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.wheel_handout)."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import tempfile
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.module_utils._install.uv import CERTIFICATES, INDEX
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import uncompressed
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import index as wheels_index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import torch_index
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError, Tools

ARGUMENTS = {
    "files": {"type": "list", "elements": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "offline": {"type": "bool", "default": False},
    "index_url": {"type": "str", "default": "", "no_log": True},
    "index_insecure": {"type": "bool", "default": False},
    "torch_index_url": {"type": "str", "default": "", "no_log": True},
    "torch_backend": {"type": "str", "default": ""},
}
LARGE = 10_000_000  # bytes from which a connection of their own pays


class ActionModule(ActionBase):
    """Puts the lock and the wheels into a directory of the node; only what is not there yet."""

    TRANSFERS_FILES = False  # a temporary directory is not needed, and a killed run would leave it on the node

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Transfer file by file, so that an interrupted run goes on where it stopped."""
        result = super().run(tmp, task_vars)
        _report, args = self.validate_argument_spec(argument_spec=ARGUMENTS)
        dest = args["dest"]
        sizes = {path: os.path.getsize(path) for path in args["files"]}
        try:
            have = self._sizes_there(dest)
            missing = [path for path, size in sizes.items() if have.get(os.path.basename(path)) != size]
            # The lock is small, and another one may be as long.
            missing += [path for path in sizes if path.endswith(".txt") and path not in missing]
            if not self._task.check_mode:
                self._directory(dest)
                self._index(dest, args)
                large = sum(sizes[path] for path in missing) >= LARGE
                with uncompressed.files(self._connection) if large else contextlib.nullcontext():
                    for path in missing:
                        self._put(path, f"{dest}/{os.path.basename(path)}")
        except (AnsibleError, ToolError) as error:
            return {**result, "failed": True, "msg": f"The files for the environment could not be handed over: {error}"}
        names = [os.path.basename(path) for path in missing]
        megabytes = round(sum(sizes[path] for path in missing) / 1e6)
        return {**result, "changed": True, "dest": dest, "transferred": names, "megabytes": megabytes}

    def _sizes_there(self, dest: str) -> dict[str, int]:
        """Size by name of the files that an earlier, interrupted run has put there."""
        answer = self._low_level_execute_command(
            f"cd {shlex.quote(dest)} 2>/dev/null && stat -c '%s %n' -- * || true", sudoable=False
        )
        rows = [row.split(" ", 1) for row in str(answer.get("stdout", "")).splitlines() if " " in row]
        return {row[1]: int(row[0]) for row in rows if row[0].isdigit()}

    def _directory(self, dest: str) -> None:
        """Make the directory: in one of root's, owned by the login user, who transfers; readable for the job user."""
        login = self._shell("id -un", become=False).strip()
        parent = shlex.quote(os.path.dirname(dest))
        # Under a umask of 027 or 077 the parents would be root's alone; the one of ours that was made so is opened.
        ours = os.path.basename(os.path.dirname(dest)) == "trainmesh"
        opened = f"chmod a+rx {parent} && " if ours else ""
        make = (
            f"umask 022 && mkdir -p {parent} && {opened}install -d -m 0755 -o {shlex.quote(login)} {shlex.quote(dest)}"
        )
        self._shell(make, become=True)

    def _index(self, dest: str, args: t.Mapping[str, t.Any]) -> None:
        """Tell the node the index, in a file that only the login user and root can read: it may hold a password."""
        content: dict[str, t.Any] = {}
        if not args["offline"]:
            index = Tools("", "", args["index_url"], insecure=args["index_insecure"]).index
            url, backend = args["torch_index_url"], args["torch_backend"]
            second = torch_index.of_build(url, backend) if url and backend else ""
            content = wheels_index.for_nodes(index, backend, second)
            if index.certificate and os.path.isfile(index.certificate):
                self._put(index.certificate, f"{dest}/{CERTIFICATES}")
        target = f"{dest}/{INDEX}"
        self._shell(f"umask 077 && rm -f {shlex.quote(target)} && : > {shlex.quote(target)}", become=False)
        # Where it goes with the next run, should this one be killed now: it may hold a password.
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=C.DEFAULT_LOCAL_TMP) as stream:
            stream.write(json.dumps(content))
            stream.flush()
            self._connection.put_file(stream.name, target)

    def _put(self, path: str, target: str) -> None:
        """Transfer a file under another name and rename it when it is whole."""
        self._connection.put_file(path, f"{target}.part")
        self._shell(
            f"chmod 0644 {shlex.quote(target)}.part && mv -f {shlex.quote(target)}.part {shlex.quote(target)}",
            become=False,
        )

    def _shell(self, command: str, become: bool) -> str:
        answer = self._low_level_execute_command(command, sudoable=become)
        if answer.get("rc") != 0:
            raise AnsibleError(str(answer.get("stderr") or answer.get("stdout") or command).strip()[-500:])
        return str(answer.get("stdout", ""))
