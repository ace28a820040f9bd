#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the cluster's addresses in."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_firewall
short_description: Allow all TCP from the addresses of the cluster through firewalld and ufw
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - In firewalld, keeps one rich rule per address in the zone of the data interface, marked by its priority. In ufw,
    keeps one rule per address, marked by its comment. Addresses that fill a block of a power of two are one rule.
  - Addresses that are no longer listed are removed. Nothing else is opened or closed, and no firewall is switched on or
    off.
  - NCCL, gloo and torch listen on ephemeral ports, so that opening the rendezvous port alone is not enough.
options:
  backends:
    description: The firewalls to look after; none of them leaves all alone.
    type: list
    elements: str
    choices: [firewalld, ufw]
    required: true
  addresses:
    description:
      - IP addresses of all nodes.
      - An empty list takes every rule of ours out, in all zones; a firewall that is not installed has none.
    type: list
    elements: str
    required: true
  interface:
    description: The data interface, whose firewalld zone gets the rule; default is firewalld's default zone.
    type: str
    default: ""
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Allow traffic from the cluster nodes
  trainmesh.cluster.cluster_firewall:
    backends: [firewalld]
    addresses: [10.0.0.11, 10.0.0.12]
    interface: eth0

- name: Remove all addresses
  trainmesh.cluster.cluster_firewall:
    backends: [ufw]
    addresses: []
"""

RETURN = r"""
commands:
  description: Commands that were, or would be, run.
  returned: always
  type: list
  elements: list
  sample:
    - [ufw, prepend, allow, proto, tcp, from, 10.0.0.12, comment, trainmesh.cluster]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import cluster_firewall


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=cluster_firewall.OPTIONS, supports_check_mode=True)
    module.exit_json(**cluster_firewall.converge(module, module.params))


if __name__ == "__main__":
    main()
