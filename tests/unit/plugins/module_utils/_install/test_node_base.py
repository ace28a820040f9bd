# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node has of its base, and the packages of what it lacks."""

from __future__ import annotations

import os
import sys
import sysconfig

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import node_base
from ansible_collections.trainmesh.cluster.plugins.module_utils._install.node_base import Python
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import parsers


def answer(*lines):
    return lambda *_args, **_options: command.Outcome(0, "\n".join(lines), "", False, False, 0.1)


def test_the_inventory_knows_the_same_parts():
    assert parsers.NODE_BASE == node_base.PARTS
    assert {*node_base.PACKAGES, "limits"} == {*node_base.PARTS}


def test_this_interpreter():
    found = node_base.python_at(sys.executable)
    assert found.version == "{}.{}".format(*sys.version_info[:2])
    assert found.headers == any(
        os.path.isfile(f"{sysconfig.get_paths()[name]}/Python.h") for name in ("include", "platinclude")
    )


def test_headers_count_wherever_they_are(tmp_path):
    (tmp_path / "Python.h").touch()
    found = node_base.python_at("/usr/bin/python3", answer("3.9", "/usr", "/nowhere", str(tmp_path)))
    assert found == Python("/usr/bin/python3", "3.9", True, True)


def test_an_interpreter_that_is_not_there():
    found = node_base.python_at("9.99", answer())
    assert (found.path, found.version, found.headers) == ("/usr/bin/python9.99", "", False)


@pytest.mark.parametrize(
    ("part", "kind", "python", "names"),
    [
        ("libaio", "apt", None, [["libaio-dev"]]),
        ("libaio", "dnf", None, [["libaio-devel"]]),
        ("compilers", "dnf", None, [["gcc"], ["gcc-c++"], ["make"]]),
        ("python_headers", "apt", Python("/usr/bin/python3", "3.11", True, False), [["python3.11-dev", "python3-dev"]]),
        (
            "python_headers",
            "dnf",
            Python("/usr/bin/python3.9", "", True, False),
            [["python3.9-devel", "python3-devel"]],
        ),
    ],
)
def test_the_packages_of_a_part(part, kind, python, names):
    assert [[want.name for want in group] for group in node_base.packages_of(part, kind, python)] == names


def test_no_package_has_the_headers_of_another_python():
    with pytest.raises(Fault, match=r"/opt/py/bin/python3 is no Python of the distribution.*set trainmesh_python"):
        node_base.packages_of("python_headers", "apt", Python("/opt/py/bin/python3", "3.12", False, False))


@pytest.mark.parametrize("missing", ["gcc", "g++", "make"])
def test_compilers_are_all_three(monkeypatch, missing):
    monkeypatch.setattr(node_base, "which", lambda name: None if name == missing else f"/usr/bin/{name}")
    assert not node_base.is_there("compilers", None, None)
    monkeypatch.setattr(node_base, "which", lambda name: f"/usr/bin/{name}")
    assert node_base.is_there("compilers", None, None)


@pytest.mark.parametrize(
    ("daemon", "installed", "kind", "there"),
    [
        ("ntpd", None, None, True),
        (None, "/usr/sbin/chronyd", None, False),  # installed and stopped
        (None, "/usr/sbin/chronyd", "docker", True),  # where none can run
        (None, None, "docker", False),
    ],
)
def test_any_clock_daemon_that_runs_is_one(monkeypatch, daemon, installed, kind, there):
    monkeypatch.setattr(node_base, "time_source", lambda _tree: daemon)
    monkeypatch.setattr(node_base, "which", lambda _name: installed)
    monkeypatch.setattr(node_base, "container", lambda _tree, _environment: kind)
    assert node_base.is_there("chrony", None, None) is there


def test_libaio_is_header_and_library(monkeypatch, tmp_path):
    header, library = tmp_path / "libaio.h", tmp_path / "libaio.so"
    monkeypatch.setattr(node_base, "_AIO", (str(header),))
    monkeypatch.setattr(node_base, "_AIO_LIBRARIES", (str(tmp_path / "lib*.so"),))
    library.touch()
    assert not node_base.is_there("libaio", None, None)
    header.touch()
    assert node_base.is_there("libaio", None, None)
    library.unlink()
    assert not node_base.is_there("libaio", None, None)
