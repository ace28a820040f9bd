#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installation, taken off a node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_leave
short_description: Remove the installation from a node that leaves the cluster
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Removes the Python environment, logs, scripts and configuration below the prefix, and the remains of an interrupted
    run in C(/var/cache/trainmesh).
  - User files stay. C(workspace) below O(prefix) is removed only if it is empty; files that this collection has not
    written stay and are returned. Everything stays on a file system that other nodes may use as well.
  - Fails before anything is removed while a job of the cluster runs on the node.
  - Distribution packages and the host name stay, and so does sshd's drop-in, because the current login may depend on
    it; a warning names it.
options:
  prefix:
    description: Installation directory.
    type: path
    default: /opt/trainmesh
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Remove the installation
  trainmesh.cluster.node_leave:
    prefix: /opt/trainmesh
"""

RETURN = r"""
removed:
  description: Paths that were removed, or would be in check mode; of a tree only its top.
  returned: success
  type: list
  elements: str
  sample: [/opt/trainmesh/bin/trainmesh-stop, /opt/trainmesh/env, /opt/trainmesh]
kept:
  description: Paths below O(prefix) that stay, because this collection has not written them.
  returned: success
  type: list
  elements: str
  sample: [/opt/trainmesh/workspace/train.py]
"""

import os
import shutil

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_below, job_user, root_path
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import sshd
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import disk
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import remove
from ansible_collections.trainmesh.cluster.plugins.module_utils._user.processes import processes

CACHE = "/var/cache/trainmesh"
SHOWN = 5


def refuse_running(module: AnsibleModule) -> None:
    """Fail while a job of ours runs here."""
    prefix = module.params["prefix"]
    running = [job for job in processes(Tree(), prefix, {os.getpid()}) if job["ours"]]
    if running:
        shown = ", ".join(f"{job['pid']} of {job['user']} ({job['command']})" for job in running[:SHOWN])
        more = f" and {len(running) - SHOWN} more" if len(running) > SHOWN else ""
        module.fail_json(
            msg=f"jobs of the cluster run on this node: {shown}{more}. Nothing was removed. Stop them with "
            f"{prefix}/bin/trainmesh-stop --all on the head, or wait for their end, and run again"
        )


def owner_of(path: str) -> str | None:
    """Whose installation it is where that is not root: what its owner may exchange is removed as the owner."""
    if not os.path.isdir(path) or os.geteuid() != 0 or root_path.is_roots(path):
        return None
    return job_user.user_name(os.stat(path).st_uid)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={"prefix": {"type": "path", "default": "/opt/trainmesh"}}, supports_check_mode=True
    )
    prefix = os.path.normpath(module.params["prefix"])
    refuse_running(module)
    cache = [CACHE] if os.path.isdir(CACHE) else []
    try:
        todo = remove.plan(prefix, disk.mounts(Tree()))
        if not module.check_mode:
            with job_user.acting_as(owner_of(prefix) if todo.remove else None):
                remove.apply(todo)
            for path in cache:
                shutil.rmtree(path)  # root's, below root's
    except (OSError, ValueError, file_below.FileSetError) as error:
        module.fail_json(msg=f"{prefix} could not be removed in full: {error}. Run again to go on")
    if todo.keep:
        more = f" and {len(todo.keep) - SHOWN} more" if len(todo.keep) > SHOWN else ""
        why = todo.why or "this collection has not put it there"
        module.warn(f"{', '.join(todo.keep[:SHOWN])}{more} stays: {why}")
    if os.path.exists(sshd.DROP_IN):
        module.warn(f"{sshd.DROP_IN} stays, as logins may depend on its ports: remove it and reload sshd by hand")
    removed = [*todo.remove, *cache]
    before = "".join(f"{path}\n" for path in removed)
    diff = [{"before_header": prefix, "after_header": prefix, "before": before, "after": ""}] if removed else []
    module.exit_json(changed=bool(removed), removed=removed, kept=todo.keep, diff=diff)


if __name__ == "__main__":
    main()
