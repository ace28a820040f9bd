#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners for the port probe."""

from __future__ import annotations

DOCUMENTATION = r"""
module: port_listener
short_description: Listen on the job ports while the other nodes test them
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Starts a small process that greets whoever connects to the given ports of the node's data address, and returns.
  - M(trainmesh.cluster.mesh_probe) and M(trainmesh.cluster.link_probe) on the other nodes are the callers. Who proves
    to know the token may also ask for short bursts of data and for turns in measuring; everybody else gets the greeting
    only. The token itself is never sent.
  - Run it as the user who runs the probes; other users of the node can't speak to it, except root.
  - A port is free again as soon as every caller has been there. The process ends when all its ports are free, when it
    is told to, or when its time is over.
options:
  state:
    description:
      - V(started) starts the process; one with the same O(name) and O(token) that a broken run left is ended first.
      - V(stopped) ends it at once and returns when its ports are free. Only O(name) and O(token) are needed for this.
    type: str
    choices: [started, stopped]
    default: started
  address:
    description: IP address to listen on, the data address. Needed to start.
    type: str
  ports:
    description: TCP ports. Needed to start.
    type: list
    elements: int
  name:
    description: Name of the node, sent in the greeting.
    type: str
    required: true
  token:
    description: Secret of this run, without blanks, by which callers and listeners know each other.
    type: str
    required: true
  callers:
    description: Number of nodes that will call on each port, this one included. Needed to start.
    type: int
  peers:
    description:
      - Addresses of the nodes. Callers from elsewhere share a few places, so that they keep no node out. Empty when
        they are not known.
    type: list
    elements: str
    default: []
  link_port:
    description:
      - The one of O(ports) that M(trainmesh.cluster.link_probe) uses afterwards. It closes when each pair of
        this node has been measured both ways, the process is stopped or its time is over. V(0) for none.
    type: int
    default: 0
  seconds:
    description:
      - Seconds after which the process ends in any case. Give it enough for the probes of all nodes.
    type: int
    default: 900
extends_documentation_fragment:
  - trainmesh.cluster.attributes.read
  - trainmesh.cluster.planned
  - trainmesh.cluster.planned.kept
"""

EXAMPLES = r"""
- name: Listen on the rendezvous port and on a high one
  trainmesh.cluster.port_listener:
    address: 10.0.0.11
    ports: [29500, 49321]
    link_port: 49321
    name: node1
    token: 5f3a
    callers: 3
    seconds: 900

- name: Free the ports for the jobs
  trainmesh.cluster.port_listener:
    state: stopped
    name: node1
    token: 5f3a
"""

RETURN = r"""
problems:
  description: Ports that could not be had, with the system's errno and text.
  returned: when started
  type: dict
  sample: {"29500": [98, Address already in use]}
stopped:
  description: Whether there was a process to end.
  returned: when stopped
  type: bool
  sample: true
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import listener


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
            "address": {"type": "str"},
            "ports": {"type": "list", "elements": "int"},
            "name": {"type": "str", "required": True},
            "token": {"type": "str", "required": True, "no_log": True},
            "callers": {"type": "int"},
            "link_port": {"type": "int", "default": 0},
            "peers": {"type": "list", "elements": "str", "default": []},
            "seconds": {"type": "int", "default": 900},
        },
        required_if=[("state", "started", ("address", "ports", "callers"))],
        supports_check_mode=True,
    )
    given = dict(module.params)
    if " " in given["token"] or " " in given["name"]:
        module.fail_json(msg="token and name must not contain blanks")
    try:
        if given.pop("state") == "stopped":
            module.exit_json(changed=False, stopped=listener.stop(given["token"], given["name"]))
        problems = listener.start(listener.Wish(**given))
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"the ports of {given['name']} could not be listened on, or not be freed: {error}")
    found = {str(port): list(problem) for port, problem in problems.items()}
    module.exit_json(changed=False, problems=found, invocation={})  # the parameters name every node


if __name__ == "__main__":
    main()
