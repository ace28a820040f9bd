# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import apt, model

POLICY = """\
libcuda1:
  Installed: 535.261.03-1
  Candidate: 535.309.01-0+deb12u1
  Version table:
     535.309.01-0+deb12u1 500
        500 http://deb.debian.org/debian-security bookworm-security/non-free amd64 Packages
 *** 535.261.03-1 500
        500 http://deb.debian.org/debian bookworm/non-free amd64 Packages
        100 /var/lib/dpkg/status
nvidia-smi:
  Installed: (none)
  Candidate: (none)
  Version table:
nvidia-driver-cuda:
  Installed: (none)
  Candidate: 570.86.15-1
  Version table:
     580.65.06-1 -1
        600 https://mirror.example/debian12/x86_64  Packages
     570.86.15-1 991
        600 https://mirror.example/debian12/x86_64  Packages
"""
ARCHIVES = """\
Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://deb.debian.org/debian bookworm/contrib amd64 Packages
     release v=12.15,o=Debian,a=oldstable,n=bookworm,l=Debian,c=contrib,b=amd64
     origin deb.debian.org
 500 http://deb.debian.org/debian bookworm/main amd64 Packages
     release v=12.15,o=Debian,a=oldstable,n=bookworm,l=Debian,c=main,b=amd64
     origin deb.debian.org
 500 https://apt.example.com bookworm/main amd64 Packages
     release o=Example,a=bookworm,n=bookworm,c=main,b=amd64
     origin apt.example.com
Pinned packages:
"""
STEPS = """\
Reading package lists...
Remv nvidia-kernel-dkms [535.261.03-1]
Inst libcuda1 [535.261.03-1] (535.309.01-0+deb12u1 Debian-Security:12/oldstable-security [amd64])
Inst dkms (3.0.10-8+deb12u1 Debian:12.15/oldstable [all])
Conf libcuda1 (535.309.01-0+deb12u1 Debian-Security:12/oldstable-security [amd64])
Purg old [1.0]
"""


def test_versions_of_packages():
    found = apt.parse_policy(POLICY)
    assert found["libcuda1"] == ("535.261.03-1", "535.309.01-0+deb12u1", ("535.309.01-0+deb12u1", "535.261.03-1"))
    assert found["nvidia-driver-cuda"] == (None, "570.86.15-1", ("580.65.06-1", "570.86.15-1"))
    assert set(found) == {"libcuda1", "nvidia-driver-cuda"}


def test_only_the_archives_of_the_distribution_count():
    archives = apt.parse_archives(ARCHIVES, "Debian")
    assert archives == [("http://deb.debian.org/debian", "bookworm", frozenset({"contrib", "main"}))]
    assert apt.parse_archives(ARCHIVES, "Ubuntu") == []


def test_what_a_simulation_says():
    found = apt.parse_transaction(STEPS, "Need to get 303 MB of archives.")
    assert found.new == {"dkms": "3.0.10-8+deb12u1"}
    assert found.upgraded == {"libcuda1": "535.309.01-0+deb12u1"}
    assert found.removed == ("nvidia-kernel-dkms", "old")
    assert found.before == {"libcuda1": "535.261.03-1", "nvidia-kernel-dkms": "535.261.03-1", "old": "1.0"}
    assert found.download == 303 * 10**6


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        (
            "Need to get 303 MB of archives.\nAfter this operation, 1,030 MB of additional disk space will be used.",
            (303 * 10**6, 1030 * 10**6),
        ),
        ("Need to get 0 B/12.5 kB of archives.\nAfter this operation, 4096 B of additional", (0, 4096)),
        ("  Download size: 1,5 GB\n  Space needed: 2 GB / 30 GB available", (15 * 10**9, 2 * 10**9)),
        ("0 upgraded, 0 newly installed, 0 to remove", (0, 0)),
    ],
)
def test_sizes(text, sizes):
    found = apt.parse_transaction("", text)
    assert (found.download, found.disk) == sizes


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("535.309.01-0+deb12u1", "535.309.01"),
        ("3:570.86.15-1.el9", "570.86.15"),
        ("535.171.04-1~deb12u1", "535.171.04"),
        ("570.86.15", "570.86.15"),
        ("550.54.15~rc1-1", "550.54.15"),
    ],
)
def test_upstream(version, upstream):
    assert model.upstream(version) == upstream


class Programs:
    """Answers of apt by their words, and what was run."""

    def __init__(self, **answers: Outcome) -> None:
        self.answers, self.lines = answers, []

    def __call__(self, argv, limit, *, env=None, cwd=None):
        self.lines.append(" ".join(argv))
        return next(
            (answer for word, answer in self.answers.items() if word in argv), Outcome(0, "", "", False, False, 0)
        )


def failed(text: str) -> Outcome:
    return Outcome(100, "", text, False, False, 0.1)


def room(tmp_path, run) -> apt.Apt:
    etc = tmp_path / "etc"
    (etc / "sources.list.d").mkdir(parents=True)
    (etc / "preferences.d").mkdir()
    (etc / "sources.list.d/own.list").write_text("deb http://deb.debian.org/debian bookworm main\n")
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "deb.debian.org_debian_InRelease").write_text("x")
    found = apt.Apt(run, 10, str(tmp_path / "room"), str(etc))
    key = "/usr/share/keyrings/ours.gpg"
    found.prepare({"/etc/apt/sources.list.d/ours.sources": f"Signed-By: {key}".encode(), key: b"key"}, str(lists))
    return found


def test_the_room_has_the_sources_of_the_node_and_ours(tmp_path):
    run = Programs()
    found = room(tmp_path, run)
    assert sorted(path.name for path in (tmp_path / "room/sources.list.d").iterdir()) == ["ours.sources", "own.list"]
    key = tmp_path / "room/usr-share-keyrings-ours.gpg"
    assert key.read_bytes() == b"key"
    assert (tmp_path / "room/sources.list.d/ours.sources").read_text() == f"Signed-By: {key}"
    assert (tmp_path / "room/lists/deb.debian.org_debian_InRelease").exists()
    assert sorted(path.name for path in (tmp_path / "etc/sources.list.d").iterdir()) == ["own.list"]
    found.refresh()
    assert f"Dir::State::Lists={tmp_path}/room/lists" in run.lines[0] and run.lines[0].endswith("update")


def test_a_room_is_told_of_holds_by_those_who_use_it(tmp_path):
    run = Programs()
    found = room(tmp_path, run)
    found.transaction([model.Want("libcuda1", "1")], ["nvidia-kernel-dkms"])
    found.install([model.Want("libcuda1", "1")])
    for line in run.lines:
        assert "--ignore-hold --allow-change-held-packages" in line
    assert run.lines[0].endswith("install libcuda1=1 nvidia-kernel-dkms-") and "--no-download" in run.lines[2]


def test_lists_that_some_source_lacks_are_told_and_a_killed_apt_is_an_error(tmp_path):
    text = "Get:1 x\nErr:2 http://other.example x\nE: The repository 'http://other.example' is not signed.\n"
    found = room(tmp_path, Programs(update=Outcome(100, text, "", False, False, 1.0)))
    assert found.refresh().splitlines()[0] == "Err:2 http://other.example x"
    killed = apt.Apt(Programs(update=Outcome(-15, "", "", False, False, 1.0)), 10, found.room)
    with pytest.raises(model.Fault, match="ended with -15"):
        killed.refresh()


@pytest.mark.parametrize(
    "text",
    [
        "E: Failed to fetch http://x/a.deb  Hash Sum mismatch",
        "E: Failed to fetch http://x/a.deb  File has unexpected size (12 != 300). Mirror sync in progress?",
        "E: You don't have enough free space in /var/cache/apt/archives/.",
    ],
)
def test_a_download_that_fails_says_why(tmp_path, text):
    found = room(tmp_path, Programs(install=failed(text)))
    with pytest.raises(model.Fault, match=r"could not be downloaded: \w"):
        found.download([model.Want("libcuda1", "1")])


def test_old_versions_are_kept_whole_or_not_at_all(tmp_path):
    def run(argv, limit, *, env=None, cwd=None):
        (tmp_path / "old").mkdir(exist_ok=True)
        (tmp_path / "old/libcuda1_1_amd64.deb").write_text("deb")
        return Outcome(0, "", "", False, False, 0)

    found = apt.Apt(run, 10, str(tmp_path / "room"))
    assert len(found.keep_old({"libcuda1": "1"}, str(tmp_path / "old"))) == 1
    assert found.keep_old({"libcuda1": "1", "nvidia-smi": "1"}, str(tmp_path / "old")) == []
