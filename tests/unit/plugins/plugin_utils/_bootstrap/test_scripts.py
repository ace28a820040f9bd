# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts do, run by a real shell in a home of our own."""

from __future__ import annotations

import os
import pathlib
import shlex
import stat
import subprocess
import threading

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap import shell

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIOne"
LINE = f"ssh-ed25519 {KEY} me@controller"


def run(home: pathlib.Path, name: str, *args: str, path: str = "") -> shell.Answer:
    """As Shell.script() does it: arguments and script by the standard input."""
    source = (shell.SCRIPTS / name).read_text(encoding="utf-8")
    done = subprocess.run(
        ["/bin/sh", "-s"],
        input=f"set -- {shlex.join(args)}\n{source}",
        env={"HOME": str(home), "PATH": path or os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return shell.Answer(done.returncode, done.stdout)


def add(home: pathlib.Path, what: str = "add", key: str = KEY, line: str = LINE) -> shell.Answer:
    return run(home, "authorized_key.sh", what, str(home / ".ssh/authorized_keys"), key, line, "600")


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_first_key_makes_directory_and_file_for_the_user_alone(tmp_path):
    assert add(tmp_path).says("added")
    file = tmp_path / ".ssh/authorized_keys"
    assert file.read_text() == f"{LINE}\n" and (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert os.listdir(file.parent) == ["authorized_keys"], "nothing else is left"
    again = add(tmp_path)
    assert again.says("present") and not again.says("added") and file.read_text() == f"{LINE}\n"


def test_the_keys_of_others_stay_byte_for_byte(tmp_path):
    file = tmp_path / ".ssh/authorized_keys"
    file.parent.mkdir(mode=0o700)
    file.write_bytes(b'# old\n\nfrom="10.0.0.1" ssh-rsa BBBB \xff\xfe\\n x')
    file.chmod(0o640)
    assert add(tmp_path).says("added")
    assert file.read_bytes() == b'# old\n\nfrom="10.0.0.1" ssh-rsa BBBB \xff\xfe\\n x\n' + f"{LINE}\n".encode()
    assert mode(file) == 0o640, "sshd takes it so: it is not ours to change"


def test_a_key_with_options_is_there_and_one_behind_a_hash_is_not(tmp_path):
    file = tmp_path / ".ssh/authorized_keys"
    file.parent.mkdir(mode=0o700)
    file.write_text(f'from="10.0.0.1" ssh-ed25519 {KEY} other\n')
    assert add(tmp_path).says("present")
    file.write_text(f" # {LINE}\n")
    assert add(tmp_path).says("added")


def test_a_link_stays_one_and_its_target_is_written(tmp_path):
    shared = tmp_path / "shared_keys"
    shared.write_text("ssh-rsa BBBB x\n")
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh/authorized_keys").symlink_to("../shared_keys")
    assert add(tmp_path).says("added")
    assert (tmp_path / ".ssh/authorized_keys").is_symlink() and shared.read_text() == f"ssh-rsa BBBB x\n{LINE}\n"


def test_what_others_may_write_to_is_closed_and_the_home_is_told(tmp_path):
    file = tmp_path / ".ssh/authorized_keys"
    file.parent.mkdir()
    file.write_text(f"{LINE}\n")
    for path in (tmp_path, file.parent, file):
        path.chmod(0o777)
    looked, done, again = add(tmp_path, "look"), None, None
    assert looked.values("loose") == [str(file.parent), str(file)] and mode(file) == 0o777
    done, again = add(tmp_path), add(tmp_path)
    assert done.says("present") and done.values("loose") and not again.values("loose")
    assert (mode(file), mode(file.parent), mode(tmp_path)) == (0o755, 0o755, 0o777)
    assert again.values("loose_home") == [str(tmp_path)]


def test_looking_changes_nothing(tmp_path):
    assert add(tmp_path, "look").says("end") and os.listdir(tmp_path) == []


def test_many_keys_at_once_are_all_there(tmp_path):
    threads = [
        threading.Thread(target=add, args=(tmp_path, "add", f"AAAAkey{number}", f"ssh-ed25519 AAAAkey{number} x"))
        for number in range(10, 18)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((tmp_path / ".ssh/authorized_keys").read_text().split()[1::3]) == [
        f"AAAAkey{n}" for n in range(10, 18)
    ]


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path):
    """A program that cuts what it writes stands for the disk: a real one is in the scenario."""
    file = tmp_path / ".ssh/authorized_keys"
    file.parent.mkdir(mode=0o700)
    file.write_text("ssh-rsa BBBB x\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "cat").write_text("#!/bin/sh\necho 'cat: write error: No space left on device' >&2\nexit 1\n")
    (tools / "cat").chmod(0o755)
    answer = run(
        tmp_path, "authorized_key.sh", "add", str(file), KEY, LINE, "600", path=f"{tools}:{os.environ['PATH']}"
    )
    assert not answer.says("end") and "No space left on device" in answer.last()
    assert file.read_text() == "ssh-rsa BBBB x\n" and os.listdir(file.parent) == ["authorized_keys"]


def test_the_survey_tells_the_first_python_that_runs_and_the_package_manager(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {
        "python9": "echo '@3.12.1@/usr/bin/python9@'",
        "broken": "echo no; exit 1",
        "dnf": ":",
        "id": "echo 1000",
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    answer = run(
        tmp_path, "survey.sh", "apt-get dnf yum", "broken", "env python9", "python9", path=f"{tools}:/usr/bin:/bin"
    )
    assert answer.says("end") and answer.values("home") == [str(tmp_path)]
    assert answer.values("python") == ["@3.12.1@/usr/bin/python9@"]
    assert answer.values("manager")[0] in ("apt-get", "dnf")


def test_without_any_python_the_survey_still_comes_to_its_end(tmp_path):
    answer = run(tmp_path, "survey.sh", "none", "no-such-python", "/no/such")
    assert answer.says("end") and not answer.values("python") and not answer.values("manager")


@pytest.mark.parametrize("update", [0, 1])
def test_apt_reads_its_lists_where_the_package_is_not_in_them(tmp_path, update):
    """Also where another source does not answer, so that reading the lists fails."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "apt-get").write_text(
        f'#!/bin/sh\ncase "$*" in *update*) : >"$HOME/lists"; exit {update};; esac\n'
        'echo "E: Unable to locate package python3"; [ -e "$HOME/lists" ]\n'
    )
    (tools / "apt-get").chmod(0o755)
    assert run(tmp_path, "package.sh", "apt-get", "python3", path=f"{tools}:/usr/bin:/bin").rc == 0
