#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the environments is the one in use."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_switch
short_description: Verify an environment, and make it the one in use
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - With O(state=verified) imports packages from an environment below C(environments) in the prefix, and lets torch add
    on the processor and on every GPU. Changes nothing.
  - With O(state=current) lets C(env) below the prefix lead to that environment. The one that was in use before stays,
    and older ones are removed.
  - Where C(env) is still a directory, it is moved to C(environments) first.
  - Fails, in both states, while a job runs on the node from C(env), so that no node is switched before all can be.
options:
  prefix:
    description: Directory of everything.
    type: path
    required: true
  user:
    description: User who owns the environments.
    type: str
    required: true
  name:
    description: >-
      Name of the environment below C(environments). One of C(trainmesh_environments) can be verified only.
    type: str
    required: true
  state:
    description: What to do.
    type: str
    choices: [verified, current]
    default: verified
  packages:
    description: Modules that must be there to import; used with O(state=verified).
    type: list
    elements: str
    default: [torch, deepspeed, accelerate]
  torch_build:
    description: Build of torch that the plan asks for, such as V(cpu) or V(cu126). Empty asks for none.
    type: str
    default: ""
  gpus:
    description: GPUs that torch must find at the least.
    type: int
    default: 0
  timeout:
    description: Seconds that the imports may take.
    type: int
    default: 600
extends_documentation_fragment:
  - trainmesh.cluster.attributes
seealso:
  - module: trainmesh.cluster.python_stack
"""

EXAMPLES = r"""
- name: Verify the new environment
  trainmesh.cluster.environment_switch:
    prefix: /opt/trainmesh
    user: train
    name: torch-2.14.0-cu126-py3.11
    torch_build: cu126
    gpus: 8
  become: true

- name: Switch to the new environment
  trainmesh.cluster.environment_switch:
    prefix: /opt/trainmesh
    user: train
    name: torch-2.14.0-cu126-py3.11
    state: current
  become: true
"""

RETURN = r"""
before:
  description: Name of the environment that was in use; empty where there was none.
  returned: success
  type: str
  sample: torch-2.13.0-cu126-py3.11
held:
  description: Whether it failed because jobs run on the node, and for nothing else.
  returned: failure
  type: bool
  sample: true
removed:
  description: Environments that were removed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [torch-2.12.0-cu126-py3.11]
torch:
  description: What torch says of itself; empty where it was not asked.
  returned: success
  type: dict
  sample: {version: 2.14.0+cu126, cuda: "12.6", gpus: 8}
"""

import contextlib
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user, root_path
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import environments, switch, uv
from ansible_collections.trainmesh.cluster.plugins.module_utils._user.processes import processes

SHOWN = 5
MAX_MAPS = 4 << 20
LOCK_SECONDS = 60.0


class Held(switch.SwitchError):
    """Jobs run on the node, and everything else is well."""


def running(prefix: str, moves: bool) -> list[str]:
    """The jobs that would go on with another environment: they have ``env`` in their command line.

    Where it is moved these are also those that have opened its libraries, by whatever name they were started.
    """
    tree = Tree()
    return [
        f"{job['pid']} of {job['user']} ({job['command']})"
        for job in processes(tree, prefix, {os.getpid()})
        if f"{prefix}/env/" in job["command"]
        or (moves and f"{prefix}/env/" in (tree.text(f"/proc/{job['pid']}/maps", MAX_MAPS) or ""))
    ]


def look(params: t.Mapping[str, t.Any]) -> switch.Change:
    """What is to do: read as the user, as it runs the interpreter. Raises SwitchError, ValueError, OSError."""
    with job_user.acting_as(params["user"]):
        environments.base(params["prefix"], params["name"])
        return switch.plan(params["prefix"], params["name"])


def refuse_running(params: t.Mapping[str, t.Any], change: switch.Change) -> None:
    """Raises Held while jobs run that a switch would lead to another environment."""
    prefix, name = params["prefix"], params["name"]
    jobs = running(prefix, bool(change.moved)) if change.before != change.after else []
    if jobs:
        raise Held(
            f"{prefix}/env can't lead to {name} while jobs run from it: {', '.join(jobs[:SHOWN])}. Wait for their end, "
            "or stop them (trainmesh stop --all), and run this again: the new environment is kept, and only the switch "
            "is left to do"
        )


def verify(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What torch says; raises SwitchError, ValueError."""
    prefix, name = params["prefix"], params["name"]
    with job_user.acting_as(params["user"]):
        base = environments.base_of(prefix, name)
        base = base if os.path.isdir(f"{base}/env") else prefix  # a directory that is to get this name
        return switch.verify(base, params["packages"], params["torch_build"], params["gpus"], params["timeout"])


def converge(params: t.Mapping[str, t.Any]) -> switch.Change:
    """Let ``env`` lead to the environment; raises SwitchError, InstallError, ValueError, OSError.

    Nothing is installed meanwhile, and of nodes that share the prefix one does it.
    """
    prefix, user = params["prefix"], params["user"]
    with contextlib.ExitStack() as stack:
        with job_user.acting_as(user):  # the lock lies in a directory of the user's
            stack.enter_context(uv.alone(uv.paths(environments.base(prefix)), LOCK_SECONDS))
        change = look(params)
        if not change.is_empty:
            refuse_running(params, change)
            apply(prefix, user, params["name"], change)
        return change


def apply(prefix: str, user: str, name: str, change: switch.Change) -> None:
    """Move, link and remove: as root where the prefix is root's, and the records as the user."""
    if change.moved != name:
        switch.check(prefix, name)
    account = job_user.account(user)
    roots = os.geteuid() == 0 and root_path.is_roots(prefix)
    with contextlib.nullcontext() if roots else job_user.acting_as(user):
        if change.moved:
            switch.lay_out(prefix, change.moved, account.pw_uid, account.pw_gid)
            with job_user.acting_as(user):
                switch.copy_records(prefix, change.moved)
        if change.before != change.after:
            switch.link(prefix, change)
        with job_user.acting_as(user):
            switch.remove_records(prefix)
        switch.remove(prefix, change.remove)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["verified", "current"], "default": "verified"},
            "packages": {"type": "list", "elements": "str", "default": ["torch", "deepspeed", "accelerate"]},
            "torch_build": {"type": "str", "default": ""},
            "gpus": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    params, torch = module.params, dict[str, t.Any]()
    switches = params["state"] == "current"
    own = bool(environments.OWN.match(params["name"]))
    if own and switches:
        module.fail_json(msg=f"{params['name']} is one of trainmesh_environments, of which none is the one in use")
    try:
        change = look(params)
        if not module.check_mode and not own:
            refuse_running(params, change)  # also before the first node is switched
        if not switches and not module.check_mode:
            torch = verify(params)
        elif not change.is_empty and not module.check_mode:
            change = converge(params)
    except (switch.SwitchError, uv.InstallError, ValueError, OSError) as error:
        module.fail_json(msg=str(error), held=isinstance(error, Held))
    changed = switches and not change.is_empty
    before = change.moved or os.path.basename(os.path.dirname(change.before))
    module.exit_json(
        changed=changed,
        before=before,
        removed=list(change.remove) if switches else [],
        torch=torch,
        diff=_diff(params["prefix"], change) if changed else {},
    )


def _diff(prefix: str, change: switch.Change) -> dict[str, str]:
    before = [f"env -> {change.before}" if change.before else "env"] if change.moved or change.before else []
    before += [f"{environments.DIRECTORY}/{name}" for name in change.remove]
    after = [f"env -> {change.after}"]
    after += [f"{environments.DIRECTORY}/{change.moved}/env"] if change.moved else []
    text = ("".join(f"{line}\n" for line in lines) for lines in (before, after))
    return {"before_header": prefix, "after_header": prefix, **dict(zip(("before", "after"), text))}


if __name__ == "__main__":
    main()
