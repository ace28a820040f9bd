# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to say of a fabric manager or an IMEX that does not run, by the kind of its last words."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import FAIL, INFO, WARN


class Words(t.NamedTuple):
    """The severity, cause and remedy; names in braces are details of the event."""

    severity: str
    cause: str
    remedy: str


RANKS = (
    *(
        "version",
        "newer",
        "config",
        "access",
        "topology",
        "modules",
        "imex_interface",
        "imex_map",
        "imex_version",
        "imex_node",
    ),
    *(
        "imex_channel",
        "imex_peer",
        "imex_memory",
        "nothing",
        "in_use",
        "ended",
        "stopped",
        "imex_domain",
        "multicast",
        "error",
    ),
)
"""Kinds of events, those that explain others first."""

_RESTART = "then systemctl restart nvidia-fabricmanager"
_READ = "journalctl -u nvidia-fabricmanager -b and /var/log/fabricmanager.log"

MANAGER: t.Mapping[str, Words] = {
    "version": Words(
        FAIL,
        "The fabric manager {own} refuses to work with the driver {driver}: CUDA fails with error 802",
        "apt install nvidia-fabricmanager-{branch}={driver}-1 (dnf install nvidia-fabric-manager-{driver}), of exactly "
        "the loaded driver's version, or load the driver {own}; " + _RESTART,
    ),
    "newer": Words(
        FAIL,
        "The fabric manager {own} is newer than the loaded driver {driver} and refuses to work with it, as after an "
        "update of the packages without a reboot: CUDA fails with error 802",
        "Reboot the node where modinfo -F version nvidia says {own}; else apt install "
        "nvidia-fabricmanager-{branch}={driver}-1 (dnf install nvidia-fabric-manager-{driver}), " + _RESTART,
    ),
    "config": Words(
        FAIL,
        "The fabric manager does not take its configuration: {item}",
        "nv-fabricmanager -c /usr/share/nvidia/nvswitch/fabricmanager.cfg shows what it refuses; take the file of the "
        "package that is installed (another version knows other items), and set it anew; " + _RESTART,
    ),
    "access": Words(
        FAIL,
        "The fabric manager may not open the devices of the NVSwitches",
        "ls -l /dev/nvidia-nvswitch* /dev/nvidiactl; run nv-fabricmanager as root, in a container with all of them; "
        + _RESTART,
    ),
    "topology": Words(
        FAIL,
        "The fabric manager does not find the NVSwitches that this board has: one is missing or not passed through",
        "lspci -d 10de: and dmesg | grep -i nvswitch show which are there; power-cycle the node, and pass all "
        "NVSwitches to a virtual machine; " + _RESTART,
    ),
    "modules": Words(
        FAIL,
        "The NVSwitches of this board (NVLink 5) are reached over InfiniBand modules or devices that are missing",
        "modprobe mlx5_ib ib_umad (linux-modules-extra-$(uname -r) has them), install nvlsm and infiniband-diags; "
        + _RESTART,
    ),
    "nothing": Words(
        FAIL,
        "The fabric manager finds no NVSwitch to set up",
        "lspci -d 10de: | grep -i -e bridge -e switch; without an NVSwitch the service is not needed (systemctl "
        "disable --now nvidia-fabricmanager); on HGX B200 and B300 install nvlsm and modprobe mlx5_ib ib_umad; "
        + _RESTART,
    ),
    "in_use": Words(
        WARN,
        "Another fabric manager runs already, or its port 6666 is taken",
        "ss -ltnp sport = :6666 names it; end the one that is not the service's; " + _RESTART,
    ),
    "ended": Words(
        FAIL,
        "The fabric manager ended: CUDA fails with error 802 (system not yet initialized) until it runs again",
        f"{_READ} tell why; {_RESTART}, and nvidia-smi --gpu-reset (or a reboot) if GPUs stay In Progress",
    ),
    "stopped": Words(
        FAIL,
        "The fabric manager does not run ({state}): CUDA fails with error 802 (system not yet initialized)",
        f"systemctl enable --now nvidia-fabricmanager, of exactly the driver's version; {_READ} tell why it ended",
    ),
    "multicast": Words(
        INFO,
        "The fabric manager could not set NVLink SHARP up for a job, as happens when its processes are ended meanwhile",
        "nvidia-smi --gpu-reset with no process on the GPUs, or a reboot, if NCCL's NVLS fails since; "
        "NCCL_NVLS_ENABLE=0 does without",
    ),
    "error": Words(
        INFO,
        "The fabric manager logged an error that is of no known kind",
        f"{_READ}; nvidia-smi -q (section Fabric) shows whether the GPUs are registered",
    ),
}

GUEST = Words(
    FAIL,
    "The NVSwitches are not in this virtual machine: its host sets the fabric of the GPUs up, and has not",
    "On the host, activate the NVLink partition of these GPUs (FABRIC_MODE 1 or 2 in fabricmanager.cfg), or pass all "
    "NVSwitches through (on HGX B200 and B300 the ConnectX bridges); then nvidia-smi --gpu-reset here, or reboot",
)

NOTHING = Words(
    INFO,
    "The fabric manager finds no NVSwitch, and this node has none: it is not needed",
    "systemctl disable --now nvidia-fabricmanager",
)

_IMEX_RESTART = "then systemctl restart nvidia-imex on all nodes of the domain"

IMEX: t.Mapping[str, Words] = {
    "config": Words(
        FAIL,
        "IMEX does not take its configuration: {item}",
        "nvidia-imex -c /etc/nvidia-imex/config.cfg shows what it refuses; " + _IMEX_RESTART,
    ),
    "access": Words(
        FAIL,
        "IMEX may not open a device or a file that it needs",
        "systemctl status nvidia-imex; run it as root, with /dev/nvidia-caps-imex-channels; " + _IMEX_RESTART,
    ),
    "imex_interface": Words(
        FAIL,
        "None of the addresses in IMEX's list of nodes is this node's",
        "ip -br addr, then write this node's own address into /etc/nvidia-imex/nodes_config.cfg, the same list on all "
        "nodes; " + _IMEX_RESTART,
    ),
    "imex_map": Words(
        FAIL,
        "IMEX's list of nodes is not the same on all nodes: they refuse each other",
        "sha256sum /etc/nvidia-imex/nodes_config.cfg on all nodes; copy one list to all, " + _IMEX_RESTART,
    ),
    "imex_version": Words(
        FAIL,
        "IMEX is of another version on this node than on others ({version}): they refuse each other",
        "Install nvidia-imex of exactly the driver's version, the same on all nodes; " + _IMEX_RESTART,
    ),
    "imex_node": Words(
        FAIL,
        "IMEX of this node is not ready ({state}): no job uses the NVLinks between the nodes",
        "systemctl restart nvidia-imex there, and read /var/log/nvidia-imex.log; ports 50000 and 50005 have to be open "
        "between the nodes",
    ),
    "imex_channel": Words(
        FAIL,
        "The IMEX channel of this node is missing: programs cannot share memory over the NVLinks between nodes",
        "ls -l /dev/nvidia-caps-imex-channels; options nvidia NVreg_CreateImexChannel0=1 in /etc/modprobe.d makes "
        "channel0 (give it to containers too), or nvidia-modprobe -c 0",
    ),
    "imex_memory": Words(
        WARN,
        "IMEX could not hand memory of a GPU to another node, as when processes of the job start or end one by one",
        "End all processes of the job on all nodes and start them together, when IMEX is READY on each; "
        + _IMEX_RESTART.replace("then", "if it stays,"),
    ),
    "imex_peer": Words(
        FAIL,
        "IMEX of this node does not reach that of others",
        "nc -zv OTHER 50000 from there and back: open the port between the nodes; " + _IMEX_RESTART,
    ),
    "in_use": Words(
        WARN,
        "Another IMEX runs already, or its port is taken",
        "ss -ltnp | grep -e :50000 -e :50005 names it; where a scheduler or Kubernetes (ComputeDomain) starts IMEX, "
        "systemctl disable --now nvidia-imex; else end the other one, " + _IMEX_RESTART,
    ),
    "imex_domain": Words(
        WARN,
        "The IMEX domain is not up ({state})",
        "nvidia-imex-ctl -N on each node: every one has to be READY and connected (C)",
    ),
    "ended": Words(
        FAIL,
        "IMEX ended: no job uses the NVLinks between the nodes until it runs again",
        "journalctl -u nvidia-imex -b and /var/log/nvidia-imex.log tell why; then systemctl restart nvidia-imex",
    ),
    "stopped": Words(
        FAIL,
        "IMEX does not run ({state}): no job uses the NVLinks between the nodes",
        "systemctl enable --now nvidia-imex, of exactly the driver's version",
    ),
    "error": Words(
        INFO,
        "IMEX logged an error that is of no known kind",
        "nvidia-imex-ctl -N: every node has to be READY and connected (C)",
    ),
}
