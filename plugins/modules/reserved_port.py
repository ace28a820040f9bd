#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A port that the kernel gives to no connection by itself."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reserved_port
short_description: Exclude a port from the ephemeral range, immediately and after a reboot
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Adds the port to C(net.ipv4.ip_local_reserved_ports), so that on a host whose ephemeral range covers it no
    connection can be using it when a job wants to listen there. Ports that are reserved already stay.
  - The value is written to the kernel first, then to C(/etc/sysctl.d/50-trainmesh.conf). A container that may not
    change it keeps what it has, with a warning.
  - "Source: https://docs.kernel.org/networking/ip-sysctl.html (ip_local_reserved_ports)."
options:
  port:
    description: TCP port.
    type: int
    required: true
  state:
    description: V(absent) takes a port back that this module has reserved, and removes the file.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Reserve the rendezvous port
  trainmesh.cluster.reserved_port:
    port: 29500
"""

RETURN = r"""
reserved:
  description: The reserved ports as the kernel had them before.
  returned: always
  type: str
  sample: 8080,9148-9150
"""

import contextlib
import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import reserved_ports

KERNEL = "/proc/sys/net/ipv4/ip_local_reserved_ports"
FILE = "/etc/sysctl.d/50-trainmesh.conf"


def release(module: AnsibleModule, port: int, have: str) -> None:
    """Take back what was reserved here, which the file tells; ends the module."""
    if not os.path.exists(FILE):
        module.exit_json(changed=False, reserved=have)
    before = textfile.read_text(FILE)
    if not module.check_mode:
        # A kernel that is not to be changed, as in a container, reserved nothing.
        with contextlib.suppress(OSError), open(KERNEL, "w", encoding="ascii") as stream:
            stream.write(f"{reserved_ports.without(have, port)}\n")
        os.unlink(FILE)
    diff = {"before_header": FILE, "after_header": FILE, "before": before, "after": ""}
    module.exit_json(changed=True, reserved=have, diff=[diff])


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "port": {"type": "int", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    port, have = module.params["port"], textfile.read_text(KERNEL).strip()
    if module.params["state"] == "absent":
        release(module, port, have)
    if reserved_ports.holds(have, port):
        module.exit_json(changed=False, reserved=have)
    wanted = reserved_ports.joined(have, port)
    text = f"# trainmesh.cluster\nnet.ipv4.ip_local_reserved_ports = {wanted}\n"
    change = textfile.Change(FILE, textfile.read_text(FILE), text, 0o644)
    if not module.check_mode:
        try:
            with open(KERNEL, "w", encoding="ascii") as stream:
                stream.write(f"{wanted}\n")
        except OSError as error:
            module.warn(
                f"port {port} could not be reserved ({error}): any connection may hold it when a job begins. On the "
                f"container's host run sysctl -w net.ipv4.ip_local_reserved_ports={wanted}, or set "
                "trainmesh_master_port to one outside of its ephemeral range."
            )
            module.exit_json(changed=False, reserved=have)
        textfile.write(module, change)
    module.exit_json(changed=True, reserved=have, diff=[change.diff])


if __name__ == "__main__":
    main()
