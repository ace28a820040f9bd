#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packages of an environment against the lock."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_stack
short_description: Compare the environment with the lock, and install the locked packages
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Compares what is installed in C(env) below the prefix with the lock, without importing anything.
  - With O(state=present) installs the lock with uv where it differs, with hash checking, and verifies afterwards that
    the versions installed equal the lock and that torch is the build planned.
  - An installation that was interrupted is noticed by the next run and done again.
  - Packages that users installed stay. Packages of an earlier lock that this one does not contain are removed.
options:
  prefix:
    description: Directory that holds the environment.
    type: path
    required: true
  environment:
    description: >-
      Name of an environment below C(environments) in O(prefix), beside the one in use. Empty for the one in use, C(env)
      in O(prefix).
    type: str
    default: ""
  user:
    description: User who owns the environment. A module that starts as root works as this user.
    type: str
    required: true
  packages:
    description: Version of every package of the lock, by name.
    type: dict
    required: true
  python_version:
    description: Major and minor version of Python, such as V(3.11).
    type: str
    required: true
  torch_build:
    description: Build of torch that the plan asks for, such as V(cpu) or V(cu126). Empty asks for none.
    type: str
    default: ""
  state:
    description: >-
      Whether to compare only, or to install what differs. Where only packages that users have installed are of the lock
      now, V(read) writes that down, and nothing is to install.
    type: str
    choices: [read, present]
    default: read
  directory:
    description:
      - Directory on the node with the files that M(trainmesh.cluster.wheel_handout) put there.
      - With O(state=read) only looked for, as an interrupted run leaves it.
    type: path
  offline:
    description: Whether these files are all there is, so that no index is asked.
    type: bool
    default: false
  timeout:
    description: Seconds that the installation may take.
    type: int
    default: 3600
extends_documentation_fragment:
  - trainmesh.cluster.attributes
seealso:
  - module: trainmesh.cluster.wheel_lock
  - module: trainmesh.cluster.wheel_handout
"""

EXAMPLES = r"""
- name: Compare the environment with the lock
  trainmesh.cluster.python_stack:
    prefix: /opt/trainmesh
    user: train
    packages:
      torch: 2.13.0+cpu
      deepspeed: 0.19.8
    python_version: "3.11"
    torch_build: cpu
  become: true

- name: Install the locked packages from files copied to the node
  trainmesh.cluster.python_stack:
    prefix: /opt/trainmesh
    user: train
    packages:
      torch: 2.13.0+cpu
      deepspeed: 0.19.8
    python_version: "3.11"
    torch_build: cpu
    state: present
    directory: /var/cache/trainmesh/wheels
    offline: true
  become: true
"""

RETURN = r"""
equal:
  description: Whether the environment equals the lock.
  returned: always
  type: bool
  sample: true
summary:
  description: What differs, or differed before the installation, in one sentence; empty when nothing does.
  returned: always
  type: str
  sample: "36 packages missing, among them torch"
missing:
  description: Packages of the lock that are not, or were not, there.
  returned: always
  type: list
  elements: str
  sample: [accelerate, deepspeed, torch]
different:
  description: Packages at another version, with the version there is and the one of the lock.
  returned: always
  type: list
  elements: str
  sample: ["accelerate 1.14.0 instead of 1.15.0"]
python:
  description: Version of the environment's interpreter, empty when none runs.
  returned: always
  type: str
  sample: "3.11"
torch_build:
  description: Build of torch by its own version file.
  returned: always
  type: str
  sample: cpu
directory_exists:
  description: Whether there was a O(directory) on the node.
  returned: always
  type: bool
  sample: false
command:
  description: The command that installed the lock; empty when none ran.
  returned: always
  type: list
  elements: str
  sample: [/opt/trainmesh/var/tools/uv, pip, install, --require-hashes]
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user, umask
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import environments, packages, uv


def summary(plan: packages.Plan) -> str:
    """What differs, in one sentence for the log."""
    parts = list(plan.problems)
    if plan.missing:
        notable = [name for name in ("torch", "deepspeed", "accelerate") if name in plan.missing]
        parts.append(
            f"{len(plan.missing)} packages missing" + (f", among them {', '.join(notable)}" if notable else "")
        )
    parts += [f"{name} {old} instead of {new}" for name, old, new in plan.different]
    parts += [f"{name} is of an earlier lock" for name in plan.stale]
    parts += ["an installation did not end"] if plan.unfinished else []
    parts += [f"{', '.join(plan.unrecorded[:4])} joined the lock"] if plan.unrecorded else []
    return "; ".join(parts)


class Result(t.NamedTuple):
    """What was found before, what there is now, and the command that was run."""

    plan: packages.Plan
    before: packages.Have
    now: packages.Have
    command: list[str]


def converge(params: dict[str, t.Any], wish: dict[str, str], apply: bool, may_note: bool) -> Result:
    """Compare, install where that is asked for, and prove it; raises ValueError, OSError or InstallError.

    Where all packages of the lock are there already, only the record of them is written.
    """
    python, build, directory = (params[name] for name in ("python_version", "torch_build", "directory"))
    offline, limit = params["offline"], params["timeout"]
    where = uv.paths(environments.base(params["prefix"], params.get("environment", "")))
    index = uv.read_index(directory) if apply else {}  # before the rights to read it are gone
    with job_user.acting_as(params["user"]):
        have = packages.read(where.environment, where.marker, where.record)
        plan = packages.plan(wish, python, build, have)
        if plan.unrecorded and may_note:
            with uv.alone(where, limit), umask.readable():
                uv.note(where, list(wish))
        if plan.is_empty or not apply:
            return Result(plan, have, have, [])
        with uv.alone(where, limit):
            now = packages.read(where.environment, where.marker, where.record)
            rest = packages.plan(wish, python, build, now)  # less, where an interrupted play's own went on
            command = uv.install(where, directory, offline, index, rest, list(wish), limit)
            now = packages.read(where.environment, where.marker, where.record)
    left = packages.faults(wish, python, build, now)
    if left:
        raise uv.InstallError(f"After the installation the environment is not the lock: {'; '.join(left)}")
    return Result(plan, have, now, command)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "environment": {"type": "str", "default": ""},
            "user": {"type": "str", "required": True},
            "packages": {"type": "dict", "required": True},
            "python_version": {"type": "str", "required": True},
            "torch_build": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["read", "present"], "default": "read"},
            "directory": {"type": "path"},
            "offline": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 3600},
        },
        required_if=[("state", "present", ["directory"])],
        supports_check_mode=True,
    )
    params = module.params
    wish = {packages.normal(name): str(version) for name, version in params["packages"].items()}
    wanted = params["state"] == "present"
    handed = bool(params["directory"]) and os.path.isdir(params["directory"])
    try:
        result = converge(params, wish, wanted and not module.check_mode, not module.check_mode)
    except (ValueError, OSError, uv.InstallError) as error:
        module.fail_json(msg=str(error))
    plan = result.plan
    noted = bool(plan.unrecorded)
    changed = noted or (wanted and not plan.is_empty)
    module.exit_json(
        changed=changed,
        equal=plan.is_empty or bool(result.command),
        summary=summary(plan),
        missing=list(plan.missing),
        different=[f"{name} {old} instead of {new}" for name, old, new in plan.different],
        python=result.now.python,
        torch_build=result.now.torch_build,
        directory_exists=handed,
        command=result.command,
        diff=packages.diff_of(wish, plan, result.before) if changed and not noted else {},
    )


if __name__ == "__main__":
    main()
