#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The NVIDIA driver of a node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_driver
short_description: Install the NVIDIA driver, or leave a good one alone
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - A driver whose library and kernel module are there, of one version and of O(branch) or a newer branch, stays as it
    is, wherever it comes from.
  - Otherwise installs library, tools, kernel module and headers, without anything for screens. All packages are chosen
    and downloaded with lists and sources of their own before the node is changed. The module is built before an
    installed one is given up.
  - A failure leaves the node as it was. The installed packages are held, with dnf by C(versionlock), so that no upgrade
    gives library and module different versions; C(nouveau) is turned off; C(nvidia-peermem) is loaded at boot where
    there are RDMA adapters.
  - On a node with NVSwitches installs the fabric manager of exactly the driver's version.
  - "Sources of the tables: see C(_software/driver_table.py) and C(_gpu/generation.py)."
options:
  branch:
    description: Branch of the driver such as V(570). V(absent) removes what this module has installed.
    type: str
    required: true
  source:
    description:
      - V(distribution) adds the components of the distribution that hold the driver (Debian C(contrib) and
        C(non-free), Ubuntu C(restricted)), from the mirrors that the node has. The RHEL family and Fedora have none.
      - V(vendor) adds the vendor's repository, for apt or dnf.
    type: str
    choices: [distribution, vendor]
    default: distribution
  module:
    description: Kind of the kernel module. V(auto) takes the newer one of those that work with all GPUs of the node.
    type: str
    choices: [auto, open, proprietary]
    default: auto
  kernel:
    description: Release of the kernel that the module is for; empty for the running one.
    type: str
    default: ""
  timeout:
    description: Time limit in seconds of each step.
    type: int
    default: 3600
extends_documentation_fragment:
  - trainmesh.cluster.attributes
  - trainmesh.cluster.vendor_repository
notes:
  - In check mode the packages are looked for and downloaded too, into C(/var/cache/trainmesh), and removed again.
"""

EXAMPLES = r"""
- name: Install the driver of the distribution
  trainmesh.cluster.gpu_driver:
    branch: "535"

- name: Install a branch from the vendor's repository
  trainmesh.cluster.gpu_driver:
    branch: "570"
    source: vendor
"""

RETURN = r"""
version:
  description: Version of the driver that is installed, or would be.
  returned: success
  type: str
  sample: 570.172.08
module:
  description: Kind of its kernel module.
  returned: success
  type: str
  sample: open
packages:
  description: Packages that were installed, changed or removed.
  returned: success
  type: list
  elements: str
  sample: [libcuda1, nvidia-kernel-dkms, nvidia-smi]
held:
  description: Packages that are held.
  returned: success
  type: list
  elements: str
  sample: [libcuda1, nvidia-kernel-dkms]
reboot_needed:
  description: Whether the driver works only after a reboot.
  returned: success
  type: bool
  sample: true
reboot_reason:
  description: Why; empty where no reboot is needed.
  returned: success
  type: str
  sample: nouveau has the GPUs
busy:
  description: Processes that use the GPUs and would end with a reboot, where one is needed.
  returned: success
  type: list
  elements: str
  sample: [1234 (python3)]
boot_id:
  description: Id of the boot that the kernel of this node runs in; hosts that share a kernel have the same.
  returned: success
  type: str
  sample: 5b0fb5f3-ec0c-4c00-8f47-f5c0b00597d9
"""

import dataclasses

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import driver, driver_present
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_sources import Wish, key_of

OPTIONS = {
    "branch": {"type": "str", "required": True},
    "source": {"type": "str", "choices": ["distribution", "vendor"], "default": "distribution"},
    "module": {"type": "str", "choices": ["auto", "open", "proprietary"], "default": "auto"},
    "repository": {"type": "str", "default": ""},
    "key": {"type": "str", "default": "", "no_log": False},
    "key_url": {"type": "str", "default": "", "no_log": False},
    "key_fingerprint": {"type": "str", "default": "", "no_log": False},
    "kernel": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 3600},
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    given = module.params
    wish = Wish(
        branch=given["branch"],
        source=given["source"],
        module=given["module"],
        repository=given["repository"],
        key=key_of(given["key"]),
        key_url=given["key_url"],
        fingerprint=given["key_fingerprint"],
        kernel=given["kernel"],
        limit=given["timeout"],
    )
    try:
        result = driver.converge(wish, module.check_mode)
    except Fault as error:
        module.fail_json(msg=f"The driver is as it was: {error}")
    for note in result.notes:
        module.warn(note)
    answer = dataclasses.asdict(result)
    del answer["notes"]
    busy = driver_present.users() if result.reboot_reason else []
    module.exit_json(**answer, reboot_needed=bool(result.reboot_reason), busy=busy, boot_id=driver_present.boot_id())


if __name__ == "__main__":
    main()
