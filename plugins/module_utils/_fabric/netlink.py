# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network links and addresses, asked of the kernel over rtnetlink.

This is what ``ip -d addr`` asks too, but needs neither a subprocess nor the iproute2 package, which
small container images lack. Message formats: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h.
"""

from __future__ import annotations

import socket
import struct
import time
import typing as t

RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 18, 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
RTM_NEWRULE, RTM_GETRULE = 32, 34
FRA_SRC = 2
USUAL_RULES = 3  # local, main and default: ip-rule(8)
NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST, REQUEST_DUMP = 0x1, 0x301
RTA_DST, RTA_SRC, RTA_OIF = 1, 2, 4
# States of a neighbour in which its hardware address counts: linux/neighbour.h.
NUD_KNOWN = 0x02 | 0x04 | 0x08 | 0x10 | 0x80
ARPHRD = {1: "ethernet", 32: "infiniband", 772: "loopback"}
OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host"}
IFF_UP = 0x1
LIMIT_S = 2.0

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_RULE = struct.Struct("=BBBBBBBBI")  # struct rtmsg too
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_ATTRIBUTE = struct.Struct("=HH")


class Link(t.NamedTuple):
    """One network interface. ``info`` is the kernel's own kind (veth, bridge, ...) or None.

    ``xdp``: a program is attached that sees packets before every firewall.
    """

    number: int
    name: str
    type: str
    up: bool
    state: str
    carrier: bool | None
    mtu: int | None
    mac: str | None
    master: int | None
    parent: int | None
    info: str | None
    xdp: bool = False


class Address(t.NamedTuple):
    """One address of the interface ``number``; ``family`` is ipv4 or ipv6."""

    number: int
    address: str
    prefix: int
    family: str
    scope: str


def dump(kind: int) -> list[bytes]:
    """Ask the kernel for all objects of a kind (RTM_GETLINK, RTM_GETADDR or RTM_GETRULE).

    Returns the raw datagrams. Raises OSError where netlink is not permitted or does not answer.
    """
    deadline = time.monotonic() + LIMIT_S
    datagrams: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as channel:
        channel.settimeout(LIMIT_S)
        payload = bytes(_LINK.size)
        channel.sendto(_HEADER.pack(_HEADER.size + len(payload), kind, REQUEST_DUMP, 1, 0) + payload, (0, 0))
        while time.monotonic() < deadline:
            data = channel.recv(256 * 1024)
            datagrams.append(data)
            kinds = [found for found, _body in messages(data)]
            if NLMSG_ERROR in kinds:
                raise OSError("the kernel refuses to list its network")
            if NLMSG_DONE in kinds:
                return datagrams
    raise OSError("the kernel did not finish the list of its network")


def leaves_by(address: str, source: str) -> int | None:
    """The number of the interface by which a packet from an address of this node leaves, rules of routing included.

    Nothing is sent to ``address``. None where the kernel does not tell. Raises OSError.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    payload, size = b"", 0
    for kind, text in ((RTA_DST, address), (RTA_SRC, source)):
        raw = socket.inet_pton(family, text.split("%", 1)[0])
        payload += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(raw), kind) + raw
        size = 8 * len(raw)
    payload = _RULE.pack(family, size, size, 0, 0, 0, 0, 0, 0) + payload
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as channel:
        channel.settimeout(LIMIT_S)
        channel.sendto(_HEADER.pack(_HEADER.size + len(payload), RTM_GETROUTE, REQUEST, 1, 0) + payload, (0, 0))
        return parse_way_out(channel.recv(16 * 1024))


def parse_way_out(data: bytes) -> int | None:
    """The interface of the route in the kernel's answer; None where it has none."""
    for kind, body in messages(data):
        if kind == RTM_NEWROUTE and len(body) >= _RULE.size:
            return _number(attributes(body, _RULE.size).get(RTA_OIF))
    return None


def parse_neighbours(datagrams: t.Iterable[bytes]) -> dict[str, str]:
    """{IPv4 address: hardware address} of the neighbours that answered; one that answers for several is left out.

    Such a one is a router, or a cloud's network, which answers for all.
    """
    found: dict[tuple[int, str], list[str]] = {}
    for data in datagrams:
        for kind, body in messages(data):
            if kind != RTM_NEWNEIGH or len(body) < _NEIGHBOUR.size:
                continue
            family, number, state, _flags, _type = _NEIGHBOUR.unpack_from(body)
            known = attributes(body, _NEIGHBOUR.size)
            raw, hardware = known.get(1, b""), known.get(2, b"")
            if family == socket.AF_INET and len(raw) == 4 and any(hardware) and state & NUD_KNOWN:
                found.setdefault((number, hardware.hex(":")), []).append(socket.inet_ntop(family, raw))
    return {held[0]: hardware for (_index, hardware), held in found.items() if len(set(held)) == 1}


def messages(data: bytes) -> t.Iterator[tuple[int, bytes]]:
    """Split a datagram into (type, payload); stops at the first impossible length."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _flags, _seq, _pid = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            return
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes of a payload from ``offset`` on, by type; stops at the first impossible length."""
    found: dict[int, bytes] = {}
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            break
        found[kind & 0x3FFF] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def parse_links(datagrams: t.Iterable[bytes]) -> list[Link]:
    """Every interface of the datagrams, in the kernel's order."""
    links = []
    for data in datagrams:
        for kind, body in messages(data):
            if kind == RTM_NEWLINK and len(body) >= _LINK.size:
                links.append(_link(body))
    return [link for link in links if link.name]


def _link(body: bytes) -> Link:
    _family, hardware, number, flags, _change = _LINK.unpack_from(body)
    found = attributes(body, _LINK.size)
    state = _number(found.get(16)) or 0
    carrier = _number(found.get(33))
    return Link(
        number=number,
        name=_string(found.get(3)) or "",
        type=ARPHRD.get(hardware, str(hardware)),
        up=bool(flags & IFF_UP),
        state=OPERSTATES[state] if state < len(OPERSTATES) else "unknown",
        carrier=None if carrier is None or not flags & IFF_UP else carrier == 1,
        mtu=_number(found.get(4)),
        mac=found[1].hex(":") if any(found.get(1, b"")) else None,
        master=_number(found.get(10)),
        parent=_number(found.get(5)),
        info=_string(attributes(found.get(18, b"")).get(1)),
        xdp=any(attributes(found.get(43, b"")).get(2, b"")),
    )


def parse_addresses(datagrams: t.Iterable[bytes]) -> list[Address]:
    """Every IPv4 and IPv6 address of the datagrams, in the kernel's order (primary first)."""
    addresses = []
    for data in datagrams:
        for kind, body in messages(data):
            address = _address(body) if kind == RTM_NEWADDR and len(body) >= _ADDRESS.size else None
            if address:
                addresses.append(address)
    return addresses


def _address(body: bytes) -> Address | None:
    family, prefix, _flags, scope, number = _ADDRESS.unpack_from(body)
    found = attributes(body, _ADDRESS.size)
    raw = found.get(2, found.get(1, b""))  # the local end; on a point-to-point link 1 is the other end
    size = {socket.AF_INET: 4, socket.AF_INET6: 16}.get(family)
    if size is None or len(raw) != size:
        return None
    name = "ipv4" if size == 4 else "ipv6"
    return Address(number, socket.inet_ntop(family, raw), prefix, name, SCOPES.get(scope, str(scope)))


def has_policy_routing(datagrams: t.Iterable[bytes]) -> bool:
    """Whether there are rules of routing for IPv4 beside the usual ones: then the main table alone does not decide."""
    return len(_rules(datagrams)) > USUAL_RULES


def _rules(datagrams: t.Iterable[bytes]) -> list[bytes]:
    bodies = [body for data in datagrams for kind, body in messages(data) if kind == RTM_NEWRULE]
    return [body for body in bodies if len(body) >= _RULE.size and body[0] == socket.AF_INET]


def source_rules(datagrams: t.Iterable[bytes]) -> list[str]:
    """The networks of which rules of routing for IPv4 say where their packets leave (ip rule add from NETWORK)."""
    found = []
    for body in _rules(datagrams):
        source, size = attributes(body, _RULE.size).get(FRA_SRC, b""), body[2]
        if len(source) == 4 and 0 < size <= 32:
            found.append(f"{socket.inet_ntoa(source)}/{size}")
    return list(dict.fromkeys(found))


def _number(raw: bytes | None) -> int | None:
    return int.from_bytes(raw, "little" if struct.pack("=H", 1)[0] else "big") if raw and len(raw) <= 4 else None


def _string(raw: bytes | None) -> str | None:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace") or None if raw else None
