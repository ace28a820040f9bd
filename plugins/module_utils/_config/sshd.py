# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make sshd listen on one more port without ever closing another."""

from __future__ import annotations

import os
import re
import socket
import tempfile
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import search_path, textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import sshd_return

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

MAIN = "/etc/ssh/sshd_config"
DROP_IN = "/etc/ssh/sshd_config.d/50-trainmesh.conf"
_INCLUDE = re.compile(r"(?im)^\s*Include\s+.*/etc/ssh/sshd_config\.d/\*\.conf")


class Wish(t.NamedTuple):
    """The file that names every port, and the configuration that sshd would have then, to be proved before."""

    path: str
    text: str
    mode: int | None
    proof: str


def has_drop_ins(main_text: str) -> bool:
    """Whether sshd reads our files in the directory beside its configuration."""
    return bool(_INCLUDE.search(main_text))


def wish(main_text: str, main_ports: t.Iterable[int], asked: int) -> Wish:
    """What names every port; raises BlockError.

    ``main_ports`` are the ports sshd has now. A Port line in a drop-in replaces the silent default
    of 22, so the ports of today are written down beside the one asked for: nobody is locked out.
    """
    ports = sorted({*main_ports, asked})
    lines = [f"Port {port}" for port in ports]
    if has_drop_ins(main_text):
        head = "# Written by trainmesh.cluster. Ports found are kept beside the one asked for."
        text = "".join(f"{line}\n" for line in (head, *lines))
        return Wish(DROP_IN, text, 0o600, text + main_text)
    # sshd before 8.2, or a configuration without drop-ins: a block at the start, ahead of any Match.
    text = textfile.with_block(main_text, lines, at_start=True)
    return Wish(MAIN, text, None, text)


def listens(port: int, limit: float) -> bool:
    """True as soon as something on this machine answers on the port with an SSH banner."""
    deadline = time.monotonic() + limit
    while True:
        for address in ("127.0.0.1", "::1"):
            try:
                with socket.create_connection((address, port), 2) as connection:
                    connection.settimeout(2)
                    if connection.recv(4) == b"SSH-":
                        return True
            except OSError:
                continue
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)


def apply(module: AnsibleModule, change: textfile.Change, proof: str, port: int, backup: bool = True) -> str:
    """Prove a copy, write, reload, and wait for the port; on any failure the old file comes back. An error or ''.

    It comes back too when nobody says, by sshd_return.keep(), that a new login works.
    """
    sshd = search_path.required(module, "sshd")
    refused = prove(module, sshd, proof)
    if refused:
        return f"sshd would refuse the new configuration, nothing was written: {refused}"
    existed = os.path.exists(change.path)
    sshd_return.arm(lambda: _come_undone(module, change, existed))
    textfile.write(module, change, backup)
    rc, _out, err = module.run_command([sshd, "-t"])
    problem = f"sshd refuses the new configuration: {err.strip()}" if rc else reload(module)
    if not problem and not listens(port, 15):
        problem = f"nothing answers on port {port} with an SSH banner"
    if not problem:
        return ""
    sshd_return.keep()
    again = restore(module, change, existed)
    return f"{problem}; the old configuration is back{f', but not in force: {again}' if again else ''}"


def _come_undone(module: AnsibleModule, change: textfile.Change, existed: bool) -> None:
    """Put the old file back when nobody is there any more to be told: the node's log says so."""
    why = f"nobody logged in anew within {sshd_return.AFTER_S:.0f} s of the change"
    module.log(f"sshd: {why}: the old {change.path} comes back")
    problem = restore(module, change, existed)
    if problem:
        module.log(f"sshd: the old configuration is back, but not in force: {problem}")


def restore(module: AnsibleModule, change: textfile.Change, existed: bool) -> str:
    """Put the old file back and reload. Returns an error or ''."""
    if existed:
        textfile.write(module, change._replace(before=change.after, after=change.before), backup=False)
    elif os.path.exists(change.path):
        os.unlink(change.path)
    return reload(module)


def prove(module: AnsibleModule, sshd: str, text: str) -> str:
    """What sshd says against a configuration, read from a copy; empty when it takes it."""
    with tempfile.NamedTemporaryFile("wb", prefix="trainmesh-sshd-") as stream:
        stream.write(text.encode("utf-8", "surrogateescape"))
        stream.flush()
        rc, _out, err = module.run_command([sshd, "-t", "-f", stream.name])
    return (err.strip() or f"status {rc}") if rc else ""


def reload(module: AnsibleModule) -> str:
    """Make the running sshd read its configuration; sessions stay open. Returns an error or ''."""
    err: str
    systemctl = search_path.which("systemctl")
    if systemctl and os.path.isdir("/run/systemd/system"):
        rc, _out, _err = module.run_command([systemctl, "is-active", "--quiet", "ssh.socket"])
        if rc == 0:  # socket activation (Ubuntu 22.10 and later): a generator turns Port into the socket's addresses
            module.run_command([systemctl, "daemon-reload"])
            rc, _out, err = module.run_command([systemctl, "restart", "ssh.socket"])
            return "" if rc == 0 else err.strip()
        for unit in ("ssh", "sshd"):
            rc, _out, err = module.run_command([systemctl, "reload", unit])
            if rc == 0:
                return ""
        return err.strip()
    rc, _out, err = module.run_command([search_path.path_of("pkill"), "-HUP", "-o", "-x", "sshd"])
    return "" if rc == 0 else f"no running sshd found to reload: {err.strip()}"
