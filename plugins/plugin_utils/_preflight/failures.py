# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The failures of a host in the preflight: step, evidence, cause and fix."""

from __future__ import annotations

import os
import re
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import host_words

if t.TYPE_CHECKING:
    from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client

MIN_PYTHON = (3, 8)
INSTALL = {
    "apt-get": "apt-get install -y python3",
    "dnf": "dnf install -y python3",
    "yum": "yum install -y python3",
    "zypper": "zypper install -y python3",
    "apk": "apk add python3",
}


class Stop(Exception):
    """Ends the attempt: ``step`` as in the documentation of reach_check, one sentence each for the rest.

    ``again``: another attempt may succeed.
    """

    def __init__(self, step: str, evidence: str, cause: str, remedy: str) -> None:
        super().__init__(evidence)
        self.step, self.evidence, self.cause, self.remedy = step, evidence, cause, remedy
        self.again = False


def login(client: Client) -> str:
    """How a person would type this login: ``-p 2222 alice@10.0.0.5``."""
    port = f"-p {client.port} " if client.port != 22 else ""
    return f"{port}{client.user}@{client.hostname}"


def untested(reason: str, remedy: str = "") -> Stop:
    """Neither passed nor failed."""
    return Stop("untested", reason, f"this host was not tested: {reason}", remedy)


def config(evidence: str) -> Stop:
    """The ssh client refuses its own configuration."""
    return Stop(
        "config",
        evidence,
        "the ssh client on the controller rejects its configuration or the arguments of the inventory",
        "correct the line of ~/.ssh/config in the evidence, or ansible_ssh_common_args, ansible_ssh_extra_args",
    )


def name(client: Client, evidence: str) -> Stop:
    """The name has no address."""
    return Stop(
        "name",
        evidence,
        f"the name {client.hostname} does not resolve on the controller",
        f"set ansible_host to an address, or make this work on the controller: getent hosts {client.hostname}",
    )


def refused(client: Client, evidence: str) -> Stop:
    """The host is up, and nothing listens."""
    return Stop(
        "tcp_refused",
        evidence,
        f"the host is up, but nothing listens on port {client.port}: sshd is stopped or uses another port",
        "systemctl enable --now ssh (sshd outside Debian and Ubuntu) at its console, then ss -ltnp | grep sshd; or set "
        "ansible_port to the port of sshd",
    )


def timeout(client: Client, evidence: str) -> Stop:
    """Packets are dropped."""
    return Stop(
        "tcp_timeout",
        evidence,
        f"no answer from {client.hostname} port {client.port}: the host is down, the address is wrong, "
        "or a firewall drops packets",
        f"check ansible_host, the power, and that the firewall allows TCP {client.port} from the controller",
    )


def no_route(client: Client, evidence: str) -> Stop:
    """The network rejects the connection."""
    return Stop(
        "no_route",
        evidence,
        f"{client.hostname} port {client.port} is unreachable: no route, no such host in the subnet, "
        "or a firewall rejects connections",
        f"ip route get {client.hostname} on the controller shows the route; on the host, "
        f"allow TCP {client.port} from the controller's address",
    )


def banner(client: Client, evidence: str) -> Stop:
    """The port is open, and no ssh server answers."""
    return Stop(
        "banner",
        evidence,
        f"port {client.port} is open, but no ssh server answered: another service, a server that hangs, "
        "or one that rejects connections (MaxStartups, fail2ban)",
        f"{_through(client) if client.proxy else f'ssh-keyscan -p {client.port} {client.hostname}'} must show keys; "
        "else set ansible_port, or read journalctl -u ssh -u sshd at its console",
    )


SHUT_OUT = "not allowed at this time"  # OpenSSH since 9.8, to an address that PerSourcePenalties shuts out


def shut_out(client: Client, greeting: str) -> Stop:
    """sshd takes no connection from the controller's address for a while."""
    return Stop(
        "banner",
        f"the port says: {greeting}",
        "sshd of the host shuts the controller's address out for a while, after logins from it that failed or were "
        "broken off (PerSourcePenalties)",
        "wait ten minutes and end what logs in there wrongly; at its console PerSourcePenaltyExemptList with the "
        "address of the controller in /etc/ssh/sshd_config.d/90-penalties.conf, then systemctl reload ssh || systemctl "
        f"reload sshd, lets {login(client)} in at once",
    )


def hostkey_unknown(client: Client, fingerprint: str, key: str) -> Stop:
    """No known key; ``key`` is its kind and text as in known_hosts, here and below."""
    return Stop(
        "hostkey_unknown",
        f"the host shows {fingerprint}, and no key is known for {client.lookup}",
        "the controller does not know the key of this host, and host-key checking is strict",
        f"{_compare(fingerprint)}; then {_accept(client, key)}",
    )


def hostkey_changed(client: Client, fingerprint: str, key: str, where: str, old: str) -> Stop:
    """A different key than the known one, whose fingerprint is ``old``."""
    file = where.rpartition(":")[0]
    return Stop(
        "hostkey_changed",
        f"the host shows {fingerprint}, and {where} has {old} for {client.lookup}",
        "the host key has changed: the host was reinstalled, or another host answers at its address",
        f"{_compare(fingerprint)}; only then ssh-keygen -R {shlex.quote(client.lookup)} -f {shlex.quote(file)} "
        f"&& {_accept(client, key)}",
    )


def hostkey_revoked(fingerprint: str, where: str) -> Stop:
    """A key that is marked as revoked."""
    return Stop(
        "hostkey_changed",
        f"the host shows {fingerprint}, which {where} marks as @revoked",
        "the key of this host is revoked",
        f"ssh-keygen -A on the host, after removing the old keys; or remove the line from {where} if it is wrong",
    )


def _places(client: Client) -> str:
    found = next((path for path in client.known_hosts if path != "/dev/null"), "")
    return shlex.quote(found) if found else "~/.ssh/known_hosts"


def _through(client: Client) -> str:
    """A login through the jump host that shows the key and asks; ssh-keyscan does not use jump hosts."""
    proxy = shlex.quote(f"ProxyCommand={client.proxy.replace('%', '%%')}")
    return f"ssh -o {proxy} -o StrictHostKeyChecking=ask -o UserKnownHostsFile={_places(client)} {login(client)} true"


def _compare(fingerprint: str) -> str:
    return f"ssh-keygen -lf on /etc/ssh/ssh_host_*_key.pub, at the host's console, must show {fingerprint}"


def _accept(client: Client, key: str) -> str:
    """Exactly the compared key: a second connection could show a different one."""
    return f"echo {shlex.quote(f'{client.lookup} {key}')} >> {_places(client)}"


def key_open(path: str, mode: int) -> tuple[str, str]:
    """Cause and fix of a key that ssh ignores; the next three too."""
    return f"ssh ignores the key {path}: it is readable by others (mode {mode:04o})", f"chmod 600 {shlex.quote(path)}"


def key_unreadable(path: str, why: str) -> tuple[str, str]:
    """A key file that is not there or can't be read."""
    return (
        f"the key file {path} can't be read on the controller ({why})",
        "correct ansible_ssh_private_key_file, or copy the key there",
    )


def key_encrypted(path: str) -> tuple[str, str]:
    """A key with a passphrase, which cannot be typed here."""
    return (
        f"the key {path} is encrypted and not loaded in an agent",
        f"eval $(ssh-agent) && ssh-add {shlex.quote(path)}",
    )


def too_many(count: int) -> tuple[str, str]:
    """sshd limits the number of attempts."""
    return (
        f"sshd closed the connection after {count} attempts (MaxAuthTries): too many keys before the right one",
        "set ansible_ssh_private_key_file and add -o IdentitiesOnly=yes to ansible_ssh_common_args",
    )


SLURM = "put 'account sufficient pam_access.so' above pam_slurm in /etc/pam.d/sshd, and +:{user}:ALL into access.conf"
# What PAM's modules and sshd say to the client of an account that no password opens (pam_unix, pam_nologin).
_CLOSED = (
    ("account has expired", "the account of {user} has expired", "chage -E -1 {user}"),
    ("account is locked", "the account of {user} is locked", "passwd -u {user}, or faillock --user {user} --reset"),
    ("password has expired", "the password of {user} has expired", "passwd {user}"),
    ("must change your password", "the password of {user} must be changed", "passwd {user}"),
    ("required to change your password", "the password of {user} must be changed", "passwd {user}"),
    ("password change required", "the password of {user} must be changed", "passwd {user}"),
    ("logins are disabled", "logins are disabled on the host", "rm /run/nologin /etc/nologin"),
    ("no active jobs on this node", "{user} has no job of Slurm there, and pam_slurm wants one", SLURM),
    ("going down", "the host shuts down, and lets in root only", "systemctl list-jobs"),
    ("booting up", "the host is still booting, and lets in root only", "systemctl is-system-running"),
)


def closed_account(client: Client, said: t.Iterable[str]) -> tuple[str, str] | None:
    """Cause and fix where the host says that no secret opens this account at the moment."""
    text = " ".join(said).lower()
    for phrase, cause, command in _CLOSED:
        if phrase in text:
            return cause.format(user=client.user), f"as root at the host's console: {command.format(user=client.user)}"
    return None


def wrong_password(client: Client) -> tuple[str, str]:
    """sshd says no more than that: it tells nobody whether an account is locked."""
    return (
        f"sshd rejects the password of {client.user}: it is wrong, or the account is locked or may not use it",
        f"ssh {login(client)} must accept it; else at the host's console: passwd -S {client.user} (L is locked, passwd "
        f"-u {client.user} unlocks it), and PermitRootLogin, AllowUsers in sshd -T",
    )


def more_prompts(client: Client, prompts: t.Sequence[str]) -> Stop:
    """The login asks for something else than the password."""
    evidence = f"sshd asks {client.user}: {' '.join(prompts)[:200]}"
    if any(word in evidence.lower() for word in ("new password", "current password", "retype")):
        return change_demanded(client, evidence)
    return Stop(
        "auth",
        evidence,
        f"the login of {client.user} asks for more than a password, such as a one-time code",
        f"ssh-copy-id {login(client)} by hand, or let {client.user} log in with a password alone for now",
    )


def change_demanded(client: Client, evidence: str) -> Stop:
    """Nobody but its owner chooses a password."""
    return Stop(
        "auth",
        evidence,
        f"the password of {client.user} must be changed at the next login",
        f"ssh {login(client)} by hand, choose a new password there, and set that as ansible_password",
    )


def auth(client: Client, evidence: str, offered: t.Collection[str], problem: tuple[str, str] | None = None) -> Stop:
    """Permission denied. ``problem`` is what is wrong with a key on the controller, if anything."""
    if problem:
        return Stop("auth", evidence, *problem)
    cause = (
        f"sshd denies the login of {client.user}: none of the keys tried is in its authorized_keys, "
        "or ansible_user is wrong"
    )
    key = next((path for path in client.keys if os.path.exists(f"{path}.pub")), None)
    make = "" if key else "ssh-keygen -t ed25519; "
    public = f"{key or '~/.ssh/id_ed25519'}.pub"
    if {"password", "keyboard-interactive"} & set(offered):
        remedy = f"{make}ssh-copy-id -i {public} {login(client)}, or correct ansible_user"
    else:
        remedy = (
            f"{make}append {public} to ~{client.user}/.ssh/authorized_keys at the host's console "
            "(it accepts no passwords), or correct ansible_user, ansible_ssh_private_key_file"
        )
    return Stop("auth", evidence, cause, remedy)


def stuck(client: Client | None, stage: str, seconds: float) -> Stop:
    """The time limit of a host has passed; ``stage`` is where it was."""
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
            f"trainmesh_reach_timeout: {3 * seconds:g} in the inventory, if it is always that slow; else ssh "
            f"{login(client)} true shows where it waits (UseDNS, PAM, start-up files, a home on storage that hangs)",
        )
    return banner(client, words)


# The host accepts the login, but Ansible can't work on it.


def python(client: Client, evidence: str, version: tuple[int, ...], manager: str) -> Stop:
    """No Python, or one that is too old for Ansible."""
    known = None if version else host_words.because(host_words.PYTHON, client.user, evidence)
    if known:
        return Stop("python", evidence, f"{known[0]}: Ansible's modules can't run", known[1])
    least = ".".join(map(str, MIN_PYTHON))
    cause = f"its Python is older than {least}" if version else "the interpreter that Ansible would use does not run"
    install = INSTALL.get(manager, "install python3 with the system's package manager")
    return Stop(
        "python",
        evidence,
        f"{cause}: Ansible's modules can't run",
        f"ssh {login(client)}, then as root: {install}; or set ansible_python_interpreter to Python {least} or newer",
    )


def shell(client: Client, evidence: str) -> Stop:
    """Logged in, but no command runs: a login shell that refuses, a forced command."""
    other = re.search(r'login as the user "([^"\s]+)" rather than', evidence)
    if other:
        return Stop(
            "auth",
            evidence,
            f"the image of the host admits the key of {client.user} only to say that {other[1]} is to log in",
            f"ansible_user: {other[1]} for this host, with ansible_become; or take command=... off the line of the key "
            f"in authorized_keys of {client.user}",
        )
    known = host_words.because(host_words.SHELL, client.user, evidence)
    if known:
        return Stop("python", evidence, *known)
    return Stop(
        "python",
        evidence,
        f"{client.user} can log in but not run commands: its login shell or a forced command prevents it",
        f"usermod -s /bin/bash {client.user} as root on the host, and check its authorized_keys for command=",
    )


def wants_terminal(evidence: str) -> bool:
    """Whether sudo refuses because there is no terminal, whatever the password (requiretty; use_pty of sudo-rs)."""
    low = evidence.lower()
    return "must have a tty" in low or "a terminal is required to run" in low


def sudo(client: Client, evidence: str, method: str) -> Stop:
    """The user can't become root without a password, and none is set; or sudo requires a terminal."""
    if wants_terminal(evidence):
        line = shlex.quote(f"Defaults:{client.user} !requiretty")
        return Stop(
            "sudo",
            evidence,
            f"sudo of {client.user} requires a terminal (requiretty in its sudoers), and pipelining provides none",
            f"set ansible_ssh_pipelining: false for this host; or on the host as root: {_sudoers(client.user, line)}",
        )
    known = host_words.because(host_words.SUDO, client.user, evidence)
    if known:
        return Stop("sudo", evidence, *known)
    line = shlex.quote(f"{client.user} ALL=(ALL) NOPASSWD: ALL")
    return Stop(
        "sudo",
        evidence,
        f"{client.user} can't become root with {method} without a password, and no password is set",
        f"run with --ask-become-pass (-K); or on the host as root: {_sudoers(client.user, line)}",
    )


def _sudoers(user: str, line: str) -> str:
    """The command that adds a validated line: one invalid file in sudoers.d disables sudo for everybody."""
    file = f"/etc/sudoers.d/trainmesh_{user.replace('.', '_')}"
    return f"echo {line} > /root/sudoers.new && visudo -cf /root/sudoers.new && install -m 440 /root/sudoers.new {file}"


def sudo_password(client: Client, evidence: str, method: str) -> Stop:
    """A password was given, and sudo fails with it."""
    low = evidence.lower()
    if wants_terminal(evidence):
        return sudo(client, evidence, method)
    known = host_words.because(host_words.SUDO, client.user, evidence)
    if known:
        return Stop("sudo", evidence, *known)
    if "sudoers" in low or "not allowed" in low or "may not run" in low:
        cause = f"{client.user} is not allowed to become root with {method}"
    elif "not found" in low:
        cause = f"{method} is not installed"
    else:
        cause = f"{method} rejects the password of -K or the inventory for {client.user}"
    return Stop(
        "sudo",
        evidence,
        cause,
        f"ssh -t {login(client)} {method} -k true must accept the password; set it with -K, or for this host only "
        "as ansible_become_password in a vault",
    )


def sudo_prompt(client: Client, evidence: str) -> Stop:
    """The password is right, but Ansible would wait for another prompt until it times out."""
    return Stop(
        "sudo",
        evidence,
        "this version of ansible-core does not recognise the password prompt of its sudo (sudo-rs)",
        "set ansible_become_exe to the classic sudo of this host (sudo.ws on Ubuntu, sudo on Debian), give "
        f"{client.user} NOPASSWD, or update ansible-core",
    )


def tmp(client: Client, evidence: str) -> Stop:
    """Ansible's modules can't be written."""
    if "No space" in evidence:
        cause = "/tmp has no space or inodes left"
        remedy = "df -h /tmp; df -i /tmp; du -xhd1 /tmp | sort -h, and remove files that are not needed"
    elif "Read-only" in evidence:
        cause = "/tmp is read-only, typically remounted after disk errors"
        remedy = "dmesg -T | grep -iE 'I/O error|remount|EXT4-fs|XFS' names the disk; repair it (fsck), then reboot"
    else:
        cause = f"{client.user} can't write in /tmp"
        remedy = "chmod 1777 /tmp as root"
    return Stop("tmp", evidence, f"{cause}: Ansible's modules can't run", f"ssh {login(client)}, then: {remedy}")
