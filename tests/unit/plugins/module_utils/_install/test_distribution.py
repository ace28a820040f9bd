# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an installation of packages would do, and what is done about one that fails."""

from __future__ import annotations

import types

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import distribution
from ansible_collections.trainmesh.cluster.plugins.module_utils._install.distribution import Transaction, Want

SIMULATED = """\
Reading package lists...
Inst libtool1 (1.2-3 Debian:12.1/stable [amd64])
Inst base-tool [1.0-1] (1.1-1 Debian:12.1/stable [amd64]) []
Remv old-daemon [2.4-1]
Inst tool-dev:amd64 (1:1.2-3+b1 Debian:12.1/stable, Debian-Security:12/stable-security [amd64])
Conf tool-dev:amd64 (1:1.2-3+b1 Debian:12.1/stable [amd64])
"""
ASKED = """\
2 newly installed, 1 upgraded, 1 to remove and 0 not upgraded.
Need to get 1,637 MB of archives.
After this operation, 5,608 MB of additional disk space will be used.
'http://mirror.example/libtool1_1.2-3_amd64.deb' libtool1_1.2-3_amd64.deb 1000 SHA256:00
"""
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


def outcome(out="", rc=0, err="", timed_out=False):
    return command.Outcome(None if timed_out else rc, out, err, timed_out, False, 0.1)


def test_what_apt_would_do():
    found = distribution.apt_transaction(SIMULATED, ASKED)
    assert found.new == {"libtool1": "1.2-3", "tool-dev": "1:1.2-3+b1"}
    assert (found.upgraded, found.removed) == ({"base-tool": "1.1-1"}, ("old-daemon",))
    assert (found.download, found.disk) == (1_637_000_000, 5_608_000_000)
    partly = distribution.apt_transaction("", "Need to get 12.5 kB/73.4 MB of archives.")
    assert partly.download == 12_500 and partly.is_empty
    newer = distribution.apt_transaction("", "  Download size: 11.8 MB\n  Space needed: 43.9 MB / 65.0 GB available\n")
    assert (newer.download, newer.disk) == (11_800_000, 43_900_000)
    freed = distribution.apt_transaction("", "After this operation, 300 MB disk space will be freed.")
    assert freed.disk == 0


def test_what_dnf_would_do():
    found = distribution.dnf_transaction(DNF4)
    assert found.new == {"libaio-devel": "0.3.111-13.el9", "a-package-with-a-very-long-name": "1:2.0-1.el9"}
    assert (found.upgraded, found.removed) == ({"libaio": "0.3.111-13.el9"}, ("other-daemon",))
    assert (found.download, found.disk) == (7_200_000, 31_000_000)


def test_what_the_newer_dnf_would_do():
    found = distribution.dnf_transaction(DNF5)
    assert (found.new, found.download, found.disk) == ({"ninja-build": "1.12.1-3.fc41"}, 170_000, 436_000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Reading...\nE: Unable to locate package nothing\n", "Unable to locate package nothing"),
        ("dpkg: error processing archive x (--unpack):\n cannot copy: No space left on device\n", "dpkg: error"),
        ("Error: Unable to find a match: nothing\n", "Unable to find a match: nothing"),
        ("No match for argument: nothing\nError: Unable to find a match: nothing\n", "No match for argument: nothing"),
        (
            "x : Depends: y (>= 1) but it is not installable\nE: Unable to correct problems\n",
            "x : Depends: y (>= 1) but",
        ),
        ("something else\nthe last line\n", "the last line"),
        ("", "exit status 100"),
    ],
)
def test_the_reason_is_in_the_words_of_the_package_manager(text, words):
    assert words in distribution.reason(outcome(text, 100), 5)


def test_an_installation_without_end_is_told_as_that():
    assert distribution.reason(outcome(timed_out=True), 900) == "no end after 900 s"


class Node(distribution.Manager):
    """A package manager of its own: what is there, what there is to have, and how an installation ends."""

    name = "apt"

    def __init__(self, offered=(), held=(), ends=None, stubborn=False):
        super().__init__()
        self.offered, self.holds, self.ends, self.stubborn = list(offered), set(held), ends, stubborn
        self.there, self.removed = set(), []

    def installed(self, names):
        return {name: "1" for name in names if name in self.there}

    def versions(self, _name):
        return self.offered

    def held(self):
        return self.holds

    def install(self, wants, _removes):
        self.there |= {want.name for want in wants} if self.ends is None else {wants[0].name}
        return self.ends or outcome()

    def remove(self, names):
        self.removed += names
        self.there -= set() if self.stubborn else set(names)
        return outcome()


@pytest.mark.parametrize(
    ("version", "chosen"),
    [
        ("", "2.27.5-1+cuda12.9"),
        ("2.26.2", "2.26.2-1+cuda12.8"),
        ("2.2", None),
        ("2.26.2-1+cuda12.8", "2.26.2-1+cuda12.8"),
    ],
)
def test_a_version_is_exact_or_the_beginning_of_one(version, chosen):
    node = Node(offered=["2.27.5-1+cuda12.9", "2.26.2-1+cuda12.8"])
    if chosen:
        assert node.choose("libnccl2", version) == Want("libnccl2", chosen)
    else:
        with pytest.raises(
            distribution.Fault, match=r"no repository of this node has libnccl2 2\.2; there is 2\.27\.5"
        ):
            node.choose("libnccl2", version)


def test_an_epoch_is_no_part_of_the_version_asked_for():
    assert Node(offered=["1:1.2-3"]).choose("tool", "1.2").version == "1:1.2-3"


def test_a_package_that_nobody_has_is_named_with_the_trouble_of_the_lists():
    node = Node()
    node.complaint = "Err: mirror.example does not answer"
    with pytest.raises(distribution.Fault, match=r"no repository of this node has a package nothing.*mirror.example"):
        node.choose("nothing", "")


@pytest.mark.parametrize("held", ["new", "newer", "old-daemon"])
def test_what_is_held_is_not_changed(held):
    found = Transaction(new={"new": "1"}, upgraded={"newer": "2"}, removed=("old-daemon",))
    with pytest.raises(
        distribution.Fault, match=rf"^toolkit: {held} would change, and is held.*apt-mark unhold {held}"
    ):
        distribution.judged(Node(held=[held, "unrelated"]), found, ["old-daemon"], "toolkit: ")


def test_nothing_is_removed_unless_it_may_be():
    found = Transaction(new={"chrony": "4"}, removed=("systemd-timesyncd",))
    with pytest.raises(distribution.Fault, match="would remove systemd-timesyncd"):
        distribution.judged(Node(), found)
    assert distribution.judged(Node(), found, ["systemd-timesyncd"]) is found


@pytest.mark.parametrize("sizes", [{"download": 2**30}, {"disk": 2**30}, {"download": 2**29, "disk": 2**29}])
def test_a_full_disk_is_told_before_anything_is_done(monkeypatch, sizes):
    monkeypatch.setattr(
        distribution.os, "statvfs", lambda _path: types.SimpleNamespace(f_bavail=2**30 // 4096, f_frsize=4096)
    )
    with pytest.raises(distribution.Fault, match=r"1280 MiB are needed on the disk of .*1024 MiB are free"):
        distribution.judged(Node(), Transaction(new={"a": "1"}, **sizes))


def test_an_installation_that_fails_half_way_is_taken_back():
    node, wants = Node(ends=outcome("E: Failed to fetch b.deb  Connection failed", 100)), [Want("a"), Want("b")]
    with pytest.raises(
        distribution.Fault, match=r"^toolkit: Failed to fetch b.*removed again, and the node is as it was$"
    ):
        distribution.apply(node, wants, Transaction(new={"a": "1", "b": "1"}), "toolkit: ")
    assert node.removed == ["a"] and not node.there


def test_an_older_version_that_was_replaced_is_told():
    node = Node(ends=outcome("E: broken", 100))
    with pytest.raises(distribution.Fault, match="except c, which may be newer"):
        distribution.apply(node, [Want("a")], Transaction(new={"a": "1"}, upgraded={"c": "2"}))


def test_what_can_not_be_taken_back_is_named():
    node = Node(ends=outcome("E: broken", 100), stubborn=True)
    with pytest.raises(distribution.Fault, match="a could not be removed again"):
        distribution.apply(node, [Want("a")], Transaction(new={"a": "1"}))


def test_a_package_that_is_not_there_afterwards_is_a_failure():
    node = Node()
    node.install = lambda _wants, _removes: outcome()
    with pytest.raises(distribution.Fault, match="a is not there afterwards; the node is as it was"):
        distribution.apply(node, [Want("a")], Transaction(new={"a": "1"}))


class Commands:
    """Answers commands by their first matching words, and keeps what was run."""

    def __init__(self, **answers):
        self.answers, self.argvs = answers, []

    def __call__(self, argv, _limit, **_options):
        self.argvs.append(argv)
        line = " ".join(argv)
        return next((answer for words, answer in self.answers.items() if words.replace("_", " ") in line), outcome())


def test_apt_reads_versions_with_the_candidate_first():
    run = Commands(
        policy=outcome("tool:\n  Installed: (none)\n  Candidate: 1.0-1\n"),
        madison=outcome(
            " tool | 2.0-1 | http://mirror bookworm-backports/main amd64 Packages\n"
            " tool | 1.0-1 | http://mirror bookworm/main amd64 Packages\n"
            " tool | 1.0-1 | http://mirror bookworm/main Sources\n"
        ),
    )
    assert distribution.Apt(run).versions("tool") == ["1.0-1", "2.0-1"]


def test_apt_only_looks_at_what_it_would_do():
    """--assume-no is no promise: apt asks nothing, and installs, where no package comes along."""
    run = Commands()
    run.answers = {" -s ": outcome(SIMULATED), "--print-uris": outcome(ASKED)}
    assert distribution.Apt(run).transaction([Want("tool-dev", "1:1.2-3+b1")]).disk == 5_608_000_000
    for argv in run.argvs:
        assert "-s" in argv or ("--print-uris" in argv and "--download-only" in argv)


def test_apt_leaves_the_removal_of_packages_to_those_who_allow_it():
    run = Commands()
    apt = distribution.Apt(run)
    apt.install([Want("a", "1:2-3")], removes=False)
    apt.install([Want("a")], removes=True)
    assert "--no-remove" in run.argvs[0] and run.argvs[0][-1] == "a=1:2-3"
    assert "--no-remove" not in run.argvs[1] and run.argvs[1][-1] == "a"


def test_apt_takes_away_what_is_half_unpacked():
    run = Commands(purge=outcome("E: dpkg was interrupted", 100))
    distribution.Apt(run).remove(["a"])
    assert "--force-remove-reinstreq" in run.argvs[1]
    left = Commands(dpkg_query=outcome())
    left.answers = {"dpkg-query": outcome("half-installed\ta\nnot-installed\tb\ninstalled\tc\n")}
    assert distribution.Apt(left).left_of(["a", "b", "c"]) == {"a", "c"}


def test_apt_update_that_fails_is_kept_for_later():
    run = Commands(update=outcome("Err:1 http://mirror bookworm InRelease\nW: Failed to fetch http://mirror\n"))
    apt = distribution.Apt(run)
    apt.refresh()
    assert "mirror" in apt.complaint


def test_dnf_names_a_package_that_is_not_there():
    run = Commands(assumeno=outcome("Error: Unable to find a match: nothing", 1))
    with pytest.raises(distribution.Fault, match="Unable to find a match: nothing"):
        distribution.Dnf(run).transaction([Want("nothing")])


def test_dnf_says_no_with_the_status_of_a_failure():
    assert distribution.Dnf(Commands(assumeno=outcome(DNF4, 1))).transaction([Want("libaio-devel")]).download


def test_dnf_versionlock():
    text = "Last metadata\nlibnccl-0:2.20.5-1+cuda12.4.*\n!kernel-core-0:5.14.0-427.el9.*\n"
    assert distribution.Dnf(Commands(versionlock=outcome(text))).held() == {"libnccl", "kernel-core"}
