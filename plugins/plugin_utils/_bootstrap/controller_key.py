# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's own key: which one it is for a host, its public half, and a new one where it is asked for."""

from __future__ import annotations

import base64
import os
import pathlib
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import known_hosts as known
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.failures import Stop
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client

# In this order; ssh's own defaults are more, and begin with RSA.
PREFERRED = ("id_ed25519", "id_ecdsa", "id_rsa")
_DEFAULT = re.compile(r"id_(rsa|dsa|ecdsa|ecdsa_sk|ed25519|ed25519_sk|xmss)\Z")
_PUBLIC = re.compile(r"([a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,3})(?: (.*))?\Z")
LIMIT_S = 30


class PublicKey(t.NamedTuple):
    """A line for authorized_keys; ``blob`` is how it is found again, ``path`` where its private half is."""

    path: str
    blob: str
    line: str

    @property
    def fingerprint(self) -> str:
        """As known_hosts.fingerprint gives it."""
        return known.fingerprint(self.line.split()[0], base64.b64decode(self.blob))


def choose(keys: t.Sequence[str]) -> tuple[str, bool]:
    """(path, whether it is there) of the key for a host, of those that ssh would try there.

    One that the inventory or the ssh configuration names comes before the defaults, also if it is missing.
    """
    named = [path for path in keys if not _is_default(path)]
    places = {os.path.basename(path): path for path in keys if _is_default(path)}
    usual = [places[name] for name in PREFERRED if name in places]
    there = next((path for path in [*named, *usual] if _exists(path)), None)
    if there and (there in named or not named):
        return there, True
    if named:
        return named[0], False
    return (usual or [os.path.expanduser(f"~/.ssh/{PREFERRED[0]}")])[0], False


def _is_default(path: str) -> bool:
    directory, name = os.path.split(path)
    return bool(_DEFAULT.match(name)) and directory == os.path.expanduser("~/.ssh")


def _exists(path: str) -> bool:
    return os.path.exists(path) or os.path.exists(f"{path}.pub")


def read(client: Client) -> PublicKey | None:
    """The public half of the key for a host, None where there is no key; raises Stop where it can't be read."""
    path, exists = choose(client.keys)
    if not exists:
        return None
    try:
        text = pathlib.Path(f"{path}.pub").read_text(encoding="utf-8")
    except FileNotFoundError:
        text = _derived(path)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(f"{path}.pub", str(error)) from None
    match = _PUBLIC.match(text.strip())
    if not match:
        raise _unreadable(f"{path}.pub", "it is not a public key on one line")
    kind, blob, comment = match.groups()
    # The comment goes into a file of another host: plain characters only.
    plain = re.sub(r"[^\w@.:+-]+", "-", comment or "", flags=re.ASCII).strip("-")[:64]
    return PublicKey(path, blob, f"{kind} {blob} {plain}".strip())


def _derived(path: str) -> str:
    """The public half of a private key without a file of its own; an encrypted one can't be asked for its phrase."""
    outcome = command.run(["ssh-keygen", "-y", "-P", "", "-f", path], LIMIT_S)
    if not outcome.ok:
        raise _unreadable(f"{path}.pub", " ".join(outcome.err.split())[:200] or "ssh-keygen -y gave no answer")
    return outcome.out


def _unreadable(path: str, why: str) -> Stop:
    private = path.removesuffix(".pub")
    return Stop(
        "key",
        f"{path}: {why}",
        "the public half of the controller's key can't be read",
        f"ssh-keygen -y -f {private} > {path}, or correct ansible_ssh_private_key_file",
    )


def missing(client: Client) -> Stop:
    """No key, and none is wanted."""
    path, _there = choose(client.keys)
    return Stop(
        "key",
        f"there is no {path}",
        "the controller has no key that could be installed",
        "run once with -e trainmesh_make_key=true, which makes one without a passphrase; or ssh-keygen -t ed25519",
    )


def make(path: str) -> None:
    """Make a key of one's own at ``path``; raises Stop."""
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    outcome = command.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], LIMIT_S)
    if not outcome.ok:
        why = " ".join(outcome.text.split())[:200] or "ssh-keygen gave no answer"
        raise Stop("key", f"{path}: {why}", "the controller's key could not be made", f"make room in {directory}")
