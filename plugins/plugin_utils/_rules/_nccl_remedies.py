# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what NCCL said to the rule, its cause and the way out.

The kinds are those of ``module_utils/_logs/nccl_failure.py``. A fix that begins with a command runs on the host named.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import FAIL, WARN


class Advice(t.NamedTuple):
    """``attributed_to``: ``here`` (who wrote the line), ``peer`` (whom it could not reach, else who wrote it),
    ``both``, or ``peer_only`` (nobody if the line does not name the peer)."""

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
    "virtual_interface": Advice(
        "nccl-ifname-auto-virtual",
        FAIL,
        "here",
        "NCCL uses an interface of containers or virtual machines, whose addresses no other node reaches",
        "NCCL_SOCKET_IFNAME on every node: the interface of the nodes' own network (trainmesh_interface)",
    ),
    "connection_refused": Advice(
        _FIRST, FAIL, "peer", "Nothing listened at the peer: its rank had ended, or NCCL used a wrong interface", _WAYS
    ),
    "ports_used": Advice(
        "nccl-system-error-first-collective",
        FAIL,
        "here",
        "NCCL got no port to listen on: its connections have used up those that this node gives out, or the one that "
        "NCCL_COMM_ID names is taken",
        "sysctl -w net.ipv4.ip_local_port_range='10000 65000' on all nodes, and in /etc/sysctl.d; unset "
        "NCCL_PXN_DISABLE=1 and NCCL_NSOCKS_PERTHREAD, which take more of them; ss -s counts them",
    ),
    "connect_unsaid": Advice(
        _FIRST,
        FAIL,
        "peer",
        "A connection to another rank came to nothing, and NCCL does not say which: packets are dropped (firewall), or "
        "NCCL used a wrong interface",
        _WAYS,
    ),
    "connect_timeout": Advice(
        _FIRST, FAIL, "peer", "Packets to the peer are dropped (firewall), or NCCL used a wrong interface", _WAYS
    ),
    "connect_impossible": Advice(
        _FIRST,
        FAIL,
        "here",
        "This node cannot open the connection: the peer's address is one for the peer alone (127.0.0.1, fe80::), this "
        "node's own firewall forbids it (Operation not permitted), or its ports are used up (Cannot assign)",
        "Set NCCL_SOCKET_IFNAME to the interface of the nodes' own network (trainmesh_interface), NCCL_SOCKET_FAMILY="
        "AF_INET for addresses of IPv4; iptables -S OUTPUT and ss -s tell the rest",
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
    "cuda_driver_too_old": Advice(
        "drv-too-old",
        FAIL,
        "here",
        "The driver of this node is older than the CUDA that torch and NCCL were built for",
        "Run nvidia-smi there and install the driver that docs/compatibility.md names for torch.version.cuda, the same "
        "one on all nodes; or install a torch for an older CUDA (trainmesh_torch_build)",
    ),
    "cuda_driver_mismatch": Advice(
        "drv-nvml-mismatch",
        FAIL,
        "here",
        "The driver's library libcuda and the loaded kernel module are of different versions",
        "Reboot the node after a driver update; in a container unset LD_LIBRARY_PATH (its cuda-compat shadows libcuda)",
    ),
    "nvml_mismatch": Advice(
        "drv-nvml-mismatch",
        FAIL,
        "here",
        "The driver was updated while the old kernel module stayed loaded",
        "Reboot the node, or unload and load the module (modprobe -r nvidia_uvm nvidia; modprobe nvidia)",
    ),
    "driver_not_loaded": Advice(
        "gpu-driver-not-loaded",
        FAIL,
        "here",
        "The NVIDIA kernel module is not loaded on this node",
        "Run modprobe nvidia there and read dmesg | tail",
    ),
    "no_nvml": Advice(
        "gpu-no-driver",
        FAIL,
        "here",
        "A library of the NVIDIA driver (libcuda or libnvidia-ml) is missing on this node, or in its container",
        "Install the NVIDIA driver there; give a container NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ),
    "gpu_lost": Advice(
        "gpu-lost-from-bus",
        FAIL,
        "here",
        "A GPU of this node does not answer any more",
        "Power-cycle the node, and look at dmesg | grep -i -e xid -e nvrm; take it out of the inventory until then",
    ),
    "cuda_fabric": Advice(
        "drv-fabricmanager",
        FAIL,
        "here",
        "The NVSwitch fabric of this node is not set up: its fabric manager does not run or is of another version",
        "Run systemctl restart nvidia-fabricmanager there; its version has to be exactly the driver's",
    ),
    "nvls": Advice(
        "drv-fabricmanager",
        FAIL,
        "here",
        "NVLink SHARP could not be set up: the fabric manager or an NVSwitch of this node is at fault",
        "Reboot the node: a fabric manager that was restarted below running programs does not set NVLink SHARP up; "
        "read journalctl -u nvidia-fabricmanager if that is not enough, and unset NCCL_CUMEM_ENABLE=0. "
        "NCCL_NVLS_ENABLE=0 does without NVLink SHARP",
    ),
    "cuda_stub": Advice(
        "env-ldpath-cuda-clash",
        FAIL,
        "here",
        "The job loads the toolkit's stub of libcuda, which does nothing",
        "Unset LD_LIBRARY_PATH, or take the directory that ends in /stubs out of it",
    ),
    "cuda_out_of_memory": Advice(
        "mem-gpu-oom",
        FAIL,
        "here",
        "The memory of a GPU was used up when NCCL or torch asked for more",
        "Run nvidia-smi there and end other processes on the GPU, or take a smaller batch or a higher ZeRO stage; each "
        "rank must use its own GPU (torch.cuda.set_device)",
    ),
    "cuda_ecc": Advice(
        "gpu-ecc",
        FAIL,
        "here",
        "A GPU of this node has an uncorrectable memory error",
        "Run nvidia-smi -q -d ECC,ROW_REMAPPER there, then nvidia-smi --gpu-reset; have the GPU replaced if it returns",
    ),
    "cuda_nvlink": Advice(
        "gpu-nvlink",
        FAIL,
        "here",
        "An NVLink of this node has uncorrectable errors",
        "Run nvidia-smi nvlink -e there, reset all its GPUs or reboot, and have the board checked if it returns",
    ),
    "p2p_broken": Advice(
        "gpu-nvlink",
        FAIL,
        "here",
        "GPUs that are connected by NVLink cannot reach each other",
        "Run nvidia-smi nvlink -s and nvidia-smi topo -p2p r there; NCCL_IGNORE_DISABLED_P2P=1 only hides it",
    ),
    "cuda_peer_access": Advice(
        "p2p-acs-iommu",
        FAIL,
        "here",
        "The GPUs of this node cannot read each other's memory: IOMMU, ACS, a virtual machine or the board",
        "Run nvidia-smi topo -p2p r there; switch off ACS and the IOMMU (iommu=pt), or set NCCL_P2P_DISABLE=1 in that "
        "node's /etc/nccl.conf",
    ),
    "wrong_results": Advice(
        "p2p-acs-iommu",
        FAIL,
        "here",
        "The sums of nccl-tests came out wrong: data is damaged on its way between GPUs (IOMMU, ACS, peer-to-peer "
        "that the board or the driver only pretends to have), or this NCCL has a fault",
        "NCCL_P2P_DISABLE=1 and NCCL_NET_GDR_LEVEL=LOC, one at a time, tell which way damages it; switch off ACS and "
        "the IOMMU (iommu=pt) then, or keep that setting in /etc/nccl.conf; if neither helps, take another NCCL",
    ),
    "cuda_ordinal": Advice(
        "hostfile-slots-exceed-gpus",
        FAIL,
        "here",
        "A rank asked for a GPU that this node does not have",
        "Set trainmesh_slots, or slots= and --nproc_per_node, to the number of nvidia-smi -L there; look for "
        "CUDA_VISIBLE_DEVICES too",
    ),
    "cuda_no_device": Advice(
        "gpu-none-usable",
        FAIL,
        "here",
        "CUDA finds no GPU on this node",
        "Run nvidia-smi -L there; look for an empty CUDA_VISIBLE_DEVICES, and give a container its GPUs (--gpus all)",
    ),
    "cuda_busy": Advice(
        "gpu-compute-mode",
        FAIL,
        "here",
        "A GPU takes one process only and has one already, or it is in MIG mode without instances",
        "Run nvidia-smi -c DEFAULT there, and end the process that nvidia-smi shows",
    ),
    "cuda_architecture": Advice(
        "ver-arch-unsupported",
        FAIL,
        "here",
        "torch or NCCL has no kernels for a GPU of this node",
        "Install a torch that was built for this GPU (torch.cuda.get_arch_list() against nvidia-smi "
        "--query-gpu=compute_cap --format=csv)",
    ),
    "cuda_not_initialized": Advice(
        _FIRST,
        FAIL,
        "here",
        "CUDA could not start in this process: the driver is not ready, or the process was forked after CUDA was used",
        "Run nvidia-smi and python -c 'import torch; torch.cuda.init()' there; start workers with spawn, not fork",
    ),
    "cuda_not_supported": Advice(
        _FIRST,
        FAIL,
        "here",
        "CUDA refuses an operation that NCCL needs: a MIG instance, a vGPU, WSL, or a container without its limits",
        "Run nvidia-smi -L there: MIG has to be off (nvidia-smi -mig 0) and the GPU passed through whole; else set "
        "NCCL_CUMEM_ENABLE=0 in that node's /etc/nccl.conf",
    ),
    "cuda_crash": Advice(
        _FIRST,
        FAIL,
        "here",
        "A kernel of the program crashed on a GPU of this node; NCCL is only the first to notice",
        "Set CUDA_LAUNCH_BLOCKING=1 and run again: the traceback then names the operation; dmesg | grep -i xid there "
        "tells whether it was the GPU",
    ),
    "cuda_unknown": Advice(
        _FIRST,
        FAIL,
        "here",
        "The driver of this node is in a state that it does not explain",
        "Run dmesg | grep -i -e xid -e nvrm there, load the module anew (modprobe -r nvidia_uvm; modprobe nvidia_uvm) "
        "or reboot",
    ),
    "duplicate_rank": Advice(
        "nccl-internal-error-init",
        FAIL,
        "here",
        "Two processes came with the same rank, or processes of another job or world size met at the same rendezvous",
        "Compare the node ranks (--node_rank, MACHINE_RANK) and world sizes of all nodes, and end processes of an "
        "earlier run",
    ),
    "unlike_networks": Advice(
        "nccl-networks-differ",
        FAIL,
        "here",
        "The ranks use different networks: one talks InfiniBand or RoCE, the other TCP sockets",
        "Run ibstat on the node that says Using network Socket (NCCL_DEBUG=INFO): a port must be Active, and "
        "libibverbs installed",
    ),
    "peer_uses_sockets": Advice(
        "nccl-networks-differ",
        FAIL,
        "peer_only",
        "The peer came over TCP sockets while this node uses InfiniBand or RoCE",
        "Run ibstat on the peer: a port must be Active, and libibverbs installed; NCCL_DEBUG=INFO names the node that "
        "says Using network Socket",
    ),
    "unlike_adapters": Advice(
        "ib-rails-not-connected",
        FAIL,
        "both",
        "The nodes use adapters that cannot talk to each other: InfiniBand and RoCE, or different numbers of them",
        "Set NCCL_IB_HCA on each node (/etc/nccl.conf) to adapters of one link type, the same number everywhere",
    ),
    "system_error": Advice(
        _FIRST, FAIL, "here", "The error is a generic one; NCCL's own warning before it is missing", _READ_LOG
    ),
    "invalid_usage": Advice(
        _FIRST, FAIL, "here", "The error is a generic one; NCCL's own warning before it is missing", _READ_LOG
    ),
    "cuda_shutting_down": Advice(
        _FIRST,
        FAIL,
        "here",
        "The process was ending already when NCCL called CUDA: it failed for another reason before",
        "Read the log of this rank from its beginning: its first error is the cause",
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
        "that is in every such pair is the bad one. In a cloud all nodes must be of one placement (cluster placement "
        "group, availability or scale set): adapters of others have no way to each other. NCCL_IB_HCA leaves adapters "
        "of other networks out (^=NAME,NAME)",
    ),
    "ib_port_error": Advice(
        "ib-retry-exceeded",
        FAIL,
        "here",
        "A port of this node lost its link (async event: port error); the transfers of its peers failed after that",
        "Run ibstat and perfquery -x there (link downed, symbol errors), then change the cable or the switch port of "
        "that adapter",
    ),
    "ib_device_error": Advice(
        "ib-retry-exceeded",
        FAIL,
        "here",
        "An adapter of this node failed itself (async event: local catastrophic error)",
        "Run dmesg | grep mlx5 and ibstat there; reset the adapter or power-cycle the node, update its firmware, and "
        "have it replaced if it returns",
    ),
    "ib_queue_error": Advice(
        "ib-retry-exceeded",
        FAIL,
        "here",
        "A queue of the adapter failed: a transfer before it was refused or lost",
        "Run the job once more with NCCL_DEBUG=INFO and read the first completion with an error; then ibstat and dmesg",
    ),
    "efa_memory": Advice(
        "ib-memlock",
        FAIL,
        "here",
        "EFA got no memory registered: the limit on locked memory is too low, or the adapter's own limit is reached",
        "ulimit -l in the job's own shell must say unlimited (memlock in /etc/security/limits.d, LimitMEMLOCK=infinity "
        "for sshd; containers: --ulimit memlock=-1); if it does, dmesg | grep REG_MR tells of the adapter's limit: use "
        "huge pages, or fewer ranks and channels on the node",
    ),
    "efa_completion": Advice(
        _FIRST,
        FAIL,
        "both",
        "The EFA adapters of two nodes do not reach each other",
        "Allow all traffic from the security group to itself, inbound and outbound, and start all nodes in one subnet",
    ),
    "warning": Advice(
        _FIRST,
        FAIL,
        "here",
        "NCCL gave up after its own warning, which the evidence quotes",
        "NCCL_DEBUG=INFO on all nodes (trainmesh_env) shows what came before that warning; compare the packages, the "
        "NCCL_* variables and the devices of the node named with those of one that works",
    ),
    "efa_setup": Advice(
        _FIRST,
        FAIL,
        "here",
        "The EFA adapter or libfabric refused what NCCL's plugin asked of it (memory, an endpoint, addresses): they do "
        "not fit together, or memory that may be locked ran out",
        "Install one release of the EFA installer (driver, libfabric, plugin) on all nodes, and in the container too: "
        "fi_info --version and cat /opt/amazon/efa_installed_packages tell; ulimit -l there must say unlimited; "
        "FI_EFA_SET_CUDA_SYNC_MEMOPS=0 helps where memory is refused as an invalid argument",
    ),
    "gpu_hidden": Advice(
        _FIRST,
        FAIL,
        "here",
        "NCCL looks on this machine for the GPU of another rank and may not see it: containers or jobs with one host "
        "name and different GPUs, which NCCL takes for one machine",
        "NCCL_HOSTID: give each container its own; or give all of them all GPUs (--gpus all) and set "
        "CUDA_VISIBLE_DEVICES",
    ),
    "topology": Advice(
        "nccl-internal-error-init",
        FAIL,
        "here",
        "NCCL cannot read how the node's devices are wired: a topology file is damaged or of another version, or /sys "
        "is not whole in the container or virtual machine",
        "Unset NCCL_TOPO_FILE and NCCL_GRAPH_FILE there, or install the network plugin that brings the file anew (the "
        "log names it behind Loading topology file); give a container the host's /sys",
    ),
    "gdr_refused": Advice(
        "gdr-unavailable",
        FAIL,
        "here",
        "The adapter refuses the GPU's memory: GPUDirect RDMA does not work on this node",
        "modprobe nvidia_peermem there, or set NCCL_DMABUF_ENABLE=0 if driver, OFED or kernel are too old for DMA-BUF; "
        "NCCL_NET_GDR_LEVEL=LOC does without GPUDirect meanwhile",
    ),
    "ib_access": Advice(
        "p2p-acs-iommu",
        FAIL,
        "both",
        "An adapter could not read or write the memory it was told of: with GPUDirect RDMA that is ACS, the IOMMU or "
        "the peer memory module of one end, or an adapter that is not of the job's network; not the cable",
        "NCCL_NET_GDR_LEVEL=LOC tells: if the job runs with it, switch off ACS and the IOMMU (iommu=pt) on both nodes, "
        "bring nvidia_peermem, OFED and the firmware of both to one version (NCCL_DMABUF_ENABLE=0 if only that helps), "
        "and let the BIOS map the GPU's memory whole (Above 4G Decoding, Resizable BAR); else set NCCL_IB_HCA to the "
        "adapters of the job's network (NVSwitch boards have InfiniBand devices of their own)",
    ),
    "gid_read": Advice(
        "roce-gid-index",
        FAIL,
        "here",
        "NCCL could not read an entry of the adapter's GID table, which belongs to another container",
        "NCCL_IB_GID_INDEX: set it to the index that show_gids lists in the container for RoCE v2 and its address, or "
        "install NCCL 2.26 or newer",
    ),
    "shm_handle": Advice(
        _FIRST,
        FAIL,
        "here",
        "NCCL cannot share host memory between its ranks: a NUMA node of the machine has no memory, or the container "
        "may not set memory policies",
        "NCCL_CUMEM_HOST_ENABLE=0 in that node's /etc/nccl.conf; or fill the empty memory channels, or set one NUMA "
        "node a socket (NPS1) in the BIOS",
    ),
    "shm_missing": Advice(
        _FIRST,
        FAIL,
        "here",
        "A rank does not find the shared memory of another one: they are in containers with one host name but not one "
        "/dev/shm, or that rank has ended",
        "NCCL_HOSTID: give each container its own, or start the containers of one machine with --ipc=host; then look "
        "for the rank whose log ends first",
    ),
    "comm_id": Advice(
        _FIRST,
        FAIL,
        "here",
        "NCCL_COMM_ID is no address that this node can use: its name does not resolve, or it is not HOST:PORT",
        "Unset NCCL_COMM_ID (torch needs none), or make its host resolve there: getent ahostsv4 HOST",
    ),
    "no_algorithm": Advice(
        "nccl-internal-error-init",
        FAIL,
        "here",
        "NCCL_ALGO or NCCL_PROTO leave no way for an operation of the job, or cannot be parsed",
        "Unset NCCL_ALGO and NCCL_PROTO on all nodes (environment, trainmesh_env, /etc/nccl.conf); without them, "
        "NCCL_COLLNET_ENABLE too",
    ),
    "imex": Advice(
        _FIRST,
        FAIL,
        "here",
        "The NVLinks between nodes (MNNVL) are there and not usable: IMEX is not set up on this node, or in its "
        "container",
        "Run nvidia-imex-ctl -N and systemctl status nvidia-imex there; a container needs "
        "/dev/nvidia-caps-imex-channels/channel0. NCCL_MNNVL_ENABLE=0 does without",
    ),
    "crashed": Advice(
        "nccl-internal-error-init",
        FAIL,
        "here",
        "A process of the job crashed in a library, without a word of NCCL",
        "Install the newest NCCL that torch takes, the same on all nodes (pip install -U nvidia-nccl-cu12, or -cu13); "
        "NCCL_RAS_ENABLE=0 if the stack names ras, NCCL_MNNVL_ENABLE=0 or NCCL_NVLS_ENABLE=0 tell whether it is these",
    ),
    "thread_limit": Advice(
        "process-limit",
        FAIL,
        "here",
        "The job's user may start no more threads on this node",
        "ulimit -u there, then raise nproc in /etc/security/limits.d (or TasksMax of the service) and log in anew",
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


def advice_on(kind: str, text: str) -> Advice | None:
    """What to tell of a failure; a warning of no known kind may still say whose it is."""
    if kind == "warning" and "NET/OFI" in text:
        kind = "efa_setup"
    if kind == "warning" and "nvmlDeviceGetHandleByPciBusId" in text and "Not Found" in text:
        kind = "gpu_hidden"
    return ADVICE.get(kind)


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
    "efa": (
        "perf-ethernet-bound",
        WARN,
        "NCCL's plugin for EFA found no adapter that it can use, and NCCL took TCP sockets",
        "Run fi_info -p efa and ls /dev/infiniband there (in the container too): the efa module, libfabric and the "
        "adapters have to be there; NCCL_NET='AWS Libfabric' fails instead of falling back",
    ),
    "other": (
        "perf-ethernet-bound",
        WARN,
        "NCCL uses sockets although an InfiniBand or RoCE port is active",
        "Read why with NCCL_DEBUG=INFO, and prove it with NCCL_NET=IB, which fails instead of falling back",
    ),
}
