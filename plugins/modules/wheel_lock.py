#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: wheel_lock
short_description: Create the lock of the environment and the wheelhouse on the controller
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Resolves the requirements with uv for the Python version and platform of the nodes, and keeps the lock, with
    hashes, as C(lock/requirements.txt) in the state directory. As long as its head equals the wish it is used as it
    is, so that a node that is added later gets the same set, and so is a lock that a user brings.
  - A lock that does not fit is kept under another name, and the new one keeps its versions where it can, and the
    hashes of those it keeps. A lock that was moved aside and fits again is used again.
  - A package that the index has as a source distribution only (deepspeed is one) is built here, once, without any
    compiled operator, and its wheel is kept in C(lock/wheels). The build sees nothing of the caller's environment and
    downloads nothing; its source and its build requirements are in the lock with their hashes, as is uv.
  - A file that has another hash than the lock is refused. A lock of before that lacks entries is completed, with a
    warning that names them.
  - With O(state=filled) also fetches what the nodes need, only what is missing.
  - uv uses the index that pip is configured with on the controller.
options:
  state:
    description: >-
      V(locked) makes the lock; V(filled) also fetches uv for the nodes and, when they install offline, all wheels.
    type: str
    choices: [locked, filled]
    default: locked
  state_dir:
    description: Directory beside the inventory in which the lock is kept.
    type: path
    required: true
  python_version:
    description: Major and minor version of Python on the nodes.
    type: str
    required: true
  platform:
    description: Platform of the nodes as uv names it, such as V(x86_64-manylinux_2_28).
    type: str
    required: true
  torch_build:
    description: Build of torch that is planned. Another one is refused.
    type: str
    default: ""
  torch_backend:
    description: uv's name of the index of torch builds, used only when the build is nowhere else. Empty for none.
    type: str
    default: ""
  requirements:
    description: Requirement lines.
    type: list
    elements: str
    required: true
  requirements_file:
    description: >-
      File of the user on the controller that some of O(requirements) come from: the lock keeps to its constraints, and
      of a package with hashes there takes only files that have one of these. Empty for none.
    type: str
    default: ""
    version_added: "1.1.0"
  index_url:
    description: Package index instead of the one that pip is configured with. Empty for none.
    type: str
    default: ""
  torch_index_url:
    description: >-
      Index that is asked for builds of torch in the place of PyTorch's own, such as a mirror of it; the name of the
      build is put at its end unless one is there.
    type: str
    default: ""
  index_insecure:
    description: >-
      Whether packages may come over plain http, from pip's C(trusted-host), and as the best version out of several
      indexes.
    type: bool
    default: false
  update:
    description: >-
      Whether to recreate the lock even if it matches, and accept the current hashes; versions are kept where possible.
      Without it a package, source or tool whose hash is not that of the lock is refused.
    type: bool
    default: false
  wheelhouse:
    description: >-
      Empty: nodes install from the index, unless a package is only in a directory of the controller. V(auto): from
      wheels in the state directory. A path: from wheels in that directory, which may hold them already.
    type: str
    default: ""
  timeout:
    description: Seconds that fetching one batch of wheels may take.
    type: int
    default: 3600
extends_documentation_fragment:
  - trainmesh.cluster.attributes
notes:
  - Runs on the controller only; use C(run_once). In check mode the set is resolved, and nothing is kept.
seealso:
  - module: trainmesh.cluster.wheel_handout
  - module: trainmesh.cluster.python_stack
"""

EXAMPLES = r"""
- name: Create the lock, or use the existing one
  trainmesh.cluster.wheel_lock:
    state_dir: "{{ inventory_dir }}/.trainmesh"
    python_version: "3.11"
    platform: x86_64-manylinux_2_28
    torch_build: cpu
    requirements: [torch==2.13.0+cpu, deepspeed==0.19.8]
  run_once: true

- name: Download all wheels for nodes without an index
  trainmesh.cluster.wheel_lock:
    state: filled
    state_dir: "{{ inventory_dir }}/.trainmesh"
    python_version: "3.11"
    platform: x86_64-manylinux_2_28
    torch_build: cpu
    requirements: [torch==2.13.0+cpu, deepspeed==0.19.8]
    wheelhouse: auto
  run_once: true
"""

RETURN = r"""
lock:
  description: Path of the lock on the controller.
  returned: success
  type: str
  sample: /home/me/cluster/.trainmesh/lock/requirements.txt
key:
  description: Short digest of the lock.
  returned: success
  type: str
  sample: 5d1f0c0a9b7e4f62
packages:
  description: Version of every package of the lock.
  returned: success, unless O(state=filled) has to make the lock in check mode
  type: dict
  sample: {"torch": "2.13.0+cpu", "deepspeed": "0.19.8", "accelerate": "1.15.0"}
offline:
  description: Whether the nodes install from copied files only.
  returned: success
  type: bool
  sample: true
torch_backend:
  description: uv's name of the index of torch builds, when it was needed.
  returned: success
  type: str
  sample: ""
files:
  description: Files on the controller that a node needs; empty with O(state=locked).
  returned: success
  type: list
  elements: str
  sample: [/home/me/cluster/.trainmesh/lock/requirements.txt]
megabytes:
  description: Size of these files.
  returned: with O(state=filled)
  type: int
  sample: 278
"""
