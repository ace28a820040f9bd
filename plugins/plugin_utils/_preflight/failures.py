# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a host that can't be used: layer, what was seen, why, and the way out."""

from __future__ import annotations

import os
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client


class Stop(Exception):
    """The attempt ends here: ``layer`` as in the documentation of reach_check, and one sentence each for the rest.

    ``again``: another try may go better.
    """

    def __init__(self, layer: str, evidence: str, cause: str, remedy: str) -> None:
        super().__init__(evidence)
        self.layer, self.evidence, self.cause, self.remedy = layer, evidence, cause, remedy
        self.again = False


def login(client: Client) -> str:
    """How a person would type this login: ``-p 2222 alice@10.0.0.5``."""
    port = f"-p {client.port} " if client.port != 22 else ""
    return f"{port}{client.user}@{client.hostname}"


def untested(reason: str, remedy: str = "") -> Stop:
    """Nothing can be said: neither good nor bad."""
    return Stop("untested", reason, f"this host could not be tried: {reason}", remedy)


def config(evidence: str) -> Stop:
    """The ssh client refuses its own configuration."""
    return Stop(
        "config",
        evidence,
        "the ssh client on the controller refuses its configuration or the arguments of the inventory",
        "correct the named line of ~/.ssh/config, or ansible_ssh_common_args, ansible_ssh_extra_args",
    )


def name(client: Client, evidence: str) -> Stop:
    """The name has no address."""
    return Stop(
        "name",
        evidence,
        f"the controller finds no address for the name {client.hostname}",
        f"set ansible_host to an address, or mend the name: getent hosts {client.hostname}",
    )


def refused(client: Client, evidence: str) -> Stop:
    """A machine is there, and nothing listens."""
    return Stop(
        "tcp_refused",
        evidence,
        f"the machine answers, but nothing listens on its port {client.port}: sshd is down or has another port",
        "on its console: systemctl enable --now ssh (Debian, Ubuntu) or sshd (others), and ss -ltnp | grep sshd; "
        "or set ansible_port to the port of sshd",
    )


def timeout(client: Client, evidence: str) -> Stop:
    """Packets vanish."""
    return Stop(
        "tcp_timeout",
        evidence,
        f"nothing answers at {client.hostname} port {client.port}: the machine is off, the address is wrong, "
        "or a firewall drops the packets",
        f"check ansible_host, the power, and that the firewall lets the controller in on TCP {client.port}",
    )


def no_route(client: Client, evidence: str) -> Stop:
    """The network says no."""
    return Stop(
        "no_route",
        evidence,
        f"there is no way to {client.hostname} port {client.port}: no route, "
        "no such machine in the subnet, or a firewall that rejects",
        f"on the controller: ip route get {client.hostname}; "
        f"on the machine: allow TCP {client.port} for the controller's address",
    )


def banner(client: Client, evidence: str) -> Stop:
    """The port is open, and no ssh server talks there."""
    return Stop(
        "banner",
        evidence,
        f"something took the connection on port {client.port}, but no ssh server answered: another service, "
        "a server that is frozen, or one that turns connections away (MaxStartups, fail2ban)",
        f"{_through(client) if client.proxy else f'ssh-keyscan -p {client.port} {client.hostname}'} must show keys; "
        "else set ansible_port, "
        "or look at journalctl -u ssh -u sshd on its console",
    )


def hostkey_unknown(client: Client, fingerprint: str, key: str) -> Stop:
    """Nobody has vouched for this key yet; ``key`` is its kind and text as in known_hosts, here and below."""
    return Stop(
        "hostkey_unknown",
        f"the host shows {fingerprint}, and no key is known for {client.lookup}",
        "the controller has never been told the key of this host, and host keys are checked strictly",
        f"{_compare(fingerprint)}; then {_accept(client, key)}",
    )


def hostkey_changed(client: Client, fingerprint: str, key: str, where: str) -> Stop:
    """Another key than the one that is known."""
    file = where.rpartition(":")[0]
    return Stop(
        "hostkey_changed",
        f"the host shows {fingerprint}, and {where} has another key for {client.lookup}",
        "the key of this host is not the one that is known: it was installed anew, or another machine answers there",
        f"{_compare(fingerprint)}; only then ssh-keygen -R {shlex.quote(client.lookup)} -f {shlex.quote(file)} "
        f"&& {_accept(client, key)}",
    )


def hostkey_revoked(fingerprint: str, where: str) -> Stop:
    """A key that somebody has marked as revoked."""
    return Stop(
        "hostkey_changed",
        f"the host shows {fingerprint}, which {where} marks as @revoked",
        "the key of this host is revoked",
        f"make new host keys on the machine, or take the line out of {where} if it is wrong",
    )


def _places(client: Client) -> str:
    found = next((path for path in client.known_hosts if path != "/dev/null"), "")
    return shlex.quote(found) if found else "~/.ssh/known_hosts"


def _through(client: Client) -> str:
    """A login that shows the key and asks, by way of the jump host: ssh-keyscan knows of none."""
    proxy = shlex.quote(f"ProxyCommand={client.proxy.replace('%', '%%')}")
    return f"ssh -o {proxy} -o StrictHostKeyChecking=ask -o UserKnownHostsFile={_places(client)} {login(client)} true"


def _compare(fingerprint: str) -> str:
    return f"at the machine's console, ssh-keygen -lf on /etc/ssh/ssh_host_*_key.pub must show {fingerprint}"


def _accept(client: Client, key: str) -> str:
    """The very key that was compared: asked once more, the host, or another one, could show another."""
    return f"echo {shlex.quote(f'{client.lookup} {key}')} >> {_places(client)}"


def key_open(path: str, mode: int) -> tuple[str, str]:
    """Cause and remedy of a key that ssh ignores; the next three too."""
    return f"ssh ignores the key {path}: others may read it (mode {mode:04o})", f"chmod 600 {shlex.quote(path)}"


def key_unreadable(path: str, why: str) -> tuple[str, str]:
    """A key file that is not there or can't be read."""
    return (
        f"the key file {path} can't be read on the controller ({why})",
        "correct ansible_ssh_private_key_file, or bring the key there",
    )


def key_encrypted(path: str) -> tuple[str, str]:
    """A key with a passphrase that nobody can type in here."""
    return (
        f"the key {path} is encrypted, and no agent holds it",
        f"eval $(ssh-agent) && ssh-add {shlex.quote(path)}",
    )


def too_many(count: int) -> tuple[str, str]:
    """sshd counts the keys that are tried."""
    return (
        f"sshd hung up after {count} attempts (MaxAuthTries): too many keys were tried before the right one",
        "set ansible_ssh_private_key_file and add -o IdentitiesOnly=yes to ansible_ssh_common_args",
    )


def auth(client: Client, evidence: str, offered: t.Collection[str], problem: tuple[str, str] | None = None) -> Stop:
    """The server does not let this user in. ``problem`` is what is wrong with a key on the controller, if anything."""
    if problem:
        return Stop("auth", evidence, *problem)
    cause = (
        f"sshd does not let {client.user} in with what was tried: "
        "no such key in its authorized_keys, or another user is meant"
    )
    key = next((path for path in client.keys if os.path.exists(f"{path}.pub")), None)
    make = "" if key else "ssh-keygen -t ed25519; "
    public = f"{key or '~/.ssh/id_ed25519'}.pub"
    if {"password", "keyboard-interactive"} & set(offered):
        remedy = f"{make}ssh-copy-id -i {public} {login(client)}, or set ansible_user to the right one"
    else:
        remedy = (
            f"{make}append {public} to ~{client.user}/.ssh/authorized_keys at the machine's console "
            "(it takes no passwords), or set ansible_user, ansible_ssh_private_key_file to the right ones"
        )
    return Stop("auth", evidence, cause, remedy)


def stuck(client: Client | None, stage: str, seconds: float) -> Stop:
    """The time of a host is over; ``stage`` is where it was."""
    words = f"no answer within {seconds:g} s"
    if client is None:
        return untested(f"ssh -G gave {words}")
    if stage == "name":
        return name(client, words)
    if stage == "tcp":
        return timeout(client, words)
    if stage in ("auth", "command"):
        where = "the login" if stage == "auth" else "a short command after the login"
        return untested(
            f"{where} of {client.user} did not answer within {seconds:g} s",
            f"where that is its usual time: trainmesh_reach_timeout: {3 * seconds:g} in the inventory; else ssh "
            f"{login(client)} true shows where it waits (UseDNS, PAM, start-up files, a home on storage that hangs)",
        )
    return banner(client, words)


__all__ = (
    "Stop",
    "auth",
    "banner",
    "config",
    "hostkey_changed",
    "hostkey_revoked",
    "hostkey_unknown",
    "key_encrypted",
    "key_open",
    "key_unreadable",
    "login",
    "name",
    "no_route",
    "refused",
    "stuck",
    "timeout",
    "too_many",
    "untested",
)
