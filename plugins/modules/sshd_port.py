#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One more port for sshd."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sshd_port
short_description: Make the node's sshd really listen on the port that the inventory asks for
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Adds the port in a drop-in file (or, for an sshd without drop-ins, a managed block of C(sshd_config)), beside the
    ports that sshd has now, which are all kept, so that nobody is locked out.
  - The configuration is checked with C(sshd -t) and taken back if sshd refuses it; sshd is reloaded, sessions stay
    open, and the module waits until the port answers with an SSH banner.
options:
  port:
    description: TCP port.
    type: int
    required: true
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Listen on port 2222 as well
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
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils import _sshd, _textfile


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec={"port": {"type": "int", "required": True}}, supports_check_mode=True)
    port = module.params["port"]
    sshd = module.get_bin_path("sshd", required=True, opt_dirs=["/usr/sbin", "/sbin"])
    rc, out, err = module.run_command([sshd, "-T"])
    if rc != 0:
        module.fail_json(msg=f"sshd's own configuration can't be read, nothing was changed: {err.strip()}")
    ports = _sshd.ports_of(out)
    changes = []
    if port not in ports:
        path, text = _sshd.wish(_textfile.read_text(_sshd.MAIN), ports, port)
        changes = _textfile.changes_of([(path, text, 0o600)])
    if changes and not module.check_mode:
        error = _sshd.apply(module, changes[0])
        if error:
            module.fail_json(msg=error)
    if not module.check_mode and not _sshd.listens(port, 15 if changes else 3):
        problem = f"sshd is configured for port {port} but nothing answers there with an SSH banner"
        module.fail_json(msg=f"{problem}; look at: journalctl -u ssh -u sshd, and on SELinux: semanage port -l")
    module.exit_json(changed=bool(changes), ports=ports, diff=[change.diff for change in changes])


if __name__ == "__main__":
    main()
