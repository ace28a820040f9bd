# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which TCP ports are listened on, and which of them by sshd."""

from __future__ import annotations

import os
import re
import socket
import struct
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import ssh_config
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, to_int
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.ssh_session import process_name
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.units import unit_active

LISTEN = "0A"
# The kernel lists listening sockets before all others, so the first part of the file is enough
# even on a node with a hundred thousand connections (net/ipv4/tcp_ipv4.c, tcp_get_idx).
ENOUGH = 256 * 1024
SSHD_NAMES = frozenset({"sshd", "dropbear"})
PID_FILES = ("/run/sshd.pid", "/var/run/sshd.pid", "/run/dropbear.pid")
SERVICES = ("ssh.service", "sshd.service", "dropbear.service")
SOCKETS = ("ssh.socket", "sshd.socket")
UNIT_PLACES = ("/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator", "/etc/systemd/system")
# -p 2222, -Dp2222, dropbear's -p 10.0.0.1:2222, -o Port=2222 and -o "Port 2222".
_GIVEN_PORT = re.compile(
    r" -[46DdeEFiqTtV]*p ?(?:\S*:)?(\d{1,5})(?= |\Z)| -[46Ddeiqt]*o ?(?i:port)[= ](\d{1,5})(?= |\Z)"
)
_GIVEN_FILE = re.compile(r" -[46Ddeiqt]*f ?(/\S+)")


class Listener(t.NamedTuple):
    """One listening TCP socket; ``inode`` is what /proc/PID/fd calls it."""

    address: str
    port: int
    inode: int


def listeners(files: Tree) -> list[Listener]:
    """Every listening TCP socket of the node, IPv4 and IPv6; readable by any user."""
    found = []
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        found += parse_proc_net_tcp(files.text(path, ENOUGH) or "")
    return found


def parse_proc_net_tcp(text: str) -> list[Listener]:
    """The listening sockets in the text of /proc/net/tcp or tcp6. Format: proc_net_tcp.rst of the kernel."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 10 or fields[3] != LISTEN:
            continue
        raw, _colon, port_text = fields[1].rpartition(":")
        port, inode, address = to_int(port_text, 16), to_int(fields[9]), hex_address(raw)
        if port is not None and 0 < port < 65536 and inode is not None and address:
            found.append(Listener(address, port, inode))
    return found


def hex_address(raw: str) -> str | None:
    """ "0100007F" or 32 digits, words in host byte order, as an address; None for anything else."""
    if len(raw) not in (8, 32):
        return None
    try:
        words = [int(raw[at : at + 8], 16) for at in range(0, len(raw), 8)]
        packed = struct.pack(f"={len(words)}I", *words)
        return socket.inet_ntop(socket.AF_INET if len(raw) == 8 else socket.AF_INET6, packed)
    except (OSError, ValueError, struct.error):
        return None


def sshd(
    files: Tree, found: t.Sequence[Listener], session_port: int | None, chain: t.Sequence[int] = ()
) -> dict[str, t.Any]:
    """The ports on which sshd really listens, and how that is known; ``chain`` are the pids above this process.

    ``source``: process (root: the sockets that sshd, or systemd for it, holds), config (ports of the
    configuration that something listens on), session (only the port of this login is known).
    """
    ports, pid = process_ports(files, found, chain)
    given, config = command_line(files, pid)
    settings = ssh_config.server_settings(files, config)
    configured = given or (None if settings is None else ssh_config.server_ports(settings))
    source = "process" if ports else None
    open_ports = {listener.port for listener in found}
    if not ports:
        wanted = set(configured or ()) | set(socket_unit_ports(files)) | ({session_port} if session_port else set())
        ports = sorted(wanted & open_ports)
        source = ("config" if configured is not None else "session") if ports else None
    addresses = sorted({listener.address for listener in found if listener.port in ports})
    return {
        "ports": ports,
        "source": source,
        "addresses": addresses,
        "pid": pid,
        "binary_deleted": binary_deleted(files, pid),
        "config_ports": configured,
        "unit": next((unit for unit in SERVICES if unit_active(files, unit)), None) or enabled_socket(files),
        "systemd": files.has("/run/systemd/system"),
    }


def command_line(files: Tree, pid: int | None) -> tuple[list[int], str]:
    """(ports that sshd was started with, its configuration file): -p and -o Port go before the file, see sshd(8)."""
    text = (files.text(f"/proc/{pid}/cmdline", 4096) or "").replace("\0", " ") if pid else ""
    ports = {int(one or other) for one, other in _GIVEN_PORT.findall(text)}
    config = _GIVEN_FILE.search(text)
    return sorted(port for port in ports if 0 < port < 65536), config[1] if config else ssh_config.SERVER


def process_ports(files: Tree, found: t.Sequence[Listener], chain: t.Sequence[int]) -> tuple[list[int], int | None]:
    """(ports, pid) of the sshd process whose sockets can be read; needs root. ([], None) otherwise.

    The login's own ancestors and the pid file are looked at first: reading the name of every process
    is the dear part on a node with thousands of them.
    """
    near = [pid for pid in chain if process_name(files, pid) in SSHD_NAMES]
    written = [pid for pid in map(files.number, PID_FILES) if pid]
    near += [pid for pid in written if process_name(files, pid) in SSHD_NAMES]
    ports, holders = held_ports(files, near, found)
    if not ports and os.access(files.path("/proc/1/fd"), os.R_OK):
        every = [pid for pid in files.pids() if process_name(files, pid) in SSHD_NAMES]
        ports, holders = held_ports(files, every, found)
    return ports, holders[0] if holders else None


def binary_deleted(files: Tree, pid: int | None) -> bool | None:
    """Whether the program that a process runs was replaced or removed on the disk; None if not known (needs root).

    The kernel says so itself: proc(5), /proc/PID/exe.
    """
    program = files.target(f"/proc/{pid}/exe") if pid else None
    return program.endswith(" (deleted)") if program else None


def held_ports(files: Tree, pids: t.Iterable[int], found: t.Sequence[Listener]) -> tuple[list[int], list[int]]:
    """(ports, pids that hold one) among the listening sockets, X11 and port forwardings of logins left out."""
    by_inode = {f"socket:[{listener.inode}]": listener.port for listener in found}
    ports: set[int] = set()
    holders = []
    for pid in dict.fromkeys(pids):
        command = (files.text(f"/proc/{pid}/cmdline", 4096) or "").replace("\0", " ")
        if "@" in command.split(" -", 1)[0] or "[priv]" in command:
            continue  # "sshd: user@pts/0" is a login; what it listens on is a forwarding
        own = {by_inode[link] for link in _links(files, pid) if link in by_inode}
        if own:
            ports |= own
            holders.append(pid)
    return sorted(ports), holders


def _links(files: Tree, pid: int) -> t.Iterator[str]:
    for name in files.names(f"/proc/{pid}/fd")[:4096]:
        target = files.target(f"/proc/{pid}/fd/{name}")
        if target:
            yield target


def enabled_socket(files: Tree) -> str | None:
    """The socket unit by which systemd listens in the place of sshd, as on Ubuntu since 22.10, or None."""
    wants = [name for name in files.names("/etc/systemd/system") if name.endswith((".wants", ".requires"))]
    for unit in SOCKETS:
        if any(files.has(f"/etc/systemd/system/{name}/{unit}") for name in wants):
            return unit
    return None


def socket_unit_ports(files: Tree) -> list[int]:
    """The ports that the enabled ssh socket unit asks for. Format: systemd.socket(5)."""
    unit = enabled_socket(files)
    if unit is None:
        return []
    paths = [f"{place}/{unit}" for place in UNIT_PLACES]
    paths += [f"{place}/{unit}.d/{name}" for place in UNIT_PLACES for name in files.names(f"{place}/{unit}.d")]
    ports: set[int] = set()
    for path in paths:
        for line in (files.text(path) or "").splitlines():
            key, _equals, value = line.partition("=")
            port = to_int(value.strip().rpartition(":")[2]) if key.strip() == "ListenStream" else None
            ports |= {port} if port else set()
    return sorted(ports)


def port_range(files: Tree) -> dict[str, t.Any] | None:
    """The ephemeral ports: ``low``, ``high`` (inclusive) and ``reserved`` (text as the kernel has it, or None)."""
    fields = [to_int(field) for field in (files.line("/proc/sys/net/ipv4/ip_local_port_range") or "").split()]
    if len(fields) != 2 or fields[0] is None or fields[1] is None:
        return None
    return {"low": fields[0], "high": fields[1], "reserved": files.line("/proc/sys/net/ipv4/ip_local_reserved_ports")}
