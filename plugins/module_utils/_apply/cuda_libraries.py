# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install cuDNN and NCCL as packages of the system, in one transaction."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import umask
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import cuda_libraries
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import installation
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Transaction

OPTIONS: dict[str, dict[str, t.Any]] = {
    "cudnn": {"type": "str"},
    "nccl": {"type": "str"},
    "cuda": {"type": "str", "default": ""},
    "refresh": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 1800},
}


def converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Compare, judge, and install what is missing."""
    try:
        with umask.readable():
            return _converge(module, given)
    except Fault as error:
        module.fail_json(msg=str(error))
    return {}


def _converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    manager = installation.manager(limit=given["timeout"])
    asked = {name: given[name] for name in cuda_libraries.NAMES if given[name]}
    versions: dict[str, str] = {}
    missing = []
    for name, version in asked.items():
        have = cuda_libraries.installed(name, version, given["cuda"], manager)
        versions.update(have or {})
        missing += [] if have else [name]
    if not missing:
        return {"changed": False, "versions": versions, "missing": [], "diff": []}
    if given["refresh"]:
        manager.refresh()
    what = f"{', '.join(missing)}: "
    try:
        wants = [want for name in missing for want in cuda_libraries.choose(name, asked[name], given["cuda"], manager)]
    except Fault as error:
        if given["refresh"] or not module.check_mode:
            raise
        module.warn(f"not known before the lists of packages are read: {error}")
        names = dict.fromkeys(missing, "")
        diff = installation.diff_of(Transaction(new=names))
        return {"changed": True, "versions": versions, "missing": missing, "diff": [diff]}
    found = installation.judged(manager, manager.transaction(wants), (), what)
    if not module.check_mode:
        installation.apply(manager, wants, found, what)
    versions.update({want.name: want.version for want in wants})
    return {"changed": True, "versions": versions, "missing": missing, "diff": [installation.diff_of(found)]}
