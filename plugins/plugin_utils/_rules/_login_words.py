# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ssh, PAM or a shell said when a login failed, and what that means.

The words come from OpenSSH 7 to 10, Linux-PAM and bash. Facts of the target, where there are any, say more: the words
are for what the facts do not show, such as a key that only ssh can read.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import (
    Attempt,
    attribute,
    by_pair,
    ssh_results,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, once

SOURCE, TARGET, EITHER = "source", "target", "either"


class Said(t.NamedTuple):
    """A meaning: the rule, which end has to be changed, and the two sentences.

    ``{user}`` and groups of the pattern may stand in them, but no name of a node: what several nodes have is told once.
    """

    pattern: str
    rule: str
    end: str
    cause: str
    remedy: str


_NO_ALGORITHM = "ssh-no-common-algorithm"
_POLICY = (
    "update-crypto-policies --show (RHEL family), sshd -T | grep -iE '^(kexalgorithms|ciphers|macs|hostkeyalgorithms)' "
    "and ls /etc/ssh/ssh_config.d /etc/ssh/sshd_config.d there and on another node: have the same OpenSSH and the "
    "same policy on all nodes, and take lines of these keywords out"
)
_OLD_KEYS = r"(?P<offer>ssh-rsa|ssh-dss|ssh-rsa,ssh-dss|ssh-dss,ssh-rsa)\b(?!,)"
# Before anybody has logged in, and keys that ssh itself can't use: no file of the target explains these.
BEFORE = (
    Said(
        r"open failed: administratively prohibited",
        "ssh-login-failed",
        SOURCE,
        "The jump host of its ssh configuration lets nobody through: it forbids forwarding.",
        "grep -n ProxyJump ~/.ssh/config there: take it out where the nodes reach each other; else "
        "AllowTcpForwarding yes (and no PermitOpen) in the sshd_config of the jump host",
    ),
    Said(
        r"open failed: connect failed: (?P<why>[^\r\n]+?) stdio forwarding failed",
        "ssh-login-failed",
        SOURCE,
        "The jump host of its ssh configuration does not get to the node ({why}).",
        "ssh -G NAME | grep -i proxy there: take the jump host out where the nodes reach each other, or use one that "
        "reaches all of them",
    ),
    Said(
        rf"no matching host key type found\. Their offer: {_OLD_KEYS}",
        _NO_ALGORITHM,
        TARGET,
        "Its sshd has only host keys of a kind ({offer}) that the ssh of the other nodes does not accept any more.",
        "ssh-keygen -A && systemctl restart ssh || systemctl restart sshd, there: it makes ed25519 and ecdsa "
        "keys; see HostKey lines in its sshd_config, then run site.yml, or pin the new keys",
    ),
    Said(
        r"no matching (?P<what>host key type|key exchange method|cipher|MAC|compression method) found",
        _NO_ALGORITHM,
        EITHER,
        "ssh and sshd have no {what} in common: the two ends have other versions of OpenSSH, another crypto policy, or "
        "one of them was hardened.",
        _POLICY,
    ),
    Said(
        r"Bad server host key: Invalid key length",
        _NO_ALGORITHM,
        TARGET,
        "Its RSA host key is shorter than the ssh of the other nodes accepts (RequiredRSASize, a crypto policy).",
        "ssh-keygen -A there makes ed25519 and ecdsa keys, which are taken before RSA; a longer RSA key: rm "
        "/etc/ssh/ssh_host_rsa_key* && ssh-keygen -t rsa -b 3072 -N '' -f /etc/ssh/ssh_host_rsa_key; then restart sshd "
        "and run site.yml",
    ),
    Said(
        r"ssh_dispatch_run_fatal: .*(?:error in libcrypto|incorrect signature)",
        _NO_ALGORITHM,
        EITHER,
        "The crypto library of one end refuses what the other one signs with: FIPS mode or a crypto policy (SHA-1).",
        _POLICY,
    ),
    Said(
        r"no mutual signature (?:algorithm|supported)",
        _NO_ALGORITHM,
        EITHER,
        "The key is RSA, and the two ends have no signature for it in common: one knows SHA-1 (ssh-rsa) alone, which "
        "newer ones refuse.",
        "ssh-keygen -t ed25519 -N '' -f ~/.ssh/id_ed25519 as {user} on the nodes named in the evidence, and its .pub "
        "into authorized_keys of every node (site.yml does both); or update the older OpenSSH",
    ),
    Said(
        r"Corrupted MAC on input|message authentication code incorrect|Bad packet length|padding error",
        "ssh-login-failed",
        EITHER,
        "Data is damaged on the way between the two nodes: ssh notices, a job would compute with it or break off.",
        "ethtool -K INTERFACE rx off tx off tso off gso off gro off there, and try again: if that helps, update "
        "the driver and firmware of the card; else ip -s link and ethtool -S for errors, then cable and switch",
    ),
)
KEYS = (
    Said(
        r'Load key "(?P<path>[^"]+)": (?:invalid format|error in libcrypto|unknown or unsupported key type|'
        r"string is too large|incomplete message|unexpected bytes)",
        "ssh-key-unusable",
        SOURCE,
        "ssh can't read its private key: the file is damaged, has the line ends of Windows or no newline at its end, "
        "or is not a key of OpenSSH (a .ppk, a public key).",
        "ssh-keygen -y -P '' -f {path} as {user} there must print the public key; else copy the key there again, "
        "sed -i 's/\\r$//' {path} && echo >> {path}, or take it away and run site.yml, which makes one",
    ),
    Said(
        r'Load key "(?P<path>[^"]+)": (?:incorrect passphrase|.*passphrase)',
        "ssh-key-unusable",
        SOURCE,
        "Its private key has a passphrase, which nobody can type for a launcher.",
        "ssh-keygen -p -N '' -f {path} as {user} there, which asks for the old one; or site.yml, which makes a key "
        "for the cluster alone",
    ),
    Said(
        r'Load key "(?P<path>[^"]+)": Permission denied',
        "ssh-wrong-user-keydir",
        SOURCE,
        "Its private key belongs to somebody else, and the job user may not read it.",
        "chown -h {user}: {path} && chmod 600 {path}, as root there",
    ),
    Said(
        r'Load key "(?P<path>[^"]+)": bad permissions|Permissions \d+ for [\'"](?P<path2>[^\'"]+)[\'"] are too open',
        "ssh-perms-too-open",
        SOURCE,
        "ssh does not use a private key that others may read.",
        "chmod 600 {path} as {user} there",
    ),
    Said(
        r"(?:signing failed for|sign_and_send_pubkey:).*agent refused operation",
        "ssh-key-unusable",
        SOURCE,
        "The agent that it asks holds the key and does not sign with it: it wants a confirmation, a touch or a "
        "passphrase, or it is that of another login.",
        "unset SSH_AUTH_SOCK in the start-up files of {user} there, or ssh-add -D && ssh-add; IdentityAgent none "
        "in ~/.ssh/config for the nodes keeps launchers from asking it",
    ),
    Said(
        r"(?:private|public) key contents do not match|key_type mismatch|Server refused our key: mismatch",
        "ssh-key-unusable",
        SOURCE,
        "The public file beside its private key is that of another key.",
        "ssh-keygen -y -f ~/.ssh/id_ed25519 > ~/.ssh/id_ed25519.pub as {user} there, with the name of the key",
    ),
)
# What the target says after the key was taken; its facts, where they are known, go before.
AFTER = (
    Said(
        r"Too many logins for",
        "sshd-refuses-user",
        TARGET,
        "PAM lets the user have so many logins at once and no more (maxlogins); a launcher has one to each node, "
        "beside those of people.",
        "grep -rn maxlogins /etc/security/limits.conf /etc/security/limits.d there, and take that line out for "
        "{user}; who | grep {user} shows what is logged in",
    ),
    Said(
        r"(?i)password (?:has expired|change required)|(?:must|required to) change your password",
        "sshd-refuses-user",
        TARGET,
        "PAM asks for a new password before anything is run, and a launcher's login has no terminal to answer on.",
        "chage -d $(date +%F) -M -1 {user} there, or passwd {user}",
    ),
    Said(
        r"(?i)account (?:has expired|is locked)",
        "sshd-refuses-user",
        TARGET,
        "The account is expired or locked, and PAM refuses it whatever its key.",
        "chage -E -1 -I -1 {user}; passwd -S {user}; faillock --user {user} --reset, as root there",
    ),
    Said(
        r"(?i)not permitted to log in yet|is (?:booting up|going down)|logins are (?:currently )?(?:disabled|not )",
        "sshd-refuses-user",
        TARGET,
        "The node boots, shuts down, or somebody keeps logins out for a maintenance.",
        "systemctl is-system-running; systemctl list-jobs there; when it is up: rm -f /run/nologin /etc/nologin",
    ),
    Said(
        r"(?i)account is currently not available|no login (?:shell )?(?:is )?allowed|nologin: ",
        "sshd-refuses-user",
        TARGET,
        "The login shell of the user only says that it is none.",
        "usermod -s /bin/bash {user} there",
    ),
    Said(
        r"fork: (?:retry: )?(?:Resource temporarily unavailable|Cannot allocate memory)|Cannot fork|"
        r"(?:exec|shell) request failed on channel",
        "process-limit",
        TARGET,
        "It can start no further process for the user: the limit of processes, of its control group or of memory is "
        "reached, mostly by a run that was left behind.",
        "ps -u {user} -o pid,etime,cmd --sort=start_time | head; cat /sys/fs/cgroup/user.slice/user-*.slice/pids.* "
        "there: end what is left over, then raise nproc in /etc/security/limits.d and TasksMax",
    ),
    Said(
        r"(?P<path>/\S*/(?:ba|z|da|tc|c|k|fi)?sh): (?:line \d+: )?(?:Permission denied|Operation not permitted|"
        r"cannot execute|No such file or directory)",
        "sshd-refuses-user",
        TARGET,
        "The login shell of the user can't be run: its file, its file system (noexec) or a profile of AppArmor or "
        "SELinux does not permit it.",
        "ls -lL {path}; findmnt -T {path}; aa-status; ausearch -m avc -ts recent there; usermod -s /bin/bash {user}",
    ),
    Said(
        r"No space left on device|Disk quota exceeded|disk quota exceeded",
        "disk-full",
        TARGET,
        "The shell of the user can't write: the disk, or the user's share of it, is full.",
        "df -h /tmp ~{user}; df -i /tmp ~{user}; quota -s -u {user} there, and remove what is not needed",
    ),
    Said(
        r"Could not chdir to home directory (?P<path>[^:]+): (?P<why>[^\r\n]+?)(?= \S+: |$)",
        "ssh-login-failed",
        TARGET,
        "The home of the user can't be entered ({why}): a mount is missing, or nobody made it.",
        "findmnt -T {path}; systemctl status autofs; ls -ld {path} there; mkhomedir_helper {user} makes one",
    ),
    Said(
        r"(?P<path>(?:/|~)\S*(?:bashrc|bash_profile|bash_login|profile|zshrc|zshenv|zprofile|cshrc|tcshrc|config\.fish|"
        r"profile\.d/\S+?))(?:: line |:| line )(?P<line>\d+)",
        "ssh-login-failed",
        TARGET,
        "A start-up file of the login shell ends the session, or breaks it, before the command is run.",
        "Edit line {line} of {path} there, or put [[ $- == *i* ]] || return above it, so that logins without a "
        "terminal do not come there",
    ),
    Said(
        r"^exit status 254\b",
        "sshd-refuses-user",
        TARGET,
        "PAM let the user in and opened no session: a module that is required there failed, in containers mostly "
        "pam_loginuid, or pam_limits with a limit that is above what the container may have.",
        "grep -n '^session.*required' /etc/pam.d/sshd /etc/pam.d/common-session there: make pam_loginuid.so "
        "optional (sed -i '/pam_loginuid/s/required/optional/' /etc/pam.d/sshd), and see what limits in "
        "/etc/security/limits.d are above ulimit -H",
    ),
    Said(
        r"Connection to \S+ closed by remote host",
        "sshd-refuses-user",
        TARGET,
        "Its sshd took the key and ended the connection before the command was run: PAM's session step failed, in "
        "containers mostly pam_loginuid or a limit that can't be set, or the login was killed.",
        "journalctl -u ssh -u sshd -n 20 (/var/log/auth.log, /var/log/secure) there names the module; "
        "sed -i '/pam_loginuid/s/required/optional/' /etc/pam.d/sshd helps in a container",
    ),
    Said(
        r"^exit status 0\b(?!, printed)",
        "ssh-login-failed",
        TARGET,
        "The login ends with success and runs nothing: a start-up file of the shell leaves it, or starts something "
        "else in its place.",
        "grep -nE '\\b(exit|exec|logout|tmux|screen|newgrp)\\b' ~{user}/.bashrc ~{user}/.profile ~{user}/.bash_profile "
        "/etc/profile.d/*.sh there; put [[ $- == *i* ]] || return above that line",
    ),
)


class Meaning(t.NamedTuple):
    """What was meant by the words, for one finding."""

    rule: str
    host: str
    cause: str
    remedy: str


def meaning(case: Case, item: Attempt, user: str, words: t.Sequence[Said]) -> Meaning | None:
    """The first of these meanings that fits what was said; None where none does."""
    for said in words:
        found = re.search(said.pattern, item.evidence)
        if found:
            groups = {name.rstrip("2"): value for name, value in found.groupdict().items() if value}
            host = _odd_end(case, item, said.pattern) if said.end == EITHER else getattr(item, said.end)
            names = {**groups, "user": user}
            return Meaning(said.rule, host, _filled(said.cause, names), _filled(said.remedy, names))
    return None


def _filled(text: str, names: t.Mapping[str, str]) -> str:
    """The sentence with its names; braces that are none of these are the shell's."""
    return re.sub(r"\{(\w+)\}", lambda match: names.get(match[1], match[0]), text)


def _odd_end(case: Case, item: Attempt, pattern: str) -> str:
    """The end that differs from the others: that of all such failures, else the target."""
    return next((host for host, pairs in _odd_ends(case, pattern).items() if item.pair in pairs), item.target)


@once
def _odd_ends(case: Case, pattern: str) -> dict[str, list[tuple[str, str]]]:
    bad = list(by_pair(each for each in ssh_results(case) if not each.ok and re.search(pattern, each.evidence)))
    return attribute(bad, list(by_pair(ssh_results(case))))
