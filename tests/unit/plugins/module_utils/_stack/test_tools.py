# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compilers and tools: their version texts, and that nothing is asked that is not there."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command as base_command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import tools

PDSH = "pdsh-2.34 (+readline+debug)\nrcmd modules: ssh,rsh,exec (default: rsh)\nmisc modules: genders\n"
PDSH_MRSH = "pdsh-2.29 (+readline)\nrcmd modules: exec,mrsh (default: mrsh)\nmisc modules: (none)\n"
# What pdsh 2.34 said of a directory and of a module that everybody could write to.
PDSH_PATH = (
    'pdsh@node3: module path "/usr/lib/pdsh" insecure.\n'
    'pdsh@node3: "/usr/lib/pdsh": World writable and sticky bit is not set\n'
    "pdsh@node3: Couldn't load any pdsh modules\n"
)
PDSH_MODULE = (
    "pdsh-2.34 (+readline+debug)\nrcmd modules: rsh,exec (default: rsh)\nmisc modules: genders\n"
    'pdsh@node3: skipping insecure module "/usr/lib/pdsh/sshcmd.so" (check perms)\n'
)
OPEN_MPI = "mpirun (Open MPI) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/\n"
OPEN_MPI_PRE = "mpirun (Open MPI) 5.0.0rc12\n"
MPICH = "HYDRA build details:\n    Version:                                 4.0.2\n"
INTEL_MPI = "Intel(R) MPI Library for Linux* OS, Version 2021.9 Build 20230306 (id: d82b3071db)\n"


def test_pdsh_tells_its_modules() -> None:
    assert tools.pdsh_facts(PDSH) == {
        "version": "2.34",
        "rcmd_modules": ["ssh", "rsh", "exec"],
        "default_rcmd": "rsh",
        "ssh": True,
        "problem": None,
        "insecure": False,
        "distrusted": [],
    }
    assert tools.pdsh_facts(PDSH_MRSH)["ssh"] is False
    nothing = dict.fromkeys(("version", "default_rcmd", "problem"))
    nothing |= {"rcmd_modules": [], "ssh": False, "insecure": False, "distrusted": []}
    assert tools.pdsh_facts("") == tools.pdsh_facts("\0\ufffd pdsh@ : x\n") == nothing


def test_pdsh_tells_why_it_refuses_its_modules() -> None:
    refused = tools.pdsh_facts(PDSH_PATH)
    assert (refused["version"], refused["rcmd_modules"], refused["ssh"]) == (None, [], False)
    assert refused["problem"] == (
        'module path "/usr/lib/pdsh" insecure; "/usr/lib/pdsh": World writable and sticky bit is not set; '
        "Couldn't load any pdsh modules"
    )
    assert (refused["insecure"], refused["distrusted"]) == (True, ["/usr/lib/pdsh"])
    one = tools.pdsh_facts(PDSH_MODULE)
    assert (one["insecure"], one["distrusted"]) == (True, ["/usr/lib/pdsh/sshcmd.so"])
    assert (one["rcmd_modules"], one["problem"]) == (
        ["rsh", "exec"],
        'skipping insecure module "/usr/lib/pdsh/sshcmd.so" (check perms)',
    )
    flood = tools.pdsh_facts("".join(f"pdsh@n: complaint {number}\n" for number in range(10000)))
    assert len(flood["problem"]) == tools.MOST_COMPLAINT


@pytest.mark.parametrize(
    ("text", "version"),
    [(OPEN_MPI, "4.1.4"), (OPEN_MPI_PRE, "5.0.0rc12"), (MPICH, None), (INTEL_MPI, None), ("", None)],
)
def test_only_open_mpi_has_an_open_mpi_version(text: str, version: str | None) -> None:
    assert tools.open_mpi_version(text) == version


@pytest.mark.parametrize(("text", "version"), [("12.2.0\n", "12.2.0"), ("9\n", "9"), ("gcc: error", None), ("", None)])
def test_gcc_prints_its_version_alone(text: str, version: str | None) -> None:
    assert tools.gcc_version(text) == version


class Shell:
    """A directory of pretended commands."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.tree = Tree(str(root))
        self.calls: list[str] = []

    def command(self, path: str) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("#!/bin/sh\n")
        place.chmod(0o755)

    def run(self, argv: t.Sequence[str], _limit: float, **_options: t.Any) -> base_command.Outcome:
        name = argv[0].rpartition("/")[2]
        self.calls.append(name)
        said = {"pdsh": PDSH, "mpirun": OPEN_MPI}.get(name, "12.2.0\n")
        return base_command.Outcome(0, said, "", False, False, 0.0)


def test_a_bare_node_starts_no_command(tmp_path: pathlib.Path) -> None:
    shell = Shell(tmp_path)
    found = tools.tools(shell.tree, "/usr/bin", "/env/bin", shell.run, 1)
    assert found == dict.fromkeys(("git", "rsync", "pdsh", "mpirun", "ninja"))
    assert tools.compilers(shell.tree, "/usr/bin", shell.run, 1) == dict.fromkeys(("gcc", "g++", "c++"))
    assert tools.libaio(shell.tree, ["/usr/lib"]) == {"library": None, "header": None}
    assert shell.calls == []


def test_only_what_decides_something_is_asked_for_its_version(tmp_path: pathlib.Path) -> None:
    shell = Shell(tmp_path)
    for name in ("git", "rsync", "pdsh", "mpirun", "gcc", "g++"):
        shell.command(f"/usr/bin/{name}")
    (tmp_path / "usr/bin/c++").symlink_to("g++")
    shell.command("/env/bin/ninja")
    found = tools.tools(shell.tree, "/usr/bin", "/env/bin", shell.run, 1)
    assert (found["git"], found["rsync"]) == ({"path": "/usr/bin/git"}, {"path": "/usr/bin/rsync"})
    assert found["mpirun"] == {"path": "/usr/bin/mpirun", "open_mpi": "4.1.4"}
    assert found["ninja"] == {"path": "/env/bin/ninja", "on_path": False}
    compilers = tools.compilers(shell.tree, "/usr/bin", shell.run, 1)
    assert compilers["c++"] == {"path": "/usr/bin/c++", "version": "12.2.0"}
    assert sorted(shell.calls) == ["g++", "gcc", "mpirun", "pdsh"]


@pytest.mark.parametrize("name", ["libaio.so.1", "libaio.so.1t64", "libaio.so.1.0.1", "libaio.so"])
def test_libaio_is_found_under_its_names(tmp_path: pathlib.Path, name: str) -> None:
    shell = Shell(tmp_path)
    shell.command(f"/usr/lib64/{name}")
    shell.command("/usr/include/libaio.h")
    found = tools.libaio(shell.tree, ["/usr/lib64"])
    assert found == {"library": f"/usr/lib64/{name}", "header": "/usr/include/libaio.h"}


@pytest.mark.parametrize(
    ("text", "interpreter"),
    [
        ("#!/usr/bin/python3.10\nimport sys\n", "/usr/bin/python3.10"),
        ("#!/opt/conda/bin/python -E\n", "/opt/conda/bin/python"),
        ("#!/bin/sh\n'''exec' \"/long path/bin/python\" \"$0\" \"$@\"\n' '''\n", "/long path/bin/python"),
        ("#!/bin/sh\n'''exec' /env/bin/python3 \"$0\" \"$@\"\n", "/env/bin/python3"),
        ("#!/bin/bash\nexec python -m torch\n", None),
        ("#!/bin/sh\necho\n", None),
        ("\x7fELF", None),
        ("#!\n", None),
        ("", None),
    ],
)
def test_the_python_that_a_script_is_run_by(tmp_path: pathlib.Path, text: str, interpreter: str | None) -> None:
    assert tools.interpreter_of(Tree(str(tmp_path)), text, None) == interpreter


def test_launchers_on_the_path_and_env(tmp_path: pathlib.Path) -> None:
    for name, text in {"a/torchrun": "#!/usr/bin/env python3\n", "b/python3": "x", "b/torchrun": "y"}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    found = tools.launchers(Tree(str(tmp_path)), "/a:/b")
    assert found == [{"name": "torchrun", "path": "/a/torchrun", "interpreter": "/b/python3"}]
