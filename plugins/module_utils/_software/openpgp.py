# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Public keys that sign packages, told apart by their fingerprints; without gpg, which a node need not have."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

_ARMOR = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL
)
_PUBLIC_KEY, _SUBKEY, _SIGNATURE, _USER, _TRUST, _ATTRIBUTE = 6, 14, 2, 13, 12, 17
_OF_A_KEY = (_SUBKEY, _SIGNATURE, _USER, _TRUST, _ATTRIBUTE)


class KeyFault(ValueError):
    """These are no public keys; the text says why."""


def binary(content: bytes) -> bytes:
    """The packets of keys in text or binary form; raises KeyFault."""
    if content[:1] and content[0] & 0x80:
        return content
    blocks = _ARMOR.findall(content.decode("ascii", "replace"))
    if not blocks:
        raise KeyFault("it holds no OpenPGP public key")
    packets = b""
    for block in blocks:
        _headers, blank, body = re.sub(r"\r\n?", "\n", block).partition("\n\n")
        lines = [line.strip() for line in (body if blank else block).splitlines()]
        text = "".join(line for line in lines if not line.startswith("="))  # the last line is a checksum
        try:
            packets += base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise KeyFault("its OpenPGP block is damaged") from None
    return packets


def armored(packets: bytes) -> bytes:
    """Keys in text form, the only one that rpm reads."""
    text = base64.b64encode(packets).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    check = base64.b64encode(_crc24(packets).to_bytes(3, "big")).decode()
    head, tail = (f"-----{word} PGP PUBLIC KEY BLOCK-----" for word in ("BEGIN", "END"))
    return "\n".join([head, "", *lines, f"={check}", tail, ""]).encode()


def _crc24(content: bytes) -> int:
    """RFC 4880, 6.1."""
    crc = 0xB704CE
    for byte in content:
        crc ^= byte << 16
        for _bit in range(8):
            crc <<= 1
            crc ^= 0x1864CFB if crc & 0x1000000 else 0
    return crc


def fingerprints(packets: bytes) -> list[str]:
    """The fingerprints of the primary keys, 40 capital digits each; raises KeyFault on anything else in there."""
    found, at = [], 0
    while at < len(packets):
        tag, start, end = _packet(packets, at)
        body = packets[start:end]
        if tag == _PUBLIC_KEY:
            found.append(_fingerprint(body))
        elif tag not in _OF_A_KEY or not found:
            raise KeyFault("it holds something else than OpenPGP public keys")
        at = end
    if not found:
        raise KeyFault("it holds no OpenPGP public key")
    return found


def _fingerprint(body: bytes) -> str:
    """RFC 4880, 12.2: the SHA-1 of the packet, of version 4 alone, which package managers of today take."""
    if body[:1] != b"\x04":
        raise KeyFault(f"its key is of version {body[0] if body else 0}, and only version 4 has a known fingerprint")
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()


def _packet(packets: bytes, at: int) -> tuple[int, int, int]:
    """Tag of the packet that begins at ``at``, and where its body begins and ends; raises KeyFault."""
    try:
        first = packets[at]
        if not first & 0x80:
            raise IndexError
        if first & 0x40:
            tag, (size, start) = first & 0x3F, _new_length(packets, at + 1)
        else:
            width = 1 << (first & 0x03)
            if width == 8:
                raise IndexError
            tag, start = (first >> 2) & 0x0F, at + 1 + width
            size = int.from_bytes(packets[at + 1 : start], "big")
    except IndexError:
        raise KeyFault("its OpenPGP packets are damaged") from None
    if start + size > len(packets):
        raise KeyFault("it was cut off: its last OpenPGP packet is not whole")
    return tag, start, start + size


def _new_length(packets: bytes, at: int) -> tuple[int, int]:
    """Size of a body in the newer format, and where it begins."""
    first = packets[at]
    if first < 192:
        return first, at + 1
    if first < 224:
        return ((first - 192) << 8) + packets[at + 1] + 192, at + 2
    if first == 255:
        return int.from_bytes(packets[at + 1 : at + 5], "big"), at + 5
    raise IndexError  # a body in parts, which keys never are


def pinned(content: bytes, fingerprint: str) -> bytes:
    """The one key with this fingerprint, in binary form; raises KeyFault where it is another one, or not alone."""
    packets = binary(content)
    found = fingerprints(packets)
    if found != [fingerprint.upper()]:
        raise KeyFault(f"expected the key {fingerprint.upper()} alone, found {', '.join(found)}")
    return packets
