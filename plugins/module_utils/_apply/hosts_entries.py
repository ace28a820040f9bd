# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the cluster's block in the hosts file the wanted one."""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import line_check, textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import hosts_file

_ENTRY = {
    "address": {"type": "str", "required": True},
    "names": {"type": "list", "elements": "str", "required": True},
}
OPTIONS: dict[str, dict[str, t.Any]] = {
    "entries": {"type": "list", "elements": "dict", "required": True, "options": _ENTRY},
    "cluster": {"type": "str", "default": ""},
    "head": {"type": "str", "default": ""},
    "path": {"type": "path", "default": "/etc/hosts"},
    "backup": {"type": "bool", "default": True},
}


def converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Compare, and write what differs."""
    path, whose = given["path"], (given["cluster"], given["head"])
    entries = [(item["address"], item["names"]) for item in given["entries"]]
    problems = _problems(entries, *whose)
    if problems:
        module.fail_json(msg=f"{path} is left as it is: {'; '.join(problems)}")
    try:
        plan = hosts_file.plan(textfile.read_text(path), entries, *whose)
    except textfile.BlockError as error:
        module.fail_json(msg=f"{path}: {error}")
    changes = textfile.changes_of([(path, plan.text, None)])
    for conflict in plan.conflicts:
        module.warn(f"{path}: the line {conflict}; the cluster's block above it wins")
    if not module.check_mode:
        for change in changes:
            textfile.write(module, change, given["backup"])
    return {"changed": bool(changes), "conflicts": plan.conflicts, "diff": [change.diff for change in changes]}


def _problems(entries: list[tuple[str, list[str]]], cluster: str, head: str) -> list[str]:
    """What would be another line, or another machine, to a reader of the file."""
    problems = [line_check.hosts_entry_problem(address, names) for address, names in entries]
    if not re.match(r"([0-9a-f]{8,32})?\Z", cluster):
        problems.append(f"cluster: expected 8 to 32 hexadecimal digits, not {cluster!r}")
    if head and not (line_check.is_one_line(head) and " " not in head):
        problems.append(f"head: expected a name without blanks, not {head!r}")
    return [problem for problem in problems if problem]
