# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ssh, PAM and shells say of a login that failed, through the probe and the rules."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import ssh_login
from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import one, told
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import HOME, NAMES, healthy_case, towards

KEY = f"{HOME}/.ssh/id_ed25519"
DENIED = "trainer@10.0.0.12: Permission denied (publickey)."
FROM_NODE1 = [("node1", "node2"), ("node1", "node3")]


def failing(said, rc=255, pairs=None):
    """A case in which these logins ended with a status and such words of ssh."""
    case = healthy_case()
    result = ssh_login.verdict(Outcome(rc, "", said, False, False, 0.2), "node2", ssh_login.Wish(5, 10, 5)).result
    for source, target in pairs or towards("node2"):
        for name in case.mesh[source][target]["ssh"]:
            case.mesh[source][target]["ssh"][name] = {**result, "addresses": []}
    return case


OFFER = "Unable to negotiate with 10.0.0.12 port 22: no matching {} found. Their offer: {}"


@pytest.mark.parametrize(
    ("said", "rule", "fix"),
    [
        (OFFER.format("host key type", "ssh-rsa,ssh-dss"), "ssh-no-common-algorithm", "ssh-keygen -A && "),
        (OFFER.format("host key type", "ssh-rsa,rsa-sha2-256"), "ssh-no-common-algorithm", "update-crypto-policies"),
        (OFFER.format("cipher", "3des-cbc"), "ssh-no-common-algorithm", "update-crypto-policies --show"),
        (OFFER.format("MAC", "hmac-md5"), "ssh-no-common-algorithm", "update-crypto-policies --show"),
        ("Bad server host key: Invalid key length", "ssh-no-common-algorithm", "ssh-keygen -A there"),
        (
            "ssh_dispatch_run_fatal: Connection to 10.0.0.12 port 22: error in libcrypto",
            "ssh-no-common-algorithm",
            "update-crypto-policies --show",
        ),
        (
            f"sign_and_send_pubkey: no mutual signature supported\n{DENIED}",
            "ssh-no-common-algorithm",
            "ssh-keygen -t ed25519 -N ''",
        ),
        (
            "Corrupted MAC on input.\nssh_dispatch_run_fatal: Connection to 10.0.0.12 port 22: message authentication "
            "code incorrect",
            "ssh-login-failed",
            "ethtool -K INTERFACE rx off",
        ),
        (
            "Too many logins for 'trainer'.\nConnection to 10.0.0.12 closed by remote host.",
            "sshd-refuses-user",
            "grep -rn maxlogins",
        ),
        ("Connection to 10.0.0.12 closed by remote host.", "sshd-refuses-user", "journalctl -u ssh -u sshd"),
        ("exec request failed on channel 0", "process-limit", "ps -u trainer"),
    ],
)
def test_words_of_ssh_name_the_target(said, rule, fix):
    found = one(failing(said))
    assert (found.rule, found.hosts) == (rule, ("node2",))
    assert found.remedy.startswith(fix) and said.split("\n", 1)[0] in found.evidence["node2"]


@pytest.mark.parametrize(
    ("rc", "said", "rule", "fix"),
    [
        (254, "", "sshd-refuses-user", "grep -n '^session.*required' /etc/pam.d/sshd"),
        (0, "", "ssh-login-failed", r"grep -nE '\b(exit|exec|"),
        (127, f"{HOME}/.bashrc: line 3: exec: fish: not found", "ssh-login-failed", f"Edit line 3 of {HOME}/.bashrc"),
        (1, "/etc/profile.d/conda.sh: line 12: syntax error", "ssh-login-failed", "Edit line 12 of /etc/profile.d/"),
        (1, "/bin/zsh: Permission denied", "sshd-refuses-user", "ls -lL /bin/zsh"),
        (254, "/bin/bash: fork: retry: Resource temporarily unavailable", "process-limit", "ps -u trainer"),
        (1, "-bash: cannot create temp file for here-document: No space left on device", "disk-full", "df -h /tmp"),
        (1, "bash: /home/trainer/x: Disk quota exceeded", "disk-full", "df -h /tmp"),
        (
            1,
            "WARNING: Your password has expired.\nPassword change required but no TTY available.",
            "sshd-refuses-user",
            "chage -d $(date +%F) -M -1 trainer",
        ),
        (1, "Your account has expired; please contact your system administrator", "sshd-refuses-user", "chage -E -1"),
        (
            1,
            '"System is booting up. Unprivileged users are not permitted to log in yet."',
            "sshd-refuses-user",
            "system",
        ),
        (1, "This account is currently not available.", "sshd-refuses-user", "usermod -s /bin/bash trainer"),
        (
            1,
            "Could not chdir to home directory /data/home/trainer: No such file or directory",
            "ssh-login-failed",
            "findmnt -T /data/home/trainer",
        ),
    ],
)
def test_words_that_come_after_the_login_name_the_target(rc, said, rule, fix):
    found = one(failing(said, rc))
    assert (found.rule, found.hosts) == (rule, ("node2",))
    assert found.remedy.startswith(fix)


@pytest.mark.parametrize(
    ("said", "rule", "fix"),
    [
        (f'Load key "{KEY}": error in libcrypto', "ssh-key-unusable", f"ssh-keygen -y -P '' -f {KEY}"),
        (f'Load key "{KEY}": invalid format', "ssh-key-unusable", f"ssh-keygen -y -P '' -f {KEY}"),
        (f'Load key "{KEY}": Permission denied', "ssh-wrong-user-keydir", f"chown -h trainer: {KEY}"),
        (f'Load key "{KEY}": bad permissions', "ssh-perms-too-open", f"chmod 600 {KEY}"),
        (
            f'sign_and_send_pubkey: signing failed for ED25519 "{KEY}" from agent: agent refused operation',
            "ssh-key-unusable",
            "unset SSH_AUTH_SOCK",
        ),
    ],
)
def test_a_key_that_ssh_can_not_use_is_the_sources(said, rule, fix):
    found = one(failing(f"{said}\n{DENIED}", pairs=FROM_NODE1))
    assert (found.rule, found.hosts) == (rule, ("node1",))
    assert found.remedy.startswith(fix)


def test_a_damaged_key_beside_one_that_the_target_knows_is_not_the_reason():
    case = failing(f'Load key "{HOME}/.ssh/id_rsa": invalid format\n{DENIED}', pairs=[("node1", "node2")])
    assert one(case).rule == "ssh-login-refused"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed", "forbids"),
        ("channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed", "(Connection refused)"),
        ("channel 0: open failed: connect failed: No route to host\nstdio forwarding failed", "(No route to host)"),
    ],
)
def test_a_jump_host_between_the_nodes_is_the_sources(said, words):
    found = one(failing(said))
    assert (found.rule, found.hosts) == ("ssh-login-failed", ("node1", "node3"))
    assert words in found.cause


def test_algorithms_that_one_client_lacks_are_its_own():
    case = failing(OFFER.format("key exchange method", "curve25519-sha256"), pairs=FROM_NODE1)
    assert told(case) == {("ssh-no-common-algorithm", "fail"): ("node1",)}


def test_a_full_disk_that_is_known_is_told_once():
    case = failing("-bash: No space left on device", 1)
    case.user["node2"]["caches"]["tmp"].update(free_bytes=0)
    assert list(told(case)) == [("disk-full", "fail")]
    case = failing("/bin/bash: fork: Resource temporarily unavailable", 254)
    case.fabric["node2"]["limits"].update(nproc=40, of="ssh session")
    assert list(told(case)) == [("process-limit", "fail")]


def test_what_the_facts_of_the_account_say_goes_before_words():
    case = failing("This account is currently not available.", 1)
    case.user["node2"]["account"] = {"shell_problem": "its login shell is /usr/sbin/nologin"}
    assert "its login shell is /usr/sbin/nologin" in one(case).evidence["node2"]


def test_words_that_nobody_knows_are_left_to_people():
    found = one(failing("something new"))
    assert (found.rule, found.cause) == ("ssh-login-failed", "The login failed.")


@pytest.mark.parametrize(
    ("key", "path", "mode", "fix"),
    [
        ("authorized_keys", f"{HOME}/.ssh/authorized_keys", "0600", "chown -hR trainer: "),
        ("ssh_dir", f"{HOME}/.ssh", "0700", "chown -hR trainer: "),
        ("home", HOME, "0700", "chown -h trainer: "),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_files_of_roots_that_the_user_may_not_open(key, path, mode, fix, strict):
    case = failing(DENIED)
    case.user["node2"]["sshd"]["strictmodes"] = strict
    case.user["node2"]["paths"][key].update(owner="root", mode=mode)
    case.user["node2"]["authorized_keys"] = []
    found = one(case)
    assert (found.rule, found.hosts) == ("ssh-wrong-user-keydir", ("node2",))
    assert found.remedy.startswith(fix) and f"{path} is root's, with mode {mode}" in found.evidence["node2"]


@pytest.mark.parametrize(("owner", "mode"), [("root", "0644"), ("root", "0640"), ("trainer", "0600")])
def test_files_of_keys_that_the_user_may_read(owner, mode):
    case = failing(DENIED)
    case.user["node2"]["paths"]["authorized_keys"].update(owner=owner, mode=mode)
    assert one(case).rule == "ssh-login-refused"


def test_a_configuration_that_offers_no_key_is_the_sources():
    case = failing(DENIED, pairs=FROM_NODE1)
    said = "preferredauthentications password"
    case.user["node1"]["ssh_client"]["without_keys"] = dict.fromkeys((*NAMES, "10.0.0.12", "10.0.0.13"), said)
    found = told(case)
    assert found == {("ssh-key-unusable", "fail"): ("node1",)}
