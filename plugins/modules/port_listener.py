#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners for the port probe."""

from __future__ import annotations

DOCUMENTATION = r"""
module: port_listener
short_description: Listen for a moment on the ports of the jobs, for the other nodes to try
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Starts a small process that greets whoever connects to the given ports of the node's data address, and returns. The
    process ends by itself when every caller has been there or its time is over.
  - M(trainmesh.cluster.mesh_probe) on the other nodes is the caller.
options:
  address:
    description: IP address to listen on, the data address.
    type: str
    required: true
  ports:
    description: TCP ports.
    type: list
    elements: int
    required: true
  name:
    description: Name of the node, which the greeting tells.
    type: str
    required: true
  token:
    description: Word that tells this run's listeners from anything else on the port.
    type: str
    required: true
  callers:
    description: Number of connections to expect on each port.
    type: int
    required: true
  seconds:
    description: Seconds after which the process ends in any case.
    type: int
    default: 90
extends_documentation_fragment:
  - trainmesh.cluster.attributes.read
"""

EXAMPLES = r"""
- name: Listen on the rendezvous port and on a high one
  trainmesh.cluster.port_listener:
    address: 10.0.0.11
    ports: [29500, 49321]
    name: node1
    token: 5f3a
    callers: 3
"""

RETURN = r"""
problems:
  description: Ports that could not be had, with the system's errno and text.
  returned: always
  type: dict
  sample: {"29500": [98, Address already in use]}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils import _port_listener


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "ports": {"type": "list", "elements": "int", "required": True},
            "name": {"type": "str", "required": True},
            "token": {"type": "str", "required": True, "no_log": False},
            "callers": {"type": "int", "required": True},
            "seconds": {"type": "int", "default": 90},
        },
        supports_check_mode=True,
    )
    try:
        problems = _port_listener.start(_port_listener.Wish(**module.params))
    except OSError as error:
        module.fail_json(msg=f"the ports could not be tried: {error}")
    module.exit_json(changed=False, problems={str(port): list(problem) for port, problem in problems.items()})


if __name__ == "__main__":
    main()
