# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A log as UTF-8, whatever it was written or kept as: UTF-16 of a Windows shell, gzip, bzip2 or xz of logrotate."""

from __future__ import annotations

import codecs
import importlib
import os
import typing as t

BLOCK_BYTES = 64 * 1024
MOST_UNPACKED = 128 * 1024 * 1024
"""Of a packed file the first so many bytes of its content are read: no bomb takes a node long."""

# How a packed file begins: the module that reads it (a Python may lack it), and what a damaged one raises.
_PACKED = {
    b"\x1f\x8b": ("gzip", "zlib", "error"),
    b"BZh": ("bz2", "builtins", "OSError"),
    b"\xfd7zXZ\x00": ("lzma", "lzma", "LZMAError"),
}
_ZSTD = b"\x28\xb5\x2f\xfd"
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class Stream:
    """The content of a file in UTF-8; ``size`` is its number of bytes, None where only reading it tells."""

    def __init__(self, raw: t.BinaryIO) -> None:
        head = raw.read(4096)
        raw.seek(0)
        self._raw = raw
        self._source: t.Any = raw
        self._damaged: tuple[type[Exception], ...] = ()
        self._left: float = float("inf")
        packed = next((how for magic, how in _PACKED.items() if head.startswith(magic)), None)
        if packed:
            self._unpack(*packed)
        elif head.startswith(_ZSTD):
            raise OSError(0, "it is packed with zstd: unpack it first (zstd -d)")
        encoding = "" if packed else _utf16(head)
        self._decoder = codecs.getincrementaldecoder(encoding)("replace") if encoding else None
        self.size = None if packed or encoding else os.fstat(raw.fileno()).st_size

    def _unpack(self, module: str, of_error: str, error: str) -> None:
        try:
            self._source = importlib.import_module(module).open(self._raw)
            self._damaged = (OSError, getattr(importlib.import_module(of_error), error))
        except ImportError as missing:
            raise OSError(0, f"it is packed, and this Python has no {module}: unpack it first") from missing
        self._left = MOST_UNPACKED

    def read(self, count: int) -> bytes:
        """About so many bytes, none at the end; of a packed file that was cut off, what is there."""
        content = self._some(count)
        if self._decoder is None:
            return content
        return self._decoder.decode(content, not content).lstrip("\ufeff").encode("utf-8")

    def _some(self, count: int) -> bytes:
        if self._left <= 0:
            return b""
        try:
            content = bytes(self._source.read(count))
        except EOFError:
            return b""
        except self._damaged as error:  # without them every error is the file system's
            raise OSError(0, f"it is packed, and damaged: {error}") from error
        self._left -= len(content)
        return content

    def last(self, count: int, begin: int) -> bytes:
        """The last bytes of what follows the first ``begin`` ones, which were read."""
        if self.size is not None:
            self._raw.seek(max(begin, self.size - count))
            return self.read(count)
        held = b""
        for block in iter(lambda: self.read(BLOCK_BYTES), b""):
            held = (held + block)[-count:]
        return held


def _utf16(head: bytes) -> str:
    """The encoding of a text of 16 bits a character, which may lack its mark; empty where it is another."""
    for mark, encoding in _UTF16.items():
        if head.startswith(mark):
            return encoding
    half = len(head) // 2
    if half < 8 or b"\0" not in head:
        return ""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.4 * half and not even:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 * half and not odd else ""
