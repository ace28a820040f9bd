#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of files under one directory."""

from __future__ import annotations

DOCUMENTATION = r"""
module: file_set
short_description: Keep a set of small text files under one directory
version_added: "1.0.0"
author:
  - trainmesh.cluster contributors (@trainmesh)
description:
  - Writes all files of a set in one task, each of them atomically and only when its content or mode differs.
  - Files that an earlier run wrote and that are no longer in the set are removed, together with the directories that
    they leave empty. Other files are never removed; a list of the files written is kept in
    C(.trainmesh-NAME.json) in the directory.
  - What O(files[].content) says is logged and shown. A task that writes a secret needs C(no_log), and with it a set of
    its own, so that the other files stay visible.
  - Symbolic links below the directory are not followed; a path that leaves the directory is refused.
  - Files belong to O(user), who writes them. In a directory of root's below directories that nobody else may write they
    are root's, except those that only their owner may read, which are O(user)'s.
extends_documentation_fragment:
  - trainmesh.cluster.job_user
  - trainmesh.cluster.attributes
options:
  path:
    description: The directory. It is made, with its parents, if it is not there.
    type: path
    required: true
  name:
    description: Name of the set, small letters. Sets of other names in the same directory are left alone.
    type: str
    default: files
  files:
    description: The whole set. An empty list removes what earlier runs wrote.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Path of the file relative to O(path). Directories in it are made as needed.
        type: str
        required: true
      content:
        description: The whole content.
        type: str
        required: true
      mode:
        description: Permission bits in octal. The difference of a file that only its owner may read is not shown.
        type: str
        default: "0644"
seealso:
  - module: ansible.builtin.copy
"""

EXAMPLES = r"""
- name: Write two files
  trainmesh.cluster.file_set:
    path: /opt/trainmesh
    files:
      - path: etc/hostfile
        content: |
          node1 slots=8
          node2 slots=8
      - path: bin/hello
        content: |
          #!/bin/sh
          echo hello
        mode: "0755"

- name: Write a file that may hold a secret
  trainmesh.cluster.file_set:
    path: /opt/trainmesh
    name: secrets
    files:
      - path: etc/job.env
        content: "HF_TOKEN={{ vault_hf_token }}\n"
        mode: "0600"
  no_log: true

- name: Remove what earlier runs wrote
  trainmesh.cluster.file_set:
    path: /opt/trainmesh
    files: []
"""

RETURN = r"""
written:
  description: Files that were written, or in check mode would be, relative to O(path).
  returned: success
  type: list
  elements: str
  sample:
    - etc/hostfile
removed:
  description: Files of earlier runs that were removed, or in check mode would be, relative to O(path).
  returned: success
  type: list
  elements: str
  sample:
    - etc/accelerate/old.yaml
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import file_set


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=file_set.OPTIONS, supports_check_mode=True)
    module.exit_json(**file_set.converge(module, module.params))


if __name__ == "__main__":
    main()
