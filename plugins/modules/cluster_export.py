#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_export
short_description: Write the launch configuration on the controller, from the inventory alone
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - >-
    Writes C(hostfile), C(ssh_config), C(etc_hosts), C(accelerate/) with a directory for each rank, and C(deepspeed/)
    into a directory on the controller, with the texts that C(site.yml) would put on the nodes. Contacts no host.
  - >-
    What a host would have to be asked for comes from the inventory, else from the state file of an earlier C(site.yml)
    beside it, else from how the controller reaches the host (C(ssh -G), so C(~/.ssh/config) counts, and the resolver of
    the controller). Where that leaves out the slots, the address or the user, it fails with every missing value, each
    with its host, and writes nothing.
  - What it had to assume is printed and returned.
  - Removes the files of ranks that are no more. Nodes with C(trainmesh_state=absent) are left out.
options:
  group:
    description: Inventory group that holds the nodes.
    type: str
    default: all
  directory:
    description:
      - Directory on the controller; it is made if needed. Default is C(trainmesh_export_dir) of the inventory, which is
        C(trainmesh-export) in the current directory unless it is set.
      - Fails if it holds files that are no earlier export, or an inventory of this run.
    type: path
extends_documentation_fragment:
  - trainmesh.cluster.attributes
seealso:
  - plugin: trainmesh.cluster.hostfile
    plugin_type: inventory
notes:
  - Runs on the controller only.
  - >-
    The accelerate files name the hostfile and the DeepSpeed files below C(trainmesh_prefix) on the nodes. C(ssh_config)
    names no key, since only C(site.yml) makes one.
"""

EXAMPLES = r"""
- name: Write the launch configuration
  trainmesh.cluster.cluster_export:
    directory: /home/me/export
"""

RETURN = r"""
directory:
  description: Where the files are.
  returned: success
  type: str
  sample: /home/me/trainmesh-export
files:
  description: The files that were changed, new ones and removed ones too.
  returned: success
  type: list
  elements: str
  sample: [hostfile, accelerate/rank0/multi_gpu.yaml]
assumed:
  description: What the files rest on that neither the inventory nor an earlier run says.
  returned: success
  type: list
  elements: str
  sample: ["each slot is a GPU: to train on CPUs set trainmesh_torch_build: cpu"]
"""
