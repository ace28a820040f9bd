# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key that a host shows before anybody logs in, and what is known of it."""

from __future__ import annotations

import base64
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import failures as words
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import known_hosts as known
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import login
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.check import patiently
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.login import Clock
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client

KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


class Shown(t.NamedTuple):
    """A key that a host has proved to hold."""

    kind: str
    key: bytes

    @property
    def fingerprint(self) -> str:
        """Without its kind: ``SHA256:...``."""
        return known.fingerprint(self.kind, self.key).partition(" ")[2]

    def entry(self) -> known.Entry:
        """What known_hosts will say of it."""
        return known.Entry("", self.kind, self.key, "confirmed in this run")


def look(client: Client, limit: float, only: str = "") -> Shown:
    """Connect and take the key of the host, of one kind or of the one that ssh would take; raises Stop."""
    shown: list[Shown] = []
    clock = Clock(limit)

    def attempt() -> words.Stop | None:
        kinds = known.kinds(known.lookup(client.known_hosts, client.lookup))
        try:
            with login.connection(client, clock) as (near, said):
                transport = login.exchange(near, client, clock, said, kinds, only)
                key = transport.get_remote_server_key()
                shown.append(Shown(key.get_name(), key.asbytes()))
                transport.close()
        except words.Stop as stop:
            return stop
        return None

    stop = patiently(attempt, clock)
    if stop:
        raise stop
    return shown[-1]


def is_known(client: Client, shown: Shown) -> bool:
    """Whether known_hosts vouches for the key; raises Stop for one that has changed or can't be judged."""
    lines = known.lookup(client.known_hosts, client.lookup)
    verdict = known.judge(lines, shown.kind, shown.key)
    if verdict.state == known.KNOWN:
        return True
    name = known.fingerprint(shown.kind, shown.key)
    if verdict.state == known.REVOKED:
        raise words.hostkey_revoked(name, verdict.where)
    if verdict.state == known.AUTHORITY:
        raise words.untested(f"paramiko does not support host certificates ({verdict.where})")
    if "hostkey" in client.beyond:
        raise words.untested(f"{client.beyond['hostkey']}, which verifies its host key, is not supported")
    # A host of which any key is known would have shown that one: another kind is a change, too.
    old = next((line for line in lines if not line.marker and not line.borrowed), None)
    if old:
        text = f"{shown.kind} {base64.b64encode(shown.key).decode()}"
        raise words.hostkey_changed(client, name, text, old.where, known.fingerprint(old.kind, old.key))
    return False


def expected(client: Client, first: Shown, fingerprints: t.Sequence[str], limit: float) -> Shown:
    """The key of the host that the inventory expects; the host is asked for all its kinds of keys. Raises Stop."""
    seen = [first]
    if first.fingerprint in fingerprints:
        return first
    for kind in KINDS:
        if kind != first.kind:
            try:
                shown = look(client, limit, kind)
            except words.Stop as stop:
                if stop.step == "untested":  # it has none of this kind
                    continue
                raise
            if shown.fingerprint in fingerprints:
                return shown
            seen.append(shown)
    raise words.Stop(
        "hostkey_unexpected",
        f"the host shows {', '.join(known.fingerprint(*one) for one in seen)}, and the inventory expects "
        f"{', '.join(fingerprints)}",
        "another host answers at this address, or trainmesh_host_key_fingerprints is of another one",
        f"ssh-keygen -lf on /etc/ssh/ssh_host_*_key.pub, at the console of {client.hostname}, must show one of these",
    )


def unconfirmed(client: Client, shown: Shown, why: str) -> words.Stop:
    """Nobody has vouched for the key; the two ways without a person at the terminal."""
    return words.Stop(
        "hostkey_unknown",
        f"the host shows {known.fingerprint(shown.kind, shown.key)}, and no key is known for {client.lookup}",
        why,
        f"compare it at the host's console (ssh-keygen -lf on /etc/ssh/ssh_host_*_key.pub); then set for this host "
        f"trainmesh_host_key_fingerprints: [{shown.fingerprint}], or run with -e trainmesh_accept_host_keys=new",
    )


def not_kept(client: Client, shown: Shown) -> words.Stop:
    """The ssh client is told to forget host keys."""
    return words.Stop(
        "hostkey_unknown",
        f"the host shows {known.fingerprint(shown.kind, shown.key)}; UserKnownHostsFile of {client.lookup} is none or "
        "/dev/null",
        "the ssh client on the controller keeps no host keys for it, so nothing could check the next login",
        "remove UserKnownHostsFile from ansible_ssh_common_args, ssh_args or ~/.ssh/config",
    )
