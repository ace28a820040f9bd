# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the option of modules that put a block into files of others."""

from __future__ import annotations


class ModuleDocFragment:
    """Whether such a file is kept as it was before the first change."""

    DOCUMENTATION = r"""
options:
  backup:
    description:
      - Keep a file of others as it was, beside it and with the suffix C(.before-trainmesh), when the block is put into
        it for the first time.
    type: bool
    default: true
"""
