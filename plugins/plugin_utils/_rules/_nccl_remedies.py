# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what NCCL said to the rule, its cause and the way out.

The kinds are those of ``module_utils/_nccl_failure.py``.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import FAIL, WARN


class Advice(t.NamedTuple):
    """``attributed_to``: ``here`` (who wrote the line), ``peer`` (whom it could not reach) or ``both``."""

    rule: str
    severity: str
    attributed_to: str
    cause: str
    remedy: str


GENERIC_RULES = {"internal_error": "nccl-internal-error-init"}
_FIRST = "nccl-system-error-first-collective"
_READ_LOG = (
    "Run the job once more with NCCL_DEBUG=INFO (trainmesh_env: {NCCL_DEBUG: INFO}) and read the first line with WARN"
)
_WAYS = "Open all TCP ports between the nodes (trainmesh_firewall), and set NCCL_SOCKET_IFNAME to the interface of "
_WAYS += "the nodes' own network (trainmesh_interface)"

ADVICE: t.Mapping[str, Advice] = {
    "no_route_to_host": Advice(
        _FIRST,
        FAIL,
        "peer",
        "A firewall of the peer rejects the connection, or there is no route to its address",
        _WAYS,
    ),
    "connection_refused": Advice(
        _FIRST, FAIL, "peer", "Nothing listened at the peer: its rank had ended, or NCCL used a wrong interface", _WAYS
    ),
    "connect_timeout": Advice(
        _FIRST, FAIL, "peer", "Packets to the peer are dropped (firewall), or NCCL used a wrong interface", _WAYS
    ),
    "connection_aborted": Advice(
        _FIRST,
        FAIL,
        "peer",
        "The connection was cut off: only some ports of the peer are open, or its link fails",
        _WAYS,
    ),
    "connection_closed_by_peer": Advice(
        _FIRST,
        FAIL,
        "peer",
        "Another rank failed earlier and closed the connection",
        "Read the log of the peer: its first WARN or error is the cause",
    ),
    "cuda_failure": Advice(
        _FIRST,
        FAIL,
        "here",
        "CUDA itself failed on this node",
        "Run nvidia-smi and dmesg | grep -i xid there, and compare the driver with what torch needs",
    ),
    "system_error": Advice(
        _FIRST, FAIL, "here", "The error is a generic one; NCCL's own warning before it is missing", _READ_LOG
    ),
    "invalid_usage": Advice(
        _FIRST, FAIL, "here", "The error is a generic one; NCCL's own warning before it is missing", _READ_LOG
    ),
    "remote_error": Advice(_FIRST, FAIL, "here", "Another rank failed first", _READ_LOG),
    "internal_error": Advice(
        "nccl-internal-error-init",
        FAIL,
        "here",
        "The error is a generic one; NCCL's own warning before it is missing",
        _READ_LOG + " before NCCL_IB_DISABLE or NCCL_P2P_DISABLE are tried: they hide the fault",
    ),
    "no_interface": Advice(
        "nccl-ifname-absent-on-node",
        FAIL,
        "here",
        "NCCL_SOCKET_IFNAME names an interface that this node does not have",
        "Take NCCL_SOCKET_IFNAME out of the job's environment and give each node its own in /etc/nccl.conf "
        "(trainmesh_interface)",
    ),
    "no_net_plugin": Advice(
        "nccl-net-forced-ib",
        FAIL,
        "here",
        "NCCL_NET names a network that this node cannot use",
        "Unset NCCL_NET, or fix the InfiniBand port (ibstat must say Active) and install rdma-core",
    ),
    "version_mismatch": Advice(
        "nccl-version-mismatch",
        FAIL,
        "here",
        "The ranks load different versions of NCCL",
        "Install the same torch on every node, and unset LD_PRELOAD and LD_LIBRARY_PATH: torch brings its own NCCL",
    ),
    "duplicate_gpu": Advice(
        "nccl-duplicate-gpu",
        FAIL,
        "here",
        "Two ranks use the same GPU",
        "Let each rank call torch.cuda.set_device(int(os.environ['LOCAL_RANK'])), and start no more ranks than GPUs "
        "(trainmesh_slots); nodes cloned with the same host name count as one machine",
    ),
    "collective_mismatch": Advice(
        "nccl-collective-mismatch",
        FAIL,
        "both",
        "The ranks called different operations, or with different sizes",
        "Bring the same code, packages, NCCL_* variables and data to all nodes; verify compares them",
    ),
    "shm_full": Advice(
        "shm-too-small",
        FAIL,
        "here",
        "/dev/shm is full or too small",
        "Give the container more (--shm-size=16g or --ipc=host), or remount: mount -o remount,size=50% /dev/shm",
    ),
    "memlock": Advice(
        "ib-memlock",
        FAIL,
        "here",
        "The limit on locked memory is too low for InfiniBand",
        "Set memlock to unlimited in /etc/security/limits.d and for sshd (LimitMEMLOCK=infinity), then log in anew",
    ),
    "modify_qp": Advice(
        "ib-rails-not-connected",
        FAIL,
        "here",
        "The adapter found no way to its partner: another subnet, rail or GID type",
        "Compare show_gids on both nodes; set NCCL_IB_HCA to the adapters that reach each other, NCCL_CROSS_NIC=0, or "
        "NCCL_IB_GID_INDEX (NCCL before 2.21)",
    ),
    "no_ib_device": Advice(
        "ib-container-devices",
        FAIL,
        "here",
        "The InfiniBand devices cannot be opened",
        "Give the container /dev/infiniband and the capability IPC_LOCK; check the rights of /dev/infiniband/uverbs*",
    ),
    "ib_completion": Advice(
        "ib-retry-exceeded",
        FAIL,
        "both",
        "InfiniBand gave up on a transfer: cable, switch, GID or PFC setting, or a dead peer",
        "Look at both ends with ibstat and perfquery (symbol errors, link downed), then at the switch; the node "
        "that is in every such pair is the bad one",
    ),
    "fd_limit": Advice(
        "fd-limit",
        FAIL,
        "here",
        "The limit on open files is too low",
        "Raise nofile in /etc/security/limits.d (soft 65536) and log in anew",
    ),
    "watchdog_timeout": Advice(
        "nccl-watchdog-timeout",
        FAIL,
        "here",
        "A rank stalled or died before the others came to this operation",
        "Look for the rank whose log ends first; if all are alive, raise the timeout of init_process_group",
    ),
}

IB_AS_SOCKET: t.Mapping[str, tuple[str, str, str, str]] = {
    "disabled": (
        "ib-disabled-on-ib",
        FAIL,
        "NCCL_IB_DISABLE=1 keeps NCCL from the InfiniBand or RoCE port, which is active",
        "Take NCCL_IB_DISABLE out of the environment, trainmesh_env and /etc/nccl.conf",
    ),
    "library": (
        "ib-libibverbs-missing",
        FAIL,
        "NCCL could not load libibverbs and fell back to sockets in silence",
        "Install libibverbs1 and rdma-core (in the container too)",
    ),
    "other": (
        "perf-ethernet-bound",
        WARN,
        "NCCL uses sockets although an InfiniBand or RoCE port is active",
        "Read why with NCCL_DEBUG=INFO, and prove it with NCCL_NET=IB, which fails instead of falling back",
    ),
}
