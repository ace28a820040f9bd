# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: all rules on what users hand in and on files that nodes have to share.

Importing this module registers them.
"""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.plugin_utils import (
    _rules_files_accelerate,
    _rules_files_deepspeed,
    _rules_files_env,
    _rules_files_hostfile,
    _rules_files_json,
    _rules_files_paths,
    _rules_files_script,
)

MODULES = (
    _rules_files_hostfile,
    _rules_files_deepspeed,
    _rules_files_script,
    _rules_files_accelerate,
    _rules_files_json,
    _rules_files_env,
    _rules_files_paths,
)

__all__ = ("MODULES",)
