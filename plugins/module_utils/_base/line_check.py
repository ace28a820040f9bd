# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a text is the one thing that a line of an ssh or hosts file may hold.

What a node says of itself ends in files of every other node. The controller asks here before it plans, and the
modules that write these files ask again.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import typing as t

# The types of OpenSSH: ssh-ed25519, ssh-rsa, ecdsa-sha2-nistp256, sk-ssh-ed25519@openssh.com and so on.
_KEY = re.compile(r"((?:ssh|ecdsa|sk)-[a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,2})\Z")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?\Z")
_ZONE = re.compile(r"[A-Za-z0-9_.:@-]{1,15}\Z")
# Options in front of a key; a quoted value may hold blanks, and quotes after a backslash.
_KEY_LINE = re.compile(
    r'(?:(?P<options>(?:[^\s"]|"(?:[^"\\]|\\.)*")+) )?(?P<key>[a-z0-9@.-]+ [A-Za-z0-9+/=]+)(?: .*)?\Z'
)
_FROM = re.compile(r'(?:\A|,)from="([^"]*)"', re.IGNORECASE)
_MARKER = re.compile(r"@(cert-authority|revoked) ")
_SETTING = re.compile(r"[A-Z][A-Z0-9_]*=\S+\Z")
LONGEST_KEY = 8192  # base64 of an RSA key of 32768 bits is shorter


def is_one_line(text: str) -> bool:
    """Whether no reader of lines finds two in it, and a terminal shows all of it."""
    return text.isprintable()


def is_public_key(text: object) -> bool:
    """Whether it is a type and a key in base64, whose inner type is the same, and nothing else."""
    match = _KEY.match(text) if isinstance(text, str) and len(text) <= LONGEST_KEY else None
    if not match:
        return False
    kind = match.group(1).encode()
    try:
        blob = base64.b64decode(match.group(2), validate=True)
    except (binascii.Error, ValueError):
        return False
    inner = len(kind).to_bytes(4, "big") + kind
    return blob.startswith(inner) and len(blob) > len(inner)


def is_address(text: object) -> bool:
    """Whether it is the address of one machine, IPv4 or IPv6, the latter also with a zone (C(fe80::1%eth0))."""
    if not isinstance(text, str):
        return False
    plain, percent, zone = text.partition("%")
    try:
        found = ipaddress.ip_address(plain)
    except ValueError:
        return False
    if percent and not (found.version == 6 and _ZONE.match(zone)):
        return False
    return not (found.is_unspecified or found.is_multicast or str(found) == "255.255.255.255")


def is_loopback(text: str) -> bool:
    """Whether an address leads back to the machine itself, also as IPv4 inside IPv6; False for what is no address."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    inner = getattr(found, "ipv4_mapped", None)
    return found.is_loopback or (inner is not None and bool(inner.is_loopback))


def is_host(text: object) -> bool:
    """Whether it may stand for one machine in a hosts file: no pattern, no blank, no comment, no option."""
    return isinstance(text, str) and bool(_HOST.match(text))


def key_line_problem(line: str) -> str:
    """What is wrong with a line for authorized_keys; empty where nothing is."""
    match = _KEY_LINE.match(line)
    if not is_one_line(line) or not match:
        return "expected one line with one public key"
    if not is_public_key(match.group("key")):
        return "its key is not of the type that it names"
    sources = _FROM.findall(match.group("options") or "")
    wide = [source for part in sources for source in part.split(",") if not _is_source(source)]
    return f"from= expects addresses and networks, not {', '.join(wide)}" if wide else ""


def _is_source(text: str) -> bool:
    """Whether ``from=`` may name it: an address, or a network that is not everything."""
    try:
        return is_address(text) or ("/" in text and ipaddress.ip_network(text).prefixlen > 0)
    except ValueError:
        return False


def known_host_problem(line: str) -> str:
    """What is wrong with a line for known_hosts; empty where nothing is. A revoked key is revoked for any name."""
    marker = _MARKER.match(line)
    names, _blank, key = line[marker.end() if marker else 0 :].partition(" ")
    if not is_one_line(line) or not is_public_key(key):
        return "expected names and one public key, of the type that it names"
    if marker and marker.group(1) == "revoked" and names == "*":
        return ""
    wrong = [name for name in names.split(",") if not _is_known_name(name)]
    return f"expected names of one machine, not {', '.join(wrong)}" if wrong else ""


def _is_known_name(name: str) -> bool:
    match = re.match(r"\[([^\]]+)\]:\d{1,5}\Z", name)
    plain = match.group(1) if match else name
    return is_host(plain) or is_address(plain)


def hosts_entry_problem(address: str, names: t.Sequence[str]) -> str:
    """What is wrong with an entry for the hosts file; empty where nothing is."""
    if not is_address(address):
        return f"expected the address of one machine, not {address!r}"
    wrong = [name for name in names if not is_host(name)]
    return f"expected host names, not {', '.join(map(repr, wrong))}" if wrong or not names else ""


def setting_problem(line: str) -> str:
    """What is wrong with a line of NAME=VALUE; empty where nothing is."""
    return "" if is_one_line(line) and _SETTING.match(line) else f"expected NAME=VALUE in one line, not {line!r}"
