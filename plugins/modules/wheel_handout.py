#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: wheel_handout
short_description: Copy the lock and the wheels to a node
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Transfers files of the controller into a directory of the node over Ansible's own connection, one by one and only
    those that are not there in full, so that an interrupted run continues where it stopped.
  - Tells the node the package index of the controller in a file that only the login user and root can read.
options:
  files:
    description: Files on the controller.
    type: list
    elements: path
    required: true
  dest:
    description: Directory on the node; its parent must belong to root. Created for the login user if it is absent.
    type: path
    required: true
  offline:
    description: Whether the node uses no index, and so gets none.
    type: bool
    default: false
  index_url:
    description: Package index instead of the one that pip is configured with on the controller. Empty for none.
    type: str
    default: ""
  torch_index_url:
    description: >-
      Index that is asked for builds of torch in the place of PyTorch's own, such as a mirror of it; the name of the
      build is put at its end unless one is there.
    type: str
    default: ""
  index_insecure:
    description: Whether the node may use an index over plain http, or pip's C(trusted-host).
    type: bool
    default: false
  torch_backend:
    description: uv's name of the index of torch builds; empty for none.
    type: str
    default: ""
extends_documentation_fragment:
  - trainmesh.cluster.attributes
seealso:
  - module: trainmesh.cluster.wheel_lock
  - module: trainmesh.cluster.python_stack
"""

EXAMPLES = r"""
- name: Copy the packages to the node
  trainmesh.cluster.wheel_handout:
    files: "{{ wheels.files }}"
    dest: /var/cache/trainmesh/wheels
    offline: "{{ wheels.offline }}"
  become: true

- name: Copy the packages to a node that installs from a mirror
  trainmesh.cluster.wheel_handout:
    files: "{{ wheels.files }}"
    dest: /var/cache/trainmesh/wheels
    index_url: https://mirror.example.com/simple
  become: true
"""

RETURN = r"""
dest:
  description: The directory on the node.
  returned: success
  type: str
  sample: /var/cache/trainmesh/wheels
transferred:
  description: Names of the files that were transferred.
  returned: success
  type: list
  elements: str
  sample: [requirements.txt, torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl]
megabytes:
  description: Size of what was transferred.
  returned: success
  type: int
  sample: 278
"""
