#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One row of the matrix: ssh and TCP from this node to every node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_probe
short_description: Try ssh and the jobs' ports from this node to every node of the cluster
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Logs in to every target by each name given, without a terminal and with strict host-key checking, as launchers
    do, and compares the host name that answers.
  - Connects to the ports on which M(trainmesh.cluster.port_listener) listens on the targets.
  - Runs as the user that will run the jobs; every attempt is bounded.
options:
  targets:
    description: The nodes to try, the own one among them.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Inventory name.
        type: str
        required: true
      address:
        description: Data address.
        type: str
        required: true
      hostname:
        description: Host name that must answer.
        type: str
        required: true
      ssh_names:
        description: Names and addresses for ssh.
        type: list
        elements: str
        required: true
      ports:
        description: Ports that listen on the target.
        type: list
        elements: int
        default: []
  token:
    description: The listeners' word.
    type: str
    default: ""
  timeout:
    description: Seconds for one attempt.
    type: int
    default: 10
  workers:
    description: Targets at a time.
    type: int
    default: 16
extends_documentation_fragment:
  - trainmesh.cluster.attributes.read
"""

EXAMPLES = r"""
- name: Try every node from every node
  trainmesh.cluster.mesh_probe:
    token: 5f3a
    targets:
      - name: node2
        address: 10.0.0.12
        hostname: node2
        ssh_names: [node2, 10.0.0.12]
        ports: [29500]
"""

RETURN = r"""
row:
  description:
    - For each target, what each attempt showed. C(layer) is empty when it went well, else the layer that failed,
      such as V(name), V(refused), V(no_route), V(timeout), V(hostkey_unknown), V(hostkey_changed), V(permission),
      V(noise), V(wrong_machine), V(stranger).
  returned: always
  type: dict
  sample:
    node2:
      ssh: {node2: {ok: true, layer: "", evidence: "", seconds: 0.21}}
      tcp: {"29500": {ok: false, layer: no_route, evidence: "No route to host (errno 113)", seconds: 0.001}}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils import _mesh_probe


def main() -> None:
    """Entry point."""
    target = {
        "name": {"type": "str", "required": True},
        "address": {"type": "str", "required": True},
        "hostname": {"type": "str", "required": True},
        "ssh_names": {"type": "list", "elements": "str", "required": True},
        "ports": {"type": "list", "elements": "int", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            "targets": {"type": "list", "elements": "dict", "required": True, "options": target},
            "token": {"type": "str", "default": "", "no_log": False},
            "timeout": {"type": "int", "default": 10},
            "workers": {"type": "int", "default": 16},
        },
        supports_check_mode=True,
    )
    given = module.params
    targets = [_mesh_probe.Target(**item) for item in given["targets"]]
    row = _mesh_probe.probe(targets, given["token"], given["timeout"], given["workers"])
    module.exit_json(changed=False, row=row)


if __name__ == "__main__":
    main()
