# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the option of modules that work for the job user."""

from __future__ import annotations


class ModuleDocFragment:
    """The user for whom a module works."""

    DOCUMENTATION = r"""
options:
  user:
    description:
      - The job user. A module that starts as root works as this user; started as anybody else, it refuses. So
        C(ansible_become) and the like in an inventory can't make root the owner of what is this user's.
      - The user who runs the module if not given.
    type: str
"""
