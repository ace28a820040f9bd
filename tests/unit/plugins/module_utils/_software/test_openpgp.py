# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._software import openpgp


def packet(tag: int, body: bytes, new: bool = False) -> bytes:
    if new:
        size = len(body)
        length = bytes([size]) if size < 192 else bytes([((size - 192) >> 8) + 192, (size - 192) & 0xFF])
        return bytes([0xC0 | tag]) + length + body
    return bytes([0x80 | tag << 2 | 1]) + len(body).to_bytes(2, "big") + body


def key(number: int, version: int = 4) -> bytes:
    return bytes([version]) + bytes([number]) * 269


def fingerprint(body: bytes) -> str:
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()


ONE = packet(6, key(1)) + packet(13, b"A <a@example.org>") + packet(2, b"x" * 300) + packet(14, key(9))
TWO = ONE + packet(6, key(2), new=True)


def armored(packets: bytes) -> bytes:
    text = base64.b64encode(packets).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    head = ["-----BEGIN PGP PUBLIC KEY BLOCK-----", "Version: x", "", *lines, "=aBcD"]
    return "\r\n".join([*head, "-----END PGP PUBLIC KEY BLOCK-----", ""]).encode()


@pytest.mark.parametrize("content", [ONE, armored(ONE)])
def test_the_one_key_is_taken_in_binary_form(content):
    assert openpgp.pinned(content, fingerprint(key(1)).lower()) == ONE


def test_each_primary_key_counts_and_no_subkey():
    assert openpgp.fingerprints(TWO) == [fingerprint(key(1)), fingerprint(key(2))]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (packet(6, key(2)), "expected the key .* alone, found"),
        (TWO, "alone, found .*, "),  # a second key would sign packages as well
        (ONE[:-20], "cut off"),
        (armored(ONE)[:-60], "no OpenPGP public key"),
        (b"<html>Not found</html>", "no OpenPGP public key"),
        (b"", "no OpenPGP public key"),
        (packet(6, key(1, version=6)), "version 6"),
        (packet(5, key(1)), "something else"),  # a private key
        (packet(13, b"name alone"), "something else"),
        (b"\x99", "cut off"),
        (armored(ONE).replace(b"\r\n=aB", b"!!!!\r\n=aB"), "damaged"),
    ],
)
def test_anything_else_is_refused(content, told):
    with pytest.raises(openpgp.KeyFault, match=told):
        openpgp.pinned(content, fingerprint(key(1)))


def test_the_text_form_is_read_back_and_ends_with_its_checksum():
    text = openpgp.armored(ONE)
    assert openpgp.binary(text) == ONE
    assert b"\n=" in text and openpgp._crc24(b"123456789") == 0x21CF02  # the check value of CRC-24/OPENPGP
