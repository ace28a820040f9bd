# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The failures of a first contact beyond those of the preflight: what, why, and what to do."""

from __future__ import annotations

import re
import shlex

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import failures as words
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.failures import Stop
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client

_CHANGE = ("password change required", "must change your password", "password has expired", "change your password")


def later(evidence: str) -> Stop:
    """In check mode: what is to do is known only after an earlier step, which is not taken."""
    return Stop("later", evidence, "what is to do there is known only in a run without --check", "")


def with_password(client: Client, stop: Stop, given: bool) -> Stop:
    """A refused login: where a password would have opened it and none was given, that is what is missing."""
    offered = re.search(r"sshd offers .*(password|keyboard-interactive)", stop.evidence)
    if given or not offered or not stop.cause.startswith("sshd denies"):
        return stop
    return Stop(
        "auth",
        stop.evidence,
        f"no key of the controller opens {client.user} yet, and no password is set",
        "run with --ask-pass (-k), or set ansible_password for this host in a vault; or correct ansible_user",
    )


def no_shell(client: Client, evidence: str) -> Stop:
    """The login works, and no command runs."""
    if any(phrase in evidence.lower() for phrase in _CHANGE):
        return words.change_demanded(client, evidence)
    return words.shell(client, evidence)


def no_way_to_root(why: str) -> Stop:
    """Root is needed, and the way there is none of ours."""
    return Stop(
        "sudo",
        why or "no become method",
        "this step needs root, and the first contact becomes root with sudo only",
        "log in as root for this once (-e ansible_user=root), or set ansible_become_method: sudo",
    )


def no_keys_taken(client: Client, setting: str) -> Stop:
    """sshd takes no keys from files."""
    return Stop(
        "key",
        f"sshd -T says {setting} for {client.user}",
        "sshd of this host lets nobody in with a key of authorized_keys",
        "allow PubkeyAuthentication and AuthorizedKeysFile .ssh/authorized_keys in /etc/ssh/sshd_config, reload sshd",
    )


def foreign_keys_file(client: Client, file: str) -> Stop:
    """The file of the keys is root's."""
    return Stop(
        "key",
        f"sshd reads the keys of {client.user} in {file}, outside of its home",
        "writing there needs root",
        "run with --ask-become-pass (-K), or log in as root for this once (-e ansible_user=root)",
    )


def key_not_written(client: Client, evidence: str, file: str) -> Stop:
    """The key could not be installed; the old file is as it was."""
    remedy = f"ssh {words.login(client)}, then find out who owns {file} and its directory (ls -ld), and chown them"
    if "No space" in evidence or "quota" in evidence.lower():
        remedy = f"ssh {words.login(client)}, then make room: df -h ~; df -i ~; quota"
    elif "Read-only" in evidence:
        remedy = f"ssh {words.login(client)}, then find out why its home is read-only: findmnt -T ~; dmesg -T | tail"
    return Stop("key", evidence, f"the key of the controller can't be written into {file}", remedy)


def loose_home(client: Client, home: str) -> Stop:
    """StrictModes of sshd."""
    return Stop(
        "key",
        f"others than {client.user} may write to {home}",
        "sshd ignores the keys of such a home (StrictModes)",
        f"ssh {words.login(client)}, then: chmod go-w {shlex.quote(home)}",
    )


def no_package(client: Client, manager: str, evidence: str) -> Stop:
    """The package manager did not bring a Python that Ansible can use."""
    return Stop(
        "python",
        evidence,
        f"{manager} could not install a Python that Ansible can use",
        f"make a package source reachable from the host; ssh {words.login(client)}, then as root: "
        f"{words.INSTALL.get(manager, 'install python3')}",
    )


def no_rule(client: Client, evidence: str) -> Stop:
    """The rule was not written, or taken back."""
    return Stop(
        "sudo",
        evidence,
        f"the sudo rule for {client.user} could not be added; the rules are as they were",
        "visudo -c as root on the host shows the file and the line; or leave out -e trainmesh_sudo=nopasswd and use -K",
    )


def rule_without_effect(client: Client, file: str) -> Stop:
    """A later rule wins."""
    return Stop(
        "sudo",
        f"{file} is there, and sudo still asks {client.user} for a password",
        "a later rule asks for it, or the configuration of sudo does not include /etc/sudoers.d",
        f"sudo -l as {client.user} shows the rules in their order; remove {file} if it is not wanted",
    )


def odd_user(client: Client) -> Stop:
    """sudoers would read more in the name than a name."""
    return Stop(
        "sudo",
        f"the login user is {client.user!r}",
        "no rule is written for a name with other characters than letters, digits, _ and -",
        "add the rule by hand with visudo, or use -K instead of -e trainmesh_sudo=nopasswd",
    )
