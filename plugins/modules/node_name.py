#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host name of a node, at once and after the next boot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_name
short_description: Give the node its host name, without a reboot and lastingly
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Sets the name that the kernel has and the one in C(/etc/hostname), the bare name alone, so that both are equal.
  - Uses C(hostnamectl) where systemd runs. Where C(/etc/hostname) is a bind mount, as in containers, C(hostnamectl)
    fails with C(Device or resource busy) and M(ansible.builtin.hostname) leaves the kernel's name as it was; there
    the file is written in place and C(hostname) sets the name.
  - A container without the right to set the kernel's name keeps both names, with a warning. Launchers use the names
    of the cluster, which C(/etc/hosts) and the ssh configuration resolve, so that jobs run all the same.
options:
  name:
    description: The host name.
    type: str
    required: true
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Name the node
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
import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._textfile import read_text

PATH = "/etc/hostname"


def may_set_kernel_name(status: str) -> bool:
    """True where this process may call sethostname(2): CAP_SYS_ADMIN (bit 21) among its effective capabilities.

    ``status`` is the text of C(/proc/self/status); where it does not say, the call itself will.
    """
    found = re.search(r"^CapEff:\s*([0-9a-fA-F]+)$", status, re.MULTILINE)
    return not found or bool(int(found[1], 16) >> 21 & 1)


def set_name(module: AnsibleModule, name: str) -> str:
    """Set both names, the kernel's first: where that is refused, nothing is half done. Returns what went wrong."""
    hostnamectl = module.get_bin_path("hostnamectl")
    if hostnamectl and os.path.isdir("/run/systemd/system"):
        rc, _out, _err = module.run_command([hostnamectl, "set-hostname", name])
        if rc == 0 and read_text(PATH).strip() == name and os.uname().nodename == name:
            return ""
    if os.uname().nodename != name:
        rc, _out, err = module.run_command([module.get_bin_path("hostname", required=True), name])
        if rc != 0:
            return f"the kernel's name can't be set: {err.strip()}"
    try:
        with open(PATH, "w", encoding="utf-8") as stream:
            stream.write(f"{name}\n")
    except OSError as error:
        return f"{PATH} can't be written: {error}"
    return ""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec={"name": {"type": "str", "required": True}}, supports_check_mode=True)
    name = module.params["name"]
    before = {"kernel": os.uname().nodename, "file": read_text(PATH).strip()}
    changed = set(before.values()) != {name}
    if before["kernel"] != name and not may_set_kernel_name(read_text("/proc/self/status")):
        module.warn(
            f"the host name stays {before['kernel']}: this container may not set it (no CAP_SYS_ADMIN). Jobs run all "
            f"the same; to have no difference set trainmesh_hostname: {before['kernel']}, or start the container with "
            f"--hostname {name}."
        )
        changed = False
    if changed and not module.check_mode:
        error = set_name(module, name)
        if error:
            module.fail_json(msg=f"host name {name}: {error}")
    texts = (
        "".join(f"{place}: {value}\n" for place, value in names.items())
        for names in (before, dict.fromkeys(before, name))
    )
    diff = [dict(zip(("before", "after"), texts), header="host name")] if changed else []
    module.exit_json(changed=changed, before=before, diff=diff)


if __name__ == "__main__":
    main()
