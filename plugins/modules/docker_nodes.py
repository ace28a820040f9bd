#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module docker_nodes: a demo cluster in local containers, for trial and tests."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_nodes
short_description: Manage the nodes of a demo cluster in local containers
version_added: "1.0.0"
description:
  - Brings up containers with systemd, sshd and their own addresses, which behave like freshly installed hosts,
    for trial and tests without hosts.
  - With C(init=sshd) a node is what an ordinary container is, without systemd, sudo and the rights that these need.
  - The Docker client is driven; everything that is made carries a label with the name of the cluster.
  - Each O(step) can be interrupted and run again, and does nothing if there is nothing to do.
options:
  step:
    description:
      - V(engine) ensures that Docker is running; a stopped one is started, a missing one installed from the
        distribution, where this user may do that.
      - V(image) builds the image of each base that the nodes have, from a base image where a registry answers, else
        from the machine's own package source with C(mmdebstrap).
      - V(nodes) makes networks and containers, starts those that are stopped and removes those not in O(nodes).
      - V(setup) finishes the first boot of each node and returns what an inventory needs.
      - V(status) only reads.
      - V(absent) removes the nodes and networks of the cluster, and with O(purge) all that was
        made on this machine.
    type: str
    required: true
    choices: [engine, image, nodes, setup, status, absent]
  cluster:
    description: Name of the set of nodes. Sets with different names can coexist.
    type: str
    default: local
  nodes:
    description: The nodes, needed by O(step=image), O(step=nodes) and O(step=setup).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the node in the inventory.
        type: str
        required: true
      ssh_port: &ssh_port
        description: Port on which sshd listens; 22 unless it is given.
        type: int
      firewall: &firewall
        description: The firewall that is active, with nothing allowed but ssh; V(none) unless it is given.
        type: str
        choices: [none, firewalld, ufw]
      extra_interface: &extra_interface
        description: Whether the node has a second interface, on an isolated network.
        type: bool
      isolated: &isolated
        description: Whether the node has no route to anything but the other nodes and the controller, and no resolver.
        type: bool
      bind_mounts: &bind_mounts
        description: Whether C(/etc/hosts), C(/etc/hostname) and C(/etc/resolv.conf) stay the bind mounts of Docker.
        type: bool
      user: &user
        description: The login user of the inventory; root unless it is given.
        type: str
      base: &base
        description:
          - The release that the node runs, as the name of an image, for example V(debian:13).
          - Where no registry answers, V(debian:11), V(debian:12) and V(debian:13) can be made on a Debian machine, and
            on others only the machine's own release.
          - Unless it is given, V(debian:12) where a registry answers, else the machine's own release.
        type: str
      init: &init
        description:
          - What the node starts.
          - With V(sshd) it has neither systemd nor sudo, no user but root, the files that Docker mounts, a C(/dev/shm)
            of 64 MiB, and no right that C(docker run) does not give by itself.
          - Unless it is given, V(systemd).
        type: str
        choices: [systemd, sshd]
      hostname: &hostname
        description:
          - The host name that the container is made with.
          - Unless it is given, C(localhost.localdomain), with O(nodes[].init=sshd) the name of the node.
        type: str
  defaults:
    description: Defaults for all nodes, and for nodes that O(count) adds.
    type: dict
    suboptions:
      ssh_port: *ssh_port
      firewall: *firewall
      extra_interface: *extra_interface
      isolated: *isolated
      bind_mounts: *bind_mounts
      user: *user
      base: *base
      init: *init
      hostname: *hostname
  count:
    description:
      - Number of nodes. Those of O(nodes) come first, then plain ones with the names C(nodeN).
      - With V(0) all of O(nodes), and those that were added earlier stay.
    type: int
    default: 0
  recipe:
    description: Directory with the recipe of the image and C(setup.sh), needed by O(step=image) and O(step=setup).
    type: path
  images:
    description: The image of each kind of node, as O(step=image) returns them; needed by O(step=nodes).
    type: dict
  account:
    description: Additional user of every node, with C(sudo).
    type: str
    default: trainer
  public_key:
    description: Public key that may log in, one line; needed by O(step=setup).
    type: str
  purge:
    description:
      - With O(step=absent), remove the sets of every name, the images, and stop the engine if this module started it
        and nobody else uses it.
    type: bool
    default: false
extends_documentation_fragment:
  - trainmesh.cluster.attributes
author:
  - trainmesh.cluster contributors (@trainmesh)
"""

EXAMPLES = r"""
- name: Ensure Docker is running
  trainmesh.cluster.docker_nodes:
    step: engine

- name: Create two nodes, the second with sshd on another port
  trainmesh.cluster.docker_nodes:
    step: nodes
    cluster: try
    images: {"debian:13": "trainmesh-node:3f6d0c0b7a11"}
    defaults: {base: "debian:13"}
    nodes:
      - {name: node1}
      - {name: node2, ssh_port: 2222, firewall: ufw}

- name: Remove the nodes
  trainmesh.cluster.docker_nodes:
    step: absent
    cluster: try
"""

RETURN = r"""
summary:
  description: What was done or found, in one line.
  returned: always
  type: str
  sample: "3 nodes on 10.213.0.0/24: created node1, node2, node3"
images:
  description:
    - The image of each kind of node. A kind is the base, empty for nodes that give none, and C(+sshd) where that is
      what starts.
  returned: O(step=image)
  type: dict
  sample: {"debian:13": "trainmesh-node:3f6d0c0b7a11"}
nodes:
  description: The nodes with all their settings, as O(step=setup) takes them.
  returned: O(step=nodes), outside check mode of a machine without an engine
  type: list
  elements: dict
  sample:
    - base: debian:13
      bind_mounts: false
      extra_interface: false
      firewall: ufw
      hostname: ""
      init: systemd
      isolated: false
      name: node2
      ssh_port: 2222
      user: root
created:
  description: Names of the nodes that were made.
  returned: O(step=nodes)
  type: list
  elements: str
  sample: [node1, node2, node3]
started:
  description: Names of the nodes that were there and did not run.
  returned: O(step=nodes)
  type: list
  elements: str
  sample: []
removed:
  description: Names of the nodes that are no longer asked for.
  returned: O(step=nodes)
  type: list
  elements: str
  sample: []
looked:
  description: Whether a Docker Engine answered; if not, nothing was removed, and nodes may still exist.
  returned: O(step=absent)
  type: bool
  sample: true
hosts:
  description: The nodes as an inventory needs them.
  returned: O(step=setup), and O(step=status) without user, port and host keys
  type: list
  elements: dict
  sample:
    - name: node2
      address: 10.213.0.12
      port: 2222
      user: root
      known_hosts:
        - "[10.213.0.12]:2222 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmN4pHQf0b1TPGv0m3rG0v3w1cWg9rY4dZkq3n8o1xY"
inventory:
  description: The hosts of an inventory with the variables of their connection.
  returned: O(step=setup), outside check mode
  type: dict
  sample: {"node2": {"ansible_host": "10.213.0.12", "ansible_port": 2222, "ansible_user": "root"}}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import LocalNodesError
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.steps import STEPS

SETTINGS_SPEC: dict[str, t.Any] = {
    "ssh_port": {"type": "int"},
    "firewall": {"type": "str", "choices": ["none", "firewalld", "ufw"]},
    "extra_interface": {"type": "bool"},
    "isolated": {"type": "bool"},
    "bind_mounts": {"type": "bool"},
    "user": {"type": "str"},
    "base": {"type": "str"},
    "init": {"type": "str", "choices": ["systemd", "sshd"]},
    "hostname": {"type": "str"},
}
NODE_SPEC: dict[str, t.Any] = {"name": {"type": "str", "required": True}, **SETTINGS_SPEC}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "step": {
                "type": "str",
                "required": True,
                "choices": ["engine", "image", "nodes", "setup", "status", "absent"],
            },
            "cluster": {"type": "str", "default": "local"},
            "nodes": {"type": "list", "elements": "dict", "default": [], "options": NODE_SPEC},
            "defaults": {"type": "dict", "options": SETTINGS_SPEC},
            "count": {"type": "int", "default": 0},
            "recipe": {"type": "path"},
            "images": {"type": "dict"},
            "account": {"type": "str", "default": "trainer"},
            "public_key": {"type": "str", "no_log": False},
            "purge": {"type": "bool", "default": False},
        },
        required_if=[
            ("step", "image", ["recipe"]),
            ("step", "nodes", ["images"]),
            ("step", "setup", ["recipe", "public_key"]),
        ],
        supports_check_mode=True,
    )
    try:
        result = STEPS[module.params["step"]](module.params, apply=not module.check_mode)
    except LocalNodesError as error:
        module.fail_json(msg=f"{error}.")
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
