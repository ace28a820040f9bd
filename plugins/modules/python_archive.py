#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_archive
short_description: Fetch a Python for nodes that lack it on the controller
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Fetches the archive of a Python that uv knows (of the project python-build-standalone) and keeps it as
    C(lock/python) in the state directory, so that a node that is added later gets the same one.
  - uv refuses a file that has another hash than the one that it knows.
options:
  state_dir:
    description: Directory beside the inventory in which the archive is kept.
    type: path
    required: true
  python_version:
    description: Major and minor version of Python.
    type: str
    required: true
  arch:
    description: Machine type of the nodes, such as V(x86_64).
    type: str
    required: true
  mirror:
    description: URL or directory that has uv's Pythons; empty for uv's own place.
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
- name: Fetch a Python for the nodes that lack it
  trainmesh.cluster.python_archive:
    state_dir: "{{ inventory_dir }}/.trainmesh"
    python_version: "3.12"
    arch: x86_64
  run_once: true
"""

RETURN = r"""
path:
  description: Path of the archive on the controller; empty in check mode where it would be fetched.
  returned: success
  type: str
  sample: >-
    /home/me/cluster/.trainmesh/lock/python/35dc77730-cpython-3.12.1-20260101-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz
"""
