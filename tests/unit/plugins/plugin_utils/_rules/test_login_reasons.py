# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins whose key is right: each refusal with the line that causes it, and the command that changes that line."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._login_reasons import comes_from, reload
from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import one, told
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import fail_logins, healthy_case, towards

ROW = {"file": "/etc/x.conf", "line": 3, "text": "-:ALL:ALL", "peers": None}


def failing(failure, sshd=None, account=None, pairs=None, evidence=""):
    case = healthy_case()
    case.user["node2"]["sshd"].update(sshd or {})
    case.user["node2"]["account"] = {"password": "unusable", "groups": ["trainer", "users"], **(account or {})}
    fail_logins(case, pairs or towards("node2"), failure, evidence)
    return case


@pytest.mark.parametrize(
    ("failure", "sshd", "account", "fix"),
    [
        ("permission", {"usepam": False}, {"password": "locked"}, "usermod -p '*' trainer on node2"),
        (
            "permission",
            {},
            {"shell_problem": "its login shell /bin/zsh does not exist"},
            "usermod -s /bin/bash trainer",
        ),
        ("other", {}, {"shell_problem": "its login shell is /usr/sbin/nologin"}, "usermod -s /bin/bash trainer"),
        ("closed", {"usepam": True}, {"expired": "expired on 2024-10-04"}, "chage -E -1 -I -1 trainer on node2"),
        ("permission", {"usepam": False}, {"expired": "expired on 2024-10-04"}, "chage -E -1 -I -1 trainer"),
        ("other", {}, {"password_expired": "must be changed at the next login"}, "chage -d $(date +%F) -M -1 trainer"),
        ("closed", {}, {"nologin": {"file": "/run/nologin", "text": "booting up"}}, "rm /run/nologin on node2"),
        (
            "closed",
            {},
            {"hosts_access": {**ROW, "file": "/etc/hosts.deny"}},
            "echo 'sshd: 10.0.0.11 10.0.0.12 10.0.0.13' >> /etc/hosts.allow",
        ),
        (
            "closed",
            {},
            {"pam": [{**ROW, "module": "pam_access"}]},
            "Edit line 3 of /etc/x.conf on node2: +:trainer:ALL",
        ),
        (
            "closed",
            {},
            {"pam": [{**ROW, "module": "pam_slurm_adopt"}]},
            "Edit line 3 of /etc/x.conf on node2: put 'account sufficient pam_access.so' above it",
        ),
        (
            "closed",
            {},
            {"pam": [{**ROW, "module": "pam_sss"}]},
            "Edit line 3 of /etc/x.conf on node2: add the user, or a group of it (realm permit trainer)",
        ),
        ("permission", {"authorizedkeysfile": "none"}, {}, "Set AuthorizedKeysFile .ssh/authorized_keys in "),
        ("permission", {"denyusers": ["train*"]}, {}, "Take trainer out of DenyUsers"),
        ("permission", {"allowusers": ["trainer@192.0.2.*"]}, {}, "Add trainer to AllowUsers"),
        ("permission", {"allowgroups": ["cluster"]}, {}, "usermod -aG cluster trainer on node2"),
        ("permission", {"denygroups": ["user*"]}, {}, "gpasswd -d trainer users"),
        ("permission", {"authenticationmethods": "publickey,password"}, {}, "Set AuthenticationMethods publickey"),
        ("other", {"forcecommand": "/usr/bin/menu"}, {}, "Take ForceCommand out"),
        ("other", {"maxsessions": 0}, {}, "Set MaxSessions 10"),
        ("other", {"chrootdirectory": "/srv/%u"}, {}, "Take ChrootDirectory out for trainer"),
        ("permission", {}, {"labels": {"/home/trainer": "nfs_t"}}, "setsebool -P use_nfs_home_dirs on"),
        ("permission", {}, {"labels": {"/data/a/.ssh/authorized_keys": "default_t"}}, "restorecon -Rv /data/a/.ssh"),
    ],
)
def test_a_reason_of_sshd_of_pam_or_of_the_account(failure, sshd, account, fix):
    case = failing(failure, sshd, account)
    found = one(case)
    assert (found.rule, found.hosts) == ("sshd-refuses-user", ("node2",))
    assert found.remedy.startswith(fix)


def test_revoked_keys_without_their_file_and_keys_that_are_too_short():
    sshd = {"revokedkeys": "/etc/ssh/revoked", "revokedkeys_missing": True}
    found = one(failing("permission", sshd))
    assert (found.rule, found.hosts) == ("sshd-refuses-user", ("node2",))
    assert found.remedy.startswith("touch /etc/ssh/revoked on node2")
    case = failing("permission", {"requiredrsasize": 3072})
    for name in ("node1", "node3"):
        case.user[name]["own_keys"][0].update(type="ssh-rsa", bits=2048)
    found = one(case)
    assert (
        found.rule == "sshd-refuses-user" and "RequiredRSASize 3072; the key of node1 is RSA" in found.evidence["node2"]
    )
    for name in ("node1", "node3"):
        case.user[name]["own_keys"][0].update(bits=3072)
    assert one(case).rule == "ssh-login-refused"


def test_a_directory_is_thought_of_last():
    row = {"file": "/etc/sssd/sssd.conf", "line": 9, "text": "access_provider = ad", "peers": None}
    found = one(failing("closed", {"usepam": True}, {"directory": row}))
    assert (found.rule, found.hosts) == ("sshd-refuses-user", ("node2",))
    assert found.remedy.startswith("sssctl user-checks trainer -s sshd on node2")
    assert "/etc/sssd/sssd.conf line 9: access_provider = ad" in found.evidence["node2"]
    first = one(failing("closed", {}, {"directory": row, "nologin": {"file": "/run/nologin", "text": ""}}))
    assert first.remedy.startswith("rm /run/nologin")
    assert one(failing("permission", {}, {"directory": row})).rule == "ssh-login-refused"
    early = "kex_exchange_identification: Connection closed by remote host"
    assert one(failing("closed", {}, {"directory": row}, evidence=early)).rule == "ssh-login-failed"


def test_the_very_line_is_named_and_changed():
    line = "/etc/ssh/sshd_config.d/10-hardening.conf line 1: usepam no"
    found = one(failing("permission", {"usepam": False, "lines": {"usepam": line}}, {"password": "locked"}))
    assert line in found.evidence["node2"] and "begins with !" in found.evidence["node2"]
    assert "UsePAM yes in /etc/ssh/sshd_config.d/10-hardening.conf line 1 on node2" in found.remedy


@pytest.mark.parametrize(
    ("failure", "sshd", "account"),
    [
        ("permission", {"usepam": True}, {"password": "locked"}),
        ("permission", {"usepam": False}, {"password": "unusable"}),
        ("permission", {"usepam": False}, {"password": None}),
        ("permission", {"forcecommand": "/usr/bin/menu"}, {}),
        ("permission", {"allowusers": ["trainer@10.0.0.0/24"]}, {}),
        ("permission", {"allowusers": ["trainer@*.example.org"]}, {}),
        ("permission", {"allowgroups": ["trai*"]}, {}),
        ("permission", {"allowgroups": ["cluster"]}, {"groups": None}),
        ("permission", {"authenticationmethods": "publickey,password publickey"}, {}),
        ("permission", {}, {"hosts_access": {**ROW, "peers": ["192.0.2.1"]}}),
        ("closed", {}, {"hosts_access": {**ROW, "peers": ["192.0.2.1"]}}),
        ("closed", {"usepam": False}, {"pam": [{**ROW, "module": "pam_access"}]}),
        ("closed", {"denyusers": ["trainer"]}, {}),
    ],
)
def test_what_is_not_the_reason_is_not_named(failure, sshd, account):
    rules = {rule for rule, _severity in told(failing(failure, sshd, account))}
    assert rules == {"ssh-login-refused" if failure == "permission" else "ssh-login-failed"}


def test_settings_that_hinder_nobody_are_no_fault():
    case = healthy_case()
    case.user["node2"]["sshd"].update(forcecommand="wrapper", maxauthtries=1, usepam=False)
    case.user["node2"]["account"] = {"password": "locked", "password_expired": "x", "nologin": {"file": "/etc/nologin"}}
    assert told(case) == {}


def test_root_may_log_in_while_nologin_is_there():
    case = failing("closed", {}, {"nologin": {"file": "/etc/nologin", "text": ""}})
    case.plan["user"] = "root"
    assert one(case).rule == "ssh-login-failed"


def test_too_many_keys_are_offered():
    case = failing("permission", {"maxauthtries": 2}, evidence="Received disconnect: Too many authentication failures")
    found = one(case)
    assert found.hosts == ("node2",) and found.remedy.startswith("Put IdentitiesOnly yes")


def test_a_type_of_keys_that_is_not_accepted():
    case = failing("permission", {"refused_types": ["ssh-ed25519"]})
    for name in ("node1", "node3"):
        case.user[name]["own_keys"][0]["type"] = "ssh-ed25519"
    found = one(case)
    assert found.rule == "sshd-refuses-user" and found.remedy.startswith("Add ssh-ed25519 to PubkeyAcceptedAlgorithms")
    case.user["node2"]["sshd"]["fips"] = True
    assert one(case).remedy.startswith("ssh-keygen -t ecdsa -N '' -f ~/.ssh/id_ecdsa as the job user")
    case.user["node1"]["own_keys"].append({"type": "ssh-rsa", "fingerprint": "SHA256:node1"})
    assert ("ssh-login-refused", "fail") in told(case)


@pytest.mark.parametrize(
    ("failure", "options", "words"),
    [
        ("other", 'command="/usr/bin/rrsync /data",no-pty', "Take command="),
        ("permission", 'expiry-time="20240101"', "Take expiry-time off that line"),
        ("permission", 'from="192.0.2.0/24"', "Run site.yml over all nodes"),
        ("permission", 'from="!10.0.0.*,*"', "Run site.yml over all nodes"),
    ],
)
def test_options_of_the_line_that_admits_the_key(failure, options, words):
    case = failing(failure, pairs=[("node1", "node2")])
    case.user["node2"].update(time=1_790_000_000)
    case.user["node2"]["authorized_keys"][0]["options"] = options
    found = one(case)
    assert found.hosts == ("node2",) and found.remedy.startswith(words)
    assert options.partition("=")[0] in found.evidence["node2"]


@pytest.mark.parametrize("options", ['from="10.0.0.0/24"', 'from="*.example.org,192.0.2.1"', 'expiry-time="20990101"'])
def test_options_that_admit_the_source(options):
    case = failing("permission", pairs=[("node1", "node2")])
    case.user["node2"].update(time=1_790_000_000)
    case.user["node2"]["authorized_keys"][0]["options"] = options
    assert one(case).rule == "ssh-login-refused"


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [("10.0.0.11", True), ("10.0.0.0/8", True), ("10.0.*", True), ("192.0.2.1", False), ("*", True), ("node?", None)],
)
def test_where_a_login_comes_from(pattern, fits):
    assert comes_from(["10.0.0.11", "fd00::11"], pattern) is fits


def test_no_systemctl_where_there_is_no_systemd():
    assert reload({"systemd": True, "unit": "sshd.service"}) == "sshd -t && systemctl reload sshd.service"
    assert reload({"systemd": True, "unit": "ssh.socket"}) == "sshd -t && systemctl reload ssh.service"
    assert reload({"systemd": False, "pid": 66}) == "sshd -t && kill -HUP 66"
    case = failing("permission", {"pubkeyauthentication": False})
    case.fabric["node2"]["sshd"].update(systemd=False)
    assert "systemctl" not in one(case).remedy
