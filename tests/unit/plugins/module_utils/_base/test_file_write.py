# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file is the old one or the new one, whatever happens while it is replaced."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_write
from ansible_collections.trainmesh.cluster.tests.unit.samples import syscalls

OLD, NEW = b"theirs\n" * 3, b"theirs\n" * 3 + b"ours\n"


@pytest.fixture(name="scene")
def scene_fixture(tmp_path):
    if not syscalls.can_trace():
        pytest.skip("strace is missing, or may trace nothing here")
    return syscalls.Scene(
        tmp_path,
        """
from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_write
import sys
target, how = sys.argv[1:]
old = b"theirs\\n" * 3
new = old + b"ours\\n"
begin()
file_write.keep(target, target + ".before")
if how == "in-place":
    file_write._overwrite(target, old, new)
else:
    file_write.put(target, old, new, 0o644)
""",
    )


@pytest.mark.parametrize("how", ["replaced", "in-place"])
def test_a_kill_at_any_system_call_leaves_the_old_file_or_the_new_one(scene, how):
    for call in scene.calls({"hosts": OLD}, how):
        found = scene.killed(call, {"hosts": OLD}, how)
        # In place the room is taken first: a kill between that and the writing leaves zeros behind the old lines.
        assert found["hosts"] in (OLD, NEW) or (how == "in-place" and found["hosts"].rstrip(b"\0") == OLD), call
        assert found.get("hosts.before", OLD) == OLD, call


@pytest.mark.parametrize("how", ["replaced", "in-place"])
@pytest.mark.parametrize("error", ["EDQUOT", "EIO"])
def test_an_error_of_any_system_call_leaves_the_old_file_and_nothing_beside_it(scene, how, error):
    for call in scene.calls({"hosts": OLD}, how):
        found = scene.refused(call, error, {"hosts": OLD}, how)
        assert found.pop("hosts") == (OLD if scene.failed else NEW), call
        assert found in ({}, {"hosts.before": OLD}), call


@pytest.mark.parametrize("step", ["fsync", "rename", "fchmod"])
def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, step):
    target = tmp_path / "hosts"
    target.write_bytes(OLD)

    def full(*_words):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        file_write.put(str(target), OLD, NEW)
    assert target.read_bytes() == OLD and os.listdir(tmp_path) == ["hosts"]


def test_a_file_system_that_syncs_no_directories_is_no_error(tmp_path, monkeypatch):
    target, original = tmp_path / "hosts", os.fsync
    target.write_bytes(OLD)

    def only_files(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(22, "Invalid argument")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    assert file_write.put(str(target), OLD, NEW) is False
    assert target.read_bytes() == NEW


def test_a_file_system_without_extended_attributes_is_no_error(tmp_path, monkeypatch):
    target = tmp_path / "hosts"
    target.write_bytes(OLD)

    def unsupported(_path):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "listxattr", unsupported)
    assert file_write.put(str(target), OLD, NEW) is False
    assert target.read_bytes() == NEW


def test_owner_mode_and_extended_attributes_are_kept(tmp_path):
    target = tmp_path / "hosts"
    target.write_bytes(OLD)
    target.chmod(0o640)
    try:
        os.setxattr(target, "user.note", b"mine")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    if os.geteuid() == 0:
        os.chown(target, 65534, 65534)
    owner = (target.stat().st_uid, target.stat().st_gid)
    assert file_write.put(str(target), OLD, NEW) is False
    info = target.stat()
    assert (info.st_mode & 0o7777, info.st_uid, info.st_gid) == (0o640, *owner)
    assert os.getxattr(target, "user.note") == b"mine"


# Runs in a mount namespace of its own: makes a place as $1 says, tries to write there, and prints what came of it.
SCENE = """
set -e
place=$(mktemp -d)
mount -t tmpfs -o size=64k none "$place"
file="$place/hosts"
yes theirs | head -c 8192 >"$file"
case $1 in
full) head -c 1m /dev/zero >"$place/filler" 2>/dev/null || true ;;
full-bind) mkdir "$place/in"; touch "$place/in/hosts"; mount --bind "$file" "$place/in/hosts"; file="$place/in/hosts"
    head -c 1m /dev/zero >"$place/filler" 2>/dev/null || true ;;
bind) touch "$place/in"; mount --bind "$file" "$place/in"; file="$place/in" ;;
read-only) mount -o remount,ro "$place" ;;
read-only-directory) touch "$place/x"; mount --bind "$place" "$place"; mount --bind "$file" "$file"
    mount -o remount,bind,ro "$place" ;;
immutable) rm "$file"; file=$2/hosts; yes theirs | head -c 8192 >"$file"; chattr +i "$file" || exit 77 ;;
esac
trap 'chattr -i "$file" 2>/dev/null || true' EXIT
"$3" - "$file" <<'PROGRAM'
import sys
from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_write
path = sys.argv[1]
old = open(path, "rb").read()
new = old + b"ours\\n" * 4096
try:
    file_write.put(path, old, new)
    print("written")
except OSError as error:
    print(error.strerror)
have = open(path, "rb").read()
print("new" if have == new else "old" if have == old else "broken")
PROGRAM
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize(
    ("scene", "said", "file"),
    [
        ("full", "No space left on device", "old"),
        ("full-bind", "No space left on device", "old"),
        ("bind", "written", "new"),
        ("read-only", "Read-only file system", "old"),
        ("read-only-directory", "written", "new"),
        ("immutable", "Operation not permitted", "old"),
    ],
)
def test_on_file_systems_that_refuse(tmp_path, scene, said, file):
    unshared = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run([*unshared, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace can be made here")
    words = ["bash", "-c", SCENE, "scene", scene, str(tmp_path), sys.executable]
    done = subprocess.run([*unshared, *words], check=False, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("this file system knows no immutable files")
    assert done.stdout.split("\n")[:2] == [said, file], done.stderr
