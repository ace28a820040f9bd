# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real rsync, with a stand-in for ssh that runs the command here."""

from __future__ import annotations

import os
import shutil
from unittest import mock

import pytest
from ansible.parsing.dataloader import DataLoader

from ansible_collections.trainmesh.cluster.plugins.action.sync_push import ActionModule

if shutil.which("rsync") is None:
    pytest.skip("rsync is not installed", allow_module_level=True)

SSH = '#!/bin/sh\nwhile case $1 in -*) true ;; *) false ;; esac; do shift; done\nshift\nexec sh -c "$*"\n'
# What the node's own command does, which is tested with it: it goes to the directory and becomes rsync.
TRAINMESH = """#!/bin/sh
echo "$@" >>{log}
[ "$2" = receive ] || exit 9
place=$(printf %s "$3" | sed 's/+20/ /g')
mkdir -p "$place" && cd "$place" && shift 5 && exec rsync "$@"
"""


@pytest.fixture
def push(tmp_path):
    for path, text in (("ssh", SSH), ("prefix/bin/trainmesh", TRAINMESH.format(log=tmp_path / "log"))):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)

    def start(src, dest, check_mode=False, transport="ssh", login="ann", sudo=(0, None), **more):
        args = {"src": str(src), "dest": str(dest), "prefix": str(tmp_path / "prefix"), **more}
        task = mock.Mock(args=args, async_val=0, check_mode=check_mode)
        connection = mock.Mock(transport=transport, host="gpu1")
        connection._build_command.return_value = [
            b"sshpass",
            b"-d7",
            os.fsencode(tmp_path / "ssh"),
            b'-oControlPath="/a b"',
        ]
        connection.become = mock.Mock(get_option=lambda *_any, **_more: sudo[1])
        action = ActionModule(task, connection, mock.Mock(), DataLoader(), *[mock.Mock()] * 2)
        action._low_level_execute_command = lambda words, **_more: {
            "stdout": f"Welcome\n{login}\n",
            "rc": sudo[0] if words.startswith("sudo") else 0,
        }
        return action.run(task_vars={})

    return start


@pytest.fixture
def source(tmp_path):
    place = tmp_path / "my code"
    (place / "sub").mkdir(parents=True)
    for name in ("train.py", "sub/two words", "x.log", "big.ckpt"):
        (place / name).write_text(name)
    (place / ".gitignore").write_text("*.log\n")
    return place


def names(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


def test_a_directory_arrives_and_a_second_run_changes_nothing(push, source, tmp_path):
    dest = tmp_path / "on node/code"
    shown = push(source, dest, check_mode=True, gitignore=True, exclude=["*.ckpt"])
    assert shown["changed"] and "train.py" in shown["diff"]["prepared"] and not names(dest)
    answer = push(source, dest, gitignore=True, exclude=["*.ckpt"])
    assert answer["changed"] and names(dest) == [".gitignore", "sub/two words", "train.py"]
    again = push(source, dest, gitignore=True, exclude=["*.ckpt"])
    assert (again["changed"], again["count"], again["diff"]) == (False, 0, {})
    assert push(source, dest, check_mode=True, gitignore=True, exclude=["*.ckpt"])["changed"] is False


def test_delete_spares_what_is_left_out(push, source, tmp_path):
    dest = tmp_path / "node"
    dest.mkdir()
    (dest / "old").write_text("")
    (dest / "own.ckpt").write_text("")
    assert push(source, dest, delete=True, exclude=["*.ckpt"])["changed"]
    assert names(dest) == [".gitignore", "own.ckpt", "sub/two words", "train.py", "x.log"]
    assert " receive " in (tmp_path / "log").read_text() and " 1 0 --server" in (tmp_path / "log").read_text()


def test_a_file_keeps_its_name(push, source, tmp_path):
    assert push(source / "train.py", tmp_path / "node/train.py")["changed"]
    assert names(tmp_path / "node") == ["train.py"]
    assert "has to end with the name of the file" in push(source / "train.py", tmp_path / "node/other.py")["msg"]


@pytest.mark.parametrize(("login", "become"), [("root", "runuser -u ann --"), ("bob", "sudo -n -u ann"), ("ann", "")])
def test_another_job_user(push, source, tmp_path, monkeypatch, login, become):
    from ansible_collections.trainmesh.cluster.plugins.action import sync_push

    called = []
    monkeypatch.setattr(
        sync_push, "run", lambda words, _password: called.append(words) or mock.Mock(returncode=0, stdout="")
    )
    push(source, "/data/a b", login=login, user="ann")
    (there,) = [word.partition("=")[2] for word in called[0] if word.startswith("--rsync-path=")]
    command = f"{tmp_path}/prefix/bin/trainmesh sync-part receive /data/a+20b 0 0"
    assert there == f"{become} {command}".strip()
    assert called[0][-1] == "gpu1:./"


@pytest.fixture
def sudo(tmp_path, monkeypatch):
    """A sudo that asks for the password, reads no more of its input than that line, and notes its arguments."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sudo").write_text(
        f"""#!/bin/bash
printf '%s\\n' "$*" "$(env)" >>{tmp_path}/sudo.log
while [ "$1" != -u ]; do shift; done
read -r word
[ "$word" = 'p w"d $x' ] || {{ echo 'Sorry, try again.' >&2; exit 1; }}
shift 2; exec "$@"
"""
    )
    (tmp_path / "bin/sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path / "sudo.log"


def test_a_sudo_that_asks_gets_the_password_before_the_files(push, source, tmp_path, sudo):
    (source / "two\nlines").write_bytes(bytes(range(256)) * 4000)
    answer = push(source, tmp_path / "node", login="bob", user="ann", sudo=(1, 'p w"d $x'))
    assert answer["changed"] and (tmp_path / "node/two\nlines").read_bytes() == (source / "two\nlines").read_bytes()
    assert "-k -S -p  -u ann " in sudo.read_text() and "p w" not in sudo.read_text()
    again = push(source, tmp_path / "node", login="bob", user="ann", sudo=(1, 'p w"d $x'))
    assert again["changed"] is False


def test_a_password_that_is_wrong_or_missing_is_told_and_ends(push, source, tmp_path, sudo):
    wrong = push(source, tmp_path / "node", login="bob", user="ann", sudo=(1, "no"))
    assert wrong["msg"] == "rsync to gpu1: sudo did not take the password (ansible_become_password, or that of -K)"
    missing = push(source, tmp_path / "node", login="bob", user="ann", sudo=(1, None))
    assert "sudo asks for a password: give it with -K" in missing["msg"]


def test_what_can_not_be_is_told(push, source, tmp_path):
    assert "there is no nothing on the controller" in push("nothing", "/data")["msg"]
    assert "this connection is local: put them on the head" in push(source, "/data", transport="local")["msg"]
    (tmp_path / "empty").mkdir()
    assert "delete would empty /data too" in push(tmp_path / "empty", "/data", delete=True)["msg"]
    (tmp_path / "prefix/bin/trainmesh").write_text(
        "#!/bin/sh\necho 'trainmesh: /etc belongs to the system' >&2; exit 64\n"
    )
    assert push(source, "/etc")["msg"] == "rsync to gpu1: trainmesh: /etc belongs to the system"
