#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: archive_copy
short_description: Copy a large file that is compressed already
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Copies a file of the controller to the node as M(ansible.builtin.copy) does, over an ssh connection of its own that
    does not compress. Archives and installers get no smaller by it, and it would cost the controller a second of CPU
    for each 30 MB and node.
  - A node that does not let a second connection in gets the file through Ansible's own.
options:
  src:
    description: The file on the controller.
    type: path
    required: true
  dest:
    description: The file on the node, or, with a slash at its end, its directory, which is made.
    type: path
    required: true
  mode:
    description: Mode of the file, as a text of octal digits.
    type: raw
  directory_mode:
    description: Mode of directories that are made.
    type: raw
extends_documentation_fragment:
  - trainmesh.cluster.attributes
seealso:
  - module: ansible.builtin.copy
"""

EXAMPLES = r"""
- name: Copy an installer
  trainmesh.cluster.archive_copy:
    src: /srv/cuda_13.0.2_580.95.05_linux.run
    dest: /var/cache/installers/
    mode: "0600"
    directory_mode: "0700"
  become: true
"""

RETURN = r"""
dest:
  description: The file on the node. What else M(ansible.builtin.copy) returns is returned, too.
  returned: success
  type: str
  sample: /var/cache/installers/cuda_13.0.2_580.95.05_linux.run
"""
