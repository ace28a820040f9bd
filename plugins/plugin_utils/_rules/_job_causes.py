# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a job's log says to the rule, its cause and the way out.

The kinds are those of ``module_utils/_logs/job_failure.py`` and ``job_root.py``; NCCL's are in ``_nccl_remedies.py``.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import job_failure, nccl_failure
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, dig
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._job_cause import Cause
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._job_start_causes import START_CAUSES
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_remedies import ADVICE

KILLED = re.compile(r"\b[Ss]ignal 9\b|return code = -9\b|exitcode\s*: -9|SIGKILL")
_RANK = re.compile(r"rank \d+(?: on \S+)?: ")
_NCCL = "nccl:"


FAILED = Cause(
    "job-failed", "The job did not do its work", "Read the log of the run on the head, the first error in it counts"
)
RANK_KILLED = Cause(
    "job-rank-killed",
    "A rank was killed from outside, and the others lost their connection to it",
    "Look there with journalctl -k --since -1h (out of memory, Xid) and last -x, then run verify again",
)
RANK_CRASHED = Cause(
    RANK_KILLED.rule,
    "A rank crashed, and the others lost their connection to it",
    "Look there with journalctl -k --since -1h (segfault, Xid) and at the rank's last words in the log of the run",
)
HOST_OOM = Cause(
    "mem-host-oom",
    "The kernel killed a rank because the node's memory was used up",
    "Use fewer ranks on the node (trainmesh_slots), no offload to the CPU, or more memory",
)
STUCK = Cause(
    "collective-stalled",
    "A rank does not go on while all others wait for it",
    "Look there with ps -eo pid,stat,wchan:20,cmd and dmesg: a stopped process (T) was halted by somebody, one in "
    "state D waits for a disk, a network file system or a driver",
)
_CONNECT = "Open the rendezvous port and all others between the nodes (trainmesh_firewall), and check trainmesh_address"
_SHM = ADVICE["shm_full"]
_EFA, _EFA_PEER = ADVICE["efa_memory"], ADVICE["efa_completion"]

CAUSES: t.Mapping[str, Cause] = {
    **START_CAUSES,
    # how processes ended
    "killed": RANK_KILLED,
    "crashed": RANK_CRASHED,
    "session_closed": Cause(
        "job-session-closed",
        "The terminal or ssh session that started the job was closed; torchrun handles SIGHUP itself, which "
        "undoes nohup",
        "tmux new -s train, and start the job in it; setsid or systemd-run --user do as well, nohup does not",
    ),
    "interrupted": Cause(
        "job-stopped", "Somebody stopped the job (Ctrl-C, SIGINT)", "Start it again if that was not meant"
    ),
    "stopped": Cause(
        "job-stopped",
        "The job was ended from outside by SIGTERM: a scheduler, its time limit, a shutdown or somebody's kill",
        "last -x and journalctl --since -1h tell on the node who it was",
    ),
    "warned": Cause(
        "job-stopped",
        "A warning signal ended a process: Slurm sends it before its time limit or a preemption "
        "(--signal=USR1@SECONDS), "
        "to be caught by the training",
        "#SBATCH --signal=B:USR1@120 sends it to the script alone; trap it there, or handle it in the training (save "
        "and end)",
    ),
    "cpu_limit": Cause(
        "process-limit",
        "The process has used up the CPU time that its user may use",
        "ulimit -t there (cpu in /etc/security/limits.d), then log in anew",
    ),
    "node_failed": Cause(
        RANK_KILLED.rule,
        "The node itself went away: it crashed, was switched off or lost its network, as the scheduler or Ray saw it",
        "last -x reboot and journalctl -b -1 -e there (sinfo -R and ray status tell what the scheduler knows)",
    ),
    # memory, disks and limits
    "gpu_memory": Cause(
        "mem-gpu-oom",
        "A GPU's memory does not suffice",
        "trainmesh_zero_stage: 3, or a smaller micro batch with more accumulation; nvidia-smi shows other jobs there",
    ),
    "gpu_full": Cause(
        "mem-gpu-oom",
        "A GPU has no memory left for a library's own needs: mostly other processes are there, or the job uses all of "
        "it (an index outside of its table shows so, too)",
        "nvidia-smi there shows other jobs; CUDA_LAUNCH_BLOCKING=1 shows the operation; else a smaller micro batch",
    ),
    "shm_full": Cause("shm-too-small", _SHM.cause, _SHM.remedy),
    "oom_killer": HOST_OOM,
    "loader_killed": Cause(
        "mem-host-oom",
        "A worker of the DataLoader was killed, mostly because the node's memory was used up",
        "journalctl -k --since -1h there names the process; use a lower num_workers or prefetch_factor, or more memory",
    ),
    "efa_memory": Cause(_EFA.rule, _EFA.cause, _EFA.remedy),
    "efa_unreachable": Cause(_EFA_PEER.rule, _EFA_PEER.cause, _EFA_PEER.remedy),
    "fork_memory": Cause(
        "mem-host-oom",
        "A new process (a data loader, a build) got no memory: the node's is used up, vm.overcommit_memory forbids "
        "more, or over EFA no huge page was free",
        "FI_EFA_USE_HUGE_PAGE=0 for jobs over EFA (trainmesh_env); else free -g and sysctl vm.overcommit_memory there, "
        "and fewer ranks or data loader workers on the node",
    ),
    "host_memory": Cause(
        "mem-host-oom",
        "The node's memory, or the process's limit of it, is used up",
        "free -g and ulimit -v there; use fewer ranks on the node (trainmesh_slots), no offload, or more memory",
    ),
    "process_limit": Cause(
        "job-failed",
        "The job's user may start no more processes or threads on the node",
        "ulimit -u there, then raise nproc in /etc/security/limits.d (or TasksMax of the service) and log in anew",
    ),
    "disk_full": Cause(
        "disk-full",
        "A disk, or the user's quota on it, is full; what was being written there is incomplete",
        "df -h and df -i on the node, for the path that the job writes to, then free space or write elsewhere",
    ),
    "not_permitted": Cause(
        "path-not-permitted",
        "The job's user may not use a file or directory there",
        "ls -ld on the node, for each directory down to the path of the message, then chown or chmod the one "
        "that refuses",
    ),
    "cache_race": Cause(
        "build-ext-cache-nfs",
        "Ranks of several nodes write into one cache of compiled kernels, on a file system that they share",
        "TRITON_CACHE_DIR, TORCHINDUCTOR_CACHE_DIR and TORCH_EXTENSIONS_DIR in trainmesh_env, each a directory on the "
        "node's own disk",
    ),
    "open_files": Cause("fd-limit", ADVICE["fd_limit"].cause, ADVICE["fd_limit"].remedy),
    "share_lost": Cause(
        "nfs-not-responding",
        "A network file system was lost: its server was restarted or is not reached, or a file was replaced there",
        "findmnt -t nfs,nfs4,fuse and dmesg -T | tail there, then mount it again (umount -l, mount)",
    ),
    "io_error": Cause(
        "disk-failing",
        "The kernel could not read or write a file: the disk, or the network file system that has it, fails",
        "dmesg -T | tail -50 there names the device or the mount",
    ),
    # the rendezvous, names and ssh
    "port_in_use": Cause(
        "rdzv-errno-98",
        "Another process has the port of the rendezvous: an earlier job, or a second launcher of this job on the node "
        "(srun with several tasks a node)",
        "ss -ltnp on the head shows it: end it, start one launcher a node, or set another trainmesh_master_port",
    ),
    "foreign_store": Cause(
        "rdzv-errno-98",
        "Something else listens at the rendezvous than the store of this job: another program, or an earlier job",
        "ss -ltnp on the head shows who has the master's port: end it, or set another trainmesh_master_port",
    ),
    "port_privileged": Cause(
        "rdzv-errno-13", "A port below 1024 needs root", "Set trainmesh_master_port to one above 1024"
    ),
    "address_not_own": Cause(
        "rdzv-errno-99",
        "The master address is not one of the node that shall listen there",
        "--master_addr (MASTER_ADDR) must be an address of the node of rank 0: ip -br address there",
    ),
    "loopback": Cause(
        "name-loopback-127-0-1-1",
        "A node's own name leads to its loopback address, which the others cannot reach",
        "Map the name to the data address in /etc/hosts (the role hosts does)",
    ),
    "gloo_interface": Cause(
        "gloo-ifname-unset",
        "GLOO_SOCKET_IFNAME (or TP_SOCKET_IFNAME) names no interface with an address there: Gloo takes exact "
        "names, no ^, "
        "no prefix and no address",
        "GLOO_SOCKET_IFNAME=NAME with one name of ip -br address, on each node its own (trainmesh_interface)",
    ),
    "gloo_mesh": Cause(
        "gloo-ifname-unset",
        "Gloo's processes do not reach each other: a wrong interface, or a name that leads to the loopback address",
        "getent ahostsv4 $(hostname) on each node must give its data address; else set GLOO_SOCKET_IFNAME there",
    ),
    "no_libuv": Cause("rdzv-libuv", "This torch was built without libuv", "Set USE_LIBUV=0 in trainmesh_env"),
    "hub_unreachable": Cause(
        "model-only-on-launch-node",
        "The node cannot load a model or dataset from the Hub, and has no copy of it",
        "huggingface-cli download on one node, then copy HF_HOME to the same path on every node, or use a shared disk",
    ),
    "name_unknown": Cause(
        "name-hosts-typo", "A node's name does not resolve there", "Run the role hosts, or fix /etc/hosts"
    ),
    "hostfile_words": Cause(
        "hostfile-read-as-words",
        "A loop over the words of the hostfile takes slots=N for a host",
        "awk '{print $1}' HOSTFILE gives the names alone: use it in place of cat",
    ),
    "first_rank_waits": Cause(
        "rdzv-store-barrier",
        "The ranks wait for the one that the message names, which never came to this exchange: it still loads or "
        "prepares data, hangs, or had ended",
        "py-spy dump --pid PID of that rank (0 is on the head) shows where it is; prepare the data before the job, or "
        "raise the timeout of init_process_group (ddp_timeout)",
    ),
    "no_launcher": Cause(
        "job-failed",
        "The script was started without a launcher, so that nobody tells it its rank and its master",
        "torchrun SCRIPT (or deepspeed, accelerate launch) in place of python SCRIPT, with the options of all nodes",
    ),
    "slurm_variables": Cause(
        "job-failed",
        "The script reads a variable of Slurm or MPI that is not set where it runs, or that holds a list like 4(x2)",
        "Start the script with srun (or mpirun), with --nodes and --ntasks-per-node given, so that Slurm sets them; "
        "a list like 4(x2) is no number: SLURM_NTASKS, SLURM_NTASKS_PER_NODE and SLURM_LOCALID are",
    ),
    "slurm_tasks": Cause(
        "app-world-size-hardcoded",
        "Slurm starts another number of nodes or tasks than the script is told",
        "One task for each GPU: #SBATCH --nodes=N and --ntasks-per-node=GPUS, with num_nodes=N and devices=GPUS in the "
        "script",
    ),
    "horovod_meets": Cause(
        "rdzv-connect-failed",
        "Horovod's processes do not reach each other: by default they use what has one name on all nodes",
        "horovodrun --network-interfaces with those that the nodes share (HOROVOD_GLOO_IFACE, NCCL_SOCKET_IFNAME); all "
        "ports must be open between the nodes (trainmesh_firewall)",
    ),
    "rank_beyond": Cause(
        "node-rank-duplicate",
        "A rank is not below the number of ranks: node ranks do not count from 0, or the numbers of nodes and of ranks "
        "a node are not those that were started",
        "NODE_RANK=0 to N-1, each once, and the same number of nodes and of ranks a node everywhere",
    ),
    "clients_missing": Cause(
        "rdzv-store-barrier",
        "Some ranks never came to the rendezvous: too few were started, or they hang before it",
        "Compare slots with the ranks that run, and read the logs of the nodes that have none",
    ),
    "run_ids": Cause(
        "rdzv-id-differs",
        "Each node waits in a rendezvous of its own: the id is drawn or computed on every node",
        "--rdzv_id=NAME with the same fixed name on every node, no $RANDOM, date, uuidgen or $$",
    ),
    "node_rank_twice": Cause(
        "node-rank-duplicate",
        "Two nodes take themselves for the same one, and wait for the one that nobody is",
        "NODE_RANK=1 on the second node (torchrun --node_rank, accelerate --machine_rank): 0 to N-1, each once; "
        "llamafactory-cli reads RANK up to 0.8.3 and NODE_RANK since",
    ),
    "no_route": Cause("rdzv-errno-113", "A firewall rejects the rendezvous, or there is no route", _CONNECT),
    "refused": Cause(
        "rdzv-errno-111",
        "Nothing listens at the rendezvous: rank 0 had ended, or the address is not the head's",
        _CONNECT,
    ),
    "connect_timeout": Cause("rdzv-errno-110", "Packets to the rendezvous are dropped", _CONNECT),
    "master_silent": Cause(
        "rdzv-errno-110",
        "The master does not answer at the rendezvous: it was not started in time, or a firewall drops the packets",
        "ss -ltnp on the head must show the port while the job starts; if it does, trainmesh_firewall opens it",
    ),
    "master_local": Cause(
        "master-addr-malformed",
        "The node looks for the master at itself: the master address is its own loopback address",
        "--master_addr (MASTER_ADDR) is the address of the node of rank 0, the same on every node",
    ),
    "store_connection": Cause(
        "rdzv-connect-failed", "A node does not reach the store of the rendezvous on the head", _CONNECT
    ),
    "ssh_denied": Cause(
        "ssh-key-missing-pair", "The job's user may not log in there from the head", "Run the role ssh_mesh"
    ),
    "ssh_key_changed": Cause(
        "ssh-hostkey-changed",
        "The node has another host key than the one that the head knows: installed anew, or another host answers",
        "ssh-keygen -F NODE there shows the known key; if the node was installed anew, run the role ssh_mesh",
    ),
    "ssh_own_files": Cause(
        "ssh-perms-too-open",
        "ssh on the node that starts the job refuses its own key or configuration: others may read or write the file",
        "chmod 700 ~/.ssh; chmod 600 ~/.ssh/config ~/.ssh/id_* there, and chown them to the job's user",
    ),
    "ssh_config": Cause(
        "ssh-config-invalid",
        "ssh on the node that starts the job cannot read its configuration, and contacts nobody",
        "ssh -G NODE there shows the line that it refuses",
    ),
    "ssh_tries": Cause(
        "ssh-login-failed",
        "ssh offered more keys than sshd lets anybody try (MaxAuthTries) before it came to the right one",
        "IdentitiesOnly yes and IdentityFile PATH below Host NODE in ~/.ssh/config (the role ssh_mesh does), or "
        "ssh-add -D",
    ),
    "ssh_negotiate": Cause(
        "ssh-login-failed",
        "The two ends of ssh have no algorithm in common: one of them is much older, or hardened",
        "ssh -Q key and sshd -T | grep -i algorithms show what each end has; update the older one",
    ),
    "ssh_account": Cause(
        "sshd-refuses-user",
        "The account is locked, expired or has no shell there, or the node does not let anybody in (yet)",
        "chage -l USER, getent passwd USER and ls /etc/nologin /run/nologin there",
    ),
    "ssh_hung_up": Cause(
        "ssh-login-failed",
        "sshd there hung up before the login: too many logins at once (MaxStartups), hosts.deny, fail2ban, or no sshd",
        "journalctl -u ssh -u sshd --since -1h there says why; MaxStartups 100:30:200 in sshd_config for many logins",
    ),
    "sudo_asks": Cause(
        "job-failed",
        "sudo asks for a password, and a job has no terminal to answer on",
        "sudo -l there; start the job as its own user without sudo, which takes its environment away, too",
    ),
    "mpi_slots": Cause(
        "job-failed",
        "mpirun was told to start more ranks (-n, -np) than its hostfile has slots",
        "slots=N for each host in mpirun's hostfile (-H NODE:N), with -n the sum of them",
    ),
    "mpi_root": Cause(
        "job-failed",
        "mpirun refuses to run as root",
        "Start the job as another user, or export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 (in a "
        "container)",
    ),
    "mpi_daemon": Cause(
        "rdzv-connect-failed",
        "mpirun could not start its daemon on a node, or the daemon does not reach the node of mpirun",
        "ssh NODE which orted prted must find it (else mpirun --prefix); open all ports between the nodes "
        "(trainmesh_firewall), and name the network: --mca oob_tcp_if_include and btl_tcp_if_include SUBNET/BITS",
    ),
    "mpi_versions": Cause(
        "mpi-version-differs",
        "The nodes have different versions of MPI, or one finds another on its PATH",
        "mpirun --version and command -v orted prted on every node, then the same MPI everywhere",
    ),
    "mpi_reach": Cause(
        "rdzv-connect-failed",
        "MPI's processes do not reach each other: wrong interfaces, or a firewall between the nodes",
        "--mca btl_tcp_if_include SUBNET/BITS of the nodes' network (DeepSpeed's openmpi launcher takes eth0), and "
        "trainmesh_firewall",
    ),
    "ssh_host_key": Cause("ssh-hostkey-unknown", "The head does not know the node's host key", "Run the role ssh_mesh"),
    "ssh_failed": Cause(
        "ssh-login-failed",
        "DeepSpeed's launcher logs in to the first host of the hostfile, which may be the head itself, and could not",
        "ssh HOST hostname as the job's user must work without a question; the role ssh_mesh sees to it",
    ),
    "ssh_fabric": Cause(
        "ssh-login-failed",
        "colossalai run logs in with an ssh of its own (paramiko), which has no key that it can use for that node",
        "ssh HOST hostname as the job's user must work without a question, with a key in ~/.ssh (the role ssh_mesh "
        "sees to it); an RSA key that paramiko can't read is rewritten by ssh-keygen -p -m PEM -f ~/.ssh/id_rsa",
    ),
    "no_address": Cause(
        "master-addr-malformed",
        "The launcher has no address for the master: hostname -I on the first host, which DeepSpeed asks, says nothing",
        "--master_addr with the address of the first host that all nodes reach",
    ),
    "ssh_refused": Cause(
        "sshd-not-listening",
        "No sshd answers at the port that the launcher uses, or a firewall rejects it",
        "ss -ltnp there shows sshd and its port; write the port into ~/.ssh/config on the head (the role "
        "ssh_mesh does)",
    ),
    "ssh_timeout": Cause(
        "ssh-port-blocked",
        "Packets to the node's ssh port are dropped, or the node is down",
        "Open the ssh port between the nodes (trainmesh_firewall), and check the address of the node",
    ),
    "pdsh_missing": Cause("pdsh-not-installed", "DeepSpeed's launcher needs pdsh on the head", "Install pdsh there"),
    "pdsh_module": Cause(
        "pdsh-ssh-module-missing",
        "pdsh has no module for ssh",
        "dnf install pdsh-rcmd-ssh on the head; on Debian and Ubuntu the package pdsh has it",
    ),
    # configuration
    "hostfile_line": Cause(
        "hostfile-bad-line",
        "DeepSpeed cannot read the hostfile",
        "Write NAME slots=N, one host a line, nothing else",
    ),
    "hostfile_twice": Cause(
        "hostfile-duplicate", "A host is twice in the hostfile", "Name each host once, with all its slots"
    ),
    "accelerate_key": Cause(
        "acc-unknown-key",
        "This Accelerate does not know a key of the configuration",
        "pip install the Accelerate that wrote the file, or remove the keys that the message names",
    ),
    "accelerate_twice": Cause(
        "acc-dsjson-conflict",
        "Accelerate refuses settings that the DeepSpeed file has, too",
        "Remove the keys that the message names from Accelerate's file",
    ),
    "batch_sizes": Cause(
        "ds-batch-mismatch",
        "Batch sizes in DeepSpeed's file do not fit the number of ranks",
        "Set train_batch_size = micro batch x accumulation x ranks, or leave it out",
    ),
    "deepspeed_key": Cause(
        "ds-unknown-key",
        "This DeepSpeed refuses a key or a value of its configuration; the lines below the message name them",
        "Take the keys that the message names out of DeepSpeed's file; DeepSpeed 0.17.1 and newer take no loss scale "
        "in bf16, and older ones do not know newer keys. Where it asks for a valid integer, write a whole number "
        '(older transformers make a fraction of "auto" for stage3_prefetch_bucket_size)',
    ),
    "deepspeed_arguments": Cause(
        "ds-batch-mismatch",
        "DeepSpeed's file and the arguments of the Trainer give different values to the same settings",
        'Write "auto" for the keys that the message names, so that the arguments alone decide',
    ),
    "unparsable": Cause(
        "file-unparsable",
        "A JSON or YAML file that the job reads is not valid; the traceback tells who reads it",
        "python3 -m json.tool FILE shows the place",
    ),
    "parallel_sizes": Cause(
        "app-world-size-hardcoded",
        "The product of the parallel sizes (tensor, pipeline, context, shards) does not fit the number of ranks that "
        "were started",
        "Ranks of all nodes must be a multiple of that product: compare it with --nnodes x --nproc_per_node; 1 means "
        "that no launcher was used",
    ),
    "resumed_otherwise": Cause(
        "app-world-size-hardcoded",
        "The checkpoint was written by another number of ranks, or with other parallel sizes",
        "Start as many ranks as the checkpoint has shards, or convert it (DeepSpeed's ds_to_universal.py)",
    ),
    "ray_gpus": Cause(
        "rdzv-store-barrier",
        "The Ray cluster has fewer GPUs than the job wants: nodes did not join it, or joined without their GPUs",
        "ray status on the head; ray start --address=HEAD:6379 on each missing node, before the job is started",
    ),
    "ray_waits": Cause(
        "rdzv-store-barrier",
        "The job waits for GPUs that the Ray cluster does not have free: nodes did not join it, or others use them",
        "ray status on the head; ray start --address=HEAD:6379 on each missing node",
    ),
    "ray_agent": Cause(
        "process-limit",
        "Ray's agent does not run on the head, mostly because its user may not start enough processes",
        "ulimit -u 65535 before ray start (nproc in /etc/security/limits.d), and dashboard_agent.log below /tmp/ray",
    ),
    "ray_versions": Cause(
        "ver-python-torch-differs",
        "The nodes have different versions of Ray or Python, and Ray lets only equal ones in",
        "ray --version; python --version on every node, then the same environment everywhere",
    ),
    "ray_none": Cause(
        "job-failed",
        "No Ray cluster runs where the job looks for one",
        "ray start --head on the first node and ray start --address=HEAD:6379 on the others, then ray status",
    ),
    "both_precisions": Cause("prec-both-enabled", "fp16 and bf16 are both enabled", "Set one of them to false"),
    "no_bf16": Cause("prec-bf16-unsupported", "A GPU has no bf16", "Set trainmesh_precision: fp16"),
    "arguments": Cause(
        "app-arguments",
        "The training script does not take the arguments that it is given; a launcher's option behind the "
        "script's name "
        "counts as the script's",
        "python SCRIPT --help shows what it takes; put options of the launcher before the name of the script",
    ),
    "local_rank_argument": Cause(
        "app-arguments",
        "torch.distributed.launch gives each rank the argument --local-rank (--local_rank before torch 2.0), which the "
        "script does not take",
        "torchrun in place of python -m torch.distributed.launch, and LOCAL_RANK of the environment in the script",
    ),
    "code_differs": Cause(
        "code-out-of-sync",
        "The ranks have built different models: code, configuration or versions differ between the nodes",
        "ansible-playbook sync.yml, or copy the same code and configuration to every node",
    ),
    "uneven": Cause(
        "nccl-collective-mismatch",
        "The ranks have different numbers of batches, so that one ends before the others",
        "DataLoader(drop_last=True) with a DistributedSampler, or Accelerator(even_batches=True)",
    ),
    # GPUs
    "rtx40": Cause(
        "job-failed",
        "These GPUs have no direct connections, and Accelerate wants to be told so where its own launcher is not used",
        "accelerate launch, or export NCCL_P2P_DISABLE=1 NCCL_IB_DISABLE=1 (a driver of 550 or newer does without)",
    ),
    "more_ranks_than_gpus": Cause(
        "hostfile-slots-exceed-gpus",
        "More ranks than GPUs were started on the node, or the script takes its global rank for the number of its GPU",
        "nvidia-smi -L there: set trainmesh_slots to that number; in the script LOCAL_RANK (not RANK) chooses the GPU",
    ),
    "driver_old": Cause(
        "drv-too-old",
        "The driver is older than the CUDA that this torch is built for",
        "nvidia-smi shows the driver; install a newer one, or a torch for the CUDA that it names",
    ),
    "fabric_manager": Cause(
        "drv-fabricmanager",
        "The GPUs of an NVSwitch system are not ready: the fabric manager is down or of another version than "
        "the driver",
        "systemctl restart nvidia-fabricmanager, of the same version as the driver",
    ),
    "torch_without_cuda": Cause(
        "ver-wheel-index-wrong",
        "This torch is one for the CPU alone",
        "pip install torch from the index of its CUDA (the role torch_stack does), on the node named",
    ),
    "no_gpu": Cause(
        "gpu-none-usable",
        "The process sees no GPU: CUDA_VISIBLE_DEVICES hides them, the container has none, or the driver does not work",
        "nvidia-smi there, and echo $CUDA_VISIBLE_DEVICES in the environment of the job",
    ),
    "gpu_busy": Cause(
        "gpu-compute-mode",
        "The GPU admits one process only, and another has it",
        "nvidia-smi -c 0 there, and end the other process (nvidia-smi shows it)",
    ),
    "gpu_ecc": Cause(
        "gpu-ecc", "The memory of a GPU has errors that cannot be corrected", "nvidia-smi -q -d ECC,ROW_REMAPPER there"
    ),
    "gpu_nvlink": Cause(
        "gpu-nvlink", "A link between the GPUs of the node fails", "nvidia-smi nvlink -e there shows which one"
    ),
    "gpu_crash": Cause(
        "job-failed",
        "A kernel of the program crashed on a GPU",
        "CUDA_LAUNCH_BLOCKING=1 shows the operation; dmesg | grep -i xid there tells whether it was the GPU",
    ),
    "gpu_lost": Cause(
        "gpu-lost-from-bus", "A GPU does not answer any more", "dmesg | grep -i xid there, then reboot the node"
    ),
    "no_kernel": Cause(
        "ver-arch-unsupported",
        "Torch, or an extension, has no code for this model of GPU",
        "TORCH_CUDA_ARCH_LIST with all models of the cluster for extensions; for torch a newer or older release",
    ),
    "kernel_size": Cause(
        "job-failed",
        "A kernel needs more memory within the GPU's processors than this model has: it was tuned for a larger one",
        "nvidia-smi -L there; another attention or backend, or the release of the package that knows this GPU",
    ),
    "gpu_assert": Cause(
        "app-shape-mismatch",
        "An index is outside of its table: a token beyond the embedding (another tokenizer or vocabulary), or a label "
        "beyond the classes",
        "CUDA_LAUNCH_BLOCKING=1 shows the place; compare len(tokenizer) with the size of the model's embedding",
    ),
    "nvshmem": Cause(
        "gdr-unavailable",
        "NVSHMEM (DeepEP) found no adapter that a GPU can drive itself (IBGDA): it has to be one of mlx5, and the "
        "driver has to let GPUs map it",
        'options nvidia NVreg_EnableStreamMemOPs=1 NVreg_RegistryDwords="PeerMappingOverride=1;" in /etc/modprobe.d on '
        "all nodes, update-initramfs -u (dracut -f), reboot; NVSHMEM_HCA_LIST names the adapters",
    ),
    # builds and packages
    "cuda_other": Cause(
        "ver-nvcc-torch-mismatch",
        "nvcc belongs to another CUDA than torch",
        "Install the toolkit of torch.version.cuda",
    ),
    "ops_other_torch": Cause(
        "build-ops-other-torch",
        "DeepSpeed's prebuilt operators belong to another torch and refuse to load",
        "pip cache remove deepspeed && pip install --force-reinstall --no-cache-dir --no-binary deepspeed deepspeed",
    ),
    "no_ninja": Cause(
        "build-ninja-missing",
        "DeepSpeed builds operators with ninja, which is not on the PATH of the job",
        "pip install ninja in the job's environment, on every node, with its bin directory on the PATH of the job",
    ),
    "cpu_adam": Cause(
        "build-cpu-adam",
        "DeepSpeed cannot build its optimizer for the CPU, which offload needs",
        "Install a compiler (g++), ninja and the CUDA toolkit of torch's own version, then run ds_report",
    ),
    "build_failed": Cause(
        "build-op-failed",
        "An operator is built when the job starts, and the build failed on the node",
        "ds_report there: it needs nvcc of torch's CUDA (CUDA_HOME), g++ and ninja on the PATH of the job",
    ),
    "build_lock": Cause(
        "build-lock-stale",
        "A build that was killed has left its lock, and torch waits for it for ever",
        "find ${TORCH_EXTENSIONS_DIR:-~/.cache/torch_extensions} -name lock -delete there, when no ninja and nvcc run",
    ),
    "lock_waits": Cause(
        "build-lock-stale",
        "The node waits for a lock file, mostly one that a killed process has left",
        "fuser -v {detail} there; when nobody has it open: rm -f {detail}",
    ),
    "build_waits": Cause(
        "build-lock-stale",
        "The node waits for an operator that others have loaded long ago, mostly for the lock that a killed "
        "build has left",
        "rm -f {detail} there, when no ninja and nvcc run (ps -C ninja,nvcc)",
    ),
    "cuda_library": Cause(
        "env-ldpath-cuda-clash",
        "torch finds a library of another CUDA, or none",
        "unset LD_LIBRARY_PATH for the job: torch brings the libraries of its CUDA",
    ),
    "binary_other": Cause(
        "ver-package-mismatch",
        "A compiled package was built for another torch, system or processor than this one",
        "pip install --force-reinstall --no-cache-dir --no-build-isolation the package that the message names, there",
    ),
    "packages": Cause(
        "ver-package-mismatch",
        "Versions of Python packages do not fit each other",
        "pip check there, then install the versions that the message asks for, the same on every node",
    ),
    "python_other": Cause(
        "ver-python-torch-differs",
        "Files of one Python are read by an older or newer one: the nodes, or the environments, have different ones",
        "python --version in the environment of the job, and the same Python on every node",
    ),
    "module_missing": Cause(
        "ver-python-torch-differs",
        "A package is missing there, or another Python is used",
        "Install the same packages on every node (the role torch_stack does)",
    ),
    "syntax": Cause(
        "ver-python-torch-differs",
        "This Python cannot parse the code: it is older than the code needs, or the file is damaged there",
        "python --version in the environment of the job, and the same Python on every node",
    ),
    # models, data, files
    "shapes": Cause(
        "app-shape-mismatch",
        "The model does not fit its checkpoint, its vocabulary or its data",
        "Compare config.json (vocab_size, hidden sizes) with the checkpoint, and its tokenizer with the one of the job",
    ),
    "index_cache": Cause(
        "path-differs",
        "The index of the data is made by one rank for all, on a disk that the other nodes do not see, or see later",
        "--data-cache-path (data_cache_path) on a disk that all nodes share; or copy the cache to the same path on "
        "every node",
    ),
    "model_damaged": Cause(
        "model-only-on-launch-node",
        "A file of the model or checkpoint is incomplete there: a copy that was cut off, or a pointer of Git LFS",
        "ls -l and sha256sum of the file on every node, then copy it again (git lfs pull for a clone)",
    ),
    "model_missing": Cause(
        "model-only-on-launch-node",
        "A model, checkpoint or data set is not there under the path that the job uses",
        "ls the path of the message on every node; copy it there, or use a shared disk",
    ),
    "checkpoint_shard": Cause(
        "ckpt-local-disk",
        "A rank's part of the checkpoint is not there: each node has saved its own parts on its own disk, or another "
        "number of ranks has saved them",
        "ls the directory on every node; copy all parts to the same path on every node (or save on a shared disk), and "
        "start as many ranks as have saved",
    ),
    "checkpoint_race": Cause(
        "ckpt-local-disk",
        "Several nodes move or make the same checkpoint directory, or one looks for what another has on its own disk",
        "save_on_each_node: true where the output directory is on each node's own disk, false where all share it; "
        "transformers 4.37 and newer let one rank rename",
    ),
    "file_raced": Cause(
        "job-failed",
        "A process deletes or renames a file that is not there any more: mostly another one did so before, because "
        "nodes share a directory that the job takes for each node's own, or two jobs have the same one",
        "A directory for each node (on its own disk, or with the node's name in its path), and another for each job",
    ),
    "hub_refuses": Cause(
        "model-only-on-launch-node",
        "The Hub does not give the model to this node: nobody is logged in there, or it asks too often",
        "hf auth login there as the job's user, or download the model once to the same path on every node and set "
        "HF_HUB_OFFLINE=1",
    ),
    "wandb_login": Cause(
        "job-failed",
        "Weights & Biases wants a login, which this node does not have",
        "wandb login there as the job's user, or WANDB_MODE=offline in trainmesh_env",
    ),
    "file_missing": Cause(
        "path-differs",
        "A path that the job needs is not on every node",
        "Bring it to the same path on every node",
    ),
    "line_ends": Cause(
        "file-unparsable",
        "A script has the line ends of Windows: the shell takes the carriage return for a part of each last word",
        "sed -i 's/\\r$//' SCRIPT on every node that has it, and git config core.autocrlf input where it comes from",
    ),
    "command_missing": Cause(
        "path-differs",
        "A program is not on the PATH of the launched ranks, which is not that of a login",
        "Give the program's full path, the same on every node, or source the environment in the launch script",
    ),
    "loss_scale": Cause(
        "job-failed",
        "fp16 overflowed at every step, until the loss scale could not be lowered any more",
        "bf16 if the GPUs have it, else a lower learning rate; look for NaN in the data",
    ),
    # where only consequences are seen
    "collective_mismatch": Cause("nccl-collective-mismatch", ADVICE["collective_mismatch"].cause,
                                 ADVICE["collective_mismatch"].remedy),
    "stalled": Cause(
        "nccl-watchdog-timeout",
        "A rank did not come to an operation in which all others wait",
        "py-spy dump --pid PID of that rank shows where it is; it had less data, or stopped in its own code",
    ),
    "watchdog_stuck": Cause(
        "nccl-watchdog-timeout",
        "The ranks hang inside of NCCL or CUDA: in an operation that another rank never came to, or on a GPU or link "
        "that does not answer",
        "py-spy dump --pid PID on each node while it hangs, and dmesg | grep -i xid; NCCL_DEBUG=INFO names the "
        "operation",
    ),
    "wait_gloo": Cause(
        "nccl-watchdog-timeout",
        "A rank stalled or died before the others came to this operation",
        "Look for the rank whose log ends first; if all are alive, raise the timeout of init_process_group",
    ),
    "lost": Cause(
        "job-failed",
        "A rank went away, and the others lost their connection to it; no log at hand says why it went",
        "Read the log of the node that is not among these: its first error is the cause",
    ),
}  # fmt: skip


def killed(out_of_memory: bool) -> Cause:
    """Why a rank ended by signal 9."""
    return HOST_OOM if out_of_memory else RANK_KILLED


def crashed(text: str) -> Cause:
    """Why a rank ended by another signal than 9."""
    cause = cause_of(text, False)
    return RANK_CRASHED if cause is FAILED else cause


def cause_of(text: str, out_of_memory: bool) -> Cause:
    """What a text means; ``out_of_memory``: whether the kernel has killed processes there. FAILED when unknown."""
    if KILLED.search(text):
        return killed(out_of_memory)
    said = job_failure.classify(_RANK.sub("", text, count=1))
    if said is None or (said.weight >= job_failure.LOST and not said.kind.startswith(_NCCL)):
        return FAILED
    return of_kind(said.kind)


def of_kind(kind: str) -> Cause:
    """What a kind means; FAILED for what has no meaning of its own."""
    if kind.startswith(_NCCL):
        advice = ADVICE.get(kind[len(_NCCL) :])
        return Cause(advice.rule, advice.cause, advice.remedy) if advice else FAILED
    return CAUSES.get(kind, FAILED)


def is_consequence(text: str) -> bool:
    """Whether a rank says no more than that its peer went away first."""
    said = job_failure.classify(_RANK.sub("", text, count=1))
    return said is not None and said.kind in ("lost", "nccl:connection_closed_by_peer")


def out_of_memory(case: Case, host: str) -> bool:
    """Whether the kernel of a node has killed processes for want of memory; without a host, that of any."""
    names = [host] if host else list(case.order)
    return any(bool(dig(case.user.get(name), "oom_kills", [])) for name in names)


def for_the_head() -> str:
    """The same for a program on the head that knows none of this, as JSON: the first pattern found in a text tells.

    Each row has the pattern, whether the text must be about NCCL (``nccl``), the cause, empty where nothing can be
    said, and the remedy. NCCL's kinds stand where job_failure.classify() looks for them.
    """
    own = [(kind.name, kind.pattern.pattern) for kind in job_failure.KINDS if kind.weight < job_failure.ENDED]
    early = [each for each in own if each[0] not in job_failure.NCCL_KNOWS_MORE]
    late = [each for each in own if each[0] in job_failure.NCCL_KNOWS_MORE]
    nccl = [(_NCCL + kind.name, kind.pattern.pattern) for kind in nccl_failure.KINDS]
    rows: list[tuple[str, bool, str, str]] = []
    for name, pattern in [*early, *nccl, *late]:
        cause = of_kind(name)
        told = ("", "") if cause is FAILED else (cause.cause, cause.remedy)
        rows.append((pattern, name.startswith(_NCCL), *told))
    rows.append((r"^signal 9 \(", False, RANK_KILLED.cause, RANK_KILLED.remedy))
    rows.append((r"^signal (?:4|6|7|8|11) \(", False, RANK_CRASHED.cause, RANK_CRASHED.remedy))
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return f'{{"nccl": {json.dumps(job_failure.ABOUT_NCCL.pattern)}, "rows": [\n{lines}\n]}}\n'
