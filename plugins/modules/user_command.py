#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command of the job user."""

from __future__ import annotations

DOCUMENTATION = r"""
module: user_command
short_description: Run a command as the job user, independent of become settings
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Runs a command in the directory C(/) as O(user), without a shell.
  - C(become_user) of a task yields to C(ansible_become_user), C(ansible_sudo_user) and the like in an inventory; the
    option O(user) of this module does not.
options:
  argv:
    description: The command and its arguments.
    type: list
    elements: str
    required: true
  creates:
    description: A path. Where it is there, the command is not run.
    type: path
  removes:
    description: A path. Where it is not there, the command is not run.
    type: path
extends_documentation_fragment:
  - trainmesh.cluster.job_user
  - trainmesh.cluster.attributes
attributes:
  check_mode:
    description: In check mode no command is run; a change is reported where it would happen.
    support: full
  diff_mode:
    description: What a command will change is not known.
    support: none
"""

EXAMPLES = r"""
- name: Make an environment that belongs to the job user
  trainmesh.cluster.user_command:
    argv: [/usr/bin/python3, -m, venv, /opt/trainmesh/env]
    creates: /opt/trainmesh/env/bin/python
    user: trainer
  become: true
"""

RETURN = r"""
rc:
  description: Exit status of the command, 0 where it was not run.
  returned: always
  type: int
  sample: 0
stdout:
  description: What it wrote.
  returned: always
  type: str
  sample: ""
stderr:
  description: What it wrote to the standard error.
  returned: always
  type: str
  sample: ""
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "argv": {"type": "list", "elements": "str", "required": True},
            "creates": {"type": "path"},
            "removes": {"type": "path"},
            "user": {"type": "str"},
        },
        supports_check_mode=True,
    )
    argv, creates, removes = (module.params[name] for name in ("argv", "creates", "removes"))
    rc, out, err = 0, "", ""
    with job_user.working_for(module, module.params["user"]):
        done = bool(creates and os.path.exists(creates)) or bool(removes and not os.path.lexists(removes))
        if not done and not module.check_mode:
            rc, out, err = module.run_command(argv, cwd="/", expand_user_and_vars=False)
    answer = {"changed": not done, "rc": rc, "stdout": out, "stderr": err}
    if rc:
        module.fail_json(msg=f"{argv[0]} ended with {rc}: {(err or out).strip()[-500:]}", **answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
