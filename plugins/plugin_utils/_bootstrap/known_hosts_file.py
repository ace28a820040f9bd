# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record confirmed host keys in the known_hosts file that ssh reads for a host."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import secrets
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import known_hosts as known
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.failures import Stop


class Line(t.NamedTuple):
    """A key to record: under which name, of which kind, its bytes; ``hashed`` as HashKnownHosts wants the name."""

    name: str
    kind: str
    key: bytes
    hashed: bool

    def text(self) -> str:
        """As ssh writes it."""
        return f"{hashed(self.name) if self.hashed else self.name} {self.kind} {base64.b64encode(self.key).decode()}"


def hashed(name: str) -> str:
    """The name as a salted hash (sshd(8), known_hosts), which keeps the list of hosts from whoever reads the file."""
    salt = secrets.token_bytes(20)
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def record(path: str, lines: t.Iterable[Line]) -> None:
    """Append the keys that are not there; raises Stop.

    ssh itself appends without a lock, so the file is never replaced: what it adds meanwhile stays.
    """
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            new = [line for line in dict.fromkeys(lines) if not _has(path, line)]
            if new:
                _append(handle, "".join(f"{line.text()}\n" for line in new).encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise Stop(
            "hostkey_unknown",
            f"{path}: {error.strerror or error}",
            "the confirmed host key can't be recorded on the controller",
            f"make {path} writable, or set another UserKnownHostsFile in ~/.ssh/config",
        ) from None


def _has(path: str, line: Line) -> bool:
    return any(not entry.marker and entry.key == line.key for entry in known.entries([path], line.name))


def _append(handle: int, data: bytes) -> None:
    """All of it or nothing, after a last line that may lack its end."""
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":
        data = b"\n" + data
    if os.write(handle, data) != len(data):
        os.ftruncate(handle, size)
        raise OSError(0, "no space left for it")
