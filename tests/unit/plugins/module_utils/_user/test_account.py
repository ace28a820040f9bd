# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an account may refuse a login."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import account

TODAY = 20000  # 2024-10-04


def write(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(str(root))


@pytest.mark.parametrize(
    ("line", "password", "expired", "password_expired"),
    [
        ("train:!:18139:0:99999:7:::", "locked", None, None),
        ("train:!!:18139::::::", "locked", None, None),
        ("train:*:18139:0:99999:7:::", "unusable", None, None),
        ("train:$y$j9T$x:19990:0:99999:7:::", "set", None, None),
        ("train::19990:0:99999:7:::", "none", None, None),
        ("train:*:19990:0:99999:7::20000:", "unusable", "expired on 2024-10-04", None),
        ("train:*:19990:0:99999:7::20001:", "unusable", None, None),
        ("train:$6$x:0:0:99999:7:::", "set", None, "must be changed at the next login"),
        ("train:$6$x:19900:0:90:7:::", "set", None, "expired on 2024-09-24"),
        ("train:$6$x:19900:0:100:7:::", "set", None, None),
        ("train:$6$x:19900:0:60:7:30::", "set", "inactive since 2024-09-24", None),
    ],
)
def test_a_line_of_shadow(line: str, password: str, expired: str | None, password_expired: str | None) -> None:
    found = account.shadow(f"root:*:1:0:99999:7:::\n{line}\n", "train", TODAY)
    assert found["password"] == password
    assert (found.get("expired"), found.get("password_expired")) == (expired, password_expired)


@pytest.mark.parametrize("text", ["", "train", "train:x", "other:!:1:0:99999:7:::", "train:x:y:z:a:b:c:d:e"])
def test_no_line_or_a_broken_one_says_nothing_wrong(text: str) -> None:
    found = account.shadow(text, "train", TODAY)
    assert not found.get("expired") and not found.get("password_expired")


def test_shells_that_give_no_session(tmp_path: Path) -> None:
    tree = write(tmp_path, {"/bin/bash": "", "/bin/sh": ""})
    os.chmod(tmp_path / "bin/bash", 0o755)
    os.chmod(tmp_path / "bin/sh", 0o644)
    assert account.shell_problem(tree, "/bin/bash") is None
    assert account.shell_problem(tree, "/usr/bin/zsh") == "its login shell /usr/bin/zsh does not exist"
    assert account.shell_problem(tree, "/bin/sh") == "its login shell /bin/sh is not executable"
    assert account.shell_problem(tree, "/usr/sbin/nologin") == "its login shell is /usr/sbin/nologin"


def test_a_file_that_lets_root_in_alone(tmp_path: Path) -> None:
    tree = write(tmp_path, {"/etc/nologin": "down for\n maintenance\n"})
    assert account.nologin(tree) == {"file": "/etc/nologin", "text": "down for maintenance"}
    assert account.nologin(Tree(str(tmp_path / "nowhere"))) is None
    user = pwd.struct_passwd(("root", "x", 0, 0, "", "/root", "/bin/bash"))
    assert account.read(tree, user, [], 0.0)["nologin"] is None


def test_labels_only_where_selinux_enforces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = write(tmp_path, {"/sys/fs/selinux/enforce": "1"})
    said = {"/home/a": b"u:object_r:user_home_dir_t:s0\0", "/home/a/.ssh/authorized_keys": b"u:object_r:default_t:s0\0"}
    monkeypatch.setattr(os, "getxattr", lambda path, _name: said[path.replace(str(tmp_path), "")])
    paths = {"home": "/home/a", "authorized_keys": "/home/a/.ssh/authorized_keys"}
    assert account.labels(tree, paths) == {"/home/a/.ssh/authorized_keys": "default_t"}
    assert account.labels(Tree(str(tmp_path / "x")), paths) is None


@pytest.mark.parametrize(("switch", "told"), [("1 1", False), ("0 0", True), ("0 1", True), (None, False)])
def test_a_home_of_another_machine_needs_a_switch_of_selinux(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str | None, told: bool
) -> None:
    tree = write(tmp_path, {"/sys/fs/selinux/enforce": "1"})
    if switch:
        write(tmp_path, {"/sys/fs/selinux/booleans/use_nfs_home_dirs": switch})
    monkeypatch.setattr(os, "getxattr", lambda _path, _name: b"system_u:object_r:nfs_t:s0\0")
    assert account.labels(tree, {"home": "/home/a"}) == ({"/home/a": "nfs_t"} if told else {})
