#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compilers, headers, a clock daemon, limits of logins and the job user."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_base
short_description: Give a node compilers, headers, a clock daemon, login limits and the job user
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Installs what DeepSpeed needs to compile its operations, starts a clock daemon, raises the limits that a command
    over ssh gets, and creates the job user. A part that is there, whoever has brought it, stays as it is.
  - All is judged before anything is done. An installation that would remove a package, change one that is held, or
    not fit on the disk is refused; one that fails half-way is taken back.
  - "The limits are in C(/etc/security/limits.d/90-trainmesh.conf). They are tried first, because pam_limits refuses
    every login whose limits it can't set (U(https://man7.org/linux/man-pages/man8/pam_limits.8.html)): that is so
    above C(fs.nr_open), and in a container without CAP_SYS_RESOURCE."
  - An account that exists is never changed.
  - Works with apt-get (Debian, Ubuntu) and dnf (the RHEL family).
options:
  parts:
    description:
      - What the node needs.
      - V(compilers) is gcc, g++ and make; V(python_headers) those of O(python); V(chrony) any clock daemon that runs,
        else chrony; V(limits) those of O(memlock) and O(nofile).
    type: list
    elements: str
    choices: [compilers, ninja, libaio, python_headers, chrony, limits]
    default: []
  user:
    description: The job user. Limits name it, and with O(uid) it is created.
    type: str
  uid:
    description: Number of the user and of its group, the same on every node. Without it no user is created.
    type: int
  python:
    description: Interpreter whose headers are needed, a path or a version such as V(3.11).
    type: str
    default: /usr/bin/python3
  memlock:
    description: Memory that a process may lock, in KiB or V(unlimited).
    type: str
    default: unlimited
  nofile:
    description: Files that a process may have open.
    type: int
    default: 1048576
  timeout:
    description: Time limit of the installation in seconds.
    type: int
    default: 1800
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Let DeepSpeed compile its CPU optimizer and async I/O
  trainmesh.cluster.node_base:
    parts: [compilers, ninja, libaio, python_headers]
  become: true

- name: Raise the limits of the job user's logins
  trainmesh.cluster.node_base:
    parts: [limits]
    user: trainer
  become: true

- name: Create the job user with the same number on every node
  trainmesh.cluster.node_base:
    user: trainer
    uid: 2001
  become: true
"""

RETURN = r"""
missing:
  description: Parts that had to be installed.
  returned: success
  type: list
  elements: str
  sample: [libaio]
account_problem:
  description: Why the job user can't be created; empty where it can or is there. In check mode this is no failure.
  returned: always
  type: str
  sample: the number 2001 is that of the user alice here
account_missing:
  description: Whether the job user had to be created.
  returned: success
  type: bool
  sample: true
limits_changed:
  description: Whether the files that set the limits had to be written.
  returned: success
  type: bool
  sample: true
limits:
  description: The limits that a login of the user gets now, in bytes and files; -1 is unlimited.
  returned: success
  type: dict
  sample: {memlock: -1, nofile: 1048576}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import node_base


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=node_base.OPTIONS, supports_check_mode=True)
    module.exit_json(**node_base.converge(module, module.params))


if __name__ == "__main__":
    main()
