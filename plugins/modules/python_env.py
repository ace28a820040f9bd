#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories of the prefix and what the environment lacks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_env
short_description: Create the directories of the prefix and check the environment of a node
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Makes the prefix for root, with the directories C(env), C(var) and C(workspace) in it for the job user. Below a
    directory that others than root may write, the job user makes the prefix, and all in it is that user's.
  - Tells which commands are missing with the distribution packages that bring them, and whether the environment is of
    the requested kind and version of Python. Creates and removes no environment itself.
  - Refuses an environment that it did not create.
options:
  prefix:
    description: Directory of everything, the same on every node.
    type: path
    required: true
  environment:
    description:
      - Name of an environment below C(environments) in O(prefix), which is made beside the one in use.
      - Empty for the one in use, C(env) in O(prefix).
    type: str
    default: ""
  user:
    description: The job user. A module that starts as root makes the prefix and then works as this user.
    type: str
    required: true
  kind:
    description: Kind of environment.
    type: str
    choices: [venv, conda]
    default: venv
  python:
    description: Path of the interpreter for a venv, or a version such as V(3.11).
    type: str
    default: /usr/bin/python3
  python_version:
    description: Major and minor version of Python in the environment.
    type: str
    required: true
  python_install:
    description: >-
      Whether a Python of O(python_version) is brought below the prefix where O(python) is not there; RV(interpreter) is
      then empty, and RV(python_missing) true.
    type: bool
    default: false
  tools:
    description: Commands that must be there.
    type: list
    elements: dict
    default: []
    suboptions:
      command:
        description: Name of the command.
        type: str
        required: true
      packages:
        description: Lists of distribution packages by family (V(debian), V(redhat), V(suse), V(arch)).
        type: dict
extends_documentation_fragment:
  - trainmesh.cluster.attributes
seealso:
  - module: trainmesh.cluster.python_stack
"""

EXAMPLES = r"""
- name: Prepare a node for a venv of the distribution's own Python
  trainmesh.cluster.python_env:
    prefix: /opt/trainmesh
    user: train
    python_version: "3.11"
  become: true

- name: Prepare a node that launches jobs
  trainmesh.cluster.python_env:
    prefix: /opt/trainmesh
    user: train
    python_version: "3.11"
    tools:
      - command: pdsh
        packages:
          debian: [pdsh]
          redhat: [pdsh, pdsh-rcmd-ssh]
  become: true
"""

RETURN = r"""
environment:
  description: The environment as it is.
  returned: always
  type: dict
  contains:
    state:
      description: V(ok), V(absent), or V(wrong) for another kind or version, or a broken one.
      type: str
      sample: absent
    python:
      description: Its version of Python, empty when no interpreter runs.
      type: str
      sample: "3.11"
    reason:
      description: What is wrong with it, in words.
      type: str
      sample: there is no environment yet
base:
  description: The directory in which C(env) and C(var) of the environment lie.
  returned: always
  type: str
  sample: /opt/trainmesh
interpreter:
  description: Interpreter to make a venv with; empty when none has to be made.
  returned: always
  type: str
  sample: /usr/bin/python3
python_missing:
  description: Whether a Python has to be brought before a venv can be made.
  returned: always
  type: bool
  sample: false
missing:
  description: Commands that are not there.
  returned: always
  type: list
  elements: str
  sample: [pdsh]
packages:
  description: Distribution packages that bring them.
  returned: always
  type: list
  elements: str
  sample: [pdsh]
family:
  description: Family of the distribution, empty when it is none that is known.
  returned: always
  type: str
  sample: debian
ready:
  description: Whether nothing is left to do.
  returned: always
  type: bool
  sample: false
"""

import os
import pwd
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user, root_path, umask
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import environments
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import prefix as install_prefix
from ansible_collections.trainmesh.cluster.plugins.module_utils._install.packages import text_of


def make_prefix(
    prefix: str, user: str, check_mode: bool, names: tuple[str, ...] = install_prefix.OF_THE_USER
) -> list[str]:
    """Make the prefix, and in it directories of these names for the user; returns the paths that change.

    It is root's, with directories of the user's in it, except where others than root could put a link in its way,
    where the user has other things, and where this is not root: there all is the user's.
    """
    account = job_user.account(user)
    fault = install_prefix.owner_fault(prefix, account.pw_uid, user)
    if fault:
        raise install_prefix.Fault(fault)
    changed = install_prefix.prefix_to_make(prefix, account.pw_uid, names)
    if changed and not check_mode:
        if install_prefix.is_laid_out_by_root(prefix):
            root_path.lay_out(prefix, names, account.pw_uid, account.pw_gid)
        else:
            make_as(account, prefix)
    return changed


def make_as(account: pwd.struct_passwd, prefix: str) -> None:
    """Make the prefix as the user; raises Fault."""
    name = account.pw_name
    try:
        with job_user.acting_as(name):
            os.makedirs(prefix, mode=0o755, exist_ok=True)
            owner = os.lstat(prefix).st_uid
    except OSError as error:
        where = "others than root may write a directory above it, so root makes nothing there, and"
        advice = f"make it yourself and give it to {name}, or set another trainmesh_prefix"
        raise install_prefix.Fault(f"{prefix}: {where} {name} can't make it ({error}): {advice}") from error
    if owner != account.pw_uid:
        raise install_prefix.Fault(f"{prefix} belongs to another user than {name}: change its owner")


def make_directories(prefix: str, base: str, check_mode: bool) -> list[str]:
    """Make the directories below the prefix and the base; returns those that change."""
    wanted = install_prefix.absent_directories(prefix)
    wanted += environments.absent_directories(base) if base != prefix else []
    if not check_mode:
        for path in wanted:
            os.makedirs(path, mode=0o755, exist_ok=True)
    return wanted


def claim(prefix: str, kind: str, python_version: str, state: str, check_mode: bool) -> list[str]:
    """Say that the environment is ours, before it is made; returns the file when that changes."""
    have, text = install_prefix.read_claim(prefix), install_prefix.claim_text(kind, python_version)
    fault = install_prefix.claim_fault(prefix, state, have)
    if fault:
        raise install_prefix.Fault(fault)
    if have == text:
        return []
    path = install_prefix.claim_path(prefix)
    if not check_mode:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
    return [path]


def prepare(params: dict[str, t.Any], check_mode: bool) -> tuple[list[str], install_prefix.Environment, str]:
    """(paths that change, the environment as it is, interpreter for a new venv); raises Fault, ValueError, OSError."""
    with umask.readable():
        return _prepare(params, check_mode)


def _prepare(params: dict[str, t.Any], check_mode: bool) -> tuple[list[str], install_prefix.Environment, str]:
    prefix, kind, version = (params[name] for name in ("prefix", "kind", "python_version"))
    base = environments.base(prefix, params.get("environment", ""))
    changed = make_prefix(prefix, params["user"], check_mode)
    if base != prefix:
        changed += make_prefix(base, params["user"], check_mode, environments.OF_THE_USER)
    with job_user.acting_as(params["user"]):
        changed += make_directories(prefix, base, check_mode)
        found = install_prefix.environment(base, kind, version)
        is_new_venv = found.state != "ok" and kind == "venv"
        interpreter = _interpreter(params) if is_new_venv else ""
        changed += claim(base, kind, version, found.state, check_mode)
    return changed, found, interpreter


def _interpreter(params: dict[str, t.Any]) -> str:
    """The interpreter for a new venv; empty where one is brought. Raises Fault."""
    try:
        return install_prefix.interpreter(params["python"], params["python_version"], prefix=params["prefix"])
    except install_prefix.Fault:
        if params["python_install"]:
            return ""
        raise


def main() -> None:
    """Entry point."""
    tool = {"command": {"type": "str", "required": True}, "packages": {"type": "dict"}}
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "environment": {"type": "str", "default": ""},
            "user": {"type": "str", "required": True},
            "kind": {"type": "str", "choices": ["venv", "conda"], "default": "venv"},
            "python": {"type": "str", "default": "/usr/bin/python3"},
            "python_version": {"type": "str", "required": True},
            "python_install": {"type": "bool", "default": False},
            "tools": {"type": "list", "elements": "dict", "default": [], "options": tool},
        },
        supports_check_mode=True,
    )
    tools = [{**one, "packages": one["packages"] or {}} for one in module.params["tools"]]
    family = install_prefix.family(text_of("/etc/os-release"))
    missing = install_prefix.missing_tools(tools)
    try:
        changed, found, interpreter = prepare(module.params, module.check_mode)
    except (install_prefix.Fault, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(changed),
        environment={"state": found.state, "python": found.python, "reason": found.reason},
        base=environments.base(module.params["prefix"], module.params["environment"]),
        interpreter=interpreter,
        python_missing=found.state != "ok" and module.params["kind"] == "venv" and not interpreter,
        missing=missing,
        packages=install_prefix.packages_of(tools, missing, family),
        family=family,
        ready=found.state == "ok" and not missing,
        diff={"before": "", "after": "".join(f"{path}\n" for path in changed)} if changed else {},
    )


if __name__ == "__main__":
    main()
