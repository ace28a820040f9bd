# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of logins: what sets them, and what would keep people out."""

from __future__ import annotations

import resource

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import session_limits
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault

WANTED = {"memlock": -1, "nofile": 1048576}
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max open files            {nofile:<20} {nofile:<20} files
Max locked memory         {memlock:<20} {memlock:<20} bytes
"""


def outcome(out="", rc=0):
    return command.Outcome(rc, out, "", False, False, 0.1)


@pytest.fixture
def tree(tmp_path):
    """A node's files, by the paths that they have there."""

    class Files(Tree):
        def put(self, path, text):
            place = tmp_path / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    return Files(str(tmp_path))


@pytest.mark.parametrize(("memlock", "bytes_"), [("unlimited", -1), ("65536", 64 * 2**20), ("8", 8192)])
def test_memory_is_given_in_the_unit_of_limits_conf(memlock, bytes_):
    limits = session_limits.wanted(memlock, 4096)
    assert limits == {"memlock": bytes_, "nofile": 4096}
    assert f"* - memlock {memlock}\n" in session_limits.text_of(limits, "")


@pytest.mark.parametrize("memlock", ["infinity", "64M", "-1", "0", ""])
def test_other_words_for_memory_are_refused(memlock):
    with pytest.raises(Fault, match="expected unlimited or a number of KiB"):
        session_limits.wanted(memlock, 4096)


def test_root_and_the_job_user_have_lines_of_their_own():
    rows = session_limits.text_of(WANTED, "trainer").splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["*", "*", "root", "root", "trainer", "trainer"]
    assert session_limits.text_of(WANTED, "root").count("root - nofile") == 1


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"sshd": "session    required     pam_limits.so\n"}, True),
        ({"sshd": "-session optional /lib/security/pam_limits.so conf=/x\n"}, True),
        ({"sshd": "session [success=ok default=ignore] pam_limits.so\n"}, True),
        ({"sshd": "@include common-session\n", "common-session": "session required pam_limits.so\n"}, True),
        ({"sshd": "session include password-auth\n", "password-auth": "session required pam_limits.so\n"}, True),
        ({"sshd": "session substack a\n", "a": "session include b\n", "b": "session required pam_limits.so\n"}, True),
        ({"sshd": "#session required pam_limits.so\n"}, False),
        ({"sshd": "auth required pam_limits.so\n"}, False),
        ({"sshd": "auth include password-auth\n", "password-auth": "session required pam_limits.so\n"}, False),
        ({"sshd": "session include sshd\n"}, False),
        ({"sshd": "session required pam_unix.so\n", "login": "session required pam_limits.so\n"}, False),
    ],
)
def test_whether_sessions_run_pam_limits(tree, files, found):
    for name, text in files.items():
        tree.put(f"/etc/pam.d/{name}", text)
    assert session_limits.runs(tree, "sshd", "pam_limits.so") is found


def test_the_line_that_is_added_can_not_keep_anybody_out(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(session_limits, "PAM", str(tmp_path / "etc/pam.d"))
    flat = Tree()
    tree.put("/etc/pam.d/sshd", "session required pam_unix.so\n")
    tree.put("/lib/security/pam_limits.so", "")
    monkeypatch.setattr(session_limits, "MODULE_PLACES", (str(tmp_path / "lib/security"),))
    change = session_limits.pam_change(flat)
    assert "session optional pam_limits.so\n" in change.after and change.after.startswith(
        "session required pam_unix.so"
    )
    (tmp_path / "etc/pam.d/sshd").write_text(change.after)
    assert session_limits.pam_change(flat) is None


def test_pam_limits_itself_must_be_there(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(session_limits, "PAM", str(tmp_path / "etc/pam.d"))
    monkeypatch.setattr(session_limits, "MODULE_PLACES", (str(tmp_path / "lib/security"),))
    with pytest.raises(Fault, match=r"sshd has no .*install the sshd"):
        session_limits.pam_change(Tree())
    tree.put("/etc/pam.d/sshd", "session required pam_unix.so\n")
    with pytest.raises(Fault, match=r"no pam_limits\.so on this node"):
        session_limits.pam_change(Tree())


def test_more_files_than_the_kernel_allows_would_end_every_login(tree):
    tree.put("/proc/sys/fs/nr_open", "65536\n")
    with pytest.raises(Fault, match=r"above fs\.nr_open, which is 65536.*sysctl -w fs\.nr_open=1048576"):
        session_limits.judge(tree, WANTED, lambda *_args, **_options: outcome("usepam yes\n"))


def test_an_sshd_without_pam_sets_no_limits(tree, monkeypatch):
    monkeypatch.setattr(session_limits, "which", lambda _name: "/usr/sbin/sshd")
    with pytest.raises(Fault, match="UsePAM no"):
        session_limits.judge(tree, WANTED, lambda *_args, **_options: outcome("port 22\nusepam no\n"))


def test_a_container_that_may_not_raise_limits_keeps_its_logins(tree, monkeypatch):
    monkeypatch.setattr(session_limits, "which", lambda _name: None)
    monkeypatch.setattr(session_limits, "_may_set", lambda number, _value: number != resource.RLIMIT_MEMLOCK)
    monkeypatch.setattr(session_limits, "of_server", lambda _tree: {"memlock": (65536, 8388608), "nofile": (1024, -1)})
    with pytest.raises(Fault, match=r"may not raise memlock on this node.*--ulimit memlock=-1"):
        session_limits.judge(tree, WANTED)
    session_limits.judge(tree, {"memlock": 8388608, "nofile": 20000})  # within what the server has


def test_a_limit_is_tried_by_a_process_that_ends_with_it():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert session_limits._may_set(resource.RLIMIT_NOFILE, 64)
    assert not session_limits._may_set(resource.RLIMIT_NOFILE, 2**40)  # above any fs.nr_open
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_a_login_is_asked_from_the_limits_of_the_server_then_from_its_own(tree, monkeypatch):
    monkeypatch.setattr(session_limits, "of_server", lambda _tree: {"memlock": (65536, -1), "nofile": (1024, 20000)})
    argvs = []

    def run(argv, _limit, **_options):
        argvs.append(argv)
        return outcome(LIMITS.format(nofile=4096, memlock="unlimited") if "prlimit" not in argv[0] else "", 1)

    assert session_limits.of_login(tree, "trainer", run) == {"memlock": -1, "nofile": 4096}
    assert argvs[0][1:3] == ["--memlock=65536:unlimited", "--nofile=1024:20000"] and argvs[1][1:3] == ["-u", "trainer"]
    assert session_limits.of_login(tree, "nobody-here", lambda *_args, **_options: outcome()) is None


@pytest.mark.parametrize(
    ("found", "low"),
    [
        ({"memlock": -1, "nofile": 1048576}, []),
        ({"memlock": -1, "nofile": -1}, []),
        ({"memlock": 65536, "nofile": 2000000}, ["memlock is 65536"]),
        ({"memlock": -1, "nofile": 1024}, ["nofile is 1024"]),
        ({"nofile": None}, []),
    ],
)
def test_lower_than_wanted(found, low):
    assert session_limits.lower(found, WANTED) == low


def test_who_else_sets_them(tree):
    tree.put("/etc/security/limits.conf", "# * - nofile 1\n*\tsoft\tnofile\t1024 # old\n* - core 0\n")
    tree.put("/etc/security/limits.d/99-site.conf", "@gpu hard memlock 64\n")
    tree.put(session_limits.FILE, "* - nofile 1048576\n")
    assert session_limits.rivals(tree, WANTED) == [
        "/etc/security/limits.conf: * soft nofile 1024",
        "/etc/security/limits.d/99-site.conf: @gpu hard memlock 64",
    ]
