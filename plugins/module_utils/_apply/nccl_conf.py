# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make our block in NCCL's configuration the wanted one."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import line_check, textfile

OPTIONS: dict[str, dict[str, t.Any]] = {
    "settings": {"type": "list", "elements": "str", "required": True},
    "path": {"type": "path", "default": "/etc/nccl.conf"},
    "backup": {"type": "bool", "default": True},
}


def converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Compare, and write what differs."""
    path, settings = given["path"], given["settings"]
    problems = [problem for problem in map(line_check.setting_problem, settings) if problem]
    if problems:
        module.fail_json(msg=f"{path} is left as it is: {'; '.join(problems)}")
    try:
        wanted = textfile.edited(path, settings)
    except textfile.BlockError as error:
        module.fail_json(msg=str(error))
    changes = textfile.changes_of([(path, wanted, 0o644 if settings and not textfile.read_text(path) else None)])
    if not module.check_mode:
        for change in changes:
            textfile.write(module, change, given["backup"])
    return {"changed": bool(changes), "diff": [change.diff for change in changes]}
