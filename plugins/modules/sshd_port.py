#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One more port for sshd."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sshd_port
short_description: Ensure sshd listens on an additional port, with rollback
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Adds the port in a drop-in file (or, for an sshd without drop-ins, a managed block of C(sshd_config)), beside the
    ports that sshd has now, which are all kept, so that nobody is locked out.
  - A copy of the configuration is validated with C(sshd -t) before anything is written; then sshd is reloaded, sessions
    stay open, and the module waits until the port answers with an SSH banner. If it does not, the change is rolled
    back.
  - Then the controller logs in again. If it can't, the node rolls the change back by itself, two minutes after the
    change.
options:
  port:
    description: TCP port.
    type: int
    required: true
  keep:
    description: Only say that a new login works, so that a change stays. The action plugin does so by itself.
    type: bool
    default: false
extends_documentation_fragment:
  - trainmesh.cluster.backup
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Ensure sshd also listens on port 2222
  trainmesh.cluster.sshd_port:
    port: 2222
"""

RETURN = r"""
ports:
  description: Ports of sshd's configuration before the change.
  returned: always
  type: list
  elements: int
  sample: [22]
waits:
  description: Whether a change comes undone unless a new login says that it works.
  returned: always
  type: bool
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import search_path, ssh_config, textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import sshd as config_sshd
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import sshd_return


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "port": {"type": "int", "required": True},
            "keep": {"type": "bool", "default": False},
            "backup": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    if module.params["keep"] and not module.check_mode:
        sshd_return.keep()
    port = module.params["port"]
    sshd = search_path.required(module, "sshd")
    rc, out, err = module.run_command([sshd, "-T"])
    if rc != 0:
        module.fail_json(msg=f"sshd's own configuration can't be read, nothing was changed: {err.strip()}")
    ports = ssh_config.server_ports(ssh_config.settings(out))
    look = "look at: journalctl -u ssh -u sshd, and on SELinux: semanage port -l"
    changes = []
    if port not in ports:
        try:
            wish = config_sshd.wish(textfile.read_text(config_sshd.MAIN), ports, port)
        except textfile.BlockError as error:
            module.fail_json(msg=f"{config_sshd.MAIN}: {error}")
        changes = textfile.changes_of([(wish.path, wish.text, wish.mode)])
    if changes and not module.check_mode:
        problem = config_sshd.apply(module, changes[0], wish.proof, port, module.params["backup"])
        if problem:
            module.fail_json(msg=f"port {port}: {problem}; {look}")
    if not module.check_mode and not changes and not config_sshd.listens(port, 3):
        problem = f"sshd is configured for port {port} but nothing answers there with an SSH banner"
        module.fail_json(msg=f"{problem}; {look}")
    waits = sshd_return.is_armed()
    module.exit_json(changed=bool(changes), ports=ports, waits=waits, diff=[change.diff for change in changes])


if __name__ == "__main__":
    main()
