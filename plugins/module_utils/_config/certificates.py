# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in a certificate of OpenSSH, and where the nodes keep theirs.

Certificates are made and judged by OpenSSH alone; here they are only read, to compare them with what is wanted and to
say why one is not accepted. Format: PROTOCOL.certkeys of OpenSSH.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import glob
import hashlib
import os
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import textfile

DIRECTORY = "/etc/ssh/trainmesh"
REVOKED = f"{DIRECTORY}/revoked_keys"
# Is there from before the first write until sshd was seen with what was written: a run may be killed between the two.
UNREAD = f"{DIRECTORY}/.unread"
DROP_IN = "/etc/ssh/sshd_config.d/51-trainmesh-certificates.conf"
# The algorithm of a certificate of an ed25519 key, which ssh and sshd may be told not to accept.
ALGORITHM = "ssh-ed25519-cert-v01@openssh.com"
_MARK = "-cert-v01@openssh.com"
# Fields of the public key behind the nonce, by the start of its type.
_KEY_FIELDS = (("ssh-ed25519", 1), ("ssh-rsa", 2), ("ecdsa-sha2-", 2), ("sk-ssh-", 2), ("sk-ecdsa-", 3))
_KINDS = {1: "user", 2: "host"}


class Certificate(t.NamedTuple):
    """What a certificate says: ``public_key`` is the certified key, ``authority`` the fingerprint of who signed it.

    Times are seconds since 1970. ``sources`` are the addresses from which it is accepted, none: all.
    """

    kind: str
    serial: int
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    sources: tuple[str, ...]
    public_key: str
    authority: str


def read(line: str) -> Certificate | None:
    """The certificate in a line of type, base64 and maybe a comment; None where it is none that can be read."""
    words = line.split()
    if len(words) < 2 or _MARK not in words[0]:
        return None
    try:
        return _read(words[0], base64.b64decode(words[1], validate=True))
    except (binascii.Error, ValueError, KeyError, IndexError):
        return None


def _read(kind: str, blob: bytes) -> Certificate:
    fields = _Fields(blob)
    if fields.text() != kind:
        raise ValueError("the inner type is another one")
    plain = kind.replace(_MARK, "@openssh.com" if kind.startswith("sk-") else "")
    fields.string()  # the nonce
    count = next((number for start, number in _KEY_FIELDS if plain.startswith(start)), 0)
    if not count:
        raise ValueError("a key of an unknown type")
    key = [plain.encode(), *(fields.string() for _each in range(count))]
    serial, use, key_id = fields.number(8), fields.number(4), fields.text()
    principals = tuple(_Fields(fields.string()).texts())
    after, before = fields.number(8), fields.number(8)
    options = list(_Fields(fields.string()).texts())
    fields.string()  # extensions
    fields.string()  # reserved
    signer = fingerprint_of(fields.string())
    fields.string()  # the signature, which sshd and ssh check
    sources = dict(zip(options[::2], options[1::2])).get("source-address", "")
    return Certificate(
        kind=_KINDS[use],
        serial=serial,
        key_id=key_id,
        principals=principals,
        valid_after=after,
        valid_before=before,
        # The value of an option is itself a string with its length.
        sources=tuple(sources[4:].split(",")) if sources else (),
        public_key=f"{plain} {base64.b64encode(b''.join(map(_with_length, key))).decode()}",
        authority=signer,
    )


class _Fields:
    """The fields of a blob, one after the other; ValueError where it ends too early."""

    def __init__(self, blob: bytes) -> None:
        self._rest = blob

    def _take(self, count: int) -> bytes:
        if count > len(self._rest):
            raise ValueError("it ends too early")
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def string(self) -> bytes:
        return self._take(self.number(4))

    def text(self) -> str:
        return self.string().decode("utf-8", "replace")

    def texts(self) -> t.Iterator[str]:
        while self._rest:
            yield self.text()


def _with_length(field: bytes) -> bytes:
    return len(field).to_bytes(4, "big") + field


def fingerprint_of(blob: bytes) -> str:
    """A key's fingerprint as ssh-keygen -l shows it."""
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"


def fingerprint(public_key: str) -> str:
    """The fingerprint of a line of type and base64; empty where it is none."""
    words = public_key.split()
    try:
        return fingerprint_of(base64.b64decode(words[1], validate=True))
    except (binascii.Error, ValueError, IndexError):
        return ""


def host_file(certificate: str) -> str:
    """Where a host certificate is kept: one for each type of key."""
    kind = certificate.split(maxsplit=1)[0].replace(_MARK, "")
    return f"{DIRECTORY}/{kind}-cert.pub"


def drop_in(files: t.Sequence[str]) -> str:
    """What sshd is told: its certificates, and those of users that are revoked."""
    lines = ["# Written by trainmesh.cluster", *(f"HostCertificate {path}" for path in files), f"RevokedKeys {REVOKED}"]
    return "".join(f"{line}\n" for line in lines)


class OfSshd(t.NamedTuple):
    """What sshd has of ours: the text of its drop-in, that of each file by path, and the revoked keys in base64."""

    drop_in: str
    files: dict[str, str]
    revoked: str


def of_sshd() -> OfSshd:
    """What there is. Raises OSError."""
    paths = sorted(glob.glob(f"{DIRECTORY}/*-cert.pub"))
    revoked = ""
    with contextlib.suppress(FileNotFoundError), open(REVOKED, "rb") as stream:
        revoked = base64.b64encode(stream.read()).decode()
    files = {path: textfile.read_text(path) for path in [*paths, *filter(os.path.exists, [UNREAD])]}
    return OfSshd(textfile.read_text(DROP_IN), files, revoked)


def wanted_of_sshd(lines: t.Sequence[str], revoked: str) -> OfSshd:
    """What of_sshd() finds where these certificates, and this list in base64, were given."""
    files = {host_file(line): f"{line}\n" for line in lines}
    return OfSshd(drop_in(list(files)), dict(sorted(files.items())), revoked) if lines else OfSshd("", {}, "")


def server_problem(found: t.Mapping[str, t.Sequence[str]], has_drop_ins: bool) -> str:
    """Why an sshd with these settings (of C(sshd -T)) can't be given our certificates; empty where it can."""
    first = {keyword: values[0] for keyword, values in found.items() if values}
    foreign = [path for path in found.get("hostcertificate", []) if not path.startswith(f"{DIRECTORY}/")]
    if not has_drop_ins:
        return "its sshd_config does not include /etc/ssh/sshd_config.d/*.conf"
    if foreign:
        return f"its sshd has a certificate of somebody else already ({foreign[0]})"
    if first.get("revokedkeys", "none") not in ("none", REVOKED):
        return f"its sshd has a list of revoked keys already ({first['revokedkeys']})"
    if not _accepts(first):
        return "its sshd accepts no ed25519 certificates (PubkeyAcceptedAlgorithms, CASignatureAlgorithms)"
    return ""


def client_accepts(found: t.Mapping[str, str]) -> bool:
    """Whether an ssh with these settings (of C(ssh -G)) shows certificates, and accepts those of hosts."""
    return ALGORITHM in found.get("hostkeyalgorithms", ALGORITHM).split(",") and _accepts(found)


def _accepts(found: t.Mapping[str, str]) -> bool:
    users = found.get("pubkeyacceptedalgorithms") or found.get("pubkeyacceptedkeytypes") or ALGORITHM
    signers = found.get("casignaturealgorithms") or "ssh-ed25519"
    return ALGORITHM in users.split(",") and "ssh-ed25519" in signers.split(",")
