#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sync_push
short_description: Copy files of the controller to a node with rsync
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Copies with rsync, over the ssh connection that Ansible has to the node; what has arrived of a copy that was
    interrupted is kept, and the next run goes on from there.
  - C(trainmesh sync) then brings it from the head to the other nodes.
  - Refuses destinations that belong to the operating system, to others, or to this collection.
options:
  src:
    description: A file or directory of the controller; of a directory its content is copied. A relative path begins
      beside the playbook, or in the current directory.
    type: str
    required: true
  dest:
    description: The absolute path on the node. It is made if it is not there. A file keeps its name.
    type: str
    required: true
  delete:
    description: Remove from a directory what O(src) does not have.
    type: bool
    default: false
  exclude:
    description: Patterns of rsync for what is left out, and spared by O(delete).
    type: list
    elements: str
    default: []
  gitignore:
    description: Leave out what git ignores, and C(.git).
    type: bool
    default: false
  bwlimit:
    description: Bytes per second, such as V(50M). No limit by default.
    type: str
    default: ""
  prefix:
    description: The directory of the installation.
    type: path
    default: /opt/trainmesh
  user:
    description: The user who owns the files. By default the login user. To act as another one takes
      root or sudo, whose password is that of the task's C(become).
    type: str
attributes:
  check_mode:
    description: In check mode nothing is copied; rsync tells what it would copy.
    support: full
  diff_mode:
    description: Lists the files.
    support: full
requirements:
  - rsync on the controller and on the node
"""

EXAMPLES = r"""
- name: Bring the code to the head
  trainmesh.cluster.sync_push:
    src: src/
    dest: /opt/trainmesh/workspace/src
    gitignore: true
"""

RETURN = r"""
count:
  description: How many files, directories and links were copied, changed or removed.
  returned: success
  type: int
  sample: 2
"""
