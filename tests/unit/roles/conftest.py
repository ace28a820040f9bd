# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An installation as launch_config makes it, with stand-ins for Python and the launchers."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render.node_files import node_files, shared_files

FILES = pathlib.Path(__file__).parents[3] / "roles/launch_config/files"
SHOW = """#!{python}
import json, os, sys
if sys.argv[1:2] == ["-ISB"]:  # the Python of the environment runs our own programs too
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
print(json.dumps({{"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}))
"""


class Installation:
    """What the tests need of it."""

    def __init__(self, root, nodes):
        self.root = root
        cluster = Cluster(nodes, "user", str(root), 29500, "fp32")
        job_env = {"path": "etc/job.env", "content": "FROM_PLAYBOOK='a b'\n"}
        for file in [*shared_files(cluster), *node_files(cluster, nodes[0]), job_env]:
            path = root / file["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"])
        for name in ("bin", "lib", "libexec", "share"):
            shutil.copytree(FILES / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        (root / "env/bin").mkdir(parents=True)
        (root / "var").mkdir()
        (root / "workspace").mkdir()
        (root / "workspace/train.py").write_text("")
        for name in ("python", "torchrun", "deepspeed", "accelerate", "mpirun"):
            self.program(f"env/bin/{name}", SHOW.format(python=sys.executable))
        self.program("bin/trainmesh-stop", '#!/bin/sh\necho "$@" > $(dirname $0)/../stopped\n')

    def program(self, path, text):
        (self.root / path).write_text(text)
        (self.root / path).chmod(0o755)

    def side_by_side(self, *names):
        """Environments beside each other, of which the first was the directory ``env``; the last is in use."""
        for name in names:
            place = self.root / "environments" / name
            place.mkdir(parents=True)
            if name == names[0]:
                (self.root / "env").rename(place / "env")
            else:
                shutil.copytree(self.root / "environments" / names[0] / "env", place / "env")
        (self.root / "env").symlink_to(f"environments/{names[-1]}/env")

    def real_python(self):
        self.program("env/bin/python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')

    def call(self, *words, **options):
        return subprocess.run(
            [str(word) for word in words],
            check=False,
            **{"cwd": self.root / "workspace", "capture_output": True, "text": True, "timeout": 60, **options},
        )

    def run(self, *words, **options):
        return self.call(self.root / "bin/trainmesh", "run", *words, **options)


@pytest.fixture
def install(tmp_path):
    """Makes an installation on the first of these nodes."""
    return lambda *nodes: Installation(tmp_path / "prefix", nodes)


@pytest.fixture
def cluster(install):
    """Three nodes, of which the test is on the head."""
    return install(
        Node("node1", 0, "10.0.0.11", 22, 2, "eth7", "node1", "node1"),
        Node("node2", 1, "10.0.0.12", 22, 2, "eth7", "node2", "node2"),
        Node("node3", 2, "10.0.0.13", 22, 1, "eth7", "node3", "node3"),
    )
