# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options of modules that install from the GPU vendor's repository."""

from __future__ import annotations


class ModuleDocFragment:
    """The repository, and the key that signs it."""

    DOCUMENTATION = r"""
options:
  repository:
    description: URL of a mirror instead of the vendor's own repository.
    type: str
    default: ""
  key:
    description: Public key that signs the repository, as text or in Base64. Empty to read it from O(key_url).
    type: str
    default: ""
  key_url:
    description: URL of the key; empty for the one in the repository.
    type: str
    default: ""
  key_fingerprint:
    description:
      - Fingerprint that the key must have; empty for that of the vendor's key.
      - Needed for RHEL 10 and Fedora, where that is not known here.
    type: str
    default: ""
"""
