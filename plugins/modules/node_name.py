#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host name of a node, at once and after the next boot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_name
short_description: Set the host name permanently, without a reboot
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Sets the name that the kernel has and the one in C(/etc/hostname), the bare name alone, so that both are equal.
  - Uses C(hostnamectl) where systemd runs. Where C(/etc/hostname) is a bind mount, as in containers, C(hostnamectl)
    fails with C(Device or resource busy) and M(ansible.builtin.hostname) leaves the kernel's name as it was; there
    the file is written in place and C(hostname) sets the name.
  - Where the kernel refuses another name, as in a container without C(CAP_SYS_ADMIN), both names stay as they are and
    a warning names C(trainmesh_hostname).
options:
  name:
    description: The host name.
    type: str
    required: true
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Set the host name
  trainmesh.cluster.node_name:
    name: node1
"""

RETURN = r"""
before:
  description: The names that the kernel and the file had.
  returned: always
  type: dict
  sample: {kernel: localhost.localdomain, file: localhost.localdomain}
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import required, which
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.textfile import Change, read_text, write
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import kernel_name

PATH = "/etc/hostname"


class Refused(Exception):
    """The kernel keeps its name: containers need CAP_SYS_ADMIN for another one."""


def set_name(module: AnsibleModule, name: str) -> None:
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


def keep_names(module: AnsibleModule, before: dict[str, str], reason: str) -> None:
    """Go on with the name that the kernel has: the cluster's own name leads to the node by the hosts file."""
    module.warn(kernel_name.kept(before["kernel"], module.params["name"], reason))
    module.exit_json(changed=False, before=before, diff=[])


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec={"name": {"type": "str", "required": True}}, supports_check_mode=True)
    name = module.params["name"]
    before = {"kernel": os.uname().nodename, "file": read_text(PATH).strip()}
    # Where nobody can tell, the call itself will. Check mode asks too, and so tells what a run would do.
    may = kernel_name.may_set(read_text(kernel_name.STATUS))
    changed = kernel_name.differs(before, name, may)
    if before["kernel"] != name and not changed:
        keep_names(module, before, "no CAP_SYS_ADMIN")
    if changed and not module.check_mode:
        try:
            set_name(module, name)
        except Refused as refused:
            keep_names(module, before, str(refused))
    texts = (
        "".join(f"{place}: {value}\n" for place, value in names.items())
        for names in (before, dict.fromkeys(before, name))
    )
    diff = [dict(zip(("before", "after"), texts), header="host name")] if changed else []
    module.exit_json(changed=changed, before=before, diff=diff)


if __name__ == "__main__":
    main()
