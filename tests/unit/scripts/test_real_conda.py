# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the conda of the tests is made from; that it works is seen by the integration test of the role python_env."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pathlib
import subprocess
import tarfile

import pytest

SCRIPT = pathlib.Path(__file__).parents[3] / "scripts/real_conda.py"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("real_conda", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_source_that_cannot_be_had_is_told_and_ends_with_a_status_of_its_own(script, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TRAINMESH_CONDA_SOURCE", raising=False)
    monkeypatch.setattr(script, "ARCHIVE", f"file://{tmp_path}/lost.tar.gz")
    monkeypatch.setattr("sys.argv", ["real_conda.py", str(tmp_path / "out")])
    assert script.main() == script.UNREACHABLE == 3
    assert "set TRAINMESH_CONDA_SOURCE" in capsys.readouterr().err
    monkeypatch.setenv("TRAINMESH_CONDA_SOURCE", "/srv/conda")
    assert script.conda_source(tmp_path) == pathlib.Path("/srv/conda")


def test_a_package_is_listed_with_its_hash_and_its_files(script, tmp_path):
    (tmp_path / "root/bin").mkdir(parents=True)
    (tmp_path / "root/bin/tool").write_text("text")
    about = {"name": "tool", "version": "1.0", "subdir": "noarch"}
    script.put_package(tmp_path / "noarch", about, tmp_path / "root", [tmp_path / "root/bin/tool"])
    content = (tmp_path / "noarch/tool-1.0-0.tar.bz2").read_bytes()
    (entry,) = json.loads((tmp_path / "noarch/repodata.json").read_text())["packages"].values()
    assert entry["sha256"] == hashlib.sha256(content).hexdigest() and entry["size"] == len(content)
    with tarfile.open(tmp_path / "noarch/tool-1.0-0.tar.bz2") as packed:
        assert packed.extractfile("bin/tool").read() == b"text"
        assert packed.extractfile("info/files").read() == b"bin/tool\n"


def test_the_installer_refuses_what_those_of_constructor_refuse(script, tmp_path):
    installer = tmp_path / "installer.sh"
    installer.write_text(script.HEAD)

    def run(*words):
        return subprocess.run(["/bin/sh", str(installer), *words], check=False, capture_output=True, text=True)

    assert run("-p", str(tmp_path / "conda")).returncode == 2
    (tmp_path / "conda").mkdir()
    answer = run("-b", "-p", str(tmp_path / "conda"))
    assert answer.returncode == 1 and "already exists" in answer.stderr
    cut = run("-b", "-p", str(tmp_path / "cut"))  # there is no payload, as after a download that was cut
    assert cut.returncode != 0 and (tmp_path / "cut/conda-meta/history").read_text() == ""
