# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import ssh_files


def test_keys_of_the_user_stay_and_ours_form_a_block(tmp_path):
    home = str(tmp_path)
    os.mkdir(f"{home}/.ssh", 0o700)
    with open(f"{home}/.ssh/authorized_keys", "w", encoding="utf-8") as stream:
        stream.write("ssh-ed25519 AAAAmine me\n")
    wishes = {path: text for path, text, _mode in ssh_files.file_wishes(home, ["KEY1"], ["HOST1"], "Host n\n")}
    assert wishes[f"{home}/.ssh/authorized_keys"].splitlines()[0] == "ssh-ed25519 AAAAmine me"
    assert "KEY1" in wishes[f"{home}/.ssh/authorized_keys"]
    assert wishes[f"{home}/.ssh/config"].splitlines()[1] == "Include trainmesh/config"
    assert wishes[f"{home}/.ssh/trainmesh/known_hosts"] == "HOST1\n"


def test_open_directories_are_closed(tmp_path):
    home = str(tmp_path)
    os.chmod(home, 0o775)
    os.mkdir(f"{home}/.ssh")
    os.chmod(f"{home}/.ssh", 0o777)
    _changes, closing = ssh_files.changes(home, [])
    assert closing == [(home, 0o755), (f"{home}/.ssh", 0o700), (f"{home}/.ssh/trainmesh", 0o700)]
    ssh_files.close(closing)
    assert ssh_files.changes(home, []) == ([], [])


def test_a_link_in_place_of_our_directory_is_refused(tmp_path):
    home = str(tmp_path)
    os.mkdir(f"{home}/.ssh", 0o700)
    os.symlink("/tmp", f"{home}/.ssh/trainmesh")
    with pytest.raises(ValueError, match="symbolic link"):
        ssh_files.close(ssh_files.directories(home))


def test_host_key_files_follow_the_configuration(tmp_path):
    config = tmp_path / "etc/ssh/sshd_config"
    config.parent.mkdir(parents=True)
    assert len(ssh_files.host_key_files(Tree(str(tmp_path)))) == 3
    config.write_text("Include sshd_config.d/*.conf\n#HostKey /no\nHostKey /keys/one\n")
    (tmp_path / "etc/ssh/sshd_config.d").mkdir()
    (tmp_path / "etc/ssh/sshd_config.d/a.conf").write_text('HostKey = "/keys/two"\n')
    assert ssh_files.host_key_files(Tree(str(tmp_path))) == ["/keys/two.pub", "/keys/one.pub"]


def test_ed25519_alone_is_pinned_where_there_is_one():
    assert ssh_files.pinned(["ssh-rsa A", "ssh-ed25519 B"]) == ["ssh-ed25519 B"]
    assert ssh_files.pinned(["ssh-rsa A", "ecdsa-sha2-nistp256 B"]) == ["ssh-rsa A", "ecdsa-sha2-nistp256 B"]


@pytest.mark.parametrize(
    ("text", "line"),
    [("ssh-ed25519 AAAA= me@here\n", "ssh-ed25519 AAAA="), ("", None), ("PRIVATE KEY", None)],
)
def test_key_line_drops_the_comment(text, line):
    assert ssh_files.key_line(text) == line


def test_nothing_wanted_takes_our_blocks_out_and_makes_no_file(tmp_path):
    home = str(tmp_path)
    assert ssh_files.changes_of(ssh_files.file_wishes(home, [], [], "")) == []
    os.mkdir(f"{home}/.ssh", 0o700)
    for path, text, _mode in ssh_files.file_wishes(home, ["KEY1"], ["HOST1"], "Host n\n"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(f"mine\n{text}" if path.endswith("authorized_keys") else text)
    left = {path: text for path, text, _mode in ssh_files.file_wishes(home, [], [], "")}
    assert left == {f"{home}/.ssh/authorized_keys": "mine\n", f"{home}/.ssh/config": ""}
