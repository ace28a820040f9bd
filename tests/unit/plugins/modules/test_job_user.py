# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is the job user's stays the job user's, whatever user a module is started as."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user

ROOT = Path(__file__).parents[4]
PREFIX = "trainmesh.cluster."
USER = "nobody"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def theirs():
    """A directory of the other user's that this user can reach; pytest's own is root's alone."""
    with tempfile.TemporaryDirectory() as path:
        account = pwd.getpwnam(USER)
        os.chmod(path, 0o755)
        os.chown(path, account.pw_uid, account.pw_gid)
        yield Path(path)


def run(module, **arguments):
    """The module's exit status and answer, as a process of its own, as a play runs it."""
    name = f"ansible_collections.trainmesh.cluster.plugins.modules.{module}"
    given = json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_tmpdir": tempfile.gettempdir()}})
    done = subprocess.run([sys.executable, "-m", name], input=given, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def owners(path):
    return {pwd.getpwuid(item.lstat().st_uid).pw_name for item in [path, *path.rglob("*")]}


@as_root
def test_a_command_started_by_root_is_the_job_users(theirs):
    made = theirs / "made"
    script = f"touch {made}; id -u; id -G; echo $HOME"
    rc, answer = run("user_command", argv=["/bin/sh", "-c", script], creates=str(made), user=USER)
    account = pwd.getpwnam(USER)
    assert (rc, answer["changed"]) == (0, True)
    assert answer["stdout"].split() == [str(account.pw_uid), str(account.pw_gid), account.pw_dir]
    assert owners(theirs) == {USER}
    _rc, again = run("user_command", argv=["/bin/false"], creates=str(made), user=USER)
    assert not again["changed"] and again["rc"] == 0
    _rc, again = run("user_command", argv=["/bin/false"], removes=f"{made}x", user=USER)
    assert not again["changed"]
    rc, answer = run("user_command", argv=["/bin/sh", "-c", "echo why >&2; exit 3"], user=USER)
    assert (rc, answer["rc"]) == (1, 3) and "ended with 3: why" in answer["msg"]


@as_root
def test_what_root_knows_is_not_in_the_environment_of_the_job_users_commands(theirs, monkeypatch):
    monkeypatch.setenv("ROOTS_TOKEN", "word")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    _rc, answer = run("user_command", argv=["/bin/sh", "-c", "echo ${ROOTS_TOKEN-none} $https_proxy"], user=USER)
    assert answer["stdout"].split() == ["none", "http://proxy.example:3128"]
    with job_user.acting_as(USER):
        assert "ROOTS_TOKEN" not in os.environ
    assert os.environ["ROOTS_TOKEN"] == "word", "and root has it again"


@as_root
def test_a_set_of_files_written_by_root_is_the_job_users(theirs):
    rc, _answer = run("file_set", path=str(theirs / "x"), files=[{"path": "etc/a", "content": "1"}], user=USER)
    assert rc == 0 and (theirs / "x/etc/a").read_text() == "1" and owners(theirs) == {USER}


@as_root
def test_ssh_files_and_keys_are_those_of_the_user_named():
    home = pwd.getpwnam(USER).pw_dir
    rc, answer = run("ssh_identity", comment="c", create=False, user=USER)
    assert (rc, answer["user"], answer["home"]) == (0, USER, home)
    rc, answer = run("ssh_mesh", authorized_keys=["k"], known_hosts=[], config="", user=USER, _ansible_check_mode=True)
    assert rc == 0 and f"{home}/.ssh/authorized_keys" in answer["files"]


@pytest.mark.parametrize("module", ["file_set", "left_runs", "job_records", "ssh_identity", "user_command"])
def test_anybody_but_root_and_the_user_is_refused(module, tmp_path):
    wishes = {"file_set": {"path": str(tmp_path), "files": []}, "job_records": {"runs": []}}
    wishes.update(ssh_identity={"comment": "c", "create": False}, user_command={"argv": ["/bin/true"]})
    rc, answer = run(module, user="no-such-user", **wishes.get(module, {}))
    assert rc == 1 and "trainmesh_user" in answer["msg"]


def tasks_of(node):
    """Every task in a playbook or a file of tasks."""
    if isinstance(node, list):
        for item in node:
            yield from tasks_of(item)
    elif isinstance(node, dict):
        yield node
        for key in ("tasks", "block", "rescue", "always"):
            yield from tasks_of(node.get(key))


def all_tasks():
    for path in [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")]:
        for task in tasks_of(yaml.safe_load(path.read_text())):
            yield path, task


def test_no_task_leaves_its_user_to_the_inventory():
    """``become_user`` yields to ``ansible_become_user``, and a job user's module without ``user`` to become."""
    told = {p.stem for p in (ROOT / "plugins/modules").glob("*.py") if f"- {PREFIX}job_user" in p.read_text()}
    assert {"file_set", "launch_job", "user_command"} < told
    seen = set()
    for path, task in all_tasks():
        assert "become_user" not in task, (path, task["name"])
        for name in told:
            if PREFIX + name in task:
                seen.add(name)
                assert "user" in task[PREFIX + name], (path, task["name"])
    assert seen == told - {"ssh_identity"}, "which is a part of node_facts in the playbooks"


@pytest.fixture
def roots():
    """A directory that is root's alone, as one below /opt is."""
    with tempfile.TemporaryDirectory(dir=pwd.getpwuid(0).pw_dir) as path:
        yield Path(path)


@as_root
def test_in_a_directory_of_roots_files_are_roots_and_secrets_the_users(roots):
    files = [{"path": "bin/x", "content": "1"}, {"path": "etc/a/b", "content": "2"}]
    files.append({"path": "etc/job.env", "content": "3", "mode": "0600"})
    for name in ("bin", "etc", "etc/a"):  # of an installation of before
        (roots / name).mkdir()
        os.chown(roots / name, pwd.getpwnam(USER).pw_uid, -1)
    (roots / "etc/a/b").write_text("2")
    os.chown(roots / "etc/a/b", pwd.getpwnam(USER).pw_uid, -1)
    rc, answer = run("file_set", path=str(roots), files=files, user=USER, _ansible_check_mode=True)
    assert (rc, answer["changed"]) == (0, True) and "etc/a/b" in answer["written"]
    assert not (roots / "bin/x").exists()
    assert run("file_set", path=str(roots), files=files, user=USER)[0] == 0
    owner = {str(path.relative_to(roots)): pwd.getpwuid(path.stat().st_uid).pw_name for path in roots.rglob("*")}
    assert owner.pop("etc/job.env") == USER and set(owner.values()) == {"root"} and "etc/a/b" in owner
    assert (roots / "etc/job.env").stat().st_mode & 0o777 == 0o600
    _rc, answer = run("file_set", path=str(roots), files=files, user=USER)
    assert not answer["changed"]
    os.chown(roots / "etc", pwd.getpwnam(USER).pw_uid, -1)
    _rc, answer = run("file_set", path=str(roots), files=files, user=USER)
    assert answer["changed"] and answer["written"] == [] and owners(roots / "bin") == {"root"}
