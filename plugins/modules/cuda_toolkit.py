#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CUDA toolkits side by side."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cuda_toolkit
short_description: Install CUDA toolkits side by side, and put one of them first
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Installs toolkits from the repositories of the node, or from the vendor's runfile. The driver is never touched.
  - Commands over ssh find the compiler of the first toolkit first, by a block in C(/etc/environment) and by
    C(/etc/profile.d/trainmesh-cuda.sh) for login shells. No LD_LIBRARY_PATH is set and no directory given to the
    dynamic linker, because the toolkit's libcublas would then be loaded in place of PyTorch's.
  - All is judged before anything is done, and an installation that fails is taken back. A runfile needs a checksum; it
    gets C(--silent --toolkit --toolkitpath), and what it changes beside the toolkit (C(/usr/local/cuda),
    C(/etc/ld.so.conf.d)) is put back.
  - A toolkit that is there, whoever has brought it, stays as it is. Toolkits are never removed.
options:
  toolkits:
    description: The toolkits; commands find the first one first.
    type: list
    elements: dict
    required: true
    suboptions:
      version:
        description: A release such as V(12.6), or a patch of it such as V(12.6.3).
        type: str
        required: true
      source:
        description:
          - Packages to take where there is no O(toolkits[].runfile).
          - V(vendor) is C(cuda-toolkit-12-6), and with apt the vendor's repository is added if it is not there.
          - V(distribution) is C(nvidia-cuda-toolkit), V(any) the first of them that the node's repositories have.
        type: str
        choices: [any, vendor, distribution]
        default: any
      runfile:
        description: URL of the vendor's installer, or its path on the node.
        type: str
      checksum:
        description: Checksum of the installer such as V(sha256:...). Needed with O(toolkits[].runfile).
        type: str
        default: ""
  timeout:
    description: Time limit of each installation in seconds.
    type: int
    default: 3600
extends_documentation_fragment:
  - trainmesh.cluster.attributes
  - trainmesh.cluster.vendor_repository
"""

EXAMPLES = r"""
- name: Install the toolkit of the node's repositories
  trainmesh.cluster.cuda_toolkit:
    toolkits:
      - version: "12.6"
  become: true

- name: Put 12.6 in front, with 11.8 beside it
  trainmesh.cluster.cuda_toolkit:
    toolkits:
      - version: "12.6"
      - version: "11.8"
        runfile: https://mirror.example.org/cuda_11.8.0_520.61.05_linux.run
        checksum: "{{ cuda_11_8_checksum }}" # sha256:...
  become: true
"""

RETURN = r"""
toolkits:
  description: The toolkits that are there, in the order asked for; in check mode those of before.
  returned: success
  type: list
  elements: dict
  contains:
    version:
      description: Its version; a toolkit that does not tell its patch has two numbers.
      type: str
      sample: 12.6.3
    path:
      description: Its directory.
      type: str
      sample: /usr/local/cuda-12.6
missing:
  description: Versions that had to be installed.
  returned: success
  type: list
  elements: str
  sample: ["12.6"]
bin:
  description: Directory of the compiler that comes first.
  returned: success
  type: str
  sample: /usr/local/cuda-12.6/bin
path_changed:
  description: Whether the files that set PATH had to be written.
  returned: success
  type: bool
  sample: true
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import cuda_toolkit


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=cuda_toolkit.OPTIONS, supports_check_mode=True)
    module.exit_json(**cuda_toolkit.converge(module, module.params))


if __name__ == "__main__":
    main()
