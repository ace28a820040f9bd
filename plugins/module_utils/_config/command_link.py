# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A link in a directory of the search path to a program of the installation.

Everybody on the host has it, root too: so it leads only to what nobody but root may exchange. What somebody else has
put there stays; a link that leads nowhere is what an earlier prefix has left.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import root_path

PATH = "/usr/local/bin/trainmesh"


class State(t.NamedTuple):
    """Where the link leads and where it shall lead; empty for no link. ``foreign`` says what of others is there."""

    have: str
    want: str
    foreign: str = ""

    @property
    def changed(self) -> bool:
        """Whether anything must be done."""
        return not self.foreign and self.have != self.want

    @property
    def reason(self) -> str:
        """Why something must be done; empty when nothing must."""
        if not self.changed:
            return ""
        if not self.have:
            return "not there"
        return "leads to no program" if self.want else "leads to what others than root may exchange"


def state(path: str, target: str, present: bool = True) -> State:
    """The link at ``path`` to ``target``, as it is and as it shall be."""
    try:
        have = os.readlink(path)
    except FileNotFoundError:
        have = ""
    except OSError:
        return State("", "", f"{path} is no link")
    is_left = os.path.basename(have) == os.path.basename(target) and not os.path.exists(path)
    if have and have != target and not is_left:
        return State(have, have, f"{path} leads to {have}")
    if present and _may_be_there(path, target):
        return State(have, target)
    return State(have, "")


def _may_be_there(path: str, target: str) -> bool:
    """Whether the directory can be written, and the program is root's alone."""
    try:
        return os.access(os.path.dirname(path), os.W_OK) and root_path.is_roots(os.path.dirname(target))
    except OSError:
        return False


def apply(path: str, change: State) -> None:
    """Make, exchange or remove the link. Raises OSError."""
    if not change.want:
        os.unlink(path)
        return
    temporary = f"{path}.{os.getpid()}"
    os.symlink(change.want, temporary)
    try:
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
