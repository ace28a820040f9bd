# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second ssh connection to a node, for files that are compressed already.

ssh compresses some 30 MB a second on one core, and packages get no smaller by it: with C(-C), which Ansible sets by
itself, that was most of what a first run cost the controller. It holds for a whole connection, and all that shares it.
"""

from __future__ import annotations

import contextlib
import shlex
import typing as t

from ansible.errors import AnsibleConnectionFailure

OPTIONS = ("ssh_args", "control_path")


@contextlib.contextmanager
def files(connection: t.Any) -> t.Iterator[None]:
    """Let all that this connection does go through one that does not compress, and close that at the end.

    Nothing changes where it is no ssh, where each command has a connection of its own, or where the inventory has said
    where the shared one is. A node that does not let a second connection in gets the files through the first.
    """
    place = shared(connection)
    if not place:
        yield
        return
    before = {name: connection.get_option(name) for name in OPTIONS}
    words = [word for word in shlex.split(before["ssh_args"] or "") if word != "-C"]
    connection.set_option("ssh_args", shlex.join(["-o", "Compression=no", *words]))
    connection.set_option("control_path", f"{place}-files")
    try:
        connection.exec_command("true", sudoable=False)
    except AnsibleConnectionFailure:
        _set(connection, before)
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            connection.reset()
        _set(connection, before)


def shared(connection: t.Any) -> str:
    """Where Ansible's shared connection to this node is, which it knows after a command; empty where it has none."""
    if connection.transport != "ssh":
        return ""
    if not getattr(connection, "control_path", None):
        connection.exec_command("true", sudoable=False)
    return str(getattr(connection, "control_path", None) or "")


def _set(connection: t.Any, options: t.Mapping[str, t.Any]) -> None:
    for name, value in options.items():
        connection.set_option(name, value)
