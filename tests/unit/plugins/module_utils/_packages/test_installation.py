# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an installation of packages would do, and what is done about one that fails."""

from __future__ import annotations

import types

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import apt, installation, manager, model
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Transaction, Want

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


def outcome(out="", rc=0, err="", timed_out=False):
    return command.Outcome(None if timed_out else rc, out, err, timed_out, False, 0.1)


def test_what_apt_would_do():
    found = apt.parse_transaction(SIMULATED, ASKED)
    assert found.new == {"libtool1": "1.2-3", "tool-dev": "1:1.2-3+b1"}
    assert (found.upgraded, found.removed) == ({"base-tool": "1.1-1"}, ("old-daemon",))
    assert (found.download, found.disk) == (1_637_000_000, 5_608_000_000)
    partly = apt.parse_transaction("", "Need to get 12.5 kB/73.4 MB of archives.")
    assert partly.download == 12_500 and partly.is_empty
    newer = apt.parse_transaction("", "  Download size: 11.8 MB\n  Space needed: 43.9 MB / 65.0 GB available\n")
    assert (newer.download, newer.disk) == (11_800_000, 43_900_000)
    freed = apt.parse_transaction("", "After this operation, 300 MB disk space will be freed.")
    assert freed.disk == 0


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
    assert words in manager.reason(outcome(text, 100), 5)


def test_logins_are_no_part_of_a_reason():
    text = "Get:1 x\nErr:2 https://me:secret@mirror.example x\n  404\nE: Failed to fetch https://me:secret@mirror.example/a.deb"
    told = manager.reason(outcome(text, 100), 5)
    assert told.startswith("Err:2 ") and "secret" not in told


def test_an_installation_without_end_is_told_as_that():
    assert manager.reason(outcome(timed_out=True), 900) == "no end after 900 s"


class Node(manager.Manager):
    """A package manager of its own: what is there, what there is to have, and how an installation ends."""

    name = "apt"
    unhold = "apt-mark unhold"

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

    def install(self, wants, drops=(), removes=True):
        self.there |= {want.name for want in wants} if self.ends is None else {wants[0].name}
        if self.ends:
            raise model.Fault(manager.reason(self.ends, self.limit))

    def remove(self, names, forced=False):
        assert forced
        self.removed += names
        self.there -= set() if self.stubborn else set(names)


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
        with pytest.raises(model.Fault, match=r"no repository of this node has libnccl2 2\.2; there is 2\.27\.5"):
            node.choose("libnccl2", version)


def test_an_epoch_is_no_part_of_the_version_asked_for():
    assert Node(offered=["1:1.2-3"]).choose("tool", "1.2").version == "1:1.2-3"


def test_a_package_that_nobody_has_is_named_with_the_trouble_of_the_lists():
    node = Node()
    node.complaint = "Err: mirror.example does not answer"
    with pytest.raises(model.Fault, match=r"no repository of this node has a package nothing.*mirror.example"):
        node.choose("nothing", "")


@pytest.mark.parametrize("held", ["new", "newer", "old-daemon"])
def test_what_is_held_is_not_changed(held):
    found = Transaction(new={"new": "1"}, upgraded={"newer": "2"}, removed=("old-daemon",))
    with pytest.raises(model.Fault, match=rf"^toolkit: {held} would change, and is held.*apt-mark unhold {held}"):
        installation.judged(Node(held=[held, "unrelated"]), found, ["old-daemon"], "toolkit: ")


def test_nothing_is_removed_unless_it_may_be():
    found = Transaction(new={"chrony": "4"}, removed=("systemd-timesyncd",))
    with pytest.raises(model.Fault, match="would remove systemd-timesyncd"):
        installation.judged(Node(), found)
    assert installation.judged(Node(), found, ["systemd-timesyncd"]) is found


@pytest.mark.parametrize("sizes", [{"download": 2**30}, {"disk": 2**30}, {"download": 2**29, "disk": 2**29}])
def test_a_full_disk_is_told_before_anything_is_done(monkeypatch, sizes):
    monkeypatch.setattr(
        installation.os, "statvfs", lambda _path: types.SimpleNamespace(f_bavail=2**30 // 4096, f_frsize=4096)
    )
    with pytest.raises(model.Fault, match=r"1280 MiB are needed on the disk of .*1024 MiB are free"):
        installation.judged(Node(), Transaction(new={"a": "1"}, **sizes))


def test_an_installation_that_fails_half_way_is_taken_back():
    node, wants = Node(ends=outcome("E: Failed to fetch b.deb  Connection failed", 100)), [Want("a"), Want("b")]
    with pytest.raises(model.Fault, match=r"^toolkit: Failed to fetch b.*removed again, and the node is as it was$"):
        installation.apply(node, wants, Transaction(new={"a": "1", "b": "1"}), "toolkit: ")
    assert node.removed == ["a"] and not node.there


def test_an_older_version_that_was_replaced_is_told():
    node = Node(ends=outcome("E: broken", 100))
    with pytest.raises(model.Fault, match="except c, which may be newer"):
        installation.apply(node, [Want("a")], Transaction(new={"a": "1"}, upgraded={"c": "2"}))


def test_what_can_not_be_taken_back_is_named():
    node = Node(ends=outcome("E: broken", 100), stubborn=True)
    with pytest.raises(model.Fault, match="a could not be removed again"):
        installation.apply(node, [Want("a")], Transaction(new={"a": "1"}))


def test_a_package_that_is_not_there_afterwards_is_a_failure():
    node = Node()
    node.install = lambda _wants, removes: None
    with pytest.raises(model.Fault, match="a is not there afterwards; the node is as it was"):
        installation.apply(node, [Want("a")], Transaction(new={"a": "1"}))


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
    assert apt.Apt(run).versions("tool") == ["1.0-1", "2.0-1"]


def test_apt_only_looks_at_what_it_would_do():
    """--assume-no is no promise: apt asks nothing, and installs, where no package comes along."""
    run = Commands()
    run.answers = {" -s ": outcome(SIMULATED), "--print-uris": outcome(ASKED)}
    assert apt.Apt(run).transaction([Want("tool-dev", "1:1.2-3+b1")]).disk == 5_608_000_000
    for argv in run.argvs:
        assert "-s" in argv or ("--print-uris" in argv and "--download-only" in argv)


def test_apt_leaves_the_removal_of_packages_to_those_who_allow_it():
    run = Commands()
    found = apt.Apt(run)
    found.install([Want("a", "1:2-3")], removes=False)
    found.install([Want("a")], removes=True)
    assert "--no-remove" in run.argvs[0] and run.argvs[0][-1] == "a=1:2-3"
    assert "--no-remove" not in run.argvs[1] and run.argvs[1][-1] == "a"


def test_apt_takes_away_what_is_half_unpacked():
    run = Commands()
    run.answers = {"apt-get": outcome("E: dpkg was interrupted", 100)}
    apt.Apt(run).remove(["a"], forced=True)
    assert "--force-remove-reinstreq" in run.argvs[1]
    left = Commands(dpkg_query=outcome())
    left.answers = {"dpkg-query": outcome("half-installed\ta\nnot-installed\tb\ninstalled\tc\n")}
    assert apt.Apt(left).left_of(["a", "b", "c"]) == {"a", "c"}


def test_apt_update_that_fails_is_kept_for_later():
    run = Commands(update=outcome("Err:1 http://mirror bookworm InRelease\nW: Failed to fetch http://mirror\n"))
    found = apt.Apt(run)
    found.refresh()
    assert "mirror" in found.complaint
