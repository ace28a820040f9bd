# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GPUs do at one moment, in the words of drivers from 2017 to 2026."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import smi_reading
from ansible_collections.trainmesh.cluster.tests.unit.samples import gpu_recordings

NEW = """<gpu_power_readings><average_power_draw>N/A</average_power_draw>
  <instant_power_draw>412.50 W</instant_power_draw><current_power_limit>350.00 W</current_power_limit>
  <default_power_limit>700.00 W</default_power_limit></gpu_power_readings>
  <module_power_readings><instant_power_draw>999.00 W</instant_power_draw>
  <current_power_limit>999.00 W</current_power_limit></module_power_readings>"""
OLD = """<power_readings><power_draw>412.50 W</power_draw><power_limit>600.00 W</power_limit>
  <default_power_limit>700.00 W</default_power_limit><enforced_power_limit>350.00 W</enforced_power_limit>
  </power_readings>"""


def document(power: str, processes: str = "") -> str:
    return f"""<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log><driver_version>550.1.2</driver_version><attached_gpus>1</attached_gpus>
<gpu id="00000000:53:00.0"><product_name>NVIDIA H100 80GB HBM3</product_name><uuid>GPU-1</uuid>
<fb_memory_usage><total>81559 MiB</total><used>612 MiB</used></fb_memory_usage>
<utilization><gpu_util>33.4 %</gpu_util></utilization>
<clocks><graphics_clock>1200 MHz</graphics_clock><sm_clock>1185 MHz</sm_clock><mem_clock>2619 MHz</mem_clock></clocks>
<max_clocks><sm_clock>1980 MHz</sm_clock><mem_clock>2619 MHz</mem_clock></max_clocks>
<clocks_event_reasons><clocks_event_reason_hw_thermal_slowdown>Active</clocks_event_reason_hw_thermal_slowdown>
</clocks_event_reasons>
{power}<processes>{processes}</processes></gpu></nvidia_smi_log>"""


@pytest.mark.parametrize("power", [NEW, OLD])
def test_clocks_power_and_what_slows_it_down(power):
    (found,) = smi_reading.read("WARNING: infoROM is corrupted\n" + document(power))
    assert (found["sm_mhz"], found["sm_max_mhz"], found["memory_mhz"]) == (1185.0, 1980.0, 2619.0)
    assert (found["power_w"], found["power_limit_w"], found["power_default_w"]) == (412.5, 350.0, 700.0)
    assert (found["used_mib"], found["busy_percent"], found["computing"]) == (612.0, 33.4, 0)
    assert (found["name"], found["throttle_reasons"]) == ("H100 80GB HBM3", ["hw_thermal_slowdown"])


def test_processes_that_only_draw_do_not_count():
    both = "".join(f"<process_info><pid>{pid}</pid><type>{kind}</type></process_info>" for pid, kind in enumerate("GC"))
    assert smi_reading.read(document(NEW, both))[0]["computing"] == 1


def test_what_is_not_told_is_none_and_what_is_cut_is_nothing():
    text = document("")
    assert smi_reading.read(text)[0]["power_w"] is None
    assert smi_reading.read(text[:600]) == smi_reading.read("") == smi_reading.read("No devices were found") == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("k8stestinfra-hw-h100.xml", {"sm_mhz": 345, "sm_max_mhz": 1980, "power_w": 68.92, "power_limit_w": 700}),
        ("telegraf-tesla-t4.xml", {"sm_mhz": 585, "sm_max_mhz": 1590, "power_w": 26.78, "power_limit_w": 70}),
        ("telegraf-rtx-3080-v12.xml", {"power_w": 22.78, "power_limit_w": 336, "power_default_w": 320}),
        ("pai-sample.xml", {"power_w": 119.47, "busy_percent": 100, "used_mib": 2028}),
    ],
)
def test_recorded_gpus(name, expected):
    found = smi_reading.read(gpu_recordings.recorded("nvidia_smi_xml", name))[0]
    assert {key: found[key] for key in expected} == expected
