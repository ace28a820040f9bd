# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dnf prints, and what it is asked. The longer texts are from dnf 4.14 with packages made for the purpose."""

from __future__ import annotations

import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import dnf, manager, model
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Want

DNF4 = """\
Last metadata expiration check: 0:01:02 ago on Mon 01 Jan 2024 00:00:00 AM UTC.
Dependencies resolved.
================================================================================
 Package          Arch      Version                    Repository         Size
================================================================================
Installing:
 libaio-devel     x86_64    0.3.111-13.el9             appstream          11 k
Installing dependencies:
 a-package-with-a-very-long-name
                  noarch    1:2.0-1.el9                baseos            7.2 M
Upgrading:
 libaio           x86_64    0.3.111-13.el9             baseos             23 k
Removing dependent packages:
 other-daemon     x86_64    4.2-1.el9                  @baseos           500 k

Transaction Summary
================================================================================
Install  2 Packages
Upgrade  1 Package

Total download size: 7.2 M
Installed size: 31 M
Operation aborted.
"""
DNF5 = """\
Package       Arch   Version        Repository      Size
Installing:
 ninja-build  x86_64 1.12.1-3.fc41  fedora     436.2 KiB

Transaction Summary:
 Installing:         1 package

Total size of inbound packages is 170 KiB. Need to download 170 KiB.
After this operation, 436 KiB extra will be used (install 436 KiB, remove 0 B).
Operation aborted by the user.
"""
SWITCH = """\
Dependencies resolved.
================================================================================
 Package                  Arch    Version              Repository          Size
================================================================================
Installing:
 kmod-nvidia-latest-dkms  x86_64  3:580.65.06-1.el9    trainmesh-nvidia   8.1 k
Upgrading:
 nvidia-driver-cuda       x86_64  3:580.65.06-1.el9    trainmesh-nvidia   6.9 k
     replacing  nvidia-smi.x86_64 3:570.172.08-1.el9
Removing dependent packages:
 kmod-nvidia-open-dkms    x86_64  3:570.172.08-1.el9   @trainmesh-nvidia  416

Transaction Summary
================================================================================
Install  1 Package
Upgrade  1 Package
Remove   1 Package

Total download size: 34 k
Operation aborted.
"""
SIGNED_BY_ANOTHER = """\
Importing GPG key 0xF48130BF:
 Userid     : "good@example"
Key imported successfully
Import of key(s) didn't help, wrong key(s)?
Public key for nvidia-driver-cuda-570.172.08-1.el9.x86_64.rpm is not installed. Failing package is: nvidia-driver-cuda-3
 GPG Keys are configured as: file:///etc/pki/rpm-gpg/RPM-GPG-KEY-trainmesh-nvidia
The downloaded packages were saved in cache until the next successful transaction.
Error: GPG check FAILED
"""
UNFIT = """\
Error:
 Problem 1: conflicting requests
  - nothing provides /bin/sh needed by kmod-nvidia-open-dkms-3:570.172.08-1.el9.x86_64
 Problem 2: package nvidia-driver-cuda-3:570.172.08-1.el9.x86_64 requires nvidia-kmod-common = 3:570.172.08
"""


def outcome(out="", rc=0, err=""):
    return command.Outcome(rc, out, err, False, False, 0.1)


class Commands:
    """Answers commands by a word of theirs, and keeps what was run."""

    def __init__(self, **answers):
        self.answers, self.lines = answers, []

    def __call__(self, argv, _limit, **_options):
        self.lines.append(" ".join(argv))
        return next((found for word, found in self.answers.items() if word in argv), outcome())


def test_what_dnf_would_do():
    found = dnf.parse_transaction(DNF4)
    assert found.new == {"libaio-devel": "0.3.111-13.el9", "a-package-with-a-very-long-name": "1:2.0-1.el9"}
    assert (found.upgraded, found.removed) == ({"libaio": "0.3.111-13.el9"}, ("other-daemon",))
    assert (found.download, found.disk) == (7_200_000, 31_000_000)


def test_what_the_newer_dnf_would_do():
    found = dnf.parse_transaction(DNF5)
    assert (found.new, found.download, found.disk) == ({"ninja-build": "1.12.1-3.fc41"}, 170_000, 436_000)


def test_dnf_names_a_package_that_is_not_there():
    run = Commands(install=outcome("Error: Unable to find a match: nothing", 1))
    with pytest.raises(model.Fault, match="Unable to find a match: nothing"):
        dnf.Dnf(run).transaction([Want("nothing")])


def test_dnf_says_no_with_the_status_of_a_failure():
    assert dnf.Dnf(Commands(install=outcome(DNF4, 1))).transaction([Want("libaio-devel")]).download


def test_dnf_versionlock():
    text = "Last metadata\nlibnccl-0:2.20.5-1+cuda12.4.*\n!kernel-core-0:5.14.0-427.el9.*\n"
    assert dnf.Dnf(Commands(versionlock=outcome(text))).held() == {"libnccl", "kernel-core"}


def test_an_installation_may_replace_what_it_conflicts_with():
    found = dnf.parse_transaction(SWITCH)
    assert found.new == {"kmod-nvidia-latest-dkms": "3:580.65.06-1.el9"}
    assert found.upgraded == {"nvidia-driver-cuda": "3:580.65.06-1.el9"}
    assert found.before == {"kmod-nvidia-open-dkms": "3:570.172.08-1.el9", "nvidia-smi": "3:570.172.08-1.el9"}
    assert set(found.removed) == set(found.before) and found.download == 34_000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SIGNED_BY_ANOTHER, "Public key for nvidia-driver-cuda-570.172.08-1.el9.x86_64.rpm is not installed"),
        (UNFIT, "nothing provides /bin/sh needed by kmod-nvidia-open-dkms"),
        (
            "[MIRROR] a.rpm: Interrupted by header callback: Inconsistent server data\nError: Error downloading",
            "[MIRROR] a.rpm: Interrupted by header callback",
        ),
        ("Error: Transaction test error:\n  At least 512MB more space needed on the / filesystem.", "At least 512MB"),
        (
            "All matches were filtered out by exclude filtering for argument: x\nError: Unable",
            "exclude",
        ),
    ],
)
def test_why_dnf_fails(text, told):
    found = manager.reason(outcome(text, 1), 5)
    assert told in found and "conflicting requests" not in found


def test_holds_of_both_versions():
    five = "# Added by 'versionlock add' command\nPackage name: nvidia-driver-cuda\nevr = 3:570.1-1.fc43\n"
    assert dnf.parse_held(five) == {"nvidia-driver-cuda"}
    assert dnf.parse_held("kmod-nvidia-open-dkms-3:570.172.08-1.el9.*\n") == {"kmod-nvidia-open-dkms"}


@pytest.fixture
def room(tmp_path):
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "base.repo").write_text("[base]\nbaseurl=http://mirror.example/base\n")

    def make(**answers):
        run = Commands(**answers)
        found = dnf.Dnf(run, 10, str(tmp_path / "room"), str(etc))
        key = f"{dnf.KEYS}/ours"
        found.prepare({f"{dnf.REPOSITORIES}/ours.repo": f"gpgkey=file://{key}".encode(), key: b"key"})
        return found, run

    return make


def test_the_room_has_the_repositories_of_the_node_and_ours(room, tmp_path):
    found, run = room()
    assert sorted(os.listdir(tmp_path / "room/repositories")) == ["base.repo", "ours.repo"]
    key = tmp_path / "room/etc-pki-rpm-gpg-ours"
    assert (tmp_path / "room/repositories/ours.repo").read_text() == f"gpgkey=file://{key}" and key.read_text() == "key"
    assert found.repositories() == {"http://mirror.example/base": "base"}
    found.unfilter("ours")
    found.install([Want("nvidia-driver-cuda", "570.1-1")])
    for word in (f"reposdir={tmp_path}/room/repositories", f"cachedir={tmp_path}/room/cache", "ours.module_hotfixes=1"):
        assert f"--setopt={word}" in run.lines[0]
    assert "--cacheonly --allowerasing nvidia-driver-cuda-570.1-1" in run.lines[0]


def test_keys_that_a_download_was_checked_with_are_not_trusted_by_the_node(room):
    found, run = room(install=outcome("Error: GPG check FAILED", 1))
    trusted = iter([outcome("gpg-pubkey-aa-1\n"), outcome("gpg-pubkey-aa-1\ngpg-pubkey-bb-2\n")])
    run.answers["gpg-pubkey"] = None
    answer = run.__class__.__call__
    found._run = lambda argv, limit, **options: (
        next(trusted) if "gpg-pubkey" in argv else answer(run, argv, limit, **options)
    )
    with pytest.raises(model.Fault, match="could not be downloaded: GPG check FAILED"):
        found.download([Want("a")])
    assert run.lines[-1].endswith("-e --allmatches gpg-pubkey-bb-2")


def test_rpm_without_keys_says_so_in_words():
    assert dnf.Dnf(Commands(**{"gpg-pubkey": outcome("package gpg-pubkey is not installed\n", 1)})).keys() == set()


def test_versions_are_the_newest_first_and_of_the_name_alone():
    text = "nvidia-driver-cuda 570.133.20-1.el9\n\nnvidia-driver-cuda 580.65.06-1.el9\nnvidia-driver-cuda-libs 1-1\n"
    found = dnf.Dnf(Commands(repoquery=outcome(text), **{"-q": outcome("nvidia-driver-cuda\t570.133.20-1.el9\n")}))
    assert found.packages(["nvidia-driver-cuda", "gone"]) == {
        "nvidia-driver-cuda": ("570.133.20-1.el9", "580.65.06-1.el9", ("580.65.06-1.el9", "570.133.20-1.el9"))
    }


def test_a_lock_stays_when_its_package_goes_and_is_replaced_by_that_of_another_version():
    run = Commands(list=outcome("kmod-nvidia-open-dkms-3:570.172.08-1.el9.*\n"))
    found = dnf.Dnf(run)
    assert found.releasable(["kmod-nvidia-open-dkms", "nvidia-driver-cuda"]) == ["kmod-nvidia-open-dkms"]
    found.hold(["nvidia-driver-cuda"])
    assert [line.partition("versionlock ")[2] for line in run.lines[-2:]] == [
        "delete nvidia-driver-cuda",
        "add nvidia-driver-cuda",
    ]


def test_locks_of_dnf_5_are_taken_off_for_an_installation_and_put_back(monkeypatch):
    run = Commands(**{"-q": outcome("a\t1-1\n")})
    found = dnf.Dnf(run)
    found.suspend(["a", "b"])
    found.resume(["a", "b"])
    assert run.lines == [], "dnf 4 has an option"
    monkeypatch.setattr(dnf.Dnf, "_is_5", lambda _self: True)
    found.suspend(["a", "b"])
    found.resume(["a", "b"])
    locks = [line.partition("versionlock ")[2] for line in run.lines if "versionlock" in line]
    assert locks == ["delete a b", "delete a", "add a"], "b has gone"


def test_what_holds_packages_is_missing_where_dnf_does_not_know_the_word():
    assert dnf.Dnf(Commands(versionlock=outcome("No such command: versionlock.", 1))).holder() == [
        "python3-dnf-plugin-versionlock"
    ]
    assert dnf.Dnf(Commands()).holder() == []
    with pytest.raises(model.Fault, match="a could not be held by dnf versionlock: No such command"):
        dnf.Dnf(Commands(versionlock=outcome("No such command: versionlock.", 1))).hold(["a"])


def test_old_versions_are_kept_whole_or_not_at_all(tmp_path):
    def run(_argv, _limit, **_options):
        for name in ("a-1-1.x86_64.rpm", "a-libs-1-1.x86_64.rpm", "dkms-3-1.noarch.rpm"):
            (tmp_path / name).write_text("")
        return outcome()

    found = dnf.Dnf(run)
    kept = found.keep_old({"a": "1-1", "a-libs": "1-1"}, str(tmp_path))
    assert [os.path.basename(path) for path in kept] == ["a-1-1.x86_64.rpm", "a-libs-1-1.x86_64.rpm"]
    assert found.keep_old({"a": "1-1", "gone": "1-1"}, str(tmp_path)) == []
