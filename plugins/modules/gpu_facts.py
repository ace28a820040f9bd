#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module gpu_facts: read the NVIDIA GPUs of a node and say whether they can be used."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_facts
short_description: Gather facts about the NVIDIA GPUs of a node
version_added: "1.0.0"
description:
  - Reads what a node really has, with nothing but the system's Python, before anything is installed.
  - The PCI bus and the driver's files are read first; then C(nvidia-smi) is asked twice, a third time for the wiring
    when there is more than one GPU or an RDMA device, and a fourth time for the links when there are NVLinks.
  - Never hangs. A command that does not end in time, as C(nvidia-smi) does on a GPU that is lost, is killed with all
    that it started; what the kernel tells is returned all the same, and the status is V(hung).
  - A node with neither an NVIDIA GPU nor C(nvidia-smi) starts no command at all.
  - A value that is not known is null. Nothing is guessed.
options:
  root:
    description:
      - Directory under which C(proc/), C(sys/) and C(var/log/) are read. Another than V(/) holds a recorded machine,
        and the commands in its C(usr/bin) are run in place of the node's own.
      - C(nvidia-smi) is searched in C(PATH) where the recorded machine has none; no other command is.
    type: path
    default: /
  timeout:
    description: Seconds that all commands together may take.
    type: float
    default: 30.0
extends_documentation_fragment:
  - trainmesh.cluster.attributes.facts
seealso:
  - module: trainmesh.cluster.node_facts
  - module: ansible.builtin.setup
  - module: ansible.builtin.gather_facts
author:
  - trainmesh.cluster contributors (@trainmesh)
"""

EXAMPLES = r"""
- name: Gather the facts of the GPUs
  trainmesh.cluster.gpu_facts:

- name: Stop where a GPU cannot be used
  ansible.builtin.assert:
    that: ansible_facts.trainmesh_facts_gpu.status in ['ok', 'none']
    fail_msg: "{{ ansible_facts.trainmesh_facts_gpu.problem }}"

- name: Give slow GPUs without persistence mode more time
  trainmesh.cluster.gpu_facts:
    timeout: 90

- name: Read a recorded machine
  trainmesh.cluster.gpu_facts:
    root: /srv/recordings/eight-h100
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: always
  type: dict
  contains:
    trainmesh_facts_gpu:
      description: What is known of the node's GPUs.
      returned: always
      type: dict
      contains:
        status:
          description:
            - V(ok) when every GPU answers and all counts agree; V(none) when the node has no NVIDIA GPU.
            - Otherwise the first of these that is true. V(hung), a command did not answer; V(library_mismatch), the
              loaded module and the driver library differ; V(driver_not_loaded); V(gpu_lost), a GPU fell off the bus,
              needs a reset, or is not listed though the bus or the driver has it; V(no_permission); V(no_devices);
              V(no_driver), a GPU without (the whole of) a driver; V(unknown), the answer cannot be trusted.
          returned: always
          type: str
          sample: ok
        problem:
          description: One sentence with the evidence; null when the status is V(ok) or V(none).
          returned: always
          type: str
          sample: >-
            the kernel module that is loaded is 580.173.02, the driver library is 580.178: reboot the node, or unload
            and load the module
        driver_version:
          description: Version of the loaded kernel module, else the one that C(nvidia-smi) names.
          returned: always
          type: str
          sample: 580.105.08
        driver_kind:
          description: V(open) or V(closed) kernel module, V(none) when none is loaded.
          returned: always
          type: str
          sample: open
        library_version:
          description: Version of the driver's user-space library C(libnvidia-ml).
          returned: always
          type: str
          sample: 580.105.08
        cuda_driver_version:
          description: The newest CUDA version that the driver can run. This is not an installed toolkit.
          returned: always
          type: str
          sample: "13.0"
        counts:
          description: GPUs on the PCI bus (C(pci)), taken by the driver (C(driver)) and listed by nvidia-smi (C(smi)).
          returned: always
          type: dict
          sample: {"pci": 8, "driver": 8, "smi": 8}
        gpus:
          description:
            - The GPUs in the order of C(nvidia-smi). When it does not answer, those that the kernel knows.
            - C(name) is without the vendor; C(pci_bus_id) is domain (8 digits), bus, device and function in lower
              case; C(compute_capability) comes from a query, else from a table of names.
            - C(fault) is what C(nvidia-smi) says of a broken GPU; C(recovery_action) what it advises,
              V(None) where it needs nothing.
            - C(fabric_health) is its C(summary) of the NVLink fabric, such as V(Healthy), and C(faults), what is wrong.
            - C(ecc) counts since the driver was loaded (C(_volatile)) and for the life of the board (C(_aggregate)).
            - C(temperature_c) is that of the chip in degrees Celsius; C(compute_mode) is V(Default),
              V(Exclusive_Process), V(Exclusive_Thread) or V(Prohibited).
            - C(processes) are those that hold memory of the GPU; type C computes, G draws.
          returned: always
          type: list
          elements: dict
          sample:
            - compute_capability: "9.0"
              compute_mode: Default
              ecc:
                corrected_aggregate: 0
                corrected_volatile: 0
                mode: Enabled
                mode_pending: Enabled
                retired_pages_double_bit: null
                retired_pages_pending: null
                retired_pages_single_bit: null
                sram_threshold_exceeded: false
                sram_uncorrected_aggregate: 0
                uncorrected_aggregate: 0
                uncorrected_volatile: 0
              fabric: {"state": "Completed", "status": "Success"}
              fabric_health: {"summary": "Healthy", "faults": []}
              fault: null
              index: 0
              memory_mib: 81559
              mig_mode: Disabled
              mig_mode_pending: Disabled
              name: H100 80GB HBM3
              numa_node: 0
              pci_bus_id: "00000000:53:00.0"
              pcie: {"gen_current": 5, "gen_max": 5, "width_current": 16, "width_max": 16}
              persistence_mode: Enabled
              processes: []
              recovery_action: "None"
              remapped_rows: {"correctable": 0, "failure": false, "pending": false, "uncorrectable": 0}
              temperature_c: 29
              throttle_reasons: [gpu_idle]
              uuid: GPU-00000000-0000-0000-0000-000000000000
        mig_devices:
          description: The parts of GPUs in MIG mode.
          returned: always
          type: list
          elements: dict
          sample:
            - compute_instance_id: 0
              gpu_index: 0
              gpu_instance_id: 3
              index: 0
              memory_mib: 19968
              multiprocessors: 14
        topology:
          description:
            - How GPUs and NICs are connected, as C(nvidia-smi topo -m) says; null when it was not asked or not whole.
            - C(gpu_gpu) and C(gpu_nic) are matrices in the order of C(gpus) and C(nics).
          returned: always
          type: dict
          sample:
            cpu_affinity:
              - "0-55,112-167"
              - "0-55,112-167"
              - "0-55,112-167"
              - "0-55,112-167"
              - "56-111,168-223"
              - "56-111,168-223"
              - "56-111,168-223"
              - "56-111,168-223"
            gpu_gpu:
              - [X, NV18, NV18, NV18, NV18, NV18, NV18, NV18]
              - [NV18, X, NV18, NV18, NV18, NV18, NV18, NV18]
              - [NV18, NV18, X, NV18, NV18, NV18, NV18, NV18]
              - [NV18, NV18, NV18, X, NV18, NV18, NV18, NV18]
              - [NV18, NV18, NV18, NV18, X, NV18, NV18, NV18]
              - [NV18, NV18, NV18, NV18, NV18, X, NV18, NV18]
              - [NV18, NV18, NV18, NV18, NV18, NV18, X, NV18]
              - [NV18, NV18, NV18, NV18, NV18, NV18, NV18, X]
            gpu_nic:
              - [PIX, PIX, NODE, NODE, SYS, SYS, SYS, SYS]
              - [PIX, PIX, NODE, NODE, SYS, SYS, SYS, SYS]
              - [NODE, NODE, PIX, PIX, SYS, SYS, SYS, SYS]
              - [NODE, NODE, PIX, PIX, SYS, SYS, SYS, SYS]
              - [SYS, SYS, SYS, SYS, PIX, PIX, NODE, NODE]
              - [SYS, SYS, SYS, SYS, PIX, PIX, NODE, NODE]
              - [SYS, SYS, SYS, SYS, NODE, NODE, PIX, PIX]
              - [SYS, SYS, SYS, SYS, NODE, NODE, PIX, PIX]
            gpus: [GPU0, GPU1, GPU2, GPU3, GPU4, GPU5, GPU6, GPU7]
            nics: [NIC0, NIC1, NIC2, NIC3, NIC4, NIC5, NIC6, NIC7]
            numa_affinity: [0, 0, 0, 0, 1, 1, 1, 1]
        nvlink:
          description:
            - The NVLinks of each GPU with their speed in GB/s in one direction, that of the slowest active link.
            - Empty when the wiring shows none; null when it was not asked.
          returned: always
          type: list
          elements: dict
          sample:
            - active: 18
              gb_per_s: 26.562
              inactive: 0
              index: 0
              uuid: GPU-00000000-0000-0000-0000-000000000000
        fabric_manager:
          description: The fabric manager; null on a node with neither an NVSwitch nor a fabric.
          returned: always
          type: dict
          sample: {"nvswitches": 4, "running": true, "version": "580.105.08"}
        nouveau_loaded:
          description: Whether the kernel module nouveau is loaded, which keeps NVIDIA's driver from the GPUs.
          returned: always
          type: bool
          sample: false
        xids:
          description:
            - What the kernel log says of GPUs since boot, the last five of each sort; null when it cannot be read.
            - C(kind) is V(xid), V(sxid) (an NVSwitch), V(fallen_off_bus) or V(degraded_link); C(xid) is the number.
          returned: always
          type: list
          elements: dict
          sample:
            - bus_id: "00000000:9b:00.0"
              kind: xid
              line: "[Sun Feb 23 16:24:24 2025] NVRM: Xid (PCI:0000:9b:00): 119, pid=2024380, Timeout after 6s"
              time: "2025-02-23T16:24:24"
              xid: 119
        kernel_events:
          description:
            - What the kernel log says of NVIDIA's driver beyond Xid since the module was loaded, equal lines once;
              null when it cannot be read. C(kind) is V(gpu_init_failed), V(gpu_needs_open_module), V(gpu_no_bar),
              V(gsp_failed), V(gsp_firmware_missing), V(api_mismatch), V(driver_bound), V(nouveau), V(module_rejected),
              V(module_mismatch) or V(peermem).
          returned: always
          type: list
          elements: dict
          sample:
            - kind: gpu_init_failed
              host: ""
              device: "0000:0a:00.0"
              owner: null
              count: 2
              line: "[885.24] NVRM: GPU 0000:0a:00.0: RmInitAdapter failed! (0x24:0x72:1568)"
              details: {code: "0x24:0x72:1568", minor: "5"}
        replayed_from:
          description: The recorded machine that these facts come from.
          returned: when it is not the node itself
          type: str
          sample: /srv/recordings/eight-h100
replayed_from:
  description: The recorded machine that the facts come from.
  returned: when it is not the node itself
  type: str
  sample: /srv/recordings/eight-h100
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import facts as gpu_facts


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/"},
            "timeout": {"type": "float", "default": gpu_facts.TIMEOUT_S},
        },
        supports_check_mode=True,
    )
    root, timeout = module.params["root"], module.params["timeout"]
    if timeout <= 0:
        module.fail_json(msg=f"timeout must be more than 0 seconds, not {timeout}: nothing was read.")
    facts, warning = gpu_facts.read(root, timeout)
    result: dict[str, t.Any] = {"ansible_facts": {"trainmesh_facts_gpu": facts}}
    if warning:
        module.warn(warning)
        result["replayed_from"] = facts["replayed_from"]
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
