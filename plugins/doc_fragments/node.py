# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that node_facts shares with fabric_facts and stack_facts."""

from __future__ import annotations


class ModuleDocFragment:
    """One block for the options of each part; ``root`` and ``timeout`` mean something else in each module."""

    DOCUMENTATION = r"""
options: {}
"""

    FABRIC = r"""
options:
  peers:
    description:
      - Addresses or names of the other nodes. For each one C(routes) of the fabric facts tells the interface and
        source address that lead to it.
    type: list
    elements: str
    default: []
  names:
    description:
      - Names to resolve on the node. The node's own name and O(peers) are always among them.
    type: list
    elements: str
    default: []
  addresses:
    description:
      - Where each of O(names) and each of O(peers) should lead, in the order of both. If given, what is the same for
        all of them but their name and address is told once, in C(alike) of the fabric facts.
    type: list
    elements: str
    default: []
  paths:
    description:
      - Paths whose disk space and file-system type are returned. Where a path does not exist, its nearest existing
        parent is taken. A leading C(~) is the home of the job user where the module is told that user, else of the
        user who runs the module.
    type: list
    elements: str
    default:
      - /opt/trainmesh
      - ~/.cache
  devices_root:
    description:
      - Directory of a recorded machine, whose devices are read in the place of the node's own. Of the fabric facts
        these are RDMA devices, C(peermem) and C(dmabuf); all else is that of the node.
      - So a node without hardware is tested with the devices of another. Each part then warns, and its
        C(replayed_from) names the directory.
    type: path
"""

    STACK = r"""
options:
  python:
    description: Path of the Python interpreter of the environment to read. It need not exist yet.
    type: path
    default: /opt/trainmesh/env/bin/python
  import:
    description:
      - Import PyTorch once in a child process and ask it for its devices and libraries; costs seconds.
      - If the import fails while C(LD_LIBRARY_PATH) is set, it is tried again without that variable.
    type: bool
    default: false
  user:
    description:
      - The job user, whose login environment, C(PATH) and packages are read. The user who runs the module if not given.
      - Root becomes that user in a child process, for good, before anything of the software is read or started.
        Anybody else can only name themselves.
    type: str
  base_python:
    description:
      - The interpreter for a new environment, a path or a version such as V(3.11). It is started once
        and asked for its version.
    type: str
  base_conda:
    description: Directory of the conda for a new environment.
    type: path
  base_prefix:
    description: Directory for a new environment.
    type: path
"""

    USER = r"""
options:
  user:
    description: The user who runs the jobs. Left out, the one who runs this task.
    type: str
  ports:
    description: TCP ports whose owners are returned.
    type: list
    elements: int
    default: []
  files:
    description: Files whose text is returned, at most 64 KiB of each; of a longer V(job_log) the beginning, the end
      and the errors of its last run.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description: What the file is; returned as it was given.
        type: str
        required: true
        choices:
          - hostfile
          - accelerate
          - deepspeed_json
          - deepspeed_env
          - ssh_config
          - launch_script
          - nccl_log
          - job_log
          - ds_report
          - collect_env
          - kernel_log
          - node_report
      path:
        description: Where it is on the node. V(~) is expanded.
        type: str
        required: true
      cluster:
        description: Whether the file starts the job of the whole cluster; returned as it was given.
        type: bool
        default: false
  prefix:
    description: Where the files of this collection are on the node.
    type: path
    default: /opt/trainmesh
  peer:
    description: An address from which the logins of the other nodes come, for Match blocks of sshd.
    type: str
    default: 127.0.0.1
  keys:
    description:
      - The lines of authorized_keys that are the same on all nodes. Where they stand on this node, C(alike) of the user
        facts says so instead of the keys.
    type: dict
    suboptions:
      count:
        description: How many they are.
        type: int
        required: true
      digest:
        description: Their digest.
        type: str
        required: true
"""
