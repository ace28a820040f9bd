# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes and fixes of what is around a job's ranks: the kinds of ``module_utils/_logs/job_start_failure.py``."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._job_cause import Cause

START_CAUSES: t.Mapping[str, Cause] = {
    # containers
    "container_gpu": Cause(
        "gpu-none-usable",
        "The container runtime cannot give the GPUs to a container: its NVIDIA part is missing there, or does not fit "
        "the driver",
        "docker run --rm --gpus all ubuntu nvidia-smi there; install nvidia-container-toolkit, then nvidia-ctk runtime "
        "configure and systemctl restart docker; after an update of the driver reboot the node",
    ),
    "container_daemon": Cause(
        "path-not-permitted",
        "Docker does not run there, or the job's user may not use it",
        "systemctl status docker and id there; usermod -aG docker USER lets a user in, who then logs in anew",
    ),
    "container_image": Cause(
        "path-differs",
        "The image of the container is not there, and could not be fetched",
        "docker images (ls of the .sif or .sqsh) there; docker login and docker pull, or docker save | ssh NODE docker "
        "load, the same image on every node",
    ),
    "container_name": Cause(
        "job-failed",
        "A container of an earlier job is still there under the same name",
        "docker ps -a there; docker rm -f NAME if nobody needs it, and docker run --rm in the script",
    ),
    "container_port": Cause(
        "rdzv-errno-98",
        "Another process or container of the node has the port that the container shall publish",
        "ss -ltnp there shows it; --network host needs no -p at all, and suits NCCL",
    ),
    "container_start": Cause(
        "job-failed",
        "The container was not started; what stands behind the last colon of the message says why",
        "docker run (apptainer exec, srun --container-image) by hand there, with the same options and the command true",
    ),
    "container_call": Cause(
        "job-failed",
        "The container does not let its processes make that system call: binding memory needs SYS_NICE, sharing file "
        "descriptors SYS_PTRACE",
        "docker run --cap-add SYS_NICE --cap-add SYS_PTRACE; or without: no --bind_cores_to_rank and numactl, and "
        "expandable_segments:False in PYTORCH_CUDA_ALLOC_CONF",
    ),
    # Slurm and MPI
    "slurm_launch": Cause(
        "job-failed",
        "Slurm could not start the tasks on that node",
        "scontrol show node NODE, and journalctl -u slurmd there. Invalid job credential: clocks or munge keys differ "
        "(munge -n | ssh NODE unmunge); Communication connection failure, Socket timed out: a firewall between slurmd "
        "and srun (SrunPortRange, 6818)",
    ),
    "slurm_refuses": Cause(
        "job-failed",
        "Slurm does not give what is asked of it",
        "scontrol show job $SLURM_JOB_ID, sinfo -N -l: nodes, tasks, CPUs, memory and GPUs of srun must lie within "
        "those of sbatch, and these within what the partition has",
    ),
    "slurm_directory": Cause(
        "path-differs",
        "The directory of the job is not on that node: Slurm goes to /tmp in its place, where nothing of the job is",
        "ls -ld the directory on every node; start the job from a shared one (sbatch --chdir)",
    ),
    "mpi_pmi": Cause(
        "job-failed",
        "This MPI does not understand how Slurm tells its processes who they are",
        "srun --mpi=list shows what Slurm has, ompi_info | grep -i pmi what Open MPI understands: srun --mpi=pmix, or "
        "mpirun in place of srun",
    ),
    "mpi_init": Cause(
        "job-failed",
        "MPI could not begin: it finds no network that it can use, or its parts are of different releases",
        "fi_info (ucx_info -d) there shows what there is; FI_PROVIDER=tcp or UCX_TLS=tcp,self,sm tells whether it "
        "is the "
        "fabric; mpirun --version on every node",
    ),
    "rdma_retries": Cause(
        "ib-retry-exceeded",
        "The other end of an RDMA connection does not answer: its process had ended, or the link, its subnet "
        "manager or "
        "RoCE's priorities drop packets",
        "ibstat and ibv_devinfo on both ends; if other ranks had ended before, their first error counts",
    ),
    # Ray
    "ray_worker_died": Cause(
        "job-rank-killed",
        "A process of Ray's ended without a word of its own: killed (mostly for memory), or crashed",
        "journalctl -k --since -1h there (out of memory, segfault, Xid); its last words are in the files with its PID "
        "below /tmp/ray/session_latest/logs",
    ),
    "ray_head": Cause(
        "rdzv-connect-failed",
        "The node does not reach the head of the Ray cluster: ray start --head does not run there, a firewall is "
        "between them, or a proxy",
        "ray status on the head; nc -vz HEAD 6379 on the node; open all ports between the nodes (trainmesh_firewall), "
        "and name them in no_proxy",
    ),
    "ray_environment": Cause(
        "job-failed",
        "Ray could not prepare the environment of its workers on a node (working_dir, pip, conda)",
        "less /tmp/ray/session_latest/logs/runtime_env_setup-*.log there; leave the runtime environment out where all "
        "nodes have the same one",
    ),
    "ray_disk": Cause(
        "disk-full",
        "The disk of Ray's temporary directory is nearly full: Ray creates no objects there any more",
        "df -h /tmp there; rm -rf the old sessions below /tmp/ray, or ray start --temp-dir on a larger disk",
    ),
    "socket_path": Cause(
        "job-failed",
        "The name of a socket is longer than the kernel lets it be (107 characters)",
        "export TMPDIR=/tmp (ray start --temp-dir /tmp/r) in the script: a short directory on the node's own disk",
    ),
    "loader_slow": Cause(
        "job-failed",
        "The data did not come in time: the disk or network file system that has them is slow, or a worker hangs",
        "iostat -x 1 and nfsiostat 1 there while it runs; fewer or more num_workers, a larger timeout, or the data "
        "on the "
        "node's own disk",
    ),
    # environments, processors and libraries
    "environment_missing": Cause(
        "env-not-activated",
        "The environment of the job was not put into use there: what should do so is not there, or not known to the "
        "shell that runs the script, which is no login shell",
        "source the environment by its full path in the script (source /PATH/bin/activate, source "
        "/PATH/etc/profile.d/conda.sh), and see that it is on every node",
    ),
    "compiler_old": Cause(
        "ver-nvcc-torch-mismatch",
        "nvcc (or the ptxas that Triton brings) is older than this model of GPU, or does not know the C++ compiler",
        "nvcc --version there: install a CUDA toolkit that knows the GPU (12.8 for Blackwell), set CUDA_HOME to it and "
        "TRITON_PTXAS_PATH=$CUDA_HOME/bin/ptxas; TORCH_CUDA_ARCH_LIST leaves out models that the cluster has not",
    ),
    "python_home": Cause(
        "ver-python-torch-differs",
        "Python does not find its own library: PYTHONHOME or a copied environment leads to another place",
        "unset PYTHONHOME for the job; an environment that was copied is made anew on that node",
    ),
    "exec_format": Cause(
        "ver-package-mismatch",
        "The program is for another processor than that of the node (x86_64, aarch64), is a script without a first "
        "line #!, or its interpreter is not there",
        "uname -m; file -L PROGRAM there: the environment, or the image, is made for each processor of its own",
    ),
    "system_library": Cause(
        "ver-package-mismatch",
        "A library of the system is not there, or not where the loader looks; a package of Python needs it",
        "ldconfig -p | grep LIBRARY there, then apt-file search (dnf provides) tells its package: libgl1, libsndfile1, "
        "libaio1, libopenmpi; one of its own directory needs LD_LIBRARY_PATH",
    ),
    "heap": Cause(
        "job-rank-killed",
        "A library has spoilt the memory of its process, which was ended for it: mostly compiled packages that do not "
        "fit each other (two OpenMP, MPI or allocators in one process)",
        "PYTHONFAULTHANDLER=1 shows where; pip check there, and start the job without LD_PRELOAD and LD_LIBRARY_PATH",
    ),
    "no_locks": Cause(
        "job-failed",
        "Files cannot be locked there: a network file system without its lock service, or too many ranks at one "
        "database",
        "findmnt -T PATH there; put caches and databases on the node's own disk (HF_HOME, HF_DATASETS_CACHE, "
        "TRITON_CACHE_DIR), or mount NFS with version 4 (rpc-statd for 3)",
    ),
    "inotify": Cause(
        "job-failed",
        "The kernel lets the job's user watch no more files: the disk is not full, in spite of the number of the error",
        "sysctl fs.inotify there; sysctl -w fs.inotify.max_user_watches=1048576 fs.inotify.max_user_instances=1024, "
        "also in /etc/sysctl.d",
    ),
    # the net
    "ssh_lost": Cause(
        "job-session-closed",
        "A connection of ssh that carried the job broke while it ran: the network, a reboot of the node, or a firewall "
        "that forgets silent connections",
        "ServerAliveInterval 30 below Host * in ~/.ssh/config of the node that starts the job; last -x reboot on the "
        "other tells whether it went down",
    ),
    "web_unreachable": Cause(
        "job-failed",
        "The program asks a server by HTTP, which it does not reach from that node: no way to the internet, a "
        "proxy, or "
        "a server of the job itself that does not run (yet)",
        "curl -sv URL there, and env | grep -i proxy; a tracker works without (WANDB_MODE=offline), a server of the "
        "job's own needs its port open and its node in no_proxy",
    ),
}
