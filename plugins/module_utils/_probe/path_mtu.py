# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether full-size packets get through, when small ones do."""

from __future__ import annotations

import socket
import struct
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import run
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import netlink
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import protocol as wire

# A path that lets this much through in the time is slow, not blocked: a black hole passes nothing of full size.
MOVING_BYTES = 64 * 1024
BURST_LIMIT_S, PING_LIMIT_S = 5.0, 10.0
SMALLEST: dict[int, int] = {socket.AF_INET: 576, socket.AF_INET6: 1280}
HEADERS: dict[int, int] = {socket.AF_INET: 28, socket.AF_INET6: 48}
TCPI_OPT_TIMESTAMPS = 1


class Way(t.NamedTuple):
    """One end of a connection: family, own interface and its MTU (empty and None when not known), packets sent.

    ``packet`` is the size in bytes of the full-size packets that TCP agreed on, IP header included.
    """

    family: int
    interface: str
    mtu: int | None
    packet: int | None


def interface_of(address: str) -> tuple[str, int | None]:
    """Name and MTU of the interface that has an address of this node; empty and None when not known."""
    try:
        links = netlink.parse_links(netlink.dump(netlink.RTM_GETLINK))
        addresses = netlink.parse_addresses(netlink.dump(netlink.RTM_GETADDR))
    except OSError:
        return "", None
    numbers = {found.number for found in addresses if found.address == address.split("%", maxsplit=1)[0]}
    return next(((link.name, link.mtu) for link in links if link.number in numbers), ("", None))


def packet_size(info: bytes, family: int) -> int | None:
    """Bytes of a full IP packet, from struct tcp_info (linux/tcp.h): tcpi_options at 5, tcpi_snd_mss at 16."""
    if len(info) < 20:
        return None
    segment: int = struct.unpack_from("=I", info, 16)[0]
    stamps = 12 if info[5] & TCPI_OPT_TIMESTAMPS else 0
    return segment + stamps + (60 if family == socket.AF_INET6 else 40)


def way_of(connection: socket.socket) -> Way:
    """What the kernel knows of this end of a connection."""
    interface, mtu = interface_of(connection.getsockname()[0])
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    except OSError:
        info = b""
    return Way(connection.family, interface, mtu, packet_size(info, connection.family))


def pull(connection: socket.socket, limit: float) -> int:
    """Bytes of a burst that arrive from the peer within ``limit`` seconds."""
    deadline, taken = time.monotonic() + limit, 0
    try:
        wire.ask(connection, "pull", wire.BURST_BYTES, limit)
        while taken < wire.BURST_BYTES and time.monotonic() < deadline:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            data = connection.recv(65536)
            if not data:
                break
            taken += len(data)
    except OSError:
        pass  # what has come until now is the answer
    return taken


def push(connection: socket.socket, limit: float) -> int:
    """Bytes of a burst that the peer says have arrived there within ``limit`` seconds."""
    try:
        wire.ask(connection, "push", wire.BURST_BYTES, limit)
        connection.settimeout(limit)
        try:
            connection.sendall(bytes(wire.BURST_BYTES))
        except socket.timeout:
            pass  # stalled: the peer tells what it got
        words = wire.read_line(connection, limit + 2).split(" ")
        return int(words[1]) if words[0] == "got" else 0
    except (OSError, ValueError, IndexError):
        return 0


def bisect(address: str, family: int, largest: int, limit: float = PING_LIMIT_S) -> tuple[int | None, int | None]:
    """(largest packet that passes, smallest that does not) by ping with DF set; None where ping can't tell.

    Packet sizes in bytes with the IP header. An echo has the same size on its way back, so both directions count.
    """
    deadline, headers = time.monotonic() + limit, HEADERS.get(family, 28)

    def passes(size: int) -> bool:
        argv = ["ping", "-n", "-q", "-c", "1", "-W", "1", "-M", "do", "-s", str(size - headers), address]
        return run(argv, 2.0).ok

    low, high = SMALLEST.get(family, 576), largest
    if high <= low or not passes(headers + 56):
        return None, None
    if not passes(low):
        return None, low
    if passes(high):
        return high, None
    while high - low > 8 and time.monotonic() < deadline:
        middle = (low + high) // 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low, high


def verdict(name: str, way: Way, received: int, sent: int, limit: float) -> dict[str, t.Any]:
    """What two bursts showed: ``received`` bytes from the node ``name``, ``sent`` to it, each within ``limit`` s."""
    found = {"receive": ("from", received), "send": ("to", sent)}
    stalls = [key for key, (_word, size) in found.items() if size < MOVING_BYTES]
    burst = wire.BURST_BYTES // 1024
    told = [f"{found[key][1]} bytes of {burst} KiB {found[key][0]} {name} within {limit:.0f} s" for key in stalls]
    slow = [
        f"slow: {size // 1024} of {burst} KiB {word} {name} within {limit:.0f} s"
        for word, size in found.values()
        if MOVING_BYTES <= size < wire.BURST_BYTES
    ]
    return {
        "ok": not stalls,
        "interface": way.interface,
        "interface_mtu": way.mtu,
        "passed": None if stalls else way.packet,
        "failed": way.packet if "send" in stalls else None,
        "stalls": stalls,
        "evidence": f"small messages pass, 64 KiB do not: {', '.join(told)}" if stalls else "; ".join(slow),
    }


def refine(result: dict[str, t.Any], address: str, way: Way) -> dict[str, t.Any]:
    """After a stall: the size that passes, where ping may be used."""
    if result["ok"] or not way.mtu:
        return result
    passed, failed = bisect(address, way.family, way.mtu)
    if passed and failed:
        told = f"; ping passes with packets of {passed} bytes, not of {failed}"
        return {**result, "passed": passed, "failed": failed, "evidence": result["evidence"] + told}
    return result
