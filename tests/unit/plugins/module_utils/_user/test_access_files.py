# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may log in from where, by the files of the TCP wrappers and of PAM."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import access_files

PEERS = ["10.0.0.12", "10.0.0.13"]
TRAIN = access_files.Login("train", 1001, ("train", "users"))


def write(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(str(root))


def wrapped(root: Path, deny: str, allow: str = "", program: str = "x libwrap.so.0 x") -> dict[str, t.Any] | None:
    files = {"/usr/sbin/sshd": program, "/etc/hosts.deny": deny, "/etc/hosts.allow": allow}
    return access_files.wrappers(write(root, files), PEERS)


@pytest.mark.parametrize(
    ("deny", "allow", "refused"),
    [
        ("ALL: ALL\n", "", True),
        ("# x\nsshd : ALL EXCEPT 192.0.2.1\n", "", True),
        ("sshd: 10.0.0.\n", "", True),
        ("sshd: 10.0.0.0/255.255.255.0\n", "", True),
        ("sshd,\\\n vsftpd: 10.0.0.0/24\n", "", True),
        ("", "sshd: 10. : deny\n", True),
        ("ALL: ALL\n", "sshd: 10.0.0.0/24\n", False),
        ("ALL: ALL EXCEPT 10.\n", "", False),
        ("in.ftpd: ALL\n", "", False),
        ("sshd: [fd00::]/8\n", "", False),
        ("ALL: ALL\n", "sshd: .example.org\n", False),
        ("ALL: PARANOID\n", "", False),
    ],
)
def test_lines_of_the_tcp_wrappers(tmp_path: Path, deny: str, allow: str, refused: bool) -> None:
    found = wrapped(tmp_path, deny, allow)
    assert (found is not None) is refused
    if found:
        assert found["peers"] is None and found["file"] in ("/etc/hosts.deny", "/etc/hosts.allow")


def test_a_line_for_one_peer_names_it(tmp_path: Path) -> None:
    found = wrapped(tmp_path, "\nsshd: 10.0.0.13\n")
    assert found == {"file": "/etc/hosts.deny", "line": 2, "text": "sshd: 10.0.0.13", "peers": ["10.0.0.13"]}


def test_an_sshd_without_the_library_asks_nobody(tmp_path: Path) -> None:
    assert wrapped(tmp_path, "ALL: ALL\n", program="static") is None


def refusing(root: Path, sshd: str) -> list[tuple[str, int]]:
    tree = write(root, {"/etc/pam.d/sshd": sshd})
    return [(row["module"], row["line"]) for row in access_files.pam(tree, TRAIN, PEERS)]


@pytest.mark.parametrize(
    ("access", "refused"),
    [
        ("-:ALL EXCEPT root:ALL\n", True),
        ("+:root:ALL\n-:ALL:ALL\n", True),
        ("- : train : 10.0.0.0/24\n", True),
        ("+:(users):10.\n-:ALL:ALL\n", False),
        ("+:train:10.0.0.0/24\n-:ALL:ALL\n", False),
        ("-:ALL EXCEPT train wheel:ALL\n", False),
        ("-:ALL:tty1 LOCAL\n", False),
        ("+:ALL:.example.org\n-:ALL:ALL\n", False),
        ("+:@admins:ALL\n-:ALL:ALL\n", False),
        ("# -:ALL:ALL\n", False),
    ],
)
def test_access_conf(tmp_path: Path, access: str, refused: bool) -> None:
    write(tmp_path, {"/etc/security/access.conf": access})
    assert bool(refusing(tmp_path, "account required pam_access.so\n")) is refused


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("account required pam_succeed_if.so quiet user ingroup cluster", True),
        ("account requisite pam_succeed_if.so uid >= 2000", True),
        ("account required pam_succeed_if.so uid >= 1000 quiet user ingroup users", False),
        ("account required pam_succeed_if.so service = sshd", False),
        ("account sufficient pam_succeed_if.so user ingroup cluster", False),
        ("account required pam_listfile.so item=user sense=allow file=/etc/allowed onerr=fail", True),
        ("account required pam_listfile.so item=user sense=deny file=/etc/allowed onerr=fail", False),
        ("account required pam_deny.so", True),
        ("account [success=1 default=ignore] pam_unix.so\naccount requisite pam_deny.so", False),
        ("account sufficient pam_localuser.so\naccount required pam_deny.so", False),
        ("auth required pam_deny.so", False),
    ],
)
def test_modules_of_the_account_step(tmp_path: Path, line: str, refused: bool) -> None:
    write(tmp_path, {"/etc/allowed": "root\nann\n"})
    assert bool(refusing(tmp_path, line + "\n")) is refused


def test_files_that_are_included(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"/etc/pam.d/common-account": "\naccount required pam_deny.so\n", "/etc/pam.d/loop": "@include loop\n"},
    )
    assert refusing(tmp_path, "@include loop\n@include common-account\n") == [("pam_deny", 2)]
    assert refusing(tmp_path, "account include common-account\n") == [("pam_deny", 2)]


def test_files_of_the_package_where_the_administrator_has_none(tmp_path: Path) -> None:
    tree = write(
        tmp_path, {"/usr/lib/pam.d/sshd": "account include own\n", "/usr/lib/pam.d/own": "account required pam_deny.so"}
    )
    assert [(row["module"], row["file"]) for row in access_files.pam(tree, TRAIN, PEERS)] == [
        ("pam_deny", "/usr/lib/pam.d/own")
    ]
    write(tmp_path, {"/etc/pam.d/own": "account required pam_permit.so"})
    assert access_files.pam(tree, TRAIN, PEERS) == []


SLURM = "-account required pam_slurm_adopt.so\n"


@pytest.mark.parametrize(
    ("sshd", "refused"),
    [
        (SLURM, True),
        ("account required pam_slurm.so\n", True),
        ("account sufficient pam_access.so\n" + SLURM, True),
        ("account sufficient pam_listfile.so item=user sense=allow file=/etc/allowed\n" + SLURM, True),
        ("account sufficient pam_listfile.so item=group sense=allow file=/etc/groups\n" + SLURM, False),
        ("account sufficient pam_succeed_if.so user ingroup users\n" + SLURM, False),
        ("account sufficient pam_duo.so\n" + SLURM, False),
        ("account [success=1 default=ignore] pam_succeed_if.so user ingroup wheel\n" + SLURM, True),
        ("account [success=1 default=ignore] pam_succeed_if.so user ingroup users\n" + SLURM, False),
        ("account [success=2 default=ignore] pam_unix.so\naccount optional pam_x.so\n" + SLURM, False),
        ("account [success=1 default=ignore] pam_unix.so\naccount optional pam_x.so\n" + SLURM, True),
        (SLURM.replace("\n", " action_no_jobs=ignore\n"), False),
    ],
)
def test_slurm_lets_in_who_has_a_job_or_comes_by_another_line(tmp_path: Path, sshd: str, refused: bool) -> None:
    files = {"/etc/security/access.conf": "-:ALL EXCEPT root:ALL\n", "/etc/allowed": "ann\n", "/etc/groups": "users\n"}
    write(tmp_path, files)
    module = "pam_slurm" if "pam_slurm.so" in sshd else "pam_slurm_adopt"
    assert [found for found, _line in refusing(tmp_path, sshd)] == [module] * refused
    tree = Tree(str(tmp_path))
    assert access_files.pam(tree, access_files.Login("root", 0, ("root",)), PEERS) == []


DIRECTORY = "account sufficient pam_localuser.so\naccount [default=bad success=ok user_unknown=ignore] pam_sss.so\n"
SSSD = """[sssd]
domains = corp.example
[domain/corp.example]
id_provider = ldap
ldap_default_authtok = never
access_provider = {provider}
{option}
"""


@pytest.mark.parametrize(
    ("provider", "option", "refused"),
    [
        ("simple", "simple_allow_groups = admins, Other Users", "simple_allow_groups = admins, Other Users"),
        ("simple", "simple_allow_users = ann@corp.example", "simple_allow_users = ann@corp.example"),
        ("simple", "simple_deny_groups=USERS@corp.example", "simple_deny_groups = USERS@corp.example"),
        ("deny", "", "access_provider = deny"),
        ("simple", "simple_allow_groups = Users@corp.example", None),
        ("simple", "simple_allow_users = train\nsimple_allow_groups = admins", None),
        ("simple", "", None),
        ("ad", "simple_allow_groups = admins", None),
        ("simple", "simple_allow_groups = admins\n[domain/other]\nid_provider = ldap", "simple_allow_groups = admins"),
    ],
)
def test_whom_sssd_refuses(tmp_path: Path, provider: str, option: str, refused: str | None) -> None:
    passwd = "root:x:0:0::/root:/bin/sh\n"
    tree = write(
        tmp_path,
        {
            "/etc/pam.d/sshd": DIRECTORY,
            "/etc/sssd/sssd.conf": SSSD.format(provider=provider, option=option),
            "/etc/passwd": passwd,
        },
    )
    found = access_files.pam(tree, TRAIN, PEERS)
    assert [row["text"] for row in found] == ([refused] if refused else [])
    assert all(row["module"] == "pam_sss" and row["file"] == "/etc/sssd/sssd.conf" for row in found)
    write(tmp_path, {"/etc/passwd": passwd + "train:x:1001:1001::/home/train:/bin/sh\n"})
    assert access_files.pam(tree, TRAIN, PEERS) == []


@pytest.mark.parametrize(("provider", "asks"), [("ad", True), ("ipa", True), ("permit", False), ("simple", False)])
def test_a_directory_that_is_asked_at_each_login(tmp_path: Path, provider: str, asks: bool) -> None:
    passwd = "root:x:0:0::/root:/bin/sh\n"
    files = {"/etc/sssd/sssd.conf": SSSD.format(provider=provider, option=""), "/etc/passwd": passwd}
    tree = write(tmp_path, {"/etc/pam.d/sshd": DIRECTORY, **files})
    found = access_files.directory(tree, TRAIN, PEERS)
    assert (found or {}).get("text") == (f"access_provider = {provider}" if asks else None)
    write(tmp_path, {"/etc/passwd": passwd + "train:x:1001:1001::/home/train:/bin/sh\n"})
    assert access_files.directory(tree, TRAIN, PEERS) is None
    write(tmp_path, {"/etc/passwd": passwd, "/etc/pam.d/sshd": "account required pam_unix.so\n"})
    assert access_files.directory(tree, TRAIN, PEERS) is None


def test_of_several_domains_nobody_knows_which_one_decides(tmp_path: Path) -> None:
    text = SSSD.format(provider="deny", option="[domain/b]\nid_provider = ldap").replace(
        "corp.example\n[", "corp.example, b\n["
    )
    tree = write(tmp_path, {"/etc/pam.d/sshd": DIRECTORY, "/etc/sssd/sssd.conf": text, "/etc/passwd": "root:x:0:0:\n"})
    assert access_files.pam(tree, TRAIN, PEERS) == []


WORDS = (
    "account required requisite sufficient [success=1 default=ignore] pam_access.so @include sshd : ALL EXCEPT - + \\"
)


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(st.lists(st.sampled_from([*WORDS.split(), "", "10.", "[", "#"]), max_size=6).map(" ".join), max_size=6))
def test_any_lines(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    root = tmp_path_factory.mktemp("files")
    text = "\n".join(lines)
    tree = write(root, {"/etc/pam.d/sshd": text, "/etc/security/access.conf": text, "/etc/hosts.deny": text})
    access_files.pam(tree, TRAIN, PEERS)
    write(root, {"/usr/sbin/sshd": "libwrap.so"})
    access_files.wrappers(tree, PEERS)
