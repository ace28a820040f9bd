# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""scripts/test.sh and .ci/run: which Python they take."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[3]


def interpreter(path: pathlib.Path, minor: int) -> None:
    """A program that says that it is Python 3.minor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = f"import sys; sys.version_info = (3, {minor}, 0); exec(sys.argv[1])"
    path.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}' \"$2\"\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("core", "there", "taken"),
    [
        ("2.19", [14], None),
        ("2.19", [11, 14], 11),
        ("2.19", [13, 14], 13),
        ("2.20", [11], None),
        ("2.20", [11, 14], 14),
        ("2.21", [11, 12], 12),
    ],
)
def test_a_core_gets_a_python_that_it_supports(tmp_path, core, there, taken):
    for minor in there:
        interpreter(tmp_path / f".pyenv/versions/3.{minor}.1/bin/python3", minor)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/dirname").symlink_to(shutil.which("dirname") or "/usr/bin/dirname")
    environment = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "TRAINMESH_VENV": str(tmp_path / "venv")}
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-c", f"source {ROOT}/scripts/test.sh && python_for {core}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = f"{tmp_path}/.pyenv/versions/3.{taken}.1/bin/python3\n" if taken else ""
    assert (done.stdout, done.returncode) == (found, 0 if taken else 1)


@pytest.mark.parametrize(
    ("there", "named", "taken"), [(True, "", "own"), (False, "", "python3"), (True, "/opt/python", "/opt/python")]
)
def test_continuous_integration_takes_the_own_python_where_there_is_one(tmp_path, there, named, taken):
    own = tmp_path / "usr/python3"
    if there:
        interpreter(own, 11)
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci/run"
    script.write_text((ROOT / ".ci/run").read_text().replace("/usr/bin/python3", str(own)))
    script.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/make").write_text('#!/bin/sh\necho "$PYTHON $*"\n')
    (tmp_path / "bin/make").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    environment.pop("PYTHON", None)
    environment |= {"PYTHON": named} if named else {}
    done = subprocess.run([str(script)], env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{str(own) if taken == 'own' else taken} test\n"


OUTPUT = """-- scenario first
[ERROR]: Task failed: it was tried again.
-- scenario first: ok (3 s)
-- scenario second
TASK [Run site.yml] ***
[ERROR]: Task failed: Action failed.
failed: [localhost] (item=one) =>
    cmd:
    - ansible-playbook
    stdout: |-
        TASK [Plan] ***
{before}
        fatal: [node1]: FAILED! =>
            msg: no room on /opt
{after}
        node1 : ok=3 failed=1

PLAY RECAP ***
localhost : ok=1 failed=1
-- scenario second: FAILED, status 2 (5 s)
-- nodes down: ok, but late
E  assert 1 == 2
Not finished after 600 s: stopped.
"""


def test_the_end_of_the_output_says_why_a_step_failed(tmp_path):
    filler = "\n".join(f"        ok: [node{number}]" for number in range(300))
    (tmp_path / "step.log").write_text(OUTPUT.format(before=filler, after=filler))
    script = f"source {ROOT}/scripts/test.sh && why {tmp_path}/step.log"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    said = done.stdout
    assert "tried again" not in said
    assert [said.index(text) for text in ("Action failed", "no room on /opt", "ok=3 failed=1", "FAILED, status 2")]
    assert said.splitlines()[-2:] == ["E  assert 1 == 2", "Not finished after 600 s: stopped."]
    assert len(said.splitlines()) <= 30


@pytest.mark.parametrize(
    ("said", "status", "failure"),
    [
        ("Importer processing completed successfully", 0, None),
        ("WARNING: ERROR    Failed to find trainmesh.cluster.plan playbook.", 0, None),
        ("WARNING: ERROR    Failed to find another.collection.plan playbook.", 0, "ERROR: WARNING: ERROR    Failed to"),
        ("WARNING: Could not get role description, no role metadata found", 0, "ERROR: WARNING: Could not get role"),
        ("ERROR: The import failed for the following reason: no changelog", 1, "no changelog"),
    ],
)
def test_what_galaxy_would_warn_of_is_a_failure(tmp_path, said, status, failure):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text(f"#!/bin/sh\necho 'Loading module one'\necho '{said}'\nexit {status}\n")
    (tmp_path / "bin/python").chmod(0o755)
    script = f"source {ROOT}/scripts/test.sh && import_artifact {tmp_path} artifact.tar.gz"
    environment = {**os.environ, "TRAINMESH_VENV": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert bool(done.returncode) is bool(failure)
    assert (failure or "Loading") in done.stdout
