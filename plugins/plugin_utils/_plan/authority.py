# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate authority of a cluster: two keys that never leave the controller, and what they have signed.

One key certifies users, the other hosts, so that neither's certificates pass for the other's. OpenSSH makes the keys,
signs and revokes; a private key stands in no command, only its path does.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import tempfile
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command, file_write
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import certificates

USERS, HOSTS = "users", "hosts"
FORMAT = 1
LIMIT_S = 30.0
# A node's clock may be behind by as much when a certificate is new.
SKEW = "5m"


class Request(t.NamedTuple):
    """What is to be certified: a public key, for these nodes, under these principals.

    ``sources`` are the addresses from which a user's certificate is accepted; of a host's there are none.
    """

    public_key: str
    names: tuple[str, ...]
    principals: tuple[str, ...]
    sources: tuple[str, ...] = ()


class Signed(t.NamedTuple):
    """A certificate's line, and the nodes that it was made for."""

    line: str
    names: tuple[str, ...]


class Records:
    """What was signed: the certificates of users and hosts that are in use, by public key.

    ``replaced`` are certificates of users whose nodes were not seen with the newer one yet; ``revoked`` what nobody
    shall accept any more. ``certified`` are, by kind, the nodes that were last seen with their certificates,
    ``spelled`` those whose own keys the others were last given, and ``trusting`` those that may still trust the
    authority.
    """

    def __init__(self, data: t.Mapping[str, t.Any] | None = None) -> None:
        data = {"format": FORMAT} if data is None else data
        if data["format"] != FORMAT:
            raise KeyError("format")
        self.serial = int(data.get("serial", 0))
        self.issued = {kind: _lines(data.get(kind, {})) for kind in (USERS, HOSTS)}
        self.replaced = [Signed(row["line"], tuple(row["names"])) for row in data.get("replaced", [])]
        revoked, certified, spelled = (data.get(key, {}) for key in ("revoked", "certified", "spelled"))
        self.revoked: dict[str, list[str]] = {kind: list(revoked.get(kind, [])) for kind in (USERS, HOSTS)}
        self.certified: dict[str, set[str]] = {kind: set(certified.get(kind, [])) for kind in (USERS, HOSTS)}
        self.spelled: dict[str, set[str]] = {kind: set(spelled.get(kind, [])) for kind in (USERS, HOSTS)}
        self.trusting: set[str] = set(data.get("trusting", []))

    def text(self) -> str:
        """The records as they are kept."""
        issued = {kind: {key: signed._asdict() for key, signed in self.issued[kind].items()} for kind in (USERS, HOSTS)}
        data = {
            "format": FORMAT,
            "serial": self.serial,
            **issued,
            "replaced": [signed._asdict() for signed in self.replaced],
            "revoked": self.revoked,
            "certified": {kind: sorted(names) for kind, names in self.certified.items()},
            "spelled": {kind: sorted(names) for kind, names in self.spelled.items()},
            "trusting": sorted(self.trusting),
        }
        return json.dumps(data, indent=1, sort_keys=True) + "\n"


def _lines(rows: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, Signed]:
    return {key: Signed(str(row["line"]), tuple(map(str, row["names"]))) for key, row in rows.items()}


class Authority:
    """The directory of a cluster's authority; raises ValueError where it can't be used."""

    def __init__(self, state_dir: str, identity: str) -> None:
        self.identity = identity
        self.directory = os.path.join(state_dir, "authority", identity)
        self._records = os.path.join(self.directory, "issued.json")

    def exists(self) -> bool:
        """Whether both keys are there."""
        return all(os.path.exists(self._key(kind)) for kind in (USERS, HOSTS))

    def make(self) -> None:
        """Make the keys that are missing. A key is there as a whole, its public half first, or not at all."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        for kind in (USERS, HOSTS):
            if os.path.exists(self._key(kind)):
                continue
            with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
                key, comment = os.path.join(scratch, kind), f"trainmesh {self.identity} {kind}"
                self._keygen("-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", key)
                os.replace(f"{key}.pub", f"{self._key(kind)}.pub")
                os.replace(key, self._key(kind))

    def public(self, kind: str) -> str:
        """Type and key of one of the two, without its comment; empty where there is none."""
        try:
            with open(f"{self._key(kind)}.pub", encoding="utf-8") as stream:
                return " ".join(stream.read().split()[:2])
        except FileNotFoundError:
            return ""

    def load(self) -> Records:
        """What was signed so far."""
        try:
            with open(self._records, encoding="utf-8") as stream:
                return Records(json.load(stream))
        except FileNotFoundError:
            return Records()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{self._records} can't be read ({error}); restore it, or remove {self.directory} for a new authority"
            ) from None

    def save(self, records: Records) -> None:
        """Keep what was signed."""
        file_write.replace(self._records, records.text().encode(), 0o600)

    def remove(self) -> None:
        """Remove the keys and the records: no node trusts them any more."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.directory)
        with contextlib.suppress(OSError):  # not there, or another cluster's authority is
            os.rmdir(os.path.dirname(self.directory))

    def sign(self, kind: str, request: Request, serial: int, validity: str) -> str:
        """The certificate for a request, as a line of type and base64."""
        options = ["-h"] if kind == HOSTS else ["-O", "clear", "-O", "permit-pty"]
        if request.sources:
            options += ["-O", f"source-address={','.join(request.sources)}"]
        with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
            path = os.path.join(scratch, "key.pub")
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(f"{request.public_key}\n")
            key_id = f"trainmesh-{self.identity}/{','.join(request.names)}"
            self._keygen(
                *("-q", "-s", self._key(kind), "-I", key_id, "-n", ",".join(request.principals)),
                *("-V", f"-{SKEW}:+{validity}", "-z", str(serial), *options, path),
            )
            with open(os.path.join(scratch, "key-cert.pub"), encoding="utf-8") as stream:
                return " ".join(stream.read().split()[:2])

    def revocation_list(self, lines: t.Sequence[str], keep: bool = True) -> str:
        """The list of these certificates of users for RevokedKeys, in base64; it is made anew where they differ.

        Without ``keep`` it is that of the last run, as far as there is one.
        """
        path, spec = os.path.join(self.directory, "revoked_keys"), os.path.join(self.directory, "revoked_keys.spec")
        serials = sorted(found.serial for line in lines if (found := certificates.read(line)))
        wanted = "".join(f"serial: {serial}\n" for serial in serials)
        if keep and not (os.path.exists(path) and _text(spec) == wanted):
            with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
                new = os.path.join(scratch, "list")
                file_write.replace(f"{new}.spec", wanted.encode(), 0o600)
                self._keygen("-k", "-q", "-f", new, "-s", f"{self._key(USERS)}.pub", f"{new}.spec")
                os.replace(new, path)
            file_write.replace(spec, wanted.encode(), 0o600)
        try:
            with open(path, "rb") as binary:
                return base64.b64encode(binary.read()).decode()
        except FileNotFoundError:
            return ""

    def _key(self, kind: str) -> str:
        return os.path.join(self.directory, kind)

    def _keygen(self, *words: str) -> None:
        outcome = command.run(["ssh-keygen", *words], LIMIT_S)
        if not outcome.ok:
            why = " ".join(outcome.text.split())[:300] or f"no answer within {LIMIT_S:.0f} s"
            raise ValueError(f"trainmesh_ssh_trust: ssh-keygen on the controller failed: {why}")


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
