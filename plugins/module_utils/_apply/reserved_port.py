# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a port from being given away as the source of any connection, or release it again."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import reserved_ports

KERNEL = "/proc/sys/net/ipv4/ip_local_reserved_ports"
FILE = "/etc/sysctl.d/50-trainmesh.conf"
OPTIONS: dict[str, dict[str, t.Any]] = {
    "port": {"type": "int", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Compare, and reserve or release."""
    port, have = given["port"], textfile.read_text(KERNEL).strip()
    if given["state"] == "absent":
        return _release(module, port, have)
    if reserved_ports.holds(have, port):
        return {"changed": False, "reserved": have}
    wanted = reserved_ports.joined(have, port)
    text = f"# trainmesh.cluster\nnet.ipv4.ip_local_reserved_ports = {wanted}\n"
    change = textfile.Change(FILE, textfile.read_text(FILE), text, 0o644)
    if not module.check_mode:
        try:
            with open(KERNEL, "w", encoding="ascii") as stream:
                stream.write(f"{wanted}\n")
        except OSError as error:
            module.warn(
                f"port {port} could not be reserved ({error}): any connection may hold it when a job begins. On the "
                f"container's host run sysctl -w net.ipv4.ip_local_reserved_ports={wanted}, or set "
                "trainmesh_master_port to one outside of its ephemeral range."
            )
            return {"changed": False, "reserved": have}
        textfile.write(module, change)
    return {"changed": True, "reserved": have, "diff": [change.diff]}


def _release(module: AnsibleModule, port: int, have: str) -> dict[str, t.Any]:
    """Take back what was reserved here, which the file tells."""
    if not os.path.exists(FILE):
        return {"changed": False, "reserved": have}
    before = textfile.read_text(FILE)
    if not module.check_mode:
        # A kernel that is not to be changed, as in a container, reserved nothing.
        with contextlib.suppress(OSError), open(KERNEL, "w", encoding="ascii") as stream:
            stream.write(f"{reserved_ports.without(have, port)}\n")
        os.unlink(FILE)
    diff = {"before_header": FILE, "after_header": FILE, "before": before, "after": ""}
    return {"changed": True, "reserved": have, "diff": [diff]}
