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

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_below, job_user, root_path
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import file_set


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "name": {"type": "str", "default": "files"},
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "str", "required": True},
                    # public, as documented: a secret has a task of its own, with no_log
                    "content": {"type": "str", "required": True, "no_log": False},
                    "mode": {"type": "str", "default": "0644"},
                },
            },
            "user": {"type": "str"},
        },
        supports_check_mode=True,
    )
    directory, user = module.params["path"], module.params["user"]
    try:
        if user is not None and os.geteuid() == 0 and _is_roots(directory):
            todo = converge(module, job_user.account(user).pw_uid)
        else:
            with job_user.working_for(module):
                todo = converge(module, None)
    except (file_below.FileSetError, ValueError, OSError) as error:
        module.fail_json(msg=f"{directory}: {error}")
    module.exit_json(
        changed=todo.changed,
        written=list(todo.write),
        removed=list(todo.remove),
        diff=file_set.differences(directory, todo),
    )


def _is_roots(directory: str) -> bool:
    return os.path.isdir(directory) and root_path.is_roots(directory)


def converge(module: AnsibleModule, private: int | None) -> file_set.Plan:
    """Make the files as wished: in a directory of root's as root's, with secrets for the user ``private``."""
    directory, manifest = module.params["path"], file_set.manifest_of(module.params["name"])
    wish = file_set.wish_of(module.params["files"])
    if private is None:
        return file_set.converge(directory, wish, manifest, module.check_mode)
    return file_set.converge(directory, file_set.owned(wish, 0, private), manifest, module.check_mode, uid=0)


if __name__ == "__main__":
    main()
