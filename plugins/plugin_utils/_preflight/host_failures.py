# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The failures of a host that accepts the login but on which Ansible can't work."""

from __future__ import annotations

import shlex

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.failures import Stop, login
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client

MIN_PYTHON = (3, 8)
INSTALL = {
    "apt-get": "apt-get install -y python3",
    "dnf": "dnf install -y python3",
    "yum": "yum install -y python3",
    "zypper": "zypper install -y python3",
    "apk": "apk add python3",
}


def python(client: Client, evidence: str, version: tuple[int, ...], manager: str) -> Stop:
    """No Python, or one that is too old for Ansible."""
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


__all__ = ("INSTALL", "MIN_PYTHON", "python", "shell", "sudo", "sudo_password", "sudo_prompt", "tmp", "wants_terminal")
