# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a host that lets us in, and on which Ansible can't work."""

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
    cause = f"Python there is older than {least}" if version else "the interpreter that Ansible would use does not run"
    install = INSTALL.get(manager, "install python3 with the system's package manager")
    return Stop(
        "python",
        evidence,
        f"{cause}: Ansible's modules can't run",
        f"ssh {login(client)}, there as root: {install}; or set ansible_python_interpreter to Python {least} or newer",
    )


def shell(client: Client, evidence: str) -> Stop:
    """Logged in, but no command runs: a login shell that refuses, a forced command."""
    return Stop(
        "python",
        evidence,
        f"{client.user} can log in but runs no commands: its login shell or a forced command is in the way",
        f"on the machine as root: usermod -s /bin/bash {client.user}, and look for command= in its authorized_keys",
    )


def wants_terminal(evidence: str) -> bool:
    """Whether sudo refuses for want of a terminal, whatever the password (requiretty; use_pty of sudo-rs)."""
    low = evidence.lower()
    return "must have a tty" in low or "a terminal is required to run" in low


def sudo(client: Client, evidence: str, method: str) -> Stop:
    """The user may not become root without a password, and none is set; or sudo wants a terminal."""
    if wants_terminal(evidence):
        line = shlex.quote(f"Defaults:{client.user} !requiretty")
        return Stop(
            "sudo",
            evidence,
            f"sudo of {client.user} asks for a terminal (requiretty in its sudoers), and pipelining brings none",
            "set ansible_ssh_pipelining: false for this host; or on the machine as root: "
            f"{_sudoers(client.user, line)}",
        )
    line = shlex.quote(f"{client.user} ALL=(ALL) NOPASSWD: ALL")
    return Stop(
        "sudo",
        evidence,
        f"{client.user} can't become root with {method} without a password, and the inventory has none",
        f"run with --ask-become-pass; or on the machine as root: {_sudoers(client.user, line)}",
    )


def _sudoers(user: str, line: str) -> str:
    """The command that adds a line, of which a copy is proved: one bad file in sudoers.d shuts sudo for everybody."""
    file = f"/etc/sudoers.d/trainmesh_{user.replace('.', '_')}"
    return f"echo {line} > /root/sudoers.new && visudo -cf /root/sudoers.new && install -m 440 /root/sudoers.new {file}"


def sudo_password(client: Client, evidence: str, method: str) -> Stop:
    """A password was given, and root is not reached with it."""
    low = evidence.lower()
    if wants_terminal(evidence):
        return sudo(client, evidence, method)
    if "sudoers" in low or "not allowed" in low or "may not run" in low:
        cause = f"{client.user} may not become root with {method}, whatever the password"
    elif "not found" in low:
        cause = f"there is no {method}"
    else:
        cause = f"{method} does not take the password that -K or the inventory has for {client.user}"
    return Stop(
        "sudo",
        evidence,
        cause,
        f"ssh -t {login(client)} {method} -k true must take the password; set it by -K, or for this host alone "
        "as ansible_become_password in a vault",
    )


def sudo_prompt(client: Client, evidence: str) -> Stop:
    """The password is right, and Ansible would wait for another prompt until its time is over."""
    return Stop(
        "sudo",
        evidence,
        "its sudo (sudo-rs) asks for the password in words that this version of ansible-core does not understand",
        "let ansible_become_exe name the classic sudo of this host (sudo.ws on Ubuntu, sudo on Debian), give "
        f"{client.user} NOPASSWD, or update ansible-core",
    )


def tmp(client: Client, evidence: str) -> Stop:
    """Nothing can be written where Ansible puts its modules."""
    if "No space" in evidence:
        cause = "/tmp has no room, or no inode, left"
        remedy = "df -h /tmp; df -i /tmp; du -xhd1 /tmp | sort -h, and remove what nobody needs"
    elif "Read-only" in evidence:
        cause = "/tmp is read-only, which Linux makes of a file system after errors of its disk"
        remedy = "dmesg -T | grep -iE 'I/O error|remount|EXT4-fs|XFS' names the disk; mend it (fsck), then reboot"
    else:
        cause = f"{client.user} can't write in /tmp"
        remedy = "as root: chmod 1777 /tmp"
    return Stop("tmp", evidence, f"{cause}: Ansible's modules can't run", f"ssh {login(client)}, there: {remedy}")


__all__ = ("INSTALL", "MIN_PYTHON", "python", "shell", "sudo", "sudo_password", "sudo_prompt", "tmp", "wants_terminal")
