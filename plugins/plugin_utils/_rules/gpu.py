# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on whether each node has the GPUs it should have, and has them to itself."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.facts import TIMEOUT_S
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import busy as diagnosis_busy
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    cpu_torch_only,
    gpu_place,
    gpus,
    has_gpus,
    limit,
    number,
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
    Untested,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._kernel import NOT_LOADED, has

# An idle node without the persistence daemon takes so long to initialise its GPUs for nvidia-smi; a node that trains is
# always a little busy, and must not keep a driver that hangs to itself.
_SMI_SECONDS = 5.0
_REBOOT = "Reboot the node, or unload and load the module (modprobe -r nvidia_uvm nvidia; modprobe nvidia)"
# status of gpu_facts -> rule, cause, remedy. What the status means: RETURN of gpu_facts.
STATUS = {
    "hung": (
        "gpu-hung",
        "The GPU driver does not answer: nvidia-smi had to be stopped, and a rank on this node would hang as well.",
        "Look for Xid lines with dmesg -T | grep -i -e xid -e nvrm, then reboot the node; power-cycle it if it hangs "
        "again.",
    ),
    "library_mismatch": (
        "drv-nvml-mismatch",
        "The driver's library was updated while the old kernel module stayed loaded: no CUDA program starts.",
        f"{_REBOOT}; keep it from happening again with apt-mark hold or dnf versionlock on the driver's packages.",
    ),
    "driver_not_loaded": (
        "gpu-driver-not-loaded",
        "The NVIDIA driver is installed, but its kernel module is not loaded.",
        "Run modprobe nvidia and read its message (dmesg | tail): after a kernel update the module has to be built "
        "again (dkms autoinstall), and Secure Boot refuses one without a signature.",
    ),
    "gpu_lost": (
        "gpu-lost-from-bus",
        "A GPU does not answer any more or has left the PCI bus: the node has fewer GPUs than ranks are meant for.",
        "Power-cycle the node (a reboot is often not enough); if it comes back, have the GPU, its power cables and its "
        "slot checked. Until then take the node out of the inventory.",
    ),
    "no_permission": (
        "gpu-no-permission",
        "The user that asked may not open the GPU devices (/dev/nvidia*).",
        "Look at ls -l /dev/nvidia* and add the job user to the group that owns them (usermod -aG video USER), or run "
        "verify with become.",
    ),
    "no_devices": (
        "gpu-none-usable",
        "The driver is loaded and finds no GPU that it can use.",
        "Read what the driver says: dmesg | grep NVRM. The open kernel module supports Turing and newer GPUs only.",
    ),
    "no_driver": (
        "gpu-no-driver",
        "The node has an NVIDIA GPU and no usable NVIDIA driver.",
        "Install the NVIDIA driver (docs/compatibility.md has the oldest one for each CUDA version), or set "
        "trainmesh_torch_build: cpu to train without GPUs.",
    ),
    "unknown": (
        "gpu-status-unclear",
        "What the tools say of the GPUs contradicts itself or was cut short.",
        "Run nvidia-smi -q on the node and look for errors.",
    ),
}
_NOUVEAU = (
    "gpu-nouveau",
    "The kernel module nouveau holds the GPUs, and keeps NVIDIA's driver from them.",
    "Write 'blacklist nouveau' and 'options nouveau modeset=0' into /etc/modprobe.d/nouveau.conf, run "
    "update-initramfs -u (or dracut --force), and reboot.",
)


@rule(
    About(
        "gpu-hung",
        layer="gpu",
        severity=FAIL,
        also=(WARN, INFO),
        title="nvidia-smi hangs",
        symptom="nvidia-smi hangs, processes in state D",
        source="NVIDIA System Management Interface",
    ),
    About(
        "drv-nvml-mismatch",
        layer="versions",
        severity=FAIL,
        also=(WARN, INFO),
        title="Driver and library versions do not match",
        symptom="`Driver/library version mismatch`",
        source="shine-cluster#30, translations#1167",
    ),
    About(
        "gpu-driver-not-loaded",
        layer="gpu",
        severity=FAIL,
        also=(INFO,),
        title="The NVIDIA driver is installed but not loaded",
        symptom="`couldn't communicate with the NVIDIA driver`",
        source="NVIDIA driver installation guide",
    ),
    About(
        "gpu-lost-from-bus",
        layer="gpu",
        severity=FAIL,
        also=(WARN, INFO),
        title="A GPU has fallen off the bus",
        symptom="`Unable to determine the device handle for GPU`, Xid 79, fewer GPUs",
        source="returnn#1486",
    ),
    About(
        "gpu-no-permission",
        layer="gpu",
        severity=FAIL,
        also=(INFO,),
        title="The job user cannot open the GPU devices",
        symptom="`Insufficient Permissions`, no CUDA device",
        source="NVIDIA driver README, device files",
    ),
    About(
        "gpu-none-usable",
        layer="gpu",
        severity=FAIL,
        also=(WARN, INFO),
        title="No GPU of the node is usable",
        symptom="`No devices were found`",
        source="NVIDIA System Management Interface",
    ),
    About(
        "gpu-no-driver",
        layer="gpu",
        severity=FAIL,
        also=(INFO,),
        title="The NVIDIA driver is not installed",
        symptom="`nvidia-smi: command not found`, CUDA is not available",
        source="NVIDIA driver installation guide",
    ),
    About(
        "gpu-status-unclear",
        layer="gpu",
        severity=WARN,
        title="GPU status is unknown",
        symptom="nvidia-smi's words are not known",
        source="NVIDIA System Management Interface",
    ),
    About(
        "gpu-nouveau",
        layer="gpu",
        severity=FAIL,
        also=(INFO,),
        title="The nouveau driver holds the GPUs",
        symptom="NVIDIA's driver does not load",
        source="NVIDIA driver installation guide",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def status(case: Case) -> t.Iterator[Answer]:
    """One finding for the status of each node; nothing stands in the way of a job that does without GPUs."""
    for host, facts in case.gpu.items():
        state = text(facts, "status")
        if state not in STATUS:
            continue
        busy = diagnosis_busy.ever(case, [host])
        if state == "hung" and busy.slack * _SMI_SECONDS >= TIMEOUT_S:
            yield Untested("gpu-hung", (host,), f"busy ({busy.words}): {shortened(text(facts, 'problem'), 300)}")
            continue
        nouveau = dig(facts, "nouveau_loaded") is True and state in ("driver_not_loaded", "no_driver", "no_devices")
        identity, cause, remedy = _NOUVEAU if nouveau else STATUS[state]
        refused = [kind for kind in NOT_LOADED if has(case, host, kind)]
        if state == "driver_not_loaded" and refused and not nouveau:
            cause, remedy = NOT_LOADED[refused[0]]
        if state == "gpu_lost" and dig(case.fabric.get(host), "container") and not dig(facts, "replayed_from"):
            cause = "A GPU of this container does not answer: the host lost it, or the container its access to it."
            remedy = "Run nvidia-smi on the host: where it lists all GPUs, restart the container; else " + remedy
        severity = WARN if state == "unknown" else INFO if cpu_torch_only(case) else FAIL
        yield finding(identity, severity, host, shortened(text(facts, "problem") or state, 300), cause, remedy)


@rule(
    About(
        "gpu-count",
        layer="gpu",
        severity=WARN,
        title="PCI bus, driver and nvidia-smi disagree on the GPU count",
        symptom="fewer CUDA devices than cards",
        source="NVIDIA System Management Interface",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def count(case: Case) -> t.Iterator[Answer]:
    """PCI bus, driver and nvidia-smi count the same GPUs; a container is rightly given fewer than the bus has."""
    for host, facts in case.gpu.items():
        counts = {what: number(facts, f"counts.{what}") for what in ("pci", "driver", "smi")}
        known = [value for value in counts.values() if value is not None]
        # a bus that shows less than nvidia-smi is one that cannot be seen, as in WSL and with some hypervisors
        lacking = counts["smi"] is not None and counts["smi"] < max(known)
        if text(facts, "status") == "ok" and lacking and not dig(case.fabric.get(host), "container"):
            yield finding(
                "gpu-count",
                WARN,
                host,
                ", ".join(f"{what} {value:g}" for what, value in counts.items() if value is not None),
                "The PCI bus, the driver and nvidia-smi count different numbers of GPUs: at least one is not used.",
                "Run nvidia-smi -L and dmesg | grep NVRM there; a GPU that this driver does not support "
                "is listed there.",
            )


@rule(
    About(
        "gpu-missing-on-node",
        layer="gpu",
        severity=FAIL,
        title="A node has no GPU while others do",
        symptom="the job fails on that node only",
        source="NVIDIA System Management Interface",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def missing(case: Case) -> t.Iterator[Answer]:
    """A node without any GPU among nodes that have some."""
    if not has_gpus(case) or cpu_torch_only(case):
        return
    for host in [host for host, facts in case.gpu.items() if text(facts, "status") == "none"]:
        yield finding(
            "gpu-missing-on-node",
            FAIL,
            host,
            "no NVIDIA GPU found",
            "The node has no GPU, and other nodes have some: a job cannot mix ranks with and without GPUs.",
            "Take the node out of the inventory, or set trainmesh_torch_build: cpu to train on CPUs only.",
        )


@rule(
    About(
        "gpu-busy-by-other",
        layer="gpu",
        severity=WARN,
        title="Other processes use a GPU",
        symptom="out of memory, or a port in use",
        source="field notes, DS#1923",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def busy(case: Case) -> t.Iterator[Answer]:
    """Somebody computes on a GPU before any job of ours runs; leftovers of launchers have a rule of their own."""
    least = limit(case, "gpu_busy_mib")
    for host in case.gpu:
        ours = [dig(process, "pid") for process in rows(case.user.get(host), "processes")]
        found = []
        for gpu in gpus(case, host):
            for process in rows(gpu, "processes"):
                memory = number(process, "memory_mib")
                if "C" in text(process, "type") and dig(process, "pid") not in ours and (memory or 0) >= least:
                    held = "" if memory is None else f" holds {memory:g} MiB"
                    found.append(f"GPU {dig(gpu, 'index')}: process {dig(process, 'pid')}{held}")
        if found:
            yield finding(
                "gpu-busy-by-other",
                WARN,
                host,
                shortened("; ".join(found), 300),
                "Other processes compute on the GPUs: a job there runs out of memory or is slow.",
                "Look who it is (ps -o user,etime,args -p PID) and end what is not wanted, or leave the "
                "node out with --limit.",
            )


@rule(
    About(
        "gpu-mig",
        layer="gpu",
        severity=WARN,
        also=(FAIL,),
        title="MIG is enabled",
        symptom="NCCL does not exchange between MIG instances",
        source="NVIDIA MIG user guide",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def mig(case: Case) -> t.Iterator[Answer]:
    """MIG parts of a GPU cannot train together; a change of the mode waits for a reset."""
    for host in case.gpu:
        modes = [
            (gpu, text(gpu, "mig_mode").lower(), text(gpu, "mig_mode_pending").lower()) for gpu in gpus(case, host)
        ]
        enabled = [gpu_place(gpu) for gpu, mode, _next in modes if mode == "enabled"]
        waiting = [gpu_place(gpu) for gpu, mode, then in modes if mode and then and mode != then]
        if enabled:
            yield finding(
                "gpu-mig",
                FAIL,
                host,
                shortened("MIG is enabled on " + ", ".join(enabled), 300),
                "The GPUs are cut into MIG instances: a process sees only one, and NCCL does not work between them.",
                "Turn it off with nvidia-smi -mig 0 (no process may use the GPU), then nvidia-smi --gpu-reset or a "
                "reboot.",
            )
        elif waiting:
            seen = shortened("MIG waits for a reset on " + ", ".join(waiting), 300)
            cause = "A change of the MIG mode waits for a reset of the GPU."
            yield finding("gpu-mig", WARN, host, seen, cause, "Run nvidia-smi --gpu-reset, or reboot the node.")


@rule(
    About(
        "gpu-persistence",
        layer="gpu",
        severity=INFO,
        title="Persistence mode is off",
        symptom="each start waits for the driver",
        source="NVIDIA driver persistence",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def persistence(case: Case) -> t.Iterator[Answer]:
    """Without persistence mode the driver forgets each GPU as soon as nobody uses it."""
    for host in case.gpu:
        off = [gpu for gpu in gpus(case, host) if text(gpu, "persistence_mode").lower() == "disabled"]
        if off:
            yield finding(
                "gpu-persistence",
                INFO,
                host,
                f"off on {len(off)} of {len(gpus(case, host))} GPUs",
                "Persistence mode is off: every start of a job waits seconds for each GPU, and error "
                "counters are lost.",
                "Run systemctl enable --now nvidia-persistenced, or nvidia-smi -pm 1 after each boot.",
            )


@rule(
    About(
        "gpu-compute-mode",
        layer="gpu",
        severity=FAIL,
        also=(INFO,),
        title="The GPU compute mode excludes processes",
        symptom="`all CUDA-capable devices are busy or unavailable`",
        source="NVIDIA System Management Interface, compute mode",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def compute_mode(case: Case) -> t.Iterator[Answer]:
    """A GPU that no process, or only one at a time, may use. Exclusive is fine for one rank on each GPU."""
    for host in [] if cpu_torch_only(case) else case.gpu:
        modes = [(gpu_place(gpu), text(gpu, "compute_mode").lower()) for gpu in gpus(case, host)]
        prohibited = [place for place, mode in modes if mode == "prohibited"]
        exclusive = [place for place, mode in modes if mode.startswith("exclusive")]
        if prohibited:
            mode, severity, places = "Prohibited", FAIL, prohibited
            cause = "The compute mode of a GPU forbids every process to compute on it: CUDA finds no usable device."
        elif exclusive:
            mode, severity, places = "Exclusive", INFO, exclusive
            cause = (
                "A GPU takes one process at a time: enough for one rank, but a second one, as a rank that touches GPU "
                "0 by mistake or a notebook, gets 'all CUDA-capable devices are busy or unavailable'."
            )
        else:
            continue
        seen = shortened(f"compute mode {mode} on {', '.join(places)}", 300)
        remedy = (
            "Run nvidia-smi -c DEFAULT there as root (-i INDEX for one GPU); a reboot brings the default back as well."
        )
        yield finding("gpu-compute-mode", severity, host, seen, cause, remedy)


@rule(
    About(
        "hostfile-slots-exceed-gpus",
        layer="launcher",
        severity=FAIL,
        title="More slots than GPUs",
        symptom="`invalid device ordinal`, or a hang of half an hour",
        source="TR#21373, DS#2594, DS#3878, DS#3916, MobileVLM#60",
    ),
    About(
        "gpus-unused-by-slots",
        layer="launcher",
        severity=WARN,
        title="Fewer slots than GPUs",
        symptom="idle GPUs",
        source="field notes",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def slots(case: Case) -> t.Iterator[Answer]:
    """Ranks that the plan puts on a node, and the GPUs that were found there."""
    for host, facts in case.gpu.items():
        found = len(gpus(case, host))
        wanted = number(dig(case.plan, "nodes", {}).get(host), "slots")
        if text(facts, "status") != "ok" or not found or wanted is None or cpu_torch_only(case):
            continue
        if wanted > found:
            yield finding(
                "hostfile-slots-exceed-gpus",
                FAIL,
                host,
                f"{wanted:g} slots, {found} GPUs",
                "More ranks than GPUs are planned there: 'invalid device ordinal', or two ranks on one GPU that hang.",
                "Lower trainmesh_slots of the node to the number of its GPUs, or leave the variable out.",
            )
        elif wanted < found:
            yield finding(
                "gpus-unused-by-slots",
                WARN,
                host,
                f"{wanted:g} slots, {found} GPUs",
                "Fewer ranks than GPUs are planned there: the other GPUs stay idle.",
                "Leave trainmesh_slots out of the inventory, or raise it; if it is meant so, set trainmesh_rules: "
                "{gpus-unused-by-slots: off}.",
            )


@rule(
    About(
        "nccl-duplicate-gpu",
        layer="nccl",
        severity=FAIL,
        title="Two ranks use one GPU",
        symptom="`Duplicate GPU detected`",
        source="Megatron-LM#661, ACC#2246, NC#1241",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def duplicate(case: Case) -> t.Iterator[Answer]:
    """The same GPU on two nodes: two names for one machine, or containers that share it."""
    owners: dict[str, list[str]] = collections.defaultdict(list)
    for host, facts in case.gpu.items():
        for gpu in [] if dig(facts, "replayed_from") else gpus(case, host):
            uuid = text(gpu, "uuid")
            if uuid and set(uuid.removeprefix("GPU-")) - set("0-?"):  # a placeholder is nobody's
                owners[uuid].append(host)
    shared = [(uuid, hosts, host) for uuid, hosts in owners.items() if len(hosts) > 1 for host in hosts]
    for uuid, hosts, host in shared:
        yield finding(
            "nccl-duplicate-gpu",
            FAIL,
            host,
            f"{uuid} is on {', '.join(dict.fromkeys(hosts))}",
            "The same GPU is seen on more than one node, or twice on one: NCCL refuses two ranks on one GPU.",
            "Take the second name of the machine out of the inventory, or give each container GPUs of its own "
            "(docker run --gpus device=...).",
        )
