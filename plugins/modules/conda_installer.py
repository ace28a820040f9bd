#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_installer
short_description: Fetch and check the installer of conda on the controller
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Fetches the installer once, checks it, and keeps it as C(lock/conda) in the state directory, so that a node that is
    added later gets the same one and no node needs a way to it.
  - Without O(installer) it is the newest Miniforge, with the checksum that its publisher gives beside it. The channel
    conda-forge, which that uses, asks nobody to accept terms.
options:
  state_dir:
    description: Directory beside the inventory in which the installer is kept.
    type: path
    required: true
  arch:
    description: Machine type of the nodes, such as V(x86_64).
    type: str
    required: true
  installer:
    description: URL or controller path of an installer of Miniforge, Miniconda or the like; empty for Miniforge.
    type: str
    default: ""
  checksum:
    description: Checksum of the installer such as V(sha256:...). Needed for a URL; empty for none.
    type: str
    default: ""
extends_documentation_fragment:
  - trainmesh.cluster.attributes
notes:
  - Runs on the controller only; use C(run_once). In check mode nothing is fetched.
seealso:
  - module: trainmesh.cluster.python_env
"""

EXAMPLES = r"""
- name: Fetch Miniforge
  trainmesh.cluster.conda_installer:
    state_dir: "{{ inventory_dir }}/.trainmesh"
    arch: x86_64
  run_once: true
"""

RETURN = r"""
path:
  description: Path of the installer on the controller; empty in check mode where it would be fetched.
  returned: success
  type: str
  sample: /home/me/cluster/.trainmesh/lock/conda/1f0a5b7c2-Miniforge3-Linux-x86_64.sh
source:
  description: Where it comes from, without a password.
  returned: success
  type: str
  sample: https://github.com/conda-forge/miniforge/releases/latest/download/Miniforge3-Linux-x86_64.sh
"""
