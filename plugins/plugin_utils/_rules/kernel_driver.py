# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what NVIDIA's driver writes into the kernel log beside Xid."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import kernel_log as kernel
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import xid as gpu_xid
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import bus_id
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import key
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    active_ports,
    gpus,
    rows,
    shortened,
    text,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._kernel import (
    KIND,
    NOT_LOADED,
    Event,
    device_logs_known,
    driver_logs_known,
    events,
    given,
    has,
    hung_finding,
    hung_tasks,
    of,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_logs import (
    files_there,
    host_words,
    node_of,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._xids import off_bus, reason, to_judge

# The nodes whose facts tell that GPUs are lost, or that the driver is not there: that finding quotes the log.
_TOLD = ("gpu_lost", "no_devices", "no_driver", "driver_not_loaded", "hung", "library_mismatch")
_COLD = (
    "Run ipmitool chassis power cycle, or switch the node off for a minute (a warm reboot is not enough); if it "
    "comes back, have the card, its power cables and its slot checked and the GPU replaced (RMA), and take the node "
    "out of the inventory until then."
)
# "RmInitAdapter failed! (0x62:0x51:1941)": the second number is an error of the driver, NV_ERR_NO_MEMORY
_NO_MEMORY = re.compile(r"\A0x[0-9a-fA-F]{1,4}:0x51:")
# kind -> rule, cause, remedy: why the driver takes no GPU, whatever else it says
_SETUP = {
    "gpu_needs_open_module": (
        "gpu-none-usable",
        "The closed kernel module does not support this GPU (Blackwell and newer): it needs the open one.",
        "Install the open kernel module of the same version (apt install nvidia-open, or the package NAME-open), and "
        "reboot.",
    ),
    "gpu_no_bar": (
        "gpu-none-usable",
        "The firmware of the machine gives the GPU no addresses for its memory (BAR).",
        "Set Above 4G Decoding (and Resizable BAR) in the BIOS, or boot with pci=realloc.",
    ),
    "gsp_firmware_missing": (
        "gpu-gsp",
        "The firmware of the GPU's system processor (GSP) is missing: the driver cannot start the GPU.",
        "Install the package with /lib/firmware/nvidia/VERSION/gsp_*.bin of exactly the driver's version (nvidia-"
        "kernel-common, firmware-nvidia-gsp), rebuild the initramfs and reboot.",
    ),
}


@rule(
    About(
        "gpu-gsp",
        layer="gpu",
        severity=FAIL,
        also=(WARN, INFO),
        title="The GPU's system processor (GSP) does not answer",
        symptom="`GSP RM heartbeat timed out`, nvidia-smi hangs or lists fewer GPUs",
        source="open-gpu-kernel-modules#446, open-gpu-kernel-modules#789",
    ),
    "gpu-lost-from-bus",
    "gpu-none-usable",
    applies=driver_logs_known,
)
def starts(case: Case) -> t.Iterator[Answer]:
    """GPUs that the driver could not start, or that stopped to answer it, without an Xid."""
    for event in events(case, *_SETUP):
        if not (event.live and _status(case, event.host) in _TOLD):
            identity, *words = _SETUP[event.kind]
            yield of(case, event, identity, FAIL, (words[0], words[1]))
    for event in events(case, "gpu_init_failed"):
        if has(case, event.host, *_SETUP) or (event.live and _status(case, event.host) in _TOLD):
            continue
        works = event.live and bus_id(event.device) in [text(gpu, "pci_bus_id") for gpu in gpus(case, event.host)]
        cause = "The driver cannot start a GPU (RmInitAdapter failed): the node has one GPU less."
        if works:
            cause = "The driver could not start a GPU at first (RmInitAdapter failed); it works now and may be failing."
        remedy = _COLD
        if _NO_MEMORY.search(event.detail("code")) and not works:
            cause = "The driver cannot start a GPU since the kernel had no memory for it (code 0x51)."
            remedy = (
                "free -g there, end what holds the memory, then sysctl vm.compact_memory=1 and modprobe -r nvidia_uvm "
                "nvidia; modprobe nvidia; or reboot the node."
            )
        minor = event.detail("minor")
        seen = event.said() + (f" (device minor number {minor})" if minor else "")
        yield of(case, event, "gpu-lost-from-bus", WARN if works else FAIL, (cause, remedy), seen)
    for event in events(case, "gsp_failed"):
        if has(case, event.host, "gpu_init_failed", *_SETUP) or _has_gsp_xid(case, event):
            continue
        if event.live and _status(case, event.host) in _TOLD:
            continue
        works = event.live and _status(case, event.host) == "ok"
        cause = "The system processor of a GPU (GSP) stopped to answer the driver: programs on it hang or fail."
        remedy = (
            "Run nvidia-smi --gpu-reset -i INDEX with no process on it, or power-cycle the node; if it comes back, "
            "update the driver and the GPU's firmware, then have the GPU replaced."
        )
        yield of(case, event, "gpu-gsp", WARN if works else FAIL, (cause, remedy))


@rule("gpu-recovery", applies=driver_logs_known)
def reset_required(case: Case) -> t.Iterator[Answer]:
    """A driver that refuses work until a GPU is reset; where its Xid 154 or nvidia-smi say which one, they tell."""
    for event in events(case, "gpu_reset_required"):
        told = any(text(gpu, "recovery_action") for gpu in gpus(case, event.host)) if event.live else False
        named = any(host == event.host and each["xid"] == gpu_xid.RECOVERY for host, _path, each in _xids_given(case))
        if not (told or named):
            cause = "The driver refuses new programs on a GPU until it is reset."
            remedy = (
                "Run nvidia-smi -q there: GPU Recovery Action names the GPU; nvidia-smi --gpu-reset -i INDEX with no "
                "process on it, or reboot the node; if it comes back, have the GPU replaced."
            )
            yield of(case, event, "gpu-recovery", WARN if event.live else FAIL, (cause, remedy))


def _status(case: Case, host: str) -> str:
    return text(case.gpu.get(host), "status")


def _has_gsp_xid(case: Case, event: Event) -> bool:
    """Whether Xid 119 or 120 tell the same: gpu-xid is the finding then."""
    if event.live:
        return any(each.get("xid") in (119, 120) for each in rows(case.gpu.get(event.host), "xids"))
    return any(host == event.host and each["xid"] in (119, 120) for host, _path, each in _xids_given(case))


@rule("gpu-hung", applies=device_logs_known)
def hung(case: Case) -> t.Iterator[Answer]:
    """Processes that waited for minutes in NVIDIA's driver; a driver that hangs now has told so itself."""
    for event in events(case, "gpu_locked"):
        if event.live and _status(case, event.host) == "hung":
            continue
        remedy = "Run nvidia-smi and dmesg | grep -i -e xid -e nvrm; reset the GPU (--gpu-reset) or reboot the node"
        words = ("The driver's own watchdog takes a GPU for locked up: programs on it wait without an end", remedy)
        yield of(case, event, "gpu-hung", WARN, words)
    for (host, path, trace), every in hung_tasks(case).items():
        if trace == "nvidia" and (path or _status(case, host) != "hung"):
            remedy = "Run nvidia-smi and dmesg | grep -i -e xid -e nvrm, then reboot the node"
            yield hung_finding(case, "gpu-hung", every, ("Processes waited for minutes in NVIDIA's driver", remedy))


@rule("gpu-xid", applies=files_there(KIND))
def xids_given(case: Case) -> t.Iterator[Answer]:
    """Xid and GPUs that fell off the bus in kernel logs of users; Xid 79 and its plain words are one."""
    off = {(host, each["bus_id"]) for host, _path, each in _xids_given(case) if each["kind"] == "xid" and off_bus(each)}
    for host, path, each in _xids_given(case):
        why = reason(each)
        if why and not (each["kind"] == "fallen_off_bus" and (host, each["bus_id"]) in off):
            hosts = (host,) if host in case.plan["nodes"] else ()
            yield Finding("gpu-xid", why[0], hosts, {host: f"{path}: {shortened(each['line'])}"}, why[1], why[2])


def _xids_given(case: Case) -> list[tuple[str, str, Data]]:
    """(host, path, event) of each log of a user."""
    found = []
    for holder, path, content in given(case):
        hosts: dict[str, list[str]] = {}
        for line in kernel.lines(content, host_words(case)):
            hosts.setdefault(line.host, []).append(line.text)
        for word, own in hosts.items():
            name = (node_of(case, word) or word) if word else holder
            found += [(name, path, event) for event in to_judge(gpu_xid.parse("\n".join(own)).events)]
    return found


@rule(
    About(
        "gpu-bound-elsewhere",
        layer="gpu",
        severity=FAIL,
        also=(WARN, INFO),
        title="Another kernel driver holds a GPU",
        symptom="`NVRM: GPU ... is already bound to vfio-pci`, fewer GPUs",
        source="NVIDIA open-gpu-kernel-modules, nv-pci.c",
    ),
    "gpu-nouveau",
    "gpu-driver-not-loaded",
    "drv-nvml-mismatch",
    applies=driver_logs_known,
)
def modules(case: Case) -> t.Iterator[Answer]:
    """Another driver on a GPU, a module that the kernel refuses, and a library of another version than the module."""
    for event in events(case, "driver_bound", "nouveau"):
        driver = event.detail("driver") or "nouveau"
        if driver == "nouveau" and not event.live and not _loaded(case, event):
            cause = "The kernel module nouveau holds the GPUs, and keeps NVIDIA's driver from them."
            remedy = (
                "Write 'blacklist nouveau' and 'options nouveau modeset=0' into /etc/modprobe.d/nouveau.conf, run "
                "update-initramfs -u (or dracut --force), and reboot."
            )
            yield of(case, event, "gpu-nouveau", FAIL, (cause, remedy))
        elif driver != "nouveau":
            cause = f"The kernel driver {driver} holds a GPU, and keeps NVIDIA's driver from it."
            remedy = (
                f"driverctl unset-override ADDRESS, or take the GPU out of what binds {driver} (ids= in "
                "/etc/modprobe.d, vfio-pci.ids on the kernel's command line), then reboot."
            )
            yield of(case, event, "gpu-bound-elsewhere", WARN if event.live else FAIL, (cause, remedy))
    for event in events(case, "module_rejected", "module_mismatch"):
        if event.live or _loaded(case, event):  # live, the status of the driver tells with these words
            continue
        if not event.detail("module") and not gpus(case, event.host):
            continue  # whose module it was, nothing tells
        yield of(case, event, "gpu-driver-not-loaded", FAIL, NOT_LOADED[event.kind])
    for event in events(case, "api_mismatch"):
        client, module = event.detail("client"), event.detail("module")
        known = _status(case, event.host) == "library_mismatch"
        replaced = key(text(case.gpu.get(event.host), "driver_version") or module) != key(module)
        if event.live and (known or replaced):
            continue  # told by the driver's status, or over since the module was loaded anew
        cause = f"A program brings the driver library {client}, and the loaded kernel module is {module}."
        remedy = (
            "Reboot the node after a driver update (or modprobe -r nvidia_uvm nvidia; modprobe nvidia); in "
            "containers and on LD_LIBRARY_PATH keep no libcuda or libnvidia-ml of another version."
        )
        yield of(case, event, "drv-nvml-mismatch", WARN if event.live else FAIL, (cause, remedy))


def _loaded(case: Case, event: Event) -> bool:
    """Whether the driver is there all the same, as the node's facts tell."""
    return _status(case, event.host) in ("ok", "gpu_lost", "hung", "library_mismatch")


@rule("gdr-unavailable", applies=driver_logs_known)
def peer_memory(case: Case) -> t.Iterator[Answer]:
    """nvidia_peermem that cannot be loaded beside the RDMA modules that are there."""
    for event in events(case, "peermem"):
        if event.live and not active_ports(case, event.host):
            continue
        cause = (
            f"{event.detail('module')} does not fit the RDMA modules of the kernel: it was built before, or "
            "without, those of OFED, and GPUDirect RDMA stays off."
        )
        remedy = (
            "dkms autoinstall --force after the OFED driver, or install the NVIDIA driver again so that "
            "nvidia_peermem is built against it; the open kernel module on Linux 5.12 or newer does without "
            "(DMA-BUF)."
        )
        yield of(case, event, "gdr-unavailable", WARN, (cause, remedy))
