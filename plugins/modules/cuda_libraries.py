#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""cuDNN and NCCL as packages of the system."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cuda_libraries
short_description: Install cuDNN and NCCL as packages of the system
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Installs the libraries with their headers, both of one version and for one CUDA major version, out of the
    repositories of the node. PyTorch brings its own; these are for programs that are compiled on the node.
  - What would remove a package, change one that is held, or not fit on the disk is refused; an installation that fails
    is taken back. What is there and fits stays as it is.
options:
  cudnn:
    description: Version of cuDNN or its beginning, such as V(9.10), or V(any). Empty for none.
    type: str
  nccl:
    description: Version of NCCL or its beginning, such as V(2.27.5), or V(any). Empty for none.
    type: str
  cuda:
    description: Major version of CUDA that they are for, such as V(12). Empty for any.
    type: str
    default: ""
  refresh:
    description: Read the lists of packages anew before something is chosen, also in check mode.
    type: bool
    default: true
  timeout:
    description: Time limit of the installation in seconds.
    type: int
    default: 1800
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Install NCCL 2.27.5 for CUDA 12
  trainmesh.cluster.cuda_libraries:
    nccl: 2.27.5
    cuda: "12"
  become: true
"""

RETURN = r"""
versions:
  description: The packages with the versions that are there, or would be.
  returned: success
  type: dict
  sample: {libnccl2: 2.27.5-1+cuda12.9, libnccl-dev: 2.27.5-1+cuda12.9}
missing:
  description: What had to be installed.
  returned: success
  type: list
  elements: str
  sample: [nccl]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import cuda_libraries


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=cuda_libraries.OPTIONS, supports_check_mode=True)
    module.exit_json(**cuda_libraries.converge(module, module.params))


if __name__ == "__main__":
    main()
