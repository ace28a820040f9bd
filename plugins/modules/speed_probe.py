#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast each GPU of this node is by itself."""

from __future__ import annotations

DOCUMENTATION = r"""
module: speed_probe
short_description: Measure the speed of each GPU of this node, or of its processors
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - For each GPU a matrix product at O(precision), a copy within its memory, a copy from the host's pinned memory and
    one to each other GPU that it reaches directly; about 6 seconds a GPU. While the product runs, C(nvidia-smi) tells
    clocks, power, temperature, what slows the GPU down, and the PCIe link.
  - The GPUs are measured one after the other. Together they would share power, PCIe switches and the host's memory, and
    a node with eight could not be compared with one that has two.
  - A GPU on which others compute, whose memory is in use, or that is cut into MIG instances is not touched, and its
    C(reason) says so.
  - With O(device=cpu) a matrix product and a copy of memory, with as many threads as there are processors to use.
  - Works as the user of the jobs, with the Python of the jobs. Writes nothing. Never fails because of what it finds.
options:
  python:
    description: The Python with torch.
    type: path
    default: /opt/trainmesh/env/bin/python
  device:
    description: What is measured.
    type: str
    choices: [gpu, cpu]
    default: gpu
  precision:
    description: Numbers of the matrix product on GPUs; processors take V(fp32).
    type: str
    choices: [bf16, fp16, fp32]
    default: fp16
  timeout:
    description: Seconds for everything; V(0) for 90 and another 12 for each GPU, or 30 for the processors, at most 600.
    type: float
    default: 0
extends_documentation_fragment:
  - trainmesh.cluster.job_user
  - trainmesh.cluster.attributes.read
  - trainmesh.cluster.planned
  - trainmesh.cluster.planned.kept
attributes:
  check_mode:
    description: In check mode nothing is measured and RV(speed.reason) says so.
    support: full
notes:
  - Loads the GPUs fully for some seconds each; do not run it beside training.
"""

EXAMPLES = r"""
- name: Measure each GPU
  trainmesh.cluster.speed_probe:
    python: /opt/conda/envs/train/bin/python
    precision: bf16
    user: trainer

- name: Measure the processors
  trainmesh.cluster.speed_probe:
    device: cpu
"""

RETURN = r"""
speed:
  description: What was measured.
  returned: always
  type: dict
  contains:
    device:
      description: What was asked for, V(gpu) or V(cpu).
      returned: always
      type: str
      sample: gpu
    precision:
      description: Numbers of the matrix product on GPUs.
      returned: always
      type: str
      sample: bf16
    reason:
      description: Why nothing was measured, or not all of it; V(null) otherwise.
      returned: always
      type: str
      sample: there is no nvidia-smi
    torch:
      description: Version of PyTorch.
      returned: always
      type: str
      sample: 2.14.1+cu130
    gpus:
      description:
        - All GPUs in the order of C(nvidia-smi). C(reason) says why one was not tested, and is null for the others.
        - C(tflops) of the matrix product; C(memory_gbps) counts read and written bytes; C(host_gbps) is from the host;
          C(peer_gbps) is to the GPU C(peer) (a UUID), the one that is reached fastest. Null where not measured, with
          the reason in C(errors).
        - C(near) says whether the processors beside the GPU did the work; with V(false), C(host_gbps) crosses sockets.
        - C(under_load) is the state while the matrix product ran, in MHz, W and degrees Celsius.
      returned: always
      type: list
      elements: dict
      sample:
        - errors: {}
          host_gbps: 55.2
          index: 0
          memory_gbps: 2890.1
          memory_mib: 81559
          name: H100 80GB HBM3
          near: true
          pci_bus_id: "00000000:53:00.0"
          peer: GPU-00000000-0000-0000-0000-000000000001
          peer_gbps: 391.5
          power_default_w: 700.0
          power_limit_w: 700.0
          reason: null
          tflops: 688.1
          under_load:
            memory_max_mhz: 2619.0
            memory_mhz: 2619.0
            pcie: {"gen_current": 5, "gen_max": 5, "width_current": 16, "width_max": 16}
            power_default_w: 700.0
            power_limit_w: 700.0
            power_w: 691.0
            sm_max_mhz: 1980.0
            sm_mhz: 1605.0
            temperature_c: 58
            throttle_reasons: [sw_power_cap]
          uuid: GPU-00000000-0000-0000-0000-000000000000
    cpu:
      description:
        - The processors, with O(device=cpu). C(gflops) of a matrix product in fp32; C(memory_gbps) counts read and
          written bytes; C(throttled) is how often heat slowed them down meanwhile.
      returned: always
      type: dict
      sample:
        errors: {}
        gflops: 1480.3
        governor: performance
        memory_gbps: 41.2
        threads: 64
        throttled: 0
    load:
      description: How busy the node was meanwhile, as in M(trainmesh.cluster.link_probe).
      returned: always
      type: dict
      sample: {load1: 0.4, cores: 64, throttled: 0.0, stolen: 0.0, seconds: 9.3}
    boot:
      description: Which kernel it ran on; the same for containers of one machine, which share its processors.
      returned: always
      type: str
      sample: 4d6f3bd8-0b5f-4ab8-9ba7-0d6c2dc6ad3f
    processor:
      description: Name of the processors.
      returned: always
      type: str
      sample: AMD EPYC 7763 64-Core Processor
    seconds:
      description: Seconds that it took.
      returned: always
      type: float
      sample: 9.3
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user
from ansible_collections.trainmesh.cluster.plugins.module_utils._speed.probe import Wish, empty, probe


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "python": {"type": "path", "default": "/opt/trainmesh/env/bin/python"},
            "device": {"type": "str", "choices": ["gpu", "cpu"], "default": "gpu"},
            "precision": {"type": "str", "choices": ["bf16", "fp16", "fp32"], "default": "fp16"},
            "timeout": {"type": "float", "default": 0},
            "user": {"type": "str"},
        },
        supports_check_mode=True,
    )
    given = module.params
    if given["timeout"] < 0:
        module.fail_json(msg=f"timeout must be 0 or more seconds, not {given['timeout']}: nothing was measured.")
    wish = Wish(given["python"], given["device"], given["precision"], given["timeout"])
    if module.check_mode:
        module.exit_json(changed=False, speed={**empty(wish), "reason": "check mode measures nothing"})
    with job_user.working_for(module, given["user"]):
        speed = probe(wish)
    module.exit_json(changed=False, speed=speed)


if __name__ == "__main__":
    main()
