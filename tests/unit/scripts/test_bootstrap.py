# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""scripts/bootstrap.sh on a controller whose Python is too old; every command that it may run is a stand-in."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

SCRIPTS = pathlib.Path(__file__).parents[3] / "scripts"
OLD = '#!/bin/sh\n[ "$1" != --version ] || echo "Python 3.10.13"\nexit 1\n'
# What apt would do: the package asked for last becomes a command, where the "archive" has it.
APT = """#!/bin/sh
for last; do :; done
[ ! -e "$ARCHIVE/$last" ] || cp "$ARCHIVE/$last" "$BIN/$last"
[ -e "$BIN/$last" ]
"""


@pytest.fixture
def controller(tmp_path):
    """A checkout, a directory of commands and an archive of packages; returns a function that runs the script."""
    place, commands, archive = (tmp_path / name for name in ("checkout", "bin", "archive"))
    for path in (place / "scripts", place / "requirements", commands, archive):
        path.mkdir(parents=True)
    shutil.copy(SCRIPTS / "bootstrap.sh", place / "scripts")
    for kind in ("controller", "dev"):
        (place / f"requirements/{kind}.txt").write_text("")
    for name, text in (("python3", OLD), ("apt-get", APT), ("sudo", '#!/bin/sh\nshift\nexec "$@"\n')):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    for (
        name
    ) in "bash sh env mkdir cat cp grep head id sha256sum cut dirname timeout df awk sed tee tail ssh find".split():
        (commands / name).symlink_to(shutil.which(name) or "/bin/false")
    (commands / "ssh-keygen").symlink_to("/bin/true")

    def run(*packages, kind="controller"):
        for name in packages:
            (archive / name).write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
            (archive / name).chmod(0o755)
        environment = {"PATH": str(commands), "ARCHIVE": str(archive), "BIN": str(commands), "HOME": str(tmp_path)}
        return subprocess.run(
            [str(place / "scripts/bootstrap.sh"), kind],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


def test_without_a_newer_python_the_package_is_named(controller):
    answer = controller()
    assert answer.returncode == 1
    assert "found Python 3.10.13" in answer.stderr and "apt install python3.11 python3.11-venv" in answer.stderr


def test_what_could_not_be_installed_is_not_tried_again_at_once(controller, tmp_path):
    assert "trying one of uv's" in controller().stderr
    failed = tmp_path / "checkout/.cache/no-newer-python"
    again = controller("python3.11")
    assert again.returncode == 1 and f"to try again: rm {failed}" in again.stderr
    assert "uv's" not in again.stderr and "installing the package" not in again.stderr
    os.utime(failed, (time.time() - 3700,) * 2)
    assert controller("python3.11").returncode == 0


def test_a_python_that_was_installed_by_hand_is_found_at_once(controller, tmp_path):
    controller()
    (tmp_path / "bin/python3.12").symlink_to(sys.executable)
    assert controller().returncode == 0


@pytest.mark.parametrize("packages", [("python3.11",), ("python3.11", "python3.12")])
def test_a_newer_python_of_the_distribution_is_installed(controller, packages):
    answer = controller(*packages)
    assert f"installing the package {packages[-1]}" in answer.stderr
    assert answer.returncode == 0, answer.stderr
    assert "bootstrap: ready" in answer.stdout


def test_what_a_test_can_do_without_is_installed_where_that_is_permitted(controller, tmp_path):
    (tmp_path / "bin/python3.12").symlink_to(sys.executable)
    assert "strace" not in controller().stdout
    without = controller(kind="dev")
    assert (without.returncode, "strace could not be installed" in without.stdout) == (0, True), without.stderr
    shutil.rmtree(tmp_path / "checkout/.venv")
    assert "could not" not in controller("strace", kind="dev").stdout
    assert (tmp_path / "bin/strace").exists()
