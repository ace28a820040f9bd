# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The prefix, the tools and the environment of a node."""

from __future__ import annotations

import os
import pathlib
import sys

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import prefix as install_prefix

TOOLS = [
    {"command": "rsync", "packages": {"debian": ["rsync"]}},
    {"command": "pdsh", "packages": {"redhat": ["pdsh", "ssh"]}},
]


def answers(text: str, rc: int = 0):
    return lambda *_args, **_options: Outcome(rc, text, "", False, False, 0.1)


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("ID=debian\n", "debian"),
        ('ID=ubuntu\nID_LIKE="debian"\n', "debian"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "redhat"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "suse"),
        ("ID=sles\nID_LIKE=suse\n", "suse"),
        ("ID=nixos\n", ""),
        ("", ""),
    ],
)
def test_the_family_of_a_distribution(text, family):
    assert install_prefix.family(text) == family


def test_missing_commands_and_their_packages():
    missing = install_prefix.missing_tools(TOOLS, lambda command, path: None if command == "pdsh" else command)
    assert missing == ["pdsh"]
    assert install_prefix.packages_of(TOOLS, missing, "redhat") == ["pdsh", "ssh"]
    assert install_prefix.packages_of(TOOLS, missing, "unknown") == ["pdsh"]


def made(path: pathlib.Path, kind: str) -> str:
    (path / "env" / "bin").mkdir(parents=True)
    (path / "env" / "bin" / "python").touch()
    if kind == "conda":
        (path / "env" / "conda-meta").mkdir()
        (path / "env" / "conda-meta" / "history").write_text("==> 2026-11-30 10:00:00 <==\n")
    elif kind == "venv":
        (path / "env" / "pyvenv.cfg").touch()
    return str(path)


@pytest.mark.parametrize("left", ["", None])
def test_an_environment_that_conda_did_not_finish_is_made_anew(tmp_path, left):
    path = made(tmp_path, "conda")
    history = tmp_path / "env/conda-meta/history"
    history.unlink() if left is None else history.write_text(left)
    found = install_prefix.environment(path, "conda", "3.11", answers("3.11"))
    assert (found.state, found.reason[:29]) == ("wrong", "the environment is incomplete")


def test_no_environment_yet(tmp_path):
    assert install_prefix.environment(str(tmp_path), "venv", "3.11").state == "absent"
    (tmp_path / "env").mkdir()
    assert install_prefix.environment(str(tmp_path), "venv", "3.11").state == "absent"


@pytest.mark.parametrize(
    ("kind", "wanted", "python", "state"),
    [
        ("venv", "venv", "3.11", "ok"),
        ("conda", "conda", "3.11", "ok"),
        ("conda", "venv", "3.11", "wrong"),
        ("venv", "venv", "3.12", "wrong"),
        ("", "venv", "3.11", "wrong"),
    ],
)
def test_an_environment_must_be_of_the_kind_and_version(tmp_path, kind, wanted, python, state):
    found = install_prefix.environment(made(tmp_path, kind), wanted, "3.11", answers(python))
    assert found.state == state
    assert bool(found.reason) is (state != "ok")


def test_an_interpreter_that_does_not_run_makes_it_wrong(tmp_path):
    assert install_prefix.environment(made(tmp_path, "venv"), "venv", "3.11", answers("", 1)).state == "wrong"


def test_what_was_there_before_us_is_refused():
    assert "move it away" in install_prefix.claim_fault("/opt/x", "wrong", "")
    assert install_prefix.claim_fault("/opt/x", "wrong", install_prefix.claim_text("venv", "3.11")) == ""
    assert install_prefix.claim_fault("/opt/x", "absent", "") == ""


def test_the_interpreter_by_path_or_version():
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert install_prefix.interpreter(sys.executable, version) == sys.executable
    with pytest.raises(install_prefix.Fault, match="there is no interpreter"):
        install_prefix.interpreter("/no/python", version)
    with pytest.raises(install_prefix.Fault, match=r"for 3\.1 "):
        install_prefix.interpreter(sys.executable, "3.1 ")
    with pytest.raises(install_prefix.Fault, match="can't make"):
        install_prefix.interpreter(sys.executable, version, answers("", 1))


def test_a_late_interpreter_is_neither_missing_nor_wrong():
    def late(*_args, **_options):
        return Outcome(None, "", "", True, False, 30.0)

    assert install_prefix.look(sys.executable, late) == install_prefix.Interpreter(sys.executable)
    with pytest.raises(install_prefix.Fault, match="did not answer"):
        install_prefix.interpreter(sys.executable, "3.11", late)


def test_a_directory_is_no_interpreter(tmp_path):
    assert "there is no interpreter" in install_prefix.look(str(tmp_path)).problem


def lay_python(place, version, library="lib"):
    """An interpreter with a library that can make environments."""
    (place / "bin").mkdir(parents=True, exist_ok=True)
    (place / f"bin/python{version}").touch(0o755)
    (place / library / f"python{version}/venv").mkdir(parents=True)
    (place / library / f"python{version}/venv/__init__.py").touch()


def test_the_pythons_of_the_search_path(tmp_path, monkeypatch):
    monkeypatch.setattr(install_prefix, "_SEARCH", f"{tmp_path}/second/bin")
    monkeypatch.setenv("PATH", f"{tmp_path}/first/bin:{tmp_path}/shims")
    for place, version, library in (("first", "3.12", "lib64"), ("second", "3.12", "lib"), ("second", "3.13", "lib")):
        lay_python(tmp_path / place, version, library)
    lay_python(tmp_path / "first", "3.9")
    (tmp_path / "first/bin/python3.9").chmod(0o644)
    for name in ("first/bin/python3.12-config", "first/bin/python3.10", "shims/python3.8"):  # without a module venv
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(0o755)
    lay_python(tmp_path / "elsewhere", "3.14")
    (tmp_path / "first/bin/python3.14").symlink_to(tmp_path / "elsewhere/bin/python3.14")
    assert install_prefix.pythons() == {
        "3.12": f"{tmp_path}/first/bin/python3.12",
        "3.13": f"{tmp_path}/second/bin/python3.13",
        "3.14": f"{tmp_path}/first/bin/python3.14",
    }


def test_a_python_that_the_role_brought_is_found_after_those_of_the_node(tmp_path, monkeypatch):
    monkeypatch.setattr(install_prefix, "_SEARCH", "")
    monkeypatch.setenv("PATH", f"{tmp_path}/own/bin")
    lay_python(tmp_path / "own", "3.12")
    prefix = str(tmp_path / "prefix")
    for version in ("3.11", "3.12"):
        lay_python(tmp_path / f"prefix/var/python/{version}", version)
    brought = f"{prefix}/var/python/3.11/bin/python3.11"
    assert install_prefix.pythons(prefix) == {"3.11": brought, "3.12": f"{tmp_path}/own/bin/python3.12"}

    def run(argv, _limit):
        return Outcome(0, "3.11\n", "", False, False, 0.1)

    assert install_prefix.look("3.11", run, prefix=prefix).path == brought
    assert install_prefix.look("3.11", run).problem == "there is no interpreter python3.11"


def test_a_prefix_of_somebody_else_is_refused(tmp_path):
    prefix, uid = tmp_path / "p", os.getuid()
    assert install_prefix.owner_fault(str(prefix), uid, "train") == ""
    prefix.mkdir()
    assert install_prefix.owner_fault(str(prefix), uid + 1, "train") == ""
    (prefix / "file").touch()
    assert install_prefix.owner_fault(str(prefix), uid, "train") == ""
    assert "belongs to another" in install_prefix.owner_fault(str(prefix), uid + 1, "train")
    (tmp_path / "link").symlink_to(prefix)
    assert "not a directory" in install_prefix.owner_fault(str(tmp_path / "link"), uid, "train")
