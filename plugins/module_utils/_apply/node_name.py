# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the name of the kernel and that in its file the wanted one."""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import required, which
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.textfile import Change, read_text, write
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import kernel_name

PATH = "/etc/hostname"
OPTIONS: dict[str, dict[str, t.Any]] = {"name": {"type": "str", "required": True}}


class Refused(Exception):
    """The kernel keeps its name: containers need CAP_SYS_ADMIN for another one."""


def converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Compare, and set what differs."""
    name = given["name"]
    before = {"kernel": os.uname().nodename, "file": read_text(PATH).strip()}
    # Where nobody can tell, the call itself will. Check mode asks too, and so tells what a run would do.
    may = kernel_name.may_set(read_text(kernel_name.STATUS))
    changed = kernel_name.differs(before, name, may)
    refused = "no CAP_SYS_ADMIN" if before["kernel"] != name and not changed else ""
    if changed and not module.check_mode:
        try:
            _set(module, name)
        except Refused as error:
            refused = str(error)
    if refused:  # the cluster's own name leads to the node by the hosts file
        module.warn(kernel_name.kept(before["kernel"], name, refused))
        return {"changed": False, "before": before, "diff": []}
    texts = (
        "".join(f"{place}: {value}\n" for place, value in names.items())
        for names in (before, dict.fromkeys(before, name))
    )
    diff = [dict(zip(("before", "after"), texts), header="host name")] if changed else []
    return {"changed": changed, "before": before, "diff": diff}


def _set(module: AnsibleModule, name: str) -> None:
    """Set both names, the kernel's first. Raises Refused with nothing changed."""
    hostnamectl = which("hostnamectl")
    if hostnamectl and os.path.isdir("/run/systemd/system"):
        rc, _out, _err = module.run_command([hostnamectl, "set-hostname", name])
        if rc == 0 and read_text(PATH).strip() == name and os.uname().nodename == name:
            return
    if os.uname().nodename != name:
        rc, _out, err = module.run_command([required(module, "hostname"), name])
        if rc != 0 or os.uname().nodename != name:
            raise Refused(err.strip() or "no reason was given")
    write(module, Change(PATH, read_text(PATH), f"{name}\n"))
