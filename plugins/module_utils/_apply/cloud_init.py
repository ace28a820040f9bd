# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep cloud-init from writing /etc/hosts and the host name anew at a boot, or let it again."""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import cloud_init

ROOT = "/"
OPTIONS: dict[str, dict[str, t.Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Compare, and write or remove the drop-in; one of others stays, and is refused where ours is needed."""
    files = Tree(ROOT)
    path = files.path(cloud_init.OURS)
    lines = cloud_init.drop_in_lines(files) if given["state"] == "present" else []
    wanted, foreign = cloud_init.drop_in(lines), cloud_init.is_foreign(files)
    if wanted and foreign:
        module.fail_json(msg=cloud_init.taken())
    have = "" if foreign else textfile.read_text(path)
    if have == wanted:
        return {"changed": False, "lines": lines}
    change = textfile.Change(path, have, wanted, 0o644)
    if not module.check_mode:
        _put(module, change)
    return {"changed": True, "lines": lines, "diff": [change.diff]}


def _put(module: AnsibleModule, change: textfile.Change) -> None:
    if change.after:
        os.makedirs(os.path.dirname(change.path), mode=0o755, exist_ok=True)
        textfile.write(module, change)
    else:
        os.unlink(change.path)
