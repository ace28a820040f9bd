# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vendor's installer: checked, run for the toolkit alone, and taken back when it fails."""

from __future__ import annotations

import hashlib
import io
import os
import types
import urllib.error

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._install import cuda_toolkit, runfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._install.runfile import Wanted
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import installation
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault

URL = "https://user:hidden@mirror.example/cuda_12.6.3_linux.run?token=hidden"
# As the vendor's does, it changes the link and the linker's directories, and would take the driver along unasked.
INSTALLER = """#!/bin/sh
path= toolkit=
for word in "$@"; do case $word in
    --silent|--no-man-page|--tmpdir=*) ;;
    --toolkit) toolkit=1;;
    --toolkitpath=*) path=${word#*=};;
    *) echo "unknown option $word"; exit 2;;
esac; done
[ "$toolkit" ] || touch "$ROOT/driver"
mkdir -p "$path/bin" && chmod 700 "$path"
printf '#!/bin/sh\\necho "release 12.6, V12.6.85"\\n' > "$path/bin/nvcc" && chmod 755 "$path/bin/nvcc"
printf '{"cuda": {"version": "12.6.3"}}' > "$path/version.json"
ln -sfn "$path" "$ROOT/cuda"; echo "$path/lib64" > "$ROOT/ld.so.conf.d/cuda-12-6.conf"
"""


@pytest.fixture
def node(monkeypatch, tmp_path):
    (tmp_path / "ld.so.conf.d").mkdir()
    (tmp_path / "ld.so.conf.d/libc.conf").write_text("/usr/local/lib\n")
    monkeypatch.setattr(cuda_toolkit, "PLACE", f"{tmp_path}/cuda-{{}}")
    for name, value in {
        "CACHE": "cache",
        "LINK": "cuda",
        "LINKER": "ld.so.conf.d",
        "LOG": "cuda-installer.log",
    }.items():
        monkeypatch.setattr(runfile, name, str(tmp_path / value))
    monkeypatch.setattr(runfile, "which", lambda _name: None)  # no ldconfig: it is the test machine's
    monkeypatch.setenv("ROOT", str(tmp_path))
    return tmp_path


def wanted(node, text=INSTALLER, version="12.6", checksum=""):
    file = node / "cuda_12.6.3_linux.run"
    file.write_text(text)
    return Wanted(version, str(file), checksum or f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")


def listing(node):
    names = set(os.listdir(node)) - {"cache", "cuda_12.6.3_linux.run", "cuda-installer.log"}
    return sorted(
        [*names, *os.listdir(node / "ld.so.conf.d"), *(os.listdir(node / "cache") if (node / "cache").exists() else [])]
    )


def answer(body, length=None):
    stream = io.BytesIO(body)
    stream.headers = {"Content-Length": str(len(body) if length is None else length)}
    return stream


def refuse(_url):
    raise AssertionError("nothing is downloaded")


def test_the_toolkit_alone_is_installed(node):
    before = listing(node)
    found = runfile.install(wanted(node), refuse, 30)
    assert (found.version, found.path) == ("12.6.3", f"{node}/cuda-12.6")
    assert listing(node) == sorted([*before, "cuda-12.6"])  # no link, no line of the linker's, no driver, no marker
    assert os.stat(found.path).st_mode & 0o777 == 0o755


def test_the_link_of_somebody_else_is_put_back(node):
    (node / "cuda-11.8").mkdir()
    (node / "cuda").symlink_to("cuda-11.8")
    runfile.install(wanted(node), refuse, 30)
    assert os.readlink(node / "cuda") == "cuda-11.8"


def test_what_an_interrupted_run_has_left_is_replaced(node):
    (node / "cuda-12.6/half").mkdir(parents=True)
    with pytest.raises(Fault, match="move it away"):
        runfile.install(wanted(node), refuse, 30)
    assert (node / "cuda-12.6/half").exists()
    (node / ".trainmesh-cuda-12.6.unfinished").touch()
    runfile.install(wanted(node), refuse, 30)
    assert not (node / "cuda-12.6/half").exists() and not (node / ".trainmesh-cuda-12.6.unfinished").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (INSTALLER + "echo 'Extraction failed.'; exit 1\n", "failed, and the node is as it was: Extraction failed."),
        (
            INSTALLER + 'echo "[ERROR]: unsupported compiler version: 15" > "$ROOT/cuda-installer.log"; exit 1\n',
            "know the node's gcc",
        ),
        (INSTALLER + 'rm "$path/bin/nvcc"\n', "brought no compiler that runs, and the node is as it was"),
        (INSTALLER.replace("12.6.3", "12.5.1"), r"brought 12\.5\.1"),
        ("#!/bin/sh\nexit 7\n", "exit status 7"),
    ],
)
def test_a_failure_is_taken_back(node, text, words):
    before = listing(node)
    with pytest.raises(Fault, match=words):
        runfile.install(wanted(node, text), refuse, 30)
    assert listing(node) == before


def test_an_installer_without_end_is_ended(node):
    with pytest.raises(Fault, match=r"no end after 0\.5 s"):
        runfile.install(wanted(node, "#!/bin/sh\nsleep 60\n"), refuse, 0.5)


def test_another_patch_than_the_one_asked_for_is_taken_back(node):
    with pytest.raises(Fault, match=r"CUDA 12\.6\.1: .* brought 12\.6\.3"):
        runfile.install(wanted(node, version="12.6.1"), refuse, 30)
    assert not (node / "cuda-12.6").exists()


def test_another_file_is_not_run(node):
    before = listing(node)
    with pytest.raises(Fault, match=r"expected sha256:0+; nothing of it was run"):
        runfile.install(wanted(node, checksum=f"sha256:{'0' * 64}"), refuse, 30)
    assert listing(node) == before


@pytest.mark.parametrize("kind", ["sha256", "sha384", "sha512"])
def test_a_download_is_checked_and_removed(node, kind):
    digest = hashlib.new(kind, INSTALLER.encode()).hexdigest().upper()
    runfile.install(Wanted("12.6", URL, f"{kind}:{digest}"), lambda _url: answer(INSTALLER.encode()), 30)
    assert os.listdir(node / "cache") == [] and (node / "cuda-12.6/bin/nvcc").exists()


@pytest.mark.parametrize(
    ("opener", "words"),
    [
        (lambda _url: answer(b"#!/bin/sh\n", 5000), "cut off after 10 of 5000 bytes"),
        (lambda _url: answer(b"#!/bin/sh\n", 10**15), "MiB are free"),
        (lambda _url: answer(b"<html>no such file</html>"), "has the checksum"),
    ],
)
def test_a_download_that_does_not_arrive_whole(node, opener, words):
    with pytest.raises(Fault, match=words):
        runfile.install(Wanted("12.6", URL, f"sha256:{'0' * 64}"), opener, 30)
    assert listing(node) == ["ld.so.conf.d", "libc.conf"]


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("Name or service not known"),
        ConnectionResetError("Connection reset"),
        OSError(28, "No space left on device"),
    ],
)
def test_a_server_that_can_not_be_had_is_told_without_the_address(node, error):
    def fail(_url):
        raise error

    with pytest.raises(Fault, match=r"cuda_12\.6\.3_linux\.run could not be downloaded: ") as caught:
        runfile.install(Wanted("12.6", URL, f"sha256:{'0' * 64}"), fail, 30)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("checksum", "words"),
    [
        ("", "run as root without a check"),
        ("sha256:abc", "expected a checksum such as sha256"),
        ("md5:" + "0" * 32, "expected a checksum such as sha256"),
    ],
)
def test_nobody_vouches_for_it(node, checksum, words):
    with pytest.raises(Fault, match=words):
        runfile.judge(Wanted("12.6", URL, checksum), False)


def test_a_file_that_is_not_there_may_be_copied_yet(node):
    one = Wanted("12.6", str(node / "no.run"), f"sha256:{'0' * 64}")
    runfile.judge(one, True)
    with pytest.raises(Fault, match=r"there is no file no\.run"):
        runfile.judge(one, False)


def test_a_disk_that_is_too_small_is_told_before_anything_is_run(node, monkeypatch):
    before = listing(node)
    full = types.SimpleNamespace(f_bavail=10, f_frsize=4096)
    monkeypatch.setattr(installation.os, "statvfs", lambda _path: full)
    with pytest.raises(Fault, match="MiB are needed on the disk of"):
        runfile.install(wanted(node), refuse, 30)
    assert listing(node) == before
