# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a program of the installation on everybody's search path, or take it off again."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import command_link

OPTIONS: dict[str, dict[str, t.Any]] = {
    "target": {"type": "path", "required": True},
    "path": {"type": "path", "default": command_link.PATH},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Compare, and make or remove the link."""
    path, target, present = given["path"], given["target"], given["state"] == "present"
    found = command_link.state(path, target, present)
    if found.foreign and present:
        module.warn(
            f"{found.foreign}, which stays as it is: call {target} by its path, or remove {path} and run it again"
        )
    if found.changed and not module.check_mode:
        try:
            command_link.apply(path, found)
        except OSError as error:
            module.fail_json(msg=f"{path}: {error}")
    before, after = (f"link to {leads}\n" if leads else "" for leads in (found.have, found.want))
    diff = {"before_header": path, "after_header": path, "before": before, "after": after}
    return {"changed": found.changed, "leads_to": found.have, "diff": [diff] if found.changed else []}
