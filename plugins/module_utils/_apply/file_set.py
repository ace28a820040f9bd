# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a set of files below a directory the wanted one."""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_below, job_user, root_path
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import file_set

OPTIONS: dict[str, dict[str, t.Any]] = {
    "path": {"type": "path", "required": True},
    "name": {"type": "str", "default": "files"},
    "files": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "path": {"type": "str", "required": True},
            # public, as documented: a secret has a task of its own, with no_log
            "content": {"type": "str", "required": True, "no_log": False},
            "mode": {"type": "str", "default": "0644"},
        },
    },
    "user": {"type": "str"},
}


def converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Compare, and write and remove what differs: in a directory of root's as root, else as the job user."""
    directory, user = given["path"], given["user"]
    try:
        if user is not None and os.geteuid() == 0 and os.path.isdir(directory) and root_path.is_roots(directory):
            todo = _converge(module, given, job_user.account(user).pw_uid)
        else:
            with job_user.working_for(module, user):
                todo = _converge(module, given, None)
    except (file_below.FileSetError, ValueError, OSError) as error:
        module.fail_json(msg=f"{directory}: {error}")
    return {
        "changed": todo.changed,
        "written": list(todo.write),
        "removed": list(todo.remove),
        "diff": file_set.differences(directory, todo),
    }


def _converge(module: AnsibleModule, given: t.Mapping[str, t.Any], private: int | None) -> file_set.Plan:
    """Make the files as wished: in a directory of root's as root's, with secrets for the user ``private``."""
    directory, manifest = given["path"], file_set.manifest_of(given["name"])
    wish = file_set.wish_of(given["files"])
    if private is None:
        return file_set.converge(directory, wish, manifest, module.check_mode)
    return file_set.converge(directory, file_set.owned(wish, 0, private), manifest, module.check_mode, uid=0)
