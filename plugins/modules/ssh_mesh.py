#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job user's ssh files of the mesh."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_mesh
short_description: Set up passwordless ssh between all nodes for the job user
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Writes, for the job user, the nodes' public keys as a managed block of
    C(~/.ssh/authorized_keys), and in files of its own under C(~/.ssh/trainmesh) the pinned host keys and the client
    configuration, which a managed block at the start of C(~/.ssh/config) includes.
  - Sets the modes that OpenSSH requires, and removes write permission for others from the home directory.
  - A new key of this user, made by O(trainmesh.cluster.ssh_identity#module:rotate), takes the place of the old one when
    it is among O(authorized_keys).
  - If all options are empty, removes the blocks, and C(~/.ssh/trainmesh) with the key of the node; creates no missing
    directory or file.
  - The client configuration is validated with C(ssh -G) before it goes live.
options:
  authorized_keys:
    description: Lines of the block; a key that is no longer among them is removed.
    type: list
    elements: str
    required: true
  known_hosts:
    description: Lines of the known_hosts file.
    type: list
    elements: str
    required: true
  config:
    description: Text of the client configuration.
    type: str
    required: true
extends_documentation_fragment:
  - trainmesh.cluster.job_user
  - trainmesh.cluster.backup
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Join the mesh
  trainmesh.cluster.ssh_mesh:
    authorized_keys: ["ssh-ed25519 AAAA... trainmesh node1"]
    known_hosts: ["node1,10.0.0.11 ssh-ed25519 AAAA..."]
    config: |
      Host node1 10.0.0.11
        HostName 10.0.0.11
        Port 22

- name: Leave the mesh
  trainmesh.cluster.ssh_mesh:
    authorized_keys: []
    known_hosts: []
    config: ""
"""

RETURN = r"""
files:
  description: Files that were, or would be, changed.
  returned: always
  type: list
  elements: str
  sample: [/root/.ssh/authorized_keys]
"""

import os
import pwd
import shutil
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user, line_check, textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import ssh_files
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import disk
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import remove


def check_config(module: AnsibleModule, config: str) -> None:
    """Fail, with ssh's own words, if the client configuration is not valid."""
    ssh = module.get_bin_path("ssh", required=True)
    # A file of its own instead of a pipe: ssh -F reads names only.
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as stream:
        stream.write(config)
        stream.flush()
        rc, _out, err = module.run_command([ssh, "-G", "-F", stream.name, "localhost"])
    if rc != 0:
        module.fail_json(msg=f"ssh refuses the client configuration, nothing was written: {err.strip()}")


def refuse(module: AnsibleModule) -> None:
    """Fail for a line that would be more than one, or open the account to more than it seems to.

    In check mode a key that the run is still to make has no line that could be looked at.
    """
    keys, hosts = module.params["authorized_keys"], module.params["known_hosts"]
    problems = [] if module.check_mode else [(line, line_check.key_line_problem(line)) for line in keys]
    problems += [(line, line_check.known_host_problem(line)) for line in hosts]
    told = [f"{line[:120]!a}: {problem}" for line, problem in problems if problem]
    if told:
        module.fail_json(msg=f"nothing was written: {'; '.join(told)}")


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "authorized_keys": {"type": "list", "elements": "str", "required": True, "no_log": False},
            "known_hosts": {"type": "list", "elements": "str", "required": True},
            "config": {"type": "str", "required": True},
            "backup": {"type": "bool", "default": True},
            "user": {"type": "str"},
        },
        supports_check_mode=True,
    )
    refuse(module)
    with job_user.working_for(module):
        answer = converge(module)
    module.exit_json(**answer)


def texts_of(module: AnsibleModule) -> tuple[list[str], list[str], str]:
    """What is wanted in the files."""
    return module.params["authorized_keys"], module.params["known_hosts"], module.params["config"]


def leave(module: AnsibleModule, home: str, changes: list[textfile.Change]) -> dict[str, t.Any]:
    """Take our blocks out, and remove our directory with the key in it."""
    kind = remove.shared_by(home, disk.mounts(Tree()))
    if kind:
        module.warn(f"the blocks in {home}/.ssh stay: it lies on {kind}, which the other nodes may use as well")
        return {"changed": False, "files": [], "diff": []}
    directory = f"{home}/.ssh/{ssh_files.OURS}"
    gone = [directory] if os.path.isdir(directory) and not os.path.islink(directory) else []
    if not module.check_mode:
        for change in changes:
            textfile.write(module, change, module.params["backup"])
        for path in gone:
            shutil.rmtree(path)
    diff = [change.diff for change in changes] + [{"header": path, "before": "present\n", "after": ""} for path in gone]
    return {"changed": bool(changes or gone), "files": [change.path for change in changes] + gone, "diff": diff}


def converge(module: AnsibleModule) -> dict[str, t.Any]:
    """Compare, and write what differs."""
    home = pwd.getpwuid(os.geteuid()).pw_dir
    try:
        wishes = ssh_files.file_wishes(home, *texts_of(module))
    except textfile.BlockError as error:
        module.fail_json(msg=str(error))
    if ssh_files.leaves(*texts_of(module)):
        return leave(module, home, textfile.changes_of(wishes))
    changes, closing = ssh_files.changes(home, wishes)
    diff = ssh_files.mode_diffs(closing) + [change.diff for change in changes]
    key = f"{home}/.ssh/{ssh_files.OURS}/{ssh_files.KEY_NAME}"
    new = ssh_files.awaits(key, module.params["authorized_keys"])
    if new:
        diff.append({"header": f"{key}.pub", "before": "the old key\n", "after": f"{new}\n"})
    if changes:
        check_config(module, module.params["config"])
    if not module.check_mode:
        ssh_files.close(closing)
        for change in changes:
            textfile.write(module, change, module.params["backup"])
        if new:
            ssh_files.switch(key)
    files = [change.path for change in changes] + ([key] if new else [])
    return {"changed": bool(changes or closing or new), "files": files, "diff": diff}


if __name__ == "__main__":
    main()
