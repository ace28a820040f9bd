# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import apt

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


def test_installed_is_what_dpkg_has_in_full_also_if_it_is_held():
    text = "ii  gcc 4:12.2\nhi  libcuda1 535.309.01-0+deb12u1\nrc  nvidia-smi 470.1-1\niF  dkms 3.0\nun  gnupg \n"
    assert apt.parse_installed(text) == {"gcc": "4:12.2", "libcuda1": "535.309.01-0+deb12u1"}


def test_steps_of_a_simulation():
    steps = apt.parse_steps(STEPS)
    assert steps.install == {
        "libcuda1": ("535.261.03-1", "535.309.01-0+deb12u1"),
        "dkms": (None, "3.0.10-8+deb12u1"),
    }
    assert steps.remove == {"nvidia-kernel-dkms": "535.261.03-1", "old": "1.0"}


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
    assert apt.parse_sizes(text) == sizes


def test_sizes_are_asked_for_without_an_installation(tmp_path):
    """--assume-no is no promise: apt asks nothing, and installs, where no package comes along."""
    argvs = []

    def run(argv, _limit, **_options):
        argvs.append(argv)
        return Outcome(0, "Need to get 303 MB of archives.", "", False, False, 0.1)

    assert apt.Apt(str(tmp_path), 30, run).sizes(["libcuda1"]) == (303 * 10**6, 0)
    assert "--print-uris" in argvs[0] and "--download-only" in argvs[0]


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
    assert apt.upstream(version) == upstream


def test_an_error_is_what_apt_says_without_logins():
    text = "Get:1 x\nErr:2 https://me:secret@mirror.example x\n  404\nE: Failed to fetch https://me:secret@mirror.example/a.deb"
    assert apt.explained(text).startswith("Err:2 ") and "secret" not in apt.explained(text)
    assert apt.explained("something\n\nunknown") == "something unknown"


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
    found = apt.Apt(str(tmp_path / "room"), 10, run, str(etc))
    found.prepare({"sources.list.d/ours.sources": b"ours", "key.gpg": b"key"}, str(lists))
    return found


def test_the_room_has_the_sources_of_the_node_and_ours(tmp_path):
    run = Programs()
    found = room(tmp_path, run)
    assert sorted(path.name for path in (tmp_path / "room/sources.list.d").iterdir()) == ["ours.sources", "own.list"]
    assert (tmp_path / "room/lists/deb.debian.org_debian_InRelease").exists()
    assert sorted(path.name for path in (tmp_path / "etc/sources.list.d").iterdir()) == ["own.list"]
    found.refresh()
    assert f"Dir::State::Lists={tmp_path}/room/lists" in run.lines[0] and run.lines[0].endswith("update")


def test_lists_that_some_source_lacks_are_told_and_a_killed_apt_is_an_error(tmp_path):
    text = "Get:1 x\nErr:2 http://other.example x\nE: The repository 'http://other.example' is not signed.\n"
    found = room(tmp_path, Programs(update=Outcome(100, text, "", False, False, 1.0)))
    assert found.refresh().splitlines()[0] == "Err:2 http://other.example x"
    killed = apt.Apt(found.directory, 10, Programs(update=Outcome(-15, "", "", False, False, 1.0)))
    with pytest.raises(apt.SoftwareError, match="ended with -15"):
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
    with pytest.raises(apt.SoftwareError, match=r"could not be downloaded: E: "):
        found.download(["libcuda1=1"])


def test_old_versions_are_kept_whole_or_not_at_all(tmp_path):
    def run(argv, limit, *, env=None, cwd=None):
        (tmp_path / "old/libcuda1_1_amd64.deb").write_text("deb")
        return Outcome(0, "", "", False, False, 0)

    found = apt.Apt(str(tmp_path / "room"), 10, run)
    assert len(found.keep_old({"libcuda1": "1"}, str(tmp_path / "old"))) == 1
    assert found.keep_old({"libcuda1": "1", "nvidia-smi": "1"}, str(tmp_path / "old")) == []
