# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection to nodes that are files: what a module would answer lies in a directory.

The controller does all that it does for a real node but start ssh: it templates, packs the module with its options,
forks, and reads the answer. TRAINMESH_BENCH_ANSWERS is the directory; ``ADDRESS/MODULE.json`` is the answer of a
module on a node, and one that has no file changed nothing.
"""

from __future__ import annotations

import os
import pathlib
import re
import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = r"""
name: from_files
short_description: Nodes that answer from files
description:
  - Answers what a module would answer, out of the directory that TRAINMESH_BENCH_ANSWERS names.
extends_documentation_fragment:
  - connection_pipelining
"""
# The line with which ansible-core tells its wrapper which module is inside.
MODULE = re.compile(rb"^ansible_module='([\w.]+)',$", re.MULTILINE)
NOTHING = b'{"changed": false}'


class Connection(ConnectionBase):
    """One simulated node."""

    transport = "from_files"
    has_pipelining = True

    def _connect(self) -> t.Any:
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Answer for the module inside."""
        found = MODULE.search(in_data or b"")
        if not found:
            raise AnsibleError(f"a simulated node runs modules only, and not: {cmd[:200]}")
        directory = pathlib.Path(os.environ["TRAINMESH_BENCH_ANSWERS"]) / self._play_context.remote_addr
        answer = directory / f"{found[1].decode().rpartition('.')[2]}.json"
        return 0, answer.read_bytes() if answer.is_file() else NOTHING, b""

    def put_file(self, in_path: str, out_path: str) -> None:
        """Nothing is sent by file."""
        raise AnsibleError("a simulated node takes no files")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Nothing is fetched."""
        raise AnsibleError("a simulated node has no files")

    def reset(self) -> None:
        """There is nothing to reset."""

    def close(self) -> None:
        """There is nothing to close."""
