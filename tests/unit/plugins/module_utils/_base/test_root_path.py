# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root gives away what it has made itself, and nothing that a link put in its way."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import tempfile
from pathlib import Path

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import root_path
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import prefix as install_prefix
from ansible_collections.trainmesh.cluster.plugins.modules import python_env

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories to others")
USER = pwd.getpwnam("nobody")


@pytest.fixture
def place():
    """A directory that is reached through root's alone, unlike pytest's own below /tmp."""
    with tempfile.TemporaryDirectory(dir=pwd.getpwuid(0).pw_dir) as path:
        yield Path(path)


def state(path):
    info = path.stat()
    return info.st_uid, info.st_mode & 0o7777


def lay_out(path):
    root_path.lay_out(str(path), ("var",), USER.pw_uid, USER.pw_gid)


THEIRS = (USER.pw_uid, 0o755)


def test_a_directory_is_made_with_its_parents_and_only_what_is_in_it_is_given(place):
    for _run in range(2):
        lay_out(place / "a/b/prefix")
        assert state(place / "a/b/prefix/var") == THEIRS
        assert {state(place / name)[0] for name in (".", "a", "a/b", "a/b/prefix")} == {0}


def test_a_prefix_of_the_users_becomes_roots_and_what_is_in_it_stays(place):
    prefix = place / "prefix"
    (prefix / "var/x").mkdir(parents=True)
    (prefix / "link").symlink_to(place)
    for path in (prefix, prefix / "var", prefix / "var/x"):
        os.chown(path, USER.pw_uid, USER.pw_gid)
    root_path.lay_out(str(prefix), ("var", "env", "link"), USER.pw_uid, USER.pw_gid)
    assert state(prefix) == (0, 0o755)
    assert [state(prefix / name) for name in ("var", "var/x", "env")] == [THEIRS] * 3
    assert state(place)[0] == 0


def test_a_directory_of_roots_with_something_in_it_is_not_given(place):
    (place / "prefix/var/x").mkdir(parents=True)
    lay_out(place / "prefix")
    assert state(place / "prefix/var")[0] == 0


@pytest.mark.parametrize("mode", [0o757, 0o1777, 0o775])
def test_below_a_directory_that_others_write_root_makes_nothing(place, mode):
    shared = place / "shared"
    shared.mkdir()
    os.chown(shared, 0, USER.pw_gid)
    shared.chmod(mode)
    with pytest.raises(root_path.SharedError, match=str(shared)):
        lay_out(shared / "prefix")
    assert not (shared / "prefix").exists()


def test_what_is_roots_below_a_sticky_directory_stays_roots(place):
    shared, target = place / "shared", place / "etc"
    for path in (shared, shared / "ours", shared / "theirs", target):
        path.mkdir(mode=0o755)
    shared.chmod(0o1777)
    os.chown(shared / "theirs", USER.pw_uid, USER.pw_gid)
    for name in ("link", "their-link"):
        (shared / name).symlink_to(target)
    os.chown(shared / "their-link", USER.pw_uid, USER.pw_gid, follow_symlinks=False)
    for name in ("theirs", "their-link", "new"):
        with pytest.raises(root_path.SharedError):
            lay_out(shared / name / "prefix")
    assert not list(target.iterdir()) and not (shared / "new").exists()
    for name in ("ours", "link"):
        lay_out(shared / name / "prefix")
        assert state(shared / name / "prefix/var") == THEIRS


def test_a_users_own_link_leads_root_nowhere(place):
    home, target = place / "home", place / "etc"
    target.mkdir(mode=0o700)
    home.mkdir()
    (home / "link").symlink_to(target)
    os.chown(home, USER.pw_uid, USER.pw_gid)
    for path in (home / "link", home / "link/prefix", place / "x/../home/link/prefix"):
        with pytest.raises(root_path.SharedError, match=str(home)):
            lay_out(path)
    assert state(target) == (0, 0o700) and not list(target.iterdir())


def swapping(home, victim):
    """A process of the user's that makes ``home/prefix`` a directory and a link to what is root's, again and again."""
    child = os.fork()
    if child:
        return child
    os.chdir(home)  # the way to it is root's alone
    os.setgid(USER.pw_gid)
    os.setuid(USER.pw_uid)
    while True:
        with contextlib.suppress(OSError):
            os.symlink(victim, "swap")
            os.rename("swap", "prefix")
        with contextlib.suppress(OSError):
            os.unlink("prefix")
            os.makedirs("prefix/var")


@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_a_user_who_swaps_directories_for_links_gets_nothing_of_roots(place, mode):
    victim, home = place / "victim", place / "home"
    (victim / "var").mkdir(parents=True)
    home.mkdir()
    os.chown(home, USER.pw_uid, USER.pw_gid)
    home.chmod(mode)
    before = state(victim), state(victim / "var")
    child = swapping(home, victim)
    try:
        for _try in range(500):
            with contextlib.suppress(OSError, root_path.SharedError):
                lay_out(home / "prefix")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert (state(victim), state(victim / "var")) == before


@pytest.mark.parametrize("relative", [True, False])
def test_a_link_of_roots_among_the_parents_is_followed(place, relative):
    (place / "disk/data").mkdir(parents=True)
    (place / "opt").symlink_to("disk/../disk/data" if relative else place / "disk/data")
    lay_out(place / "opt/prefix")
    assert state(place / "disk/data/prefix/var") == THEIRS


def test_a_link_in_place_of_the_prefix_and_a_loop_are_refused(place):
    (place / "etc").mkdir(mode=0o700)
    (place / "prefix").symlink_to("etc")
    (place / "loop").symlink_to("loop")
    for path in ("prefix", "loop/prefix"):
        with pytest.raises(OSError, match=r"."):
            lay_out(place / path)
    assert state(place / "etc") == (0, 0o700) and not list((place / "etc").iterdir())


def test_no_descriptor_is_left_open(place):
    (place / "opt").symlink_to(place)
    before = len(os.listdir("/proc/self/fd"))
    lay_out(place / "opt/a/b/prefix")
    with pytest.raises(OSError, match="var"):
        (place / "a/var").write_text("")
        lay_out(place / "opt/a")
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_user_makes_the_prefix_where_root_does_not():
    with tempfile.TemporaryDirectory() as name:
        shared = Path(name)
        shared.chmod(0o1777)
        assert python_env.make_prefix(f"{shared}/x/prefix", USER.pw_name, False) == [f"{shared}/x/prefix"]
        assert {state(shared / part)[0] for part in ("x", "x/prefix")} == {USER.pw_uid}
        assert python_env.make_prefix(f"{shared}/x/prefix", USER.pw_name, False) == []
        shared.chmod(0o755)
        os.chown(shared, pwd.getpwnam("daemon").pw_uid, -1)
        with pytest.raises(install_prefix.Fault, match="set another trainmesh_prefix"):
            python_env.make_prefix(f"{shared}/other", USER.pw_name, False)
        (shared / "empty").mkdir()
        with pytest.raises(install_prefix.Fault, match="change its owner"):
            python_env.make_prefix(f"{shared}/empty", USER.pw_name, False)
        assert state(shared / "empty")[0] == 0


def test_the_prefix_is_made_once_and_then_nothing_changes(place):
    prefix = f"{place}/opt/trainmesh"
    wanted = [prefix, *(f"{prefix}/{name}" for name in ("env", "var", "workspace"))]
    assert python_env.make_prefix(prefix, USER.pw_name, True) == wanted
    assert not os.path.exists(prefix)
    assert python_env.make_prefix(prefix, USER.pw_name, False) == wanted
    assert python_env.make_prefix(prefix, USER.pw_name, False) == []
    assert [state(Path(path)) for path in wanted] == [(0, 0o755), *[THEIRS] * 3]


def test_an_installation_of_before_is_taken_over(place):
    prefix = place / "prefix"
    for name in ("", "env", "var", "var/cache", "workspace", "bin"):
        (prefix / name).mkdir()
        os.chown(prefix / name, USER.pw_uid, USER.pw_gid)
    assert python_env.make_prefix(str(prefix), USER.pw_name, False) == [str(prefix)]
    (prefix / ".trainmesh-files.json").write_text("{}")
    assert python_env.make_prefix(str(prefix), USER.pw_name, False) == []


def test_a_directory_of_the_users_with_other_things_in_it_stays_theirs(place):
    prefix = place / "home"
    for name in ("", "env", "var", "papers"):
        (prefix / name).mkdir()
        os.chown(prefix / name, USER.pw_uid, USER.pw_gid)
    assert python_env.make_prefix(str(prefix), USER.pw_name, False) == []
    assert state(prefix) == THEIRS


@pytest.mark.parametrize("names", [["bin", "etc"], ["papers"]])
def test_a_directory_of_roots_with_other_things_in_it_is_refused(place, names):
    for name in names:
        (place / name).mkdir()
    with pytest.raises(install_prefix.Fault, match="belongs to another user"):
        python_env.make_prefix(str(place), USER.pw_name, False)


def test_what_another_job_user_has_left_is_refused(place):
    python_env.make_prefix(f"{place}/x", "daemon", False)
    (place / "x/var/environment.json").write_text("{}")
    with pytest.raises(install_prefix.Fault, match="var belongs to another user"):
        python_env.make_prefix(f"{place}/x", USER.pw_name, False)
