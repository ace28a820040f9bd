# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import smi_text

TEXT = """\
GPU 00000000:18:00.0
    Product Name                : NVIDIA H100 80GB HBM3
    GPU UUID                    : GPU-1
    MIG Mode
        Current                 : Disabled
        Pending                 : Enabled
    GPU Recovery Action         : Reset
    PCI
        Bus Id                  : 00000000:18:00.0
        GPU Link Info
            PCIe Generation
                Max             : 5
                Current         : 1
            Link Width
                Max             : 16x
                Current         : 8x
    FB Memory Usage
        Total                   : 81559 MiB
    ECC Mode
        Current                 : Enabled
        Pending                 : Enabled
    ECC Errors
        Volatile
            SRAM Correctable    : 1
            SRAM Uncorrectable Parity : 2
            SRAM Uncorrectable SEC-DED : 3
            DRAM Correctable    : 4
            DRAM Uncorrectable  : 5
        Aggregate
            SRAM Threshold Exceeded : Yes
    Retired Pages
        Single Bit ECC          : 7
        Double Bit ECC          : 8
        Pending Page Blacklist  : Yes
    Remapped Rows
        Correctable Error       : 9
        Uncorrectable Error     : 10
        Pending                 : Yes
        Remapping Failure Occurred : No
    Fabric
        State                   : Completed
        Health
            Summary             : Unhealthy
            Bandwidth           : Degraded
    Processes                   : None
GPU 00000000:2A:00.0
    Product Name                : NVIDIA H100 80GB HBM3
"""


def test_the_plain_text_tells_what_the_xml_does() -> None:
    one, two = smi_text.gpus(
        f"==============NVSMI LOG==============\n\nAttached GPUs : 2\n{TEXT}\nTue Nov\n    Total : 1\n"
    )
    assert (one["pci_bus_id"], one["index"], two["pci_bus_id"], two["index"]) == (
        "00000000:18:00.0", 0, "00000000:2a:00.0", 1,
    )  # fmt: skip
    assert (one["name"], one["uuid"], one["mig_mode"], one["mig_mode_pending"]) == (
        "H100 80GB HBM3", "GPU-1", "Disabled", "Enabled",
    )  # fmt: skip
    assert one["pcie"] == {"width_current": 8, "width_max": 16, "gen_current": 1, "gen_max": 5}
    assert (one["ecc"]["uncorrected_volatile"], one["ecc"]["corrected_volatile"]) == (10, 5)
    assert one["ecc"]["sram_threshold_exceeded"] is True
    assert [one["ecc"][f"retired_pages_{kind}"] for kind in ("single_bit", "double_bit", "pending")] == [7, 8, True]
    assert one["remapped_rows"] == {"correctable": 9, "uncorrectable": 10, "pending": True, "failure": False}
    assert one["fabric_health"] == {"summary": "Unhealthy", "faults": ["bandwidth: Degraded"]}
    assert (one["recovery_action"], one["memory_mib"], two["memory_mib"]) == ("Reset", 81559, None)


@pytest.mark.parametrize("text", ["", "GPU 0: NVIDIA H100 (UUID: GPU-1)\n", "GPU x\n    a : b\n", "    Total : 1\n"])
def test_other_texts_have_no_gpus(text: str) -> None:
    assert smi_text.gpus(text) == []


def test_a_text_of_any_depth_is_read_in_time() -> None:
    deep = "\n".join(f"{' ' * (4 * level)}A" for level in range(1, 2000))
    assert len(smi_text.gpus(f"GPU 00000000:18:00.0\n{deep}\n")) == 1
    many = "".join(f"GPU 00000000:{number:02x}:00.0\n    Total : 1\n" for number in range(256))
    assert len(smi_text.gpus(many)) <= smi_text.MOST_GPUS
