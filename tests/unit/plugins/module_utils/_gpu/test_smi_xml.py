# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nvidia-smi -q -x: every schema, every damage."""

from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_xml import SmiLog, parse
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import bus_id, integer, value, yes_no
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import (
    expected_in,
    recorded,
    sample,
)

TWO = sample("nvidia_smi_two_a100.xml")


def log_with(header: str, body: str) -> SmiLog:
    return parse(
        f"<?xml version='1.0' ?>\n<nvidia_smi_log>{header}<attached_gpus>1</attached_gpus>{body}</nvidia_smi_log>"
    )


def gpu_with(inner: str) -> dict[str, t.Any]:
    log = log_with("", f"<gpu id='0000:01:00.0'><product_name>X</product_name>{inner}</gpu>")
    assert log.defect is None
    return log.gpus[0]


@pytest.mark.parametrize(("name", "want"), expected_in("nvidia_smi_xml"))
def test_recorded_header(name: str, want: dict[str, t.Any]) -> None:
    log = parse(recorded("nvidia_smi_xml", name))
    assert log.defect is None
    assert log.schema == want["schema"]
    assert log.driver_version == want["driver_version"]
    assert log.cuda_driver_version == value(want["cuda_version"])
    assert log.attached == integer(want["attached_gpus"])
    assert len(log.gpus) == want["gpu_blocks"] == len(want["gpus"])


@pytest.mark.parametrize(("name", "want"), expected_in("nvidia_smi_xml"))
def test_recorded_gpus(name: str, want: dict[str, t.Any]) -> None:
    for got, gpu in zip(parse(recorded("nvidia_smi_xml", name)).gpus, want["gpus"]):
        assert got["name"] == gpu["name"].replace("NVIDIA ", "")
        assert got["uuid"] == gpu["uuid"]
        assert got["pci_bus_id"] == bus_id(gpu["bus_id"])
        assert got["memory_mib"] == gpu.get("memory_total_mib")
        assert got["minor_number"] == integer(gpu.get("minor_number"))
        assert got["architecture"] == gpu.get("architecture")
        assert got["persistence_mode"] == value(gpu.get("persistence_mode"))
        assert got["mig_mode"] == value(gpu.get("mig_current"))
        assert got["mig_mode_pending"] == value(gpu.get("mig_pending"))
        assert len(got["mig_devices"]) == gpu["mig_devices"]
        assert got["fabric"] == {"state": value(gpu.get("fabric_state")), "status": value(gpu.get("fabric_status"))}
        assert bool(got["fault"]) == gpu.get("lost", False)
        for key in ("width_current", "width_max", "gen_current", "gen_max"):
            assert got["pcie"][key] == integer(gpu.get(f"pcie_{key}"))
        assert (got["throttle_reasons"] or []) == gpu.get("active_clock_reasons", [])


@pytest.mark.parametrize(("name", "want"), expected_in("nvidia_smi_xml"))
def test_recorded_temperatures_and_compute_modes(name: str, want: dict[str, t.Any]) -> None:
    text = recorded("nvidia_smi_xml", name)
    gpus = parse(text).gpus
    assert len(gpus) == want["gpu_blocks"]
    degrees = re.findall(r"<gpu_temp>([^<]*)</gpu_temp>", text)
    assert [gpu["temperature_c"] for gpu in gpus] == [integer(each.removesuffix(" C")) for each in degrees]
    assert all(gpu["temperature_c"] is not None or gpu["fault"] for gpu in gpus)
    modes = re.findall(r"<compute_mode>([^<]*)</compute_mode>", text)
    assert [gpu["compute_mode"] for gpu in gpus if gpu["compute_mode"]] == [mode for mode in map(value, modes) if mode]


@pytest.mark.parametrize(("name", "want"), expected_in("nvidia_smi_xml"))
def test_recorded_errors(name: str, want: dict[str, t.Any]) -> None:
    for got, gpu in zip(parse(recorded("nvidia_smi_xml", name)).gpus, want["gpus"]):
        counters = [got["ecc"][key] for key in ("uncorrected_volatile", "corrected_volatile", "uncorrected_aggregate")]
        assert got["ecc"]["mode"] == value(gpu.get("ecc_current"))
        if gpu["ecc_errors_all_na"] or "ecc_current" not in gpu:
            assert counters == [None, None, None]
            continue
        nonzero = {path: int(text) for path, text in gpu.get("ecc_errors_nonzero", {}).items()}
        for kind, legacy in (("uncorrected", "double_bit"), ("corrected", "single_bit")):
            for span in ("volatile", "aggregate"):
                plain = f"{kind.replace('corrected', 'correctable')}"
                total = sum(
                    n for path, n in nonzero.items() if path.startswith(f"{span}/") and path.endswith(f"_{plain}")
                )
                assert got["ecc"][f"{kind}_{span}"] == total + nonzero.get(f"{span}/{legacy}/total", 0)
        rows = gpu.get("remapped_rows")
        if isinstance(rows, dict):
            assert got["remapped_rows"] == {
                "correctable": integer(rows["remapped_row_corr"]),
                "uncorrectable": integer(rows["remapped_row_unc"]),
                "pending": yes_no(rows["remapped_row_pending"]),
                "failure": yes_no(rows["remapped_row_failure"]),
            }
        else:
            assert got["remapped_rows"] is None


def test_a_whole_sample() -> None:
    log = parse(TWO)
    assert log[:4] == ("v12", "535.104.05", "12.2", 2)
    assert log.defect is None
    gpu = log.gpus[1]
    assert (gpu["name"], gpu["pci_bus_id"], gpu["memory_mib"]) == ("A100-SXM4-40GB", "00000000:0f:00.0", 40960)
    assert gpu["ecc"]["uncorrected_volatile"] == 1
    assert gpu["ecc"]["corrected_volatile"] == 2
    assert gpu["ecc"]["uncorrected_aggregate"] == 7
    assert gpu["ecc"]["sram_uncorrected_aggregate"] == 3
    assert gpu["remapped_rows"] == {"correctable": 0, "uncorrectable": 1, "pending": True, "failure": False}
    assert gpu["processes"] == [{"pid": 4711, "type": "C", "memory_mib": 1005}]
    assert gpu["throttle_reasons"] == ["gpu_idle"]
    assert (gpu["temperature_c"], gpu["compute_mode"]) == (34, "Exclusive_Process")


def test_driver_610_deprecates_its_version_labels() -> None:
    log = log_with(
        "<driver_version>610.57.04 [Deprecated; will be removed in CUDA 14.0. Use KMD Version instead]</driver_version>"
        "<cuda_version>13.3 [Deprecated; will be removed in CUDA 14.0. Use CUDA UMD Version instead]</cuda_version>",
        "",
    )
    assert (log.driver_version, log.cuda_driver_version) == ("610.57.04", "13.3")


def test_versions_after_the_old_labels_are_gone() -> None:
    log = log_with("<kmd_version>616.10</kmd_version><cuda_umd_version>14.0</cuda_umd_version>", "")
    assert (log.driver_version, log.cuda_driver_version) == ("616.10", "14.0")
    log = log_with(
        '<driver_version>Deprecated, see "KMD version" instead</driver_version><kmd_version>610.57.04</kmd_version>', ""
    )
    assert log.driver_version == "610.57.04"


def test_an_unknown_schema_is_read_like_the_newest() -> None:
    log = parse(TWO.replace("nvsmi_device_v12.dtd", "nvsmi_device_v99.dtd"))
    assert log.schema == "v99"
    assert log.gpus == parse(TWO).gpus


@pytest.mark.parametrize(
    "word",
    [
        "N/A",
        "[N/A]",
        "[Not Supported]",
        "Unknown Error",
        "[Unknown Error]",
        "ERR!",
        "[Insufficient Permissions]",
        "Requested functionality has been deprecated",
        "[Requested functionality has been deprecated]",
        "Not Found",
        "None",
        "",
    ],
)
def test_a_word_for_no_value_is_none(word: str) -> None:
    gpu = gpu_with(
        f"<uuid>{word}</uuid><persistence_mode>{word}</persistence_mode>"
        f"<mig_mode><current_mig>{word}</current_mig></mig_mode>"
        f"<fb_memory_usage><total>{word}</total></fb_memory_usage>"
        f"<ecc_mode><current_ecc>{word}</current_ecc></ecc_mode>"
        f"<fabric><state>{word}</state></fabric><remapped_rows>{word}</remapped_rows>"
        f"<temperature><gpu_temp>{word}</gpu_temp></temperature><compute_mode>{word}</compute_mode>"
    )
    keys = ("uuid", "persistence_mode", "mig_mode", "memory_mib", "remapped_rows", "temperature_c", "compute_mode")
    assert {key: gpu[key] for key in (*keys, "fault")} == dict.fromkeys((*keys, "fault"))
    assert gpu["ecc"]["mode"] is None
    assert gpu["fabric"]["state"] is None


@pytest.mark.parametrize(
    ("xml", "key", "want"),
    [
        ("<gpu_recovery_action>None</gpu_recovery_action>", "recovery_action", "None"),
        ("<gpu_recovery_action>N/A</gpu_recovery_action>", "recovery_action", None),
        ("<gpu_recovery_action>Drain and Reset</gpu_recovery_action>", "recovery_action", "Drain and Reset"),
        ("<fabric><state>Completed</state></fabric>", "fabric_health", None),
        ("<fabric><health><summary>N/A</summary></health></fabric>", "fabric_health", None),
        (
            "<fabric><health><summary>Healthy</summary><bandwidth>N/A</bandwidth><route_unhealthy>False"
            "</route_unhealthy><incorrect_configuration>None</incorrect_configuration></health></fabric>",
            "fabric_health",
            {"summary": "Healthy", "faults": []},
        ),
        (
            "<fabric><health><summary>Limited Capacity</summary><bandwidth>Degraded</bandwidth>"
            "<route_unhealthy>True</route_unhealthy></health></fabric>",
            "fabric_health",
            {"summary": "Limited Capacity", "faults": ["bandwidth: Degraded", "route unhealthy: True"]},
        ),
    ],
)
def test_what_the_driver_says_of_its_own_health(xml: str, key: str, want: t.Any) -> None:
    assert gpu_with(xml)[key] == want


@pytest.mark.parametrize("word", ["GPU is lost", "[GPU is lost]", "GPU requires reset", "[GPU requires reset]"])
def test_a_broken_gpu_is_named(word: str) -> None:
    gpu = gpu_with(f"<fb_memory_usage><total>{word}</total></fb_memory_usage><processes>{word}</processes>")
    assert gpu["fault"] == word.strip("[]")
    assert gpu["memory_mib"] is None
    assert gpu["processes"] is None


def test_names_lose_the_vendor_but_nothing_else() -> None:
    for printed, name in (("NVIDIA H200", "H200"), ("Tesla T4", "Tesla T4"), ("GeForce GTX 1080", "GeForce GTX 1080")):
        log = log_with("", f"<gpu id='0000:01:00.0'><product_name>{printed}</product_name></gpu>")
        assert log.gpus[0]["name"] == name


def test_sram_counters_of_driver_550_are_added_up() -> None:
    gpu = gpu_with(
        "<ecc_errors><volatile><sram_correctable>1</sram_correctable>"
        "<sram_uncorrectable_parity>2</sram_uncorrectable_parity>"
        "<sram_uncorrectable_secded>3</sram_uncorrectable_secded><dram_correctable>N/A</dram_correctable>"
        "<dram_uncorrectable>4</dram_uncorrectable></volatile></ecc_errors>"
    )
    assert (gpu["ecc"]["uncorrected_volatile"], gpu["ecc"]["corrected_volatile"]) == (9, 1)
    assert gpu["ecc"]["uncorrected_aggregate"] is None


def test_mig_parts() -> None:
    gpu = gpu_with(
        "<mig_mode><current_mig>Enabled</current_mig><pending_mig>Disabled</pending_mig></mig_mode><mig_devices>"
        + "".join(
            f"<mig_device><index>{n}</index><gpu_instance_id>{n + 3}</gpu_instance_id>"
            "<compute_instance_id>0</compute_instance_id>"
            "<fb_memory_usage><total>19968 MiB</total></fb_memory_usage></mig_device>"
            for n in range(2)
        )
        + "</mig_devices>"
    )
    assert (gpu["mig_mode"], gpu["mig_mode_pending"]) == ("Enabled", "Disabled")
    assert [(part["index"], part["gpu_instance_id"], part["memory_mib"]) for part in gpu["mig_devices"]] == [
        (0, 3, 19968),
        (1, 4, 19968),
    ]


WARNING = "WARNING: infoROM is corrupted at gpu 0000:07:00.0\n"


@pytest.mark.parametrize(
    "text",
    [WARNING + TWO, TWO + WARNING, TWO.replace("\t<gpu id", WARNING + "\t<gpu id", 1), TWO.replace("\n", "\r\n")],
    ids=["before", "behind", "between", "carriage-returns"],
)
def test_warnings_around_the_document_do_no_harm(text: str) -> None:
    assert parse(text) == parse(TWO)


def test_command_lines_may_hold_anything() -> None:
    for name in ("/opt/a&b --x=<y> \ufffd\x01", "a</process>", "a</gpu></nvidia_smi_log>"):
        assert parse(TWO.replace("<process_name>python", f"<process_name>{name}")) == parse(TWO)


@pytest.mark.parametrize(
    ("text", "defect", "gpus"),
    [
        ("", "no GPU list", 0),
        ("No devices were found\n", "no GPU list", 0),
        (TWO[: TWO.index("</gpu>") + 6], "cut off", 1),
        (TWO[: TWO.index("<attached_gpus>")], "cut off", 0),
        (TWO.replace("</nvidia_smi_log>", ""), "cut off", 2),
        (TWO + TWO, "more than one document", 2),
        (TWO.replace("</nvidia_smi_log>", "") + TWO, "more than one document", 2),
        (TWO.replace("<fan_speed>N/A</fan_speed>", "<fan_speed>&broken</fan_speed>", 1), "damaged", 1),
        (TWO.replace("Enabled", "Ena\ufffdbled", 1), "not text", 2),
        (TWO.replace("Enabled", "Ena\x07bled", 1), "not text", 2),
        (TWO.replace("<minor_number>0", "<uuid>GPU-x</uuid><minor_number>0"), "uuid twice", 2),
        (
            TWO.replace("<total>40960 MiB</total>", "<total>40960 MiB</total>" * 2, 1),
            "part of fb_memory_usage twice",
            2,
        ),
        (TWO.replace("<gpu_temp>34 C</gpu_temp>", "<gpu_temp>34 C</gpu_temp>" * 2), "part of temperature twice", 2),
        (
            TWO.replace("<attached_gpus>2</attached_gpus>", "<attached_gpus>2</attached_gpus>" * 2),
            "attached_gpus twice",
            2,
        ),
        (TWO.replace("0F:00.0", "07:00.0"), "two GPUs at one bus address", 2),
        (
            TWO.replace('id="00000000:0F:00.0"', "").replace("<pci_bus_id>00000000:0F:00.0</pci_bus_id>", ""),
            "without a bus",
            2,
        ),
        (
            TWO.replace("<product_name>NVIDIA A100-SXM4-40GB</product_name>", "", 1),
            "without a bus address or a name",
            2,
        ),
    ],
)
def test_a_damaged_output_says_so_and_keeps_what_is_whole(text: str, defect: str, gpus: int) -> None:
    log = parse(text)
    assert defect in (log.defect or "")
    assert len(log.gpus) == gpus


def test_the_header_survives_a_cut() -> None:
    log = parse(TWO[: TWO.rindex("<fb_memory_usage>")])
    assert log[:4] == ("v12", "535.104.05", "12.2", 2)


def test_entities_are_never_expanded() -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
    assert parse(bomb + TWO.split("?>", 1)[1].split('.dtd">', 1)[1].replace("535.104.05", "&b;")).driver_version is None


def test_a_flood_of_open_tags_is_read_in_linear_time() -> None:
    assert parse("<nvidia_smi_log>" + "<gpu >" * 200_000).gpus == ()
    assert parse("<nvidia_smi_log>" + "<process_name>" * 200_000).gpus == ()
