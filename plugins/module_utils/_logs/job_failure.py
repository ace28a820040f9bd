# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a line of a job's log says went wrong.

Texts of Python, torch 1.13 to 2.14 (elastic agent, c10d, Gloo), DeepSpeed 0.8 to 0.19, accelerate 0.17 to 1.15,
transformers 4 and 5, Open MPI, pdsh, ssh, Slurm, and of this collection's own rank wrapper. Those of NCCL are in
``nccl_failure.py``; their kinds have ``nccl:`` in front here.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.translated import english
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import job_kind, job_start_failure, nccl_failure
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_kind import Kind
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_kind import kind as _kind

ROOT, CONNECT, WAIT = job_kind.ROOT, job_kind.CONNECT, job_kind.WAIT
LOST, ENDED = job_kind.LOST, job_kind.ENDED
MOST_CHARACTERS = 4000  # of a line


class Said(t.NamedTuple):
    """What a line says: ``fatal`` when the program cannot go on after it."""

    kind: str
    weight: int
    fatal: bool


_FOREIGN = r"^(?!.*(?:https?:|huggingface\.co|hf\.co|wandb|pypi|github\.com))"

# A shell that does not find what should start the job: without it there is none.
_SHELL = r"^(?:\S{1,200}: (?:line )?\d{1,6}: |-?\w{0,5}sh: (?:(?:line )?\d{1,6}: )?|)"
_LAUNCHERS = (
    r"(?:torchrun|deepspeed|accelerate|python[\d.]*|mpirun|mpiexec|srun|llamafactory-cli|swift|axolotl|xtuner|composer"
    r"|orted|prted|hydra_\w{1,12}_proxy|ray|numactl|nsys)"
)

# The first that fits names the line.
KINDS: t.Sequence[Kind] = (
    *job_start_failure.FIRST,
    _kind("ended", ENDED, r"ChildFailedError|SignalException: .* got signal: (?:9|15)\b|CalledProcessError|SystemExit"
          r"|ProcessExitedException|ray\.exceptions\.OutOfMemoryError"),
    _kind("session_closed", ROOT, r"Received (?:Signals\.)?(?:SIGHUP|1) death signal|got signal: 1\b", alone=True),
    _kind("interrupted", LOST, r"^KeyboardInterrupt\b|Received (?:Signals\.)?(?:SIGINT|2) death signal|got signal: 2\b",
          alone=True),
    _kind("node_failed", ROOT, r"srun: error: Node failure on|\bits node has died"
          r"|has been marked dead because", alone=True),
    _kind("ended", ENDED, r"DUE TO NODE FAILURE"),
    _kind("stopped", LOST, r"Received (?:Signals\.)?(?:SIGTERM|15) death signal|DUE TO TIME LIMIT|CANCELLED AT",
          alone=True),
    _kind("build_lock", ROOT, r"\bfile_baton\.py\b", alone=True),
    # memory
    _kind("gpu_memory", ROOT, r"CUDA out of memory|(?<!ray\.exceptions\.)OutOfMemoryError"
          r"|CUDA (?:driver )?error: out of memory"
          r"|HIP out of memory|CU(?:BLAS|DNN)_STATUS_ALLOC_FAILED|Cuda failure \d* ?'out of memory'"
          r"|cudaErrorMemoryAllocation"),
    _kind("gpu_full", ROOT, r"CU(?:BLAS|DNN)_STATUS_NOT_INITIALIZED|NVML_SUCCESS == r INTERNAL ASSERT"
          r"|Free memory on device .{0,80} less than desired|No available memory for the cache blocks"),
    _kind("shm_full", ROOT, r"DataLoader worker .{0,80}Bus error|insufficient shared memory|out of shared memory"
          r"|unable to (?:open|allocate|mmap|resize|write to file).{0,60}(?:shared memory|</?torch_)"
          r"|/dev/shm.{0,120}No space left|creating shared memory segment /dev/shm"),
    _kind("shm_full", ROOT, r"\b[Bb]us error\b|SIGBUS", alone=True),
    _kind("oom_killer", ROOT, r"oom_kill|oom-kill|Out Of Memory\b|Out of memory: Killed process|OOM ?[Kk]illed"
          r"|^Memory on the node \(IP: "
          r"|killed due to memory pressure \(OOM\)|was low on resource: memory",
          alone=True),
    _kind("loader_killed", ROOT, r"DataLoader worker .{0,80}killed by signal: Killed"),
    # libfabric, which aborts after the first two
    _kind("efa_memory", ROOT, r"Libfabric error: \(-12\)|EFA internal error: .{0,40}post internal receive buffers",
          alone=True),
    _kind("efa_unreachable", ROOT, r"EFA internal error: \(\d+\) .{0,60}(?i:unreachable|unresponsive"
          r"|unestablished|not connected|no longer)", alone=True),
    _kind("efa_memory", ROOT, r"(?:Unable to register MR|fi_mr_reg\w*|RX packet pool)\b.{0,160}Cannot allocate memory"),
    _kind("fork_memory", ROOT, r"OSError: \[Errno 12\]|fork: Cannot allocate memory"),
    _kind("host_memory", ROOT, r"^MemoryError\b|std::bad_alloc|DefaultCPUAllocator"),
    _kind("process_limit", ROOT, r"can't start new thread|pthread_create failed|fork: (?:retry: )?Resource temporarily "
          r"unavailable|BlockingIOError: \[Errno 11\]|libgomp: Thread creation failed"),
    _kind("disk_full", ROOT, r"[Nn]o space left on device|low on resource: ephemeral|\[Errno 28\]"
          r"|Disk quota exceeded|\[Errno 122\]"
          r"|PytorchStreamWriter failed writing"),
    _kind("cache_race", ROOT, r"(?:FileNotFoundError|OSError): .{0,400}(?:\.triton/|triton_cache|torchinductor"
          r"|torch_extensions|/inductor).{0,400}'"),
    _kind("open_files", ROOT, r"received 0 items of ancdata"),
    _kind("share_lost", ROOT, r"\[Errno (?:107|112|116)\]|Stale (?:NFS )?file handle"
          r"|Transport endpoint is not connected"),
    _kind("io_error", ROOT, r"\[Errno 5\] Input/output error"),
    # ssh and pdsh
    _kind("hostfile_words", ROOT, r"Could not resolve hostname (?:max_)?slots=", alone=True),
    _kind("name_unknown", ROOT, r"ssh: Could not resolve hostname", alone=True),
    _kind("ssh_refused", ROOT, r"ssh: connect to host .{0,300}(?:Connection refused|No route to host)", alone=True),
    _kind("ssh_timeout", ROOT, r"ssh: connect to host .{0,300}timed out", alone=True),
    _kind("ssh_own_files", ROOT, r"UNPROTECTED PRIVATE KEY FILE|Bad owner or permissions on \S{0,300}ssh"
          r"|^Permissions 0\d{3} for .{1,300} are too open", alone=True),
    _kind("ssh_config", ROOT, r"(?:\.ssh/\S{1,200}|ssh_config\S{0,200}):? line \d{1,6}: "
          r"(?:[Bb]ad|[Gg]arbage|[Mm]issing|[Ii]nvalid|[Nn]o argument|keyword .{1,60} extra arguments)", alone=True),
    _kind("ssh_tries", ROOT, r"Too many authentication failures", alone=True),
    _kind("ssh_negotiate", ROOT, r"Unable to negotiate with \S", alone=True),
    _kind("ssh_account", ROOT, r"This account is currently not available|Your account has expired"
          r"|Password change required|(?:required|must) .{0,30}change your password"
          r"|are not permitted to log in", alone=True),
    _kind("ssh_hung_up", ROOT, r"(?:kex|ssh)_exchange_identification: "
          r"|^Connection (?:closed|reset) by (?:[\d.]{7,15}|[0-9A-Fa-f:]{2,45}|UNKNOWN) port \d", alone=True),
    _kind("ssh_denied", ROOT, r"Permission denied \((?:publickey|password|keyboard|gssapi)", alone=True),
    _kind("ssh_key_changed", ROOT, r"REMOTE HOST IDENTIFICATION HAS CHANGED", alone=True),
    _kind("ssh_host_key", ROOT, r"Host key verification failed", alone=True),
    _kind("ssh_failed", ROOT, r"was not reachable via ssh", alone=True),
    _kind("ssh_fabric", ROOT, r"is localhost: False, exception: .{0,80}(?:[Aa]uthenti|private key|known_hosts"
          r"|[Hh]ost key|[Kk]ey cannot be used|Unable to connect to port)", alone=True),
    _kind("no_address", ROOT, r"Using IP address of\s+for node", alone=True),
    _kind("pdsh_missing", ROOT, r"launcher 'pdsh' not installed|pdsh: (?:command )?not found", alone=True),
    _kind("pdsh_module", ROOT, r"No such rcmd module", alone=True),
    _kind("sudo_asks", ROOT, r"sudo: (?:a terminal is required|a password is required|no tty present"
          r"|sorry, you must have)", alone=True),
    # Open MPI
    _kind("mpi_slots", ROOT, r"There are not enough slots available in the system", alone=True),
    _kind("mpi_root", ROOT, r"(?:mpirun|mpiexec|orterun|prterun|prte) has detected an attempt to run as root",
          alone=True),
    _kind("mpi_daemon", CONNECT, r"(?:ORTE|PRTE) was unable to reliably start|An? (?:ORTE|PRTE|PRRTE) daemon has "
          r"unexpectedly failed|(?:ORTE|PRTE) does not know how to route", alone=True),
    _kind("mpi_versions", ROOT, r"(?:PRTE|ORTE|PMIx) detected a mismatch in versions", alone=True),
    _kind("mpi_reach", CONNECT, r"pair of MPI processes are unable to reach each other", alone=True),
    # the rendezvous and names
    _kind("foreign_store", ROOT, r"Ping failed, invalid value returned from server"),
    _kind("port_in_use", ROOT, r"EADDRINUSE|[Aa]ddress already in use|(?:errno: ?|\[Errno )98\b"
          r"|another process is utilizing it"),
    _kind("port_privileged", ROOT, r"^RuntimeError: Permission denied\s*$|errno: ?13\b.{0,80}[Pp]ermission denied"
          r"|EACCES"),
    _kind("address_not_own", ROOT, r"(?:errno: ?|\[Errno )99\b|[Cc]annot assign requested address|EADDRNOTAVAIL"),
    _kind("loopback", ROOT, r"(?:[Cc]onnect|[Gg]loo|refused|timed out).{0,240}\b127\.0\.1\.1\b"
          r"|(?:connectFullMesh|[Gg]loo).{0,240}\b127\.0\.0\.1\b|Using the loopback address as fallback"),
    _kind("gloo_mesh", CONNECT, r"connectFullMesh failed|gloo/transport/tcp/pair\.cc:\d+\] no error"),
    _kind("gloo_interface", ROOT, r"Unable to find (?:address for|interface)[: ]"),
    _kind("no_libuv", ROOT, r"without libuv support", alone=True),
    _kind("hub_unreachable", ROOT, r"LocalEntryNotFoundError|OfflineModeIsEnabled|couldn't connect to 'https?://"
          r"|Cannot find the requested files in the (?:disk|local) cache"
          r"|(?:MaxRetryError|ConnectionError|ConnectTimeout|ProxyError|SSLError).{0,300}(?:huggingface\.co|hf\.co)"),
    _kind("name_unknown", ROOT, _FOREIGN + r".*(?:Could not resolve hostname|failure in name resolution"
          r"|No address associated with hostname|gai error: -?[23]\b|Name or service not known)"),
    _kind("first_rank_waits", WAIT, r"retr(?:ie|ei)ving ncclUniqueId from \[\d{1,7}\].{0,200}got error: "
          r"(?!.{0,200}(?:reset|closed|[Bb]roken pipe|got 0 bytes))"
          r"|monitoredBarrier, but received errors .{0,60}from rank|failed to pass monitoredBarrier"),
    _kind("horovod_meets", ROOT, r"Horovod\w* was unable to connect to|Timed out waiting for tasks? to (?:start|update)"
          r"|Unable to find a set of common task-to-task communication interfaces", alone=True),
    _kind("slurm_tasks", ROOT, r"You set `(?:devices|num_nodes)=.{1,20}` in \w+, but the number of"
          r"|You set `--ntasks=\d"),
    _kind("slurm_variables", ROOT, r"^KeyError: '(?:SLURM|PMI|OMPI)_\w+'|invalid literal for int.{0,40}\b\d{1,4}\(x\d"),
    _kind("no_launcher", ROOT, r"environment variable (?:RANK|WORLD_SIZE|LOCAL_RANK|MASTER_ADDR|MASTER_PORT) expected"
          r"|^KeyError: '(?:RANK|WORLD_SIZE|LOCAL_RANK|MASTER_ADDR|MASTER_PORT)'"
          r"|rendezvous: (?:rank|world size) parameter missing"
          r"|Tried to launch .{1,60} but `MASTER_ADDR` env was not set"),
    _kind("clients_missing", WAIT, r"Timed out initializing process group|StoreTimeout|Socket Timeout"
          r"|wait timeout after .{0,40}keys"
          r"|\d+/\d+ clients joined|RendezvousTimeoutError|RendezvousClosedError"
          r"|waitForInput.{0,300}(?:timed out|timeout)|[Tt]imed out (?:after|waiting) .{0,60}clients"
          r"|rendezvous.{0,40}timed out", alone=True),
    _kind("clients_missing", WAIT, r"store based barrier"),
    _kind("no_route", ROOT, _FOREIGN + r".*(?:No route to host|(?:errno: ?|\[Errno )113\b|Network is unreachable)"),
    # configuration and scripts
    _kind("line_ends", ROOT, r"\$'\\r': command not found|/\w+(?:\^M|\r): bad interpreter"
          r"|env: ['\"\u2018\u201c]?\w[\w.]*(?:\\r|\^M|\r)|unexpected token [`']?\$'\S{0,40}\\r'"
          r"|error: .{0,200}\w\\r'", alone=True),
    _kind("hostfile_line", ROOT, r"Hostfile contains a bad entry|Hostfile is (?:empty|not formatted)"),
    _kind("hostfile_twice", ROOT, r"Hostfile contains multiple entries"),
    _kind("accelerate_key", ROOT, r"config file at .{1,300} had unknown keys"),
    _kind("accelerate_twice", ROOT, r"accelerate config variables will be ignored"),
    _kind("batch_sizes", ROOT, r"Check batch related parameters"),
    _kind("deepspeed_key", ROOT, r"validation errors? for (?:DeepSpeed\w+|TensorBoardConfig|WandbConfig|CSVConfig"
          r"|CometConfig|CommsLoggerConfig|HybridEngineConfig)"),
    _kind("deepspeed_arguments", ROOT, r"DeepSpeed config values that mismatch TrainingArguments"),
    _kind("unparsable", ROOT, r"^(?:json\.(?:decoder\.)?)?JSONDecodeError: (?!Extra data"
          r"|Expecting value: line 1 column 1 )|^yaml\.\w{1,40}\.\w{1,40}Error"),
    _kind("parallel_sizes", ROOT, r"[Ww]orld[_ ]?size \(?\d{1,7}\)? is not divisible by|Invalid parallel dims"
          r"|ParallelismConfig total_size|Invalid mesh_dim_names|no dimension for FSDP to shard"),
    _kind("resumed_otherwise", ROOT, r"used a DP world size of \d{1,7} but the current"
          r"|value from checkpoint \(\S{1,40}\) is not equal to"),
    _kind("ray_gpus", ROOT, r"Total available GPUs [\d.]{1,12} is less than total desired"
          r"|number of required GPUs exceeds the total number of available GPUs"),
    _kind("ray_waits", WAIT, r"Waiting for creating a placement group of specs for [1-9]\d{2,6} seconds", alone=True),
    _kind("ray_agent", ROOT, r"No available agent to submit job"),
    _kind("ray_versions", ROOT, r"Version mismatch: The cluster was started with"),
    _kind("ray_none", ROOT, r"Could not find any running Ray instance|Failed to connect to Ray cluster"),
    _kind("both_precisions", ROOT, r"modes cannot be simultaneously enabled"),
    _kind("no_bf16", ROOT, r"[Bb]f16 is not supported|bf16 mixed precision requires|doesn't support bf16"
          r"|[Bb]float16 is only supported on GPUs"),
    _kind("local_rank_argument", ROOT, r"error: unrecognized arguments: .{0,200}--local[-_]rank", alone=True),
    _kind("arguments", ROOT, r"error: (?:unrecognized arguments|the following arguments are required"
          r"|argument \S+: |ambiguous option|no such option)|not used by the HfArgumentParser|No such option:"
          r"|Unknown command line flag|Could not override '|Key '\S+' is not in struct", alone=True),
    _kind("code_differs", ROOT, r"appears not to match (?:sizes|strides|dtype)|expects same model across all ranks"),
    _kind("collective_mismatch", ROOT, r"Detected mismatch between collectives|op\.preamble\.length <= op\.nbytes"),
    _kind("rank_beyond", ROOT, r"Invalid rank requested"),
    _kind("uneven", ROOT, r"one rank that exhausted inputs"),
    # GPUs
    _kind("more_ranks_than_gpus", ROOT, r"invalid device ordinal|^AssertionError: Invalid device id"
          r"|on CUDA device \d{1,3} but torch\.cuda\.device_count\(\) is [1-9]|device < num_gpus INTERNAL ASSERT"),
    _kind("rtx40", ROOT, r"Using RTX 4000 series doesn't support"),
    _kind("driver_old", ROOT, r"driver on your system is too old|driver version is insufficient|Error 80[34]\b"
          r"|forward compatibility was attempted|unsupported display driver"),
    _kind("fabric_manager", ROOT, r"[Ee]rror 802\b|system not yet initialized"),
    _kind("torch_without_cuda", ROOT, r"Torch not compiled with CUDA enabled|compiled without (?:GPU|CUDA) support"),
    _kind("no_gpu", ROOT, r"No CUDA GPUs are available|no CUDA-capable device|Found no NVIDIA driver"
          r"|CUDA driver initialization failed|No GPUs? (?:found|detected|available)"
          r"|[Cc][Uu][Dd][Aa] is not available|no GPUs? (?:found|detected)"
          r"|from cudaGetDeviceCount|torch\.cuda\.is_available\(\) is False|CUDA unknown error"
          r"|CUDA error: unknown error"),
    _kind("gpu_busy", ROOT, r"CUDA-capable device\S* (?:is|are|is/are) busy or unavailable"),
    _kind("gpu_ecc", ROOT, r"uncorrectable ECC error"),
    _kind("gpu_nvlink", ROOT, r"uncorrectable NVLink error"),
    _kind("gpu_crash", ROOT, r"CUDA error\b.{0,120}(?:illegal memory access|misaligned address|illegal instruction"
          r"|unspecified launch failure|launch timed out)"),
    _kind("gpu_lost", ROOT, r"[Uu]nable to determine the device handle|fallen off the bus|GPU is lost"),
    _kind("no_kernel", ROOT, r"no kernel image is available|device kernel image is invalid"
          r"|FlashAttention only supports \w{1,20} GPUs"),
    _kind("kernel_size", ROOT, r"triton\.runtime\.errors\.OutOfResources|out of resource: (?:shared memory"
          r"|tensor memory)"),
    _kind("gpu_assert", ROOT, r"device-side assert triggered|[Ii]ndexing.{0,80}Assertion .{0,80} failed"
          r"|srcIndex < srcSelectDimSize|index out of range in self"),
    _kind("nvshmem", ROOT, r"init failed for transport: \w"),
    _kind("nvshmem", ROOT, r"nvshmem initialization failed, exiting", alone=True),
    # builds and packages
    _kind("cuda_other", ROOT, r"CUDAMismatchException|detected CUDA version .{0,60} mismatches"),
    _kind("ops_other_torch", ROOT, r"DeepSpeed ops were compiled"),
    _kind("no_ninja", ROOT, r"due to ninja not being installed|Ninja is required to load"
          r"|[Nn]o such file or directory: 'ninja'"),
    _kind("cpu_adam", ROOT, r"(?:building|load) (?:extension )?'?cpu_adam|'DeepSpeedCPUAdam' object has no attribute"),
    _kind("build_failed", ROOT, r"Error building extension|ninja: build stopped|Unable to JIT load"
          r"|CUDA_HOME (?:does not exist|environment variable is not set)|MissingCUDAException"
          r"|[Nn]o such file or directory: '(?:\S*/bin/nvcc|nvcc|gcc|g\+\+|cc|c\+\+)'|Failed to find C compiler"
          r"|fatal error: \S{1,200}\.h(?:pp)?: No such file|\bld: cannot find -l"
          r"|error: command '\S{0,200}(?:gcc|g\+\+|nvcc)' failed"),
    _kind("cuda_library", ROOT, r"libcu(?:blas|dnn|sparse|fft|rand|solver)\S{0,40} .{0,80}not defined"
          r"|lib(?:cu|nv)\S{1,60}: cannot open shared object|cuDNN version incompatibility"
          r"|CUDNN_STATUS_(?:SUBLIBRARY_)?VERSION_MISMATCH|Unable to load any of \{libcudnn"),
    _kind("binary_other", ROOT, r"undefined symbol|cannot open shared object file(?!.{0,60}ignored)"
          r"|GLIBC(?:XX)?_\S{1,20}' not found"
          r"|Illegal instruction"),
    _kind("command_missing", ROOT, rf"[Nn]o such file or directory: '{_LAUNCHERS}'"),
    _kind("packages", ROOT, r"cannot import name|^AttributeError: module '|but found \S+[= ]=|VersionConflict"
          r"|requires .{1,80} but .{1,80} is installed"
          r"|^TypeError: .{0,40}(?:Accelerat|Train|DeepSpeed|FullyShard|FSDP|Plugin).{0,60}unexpected keyword"
          r"|^TypeError: \w{0,60}(?:Config|Args|Arguments|Params)\.__init__\(\) got an unexpected keyword"
          r"|operator torch\w{1,20}::\w{1,60} does not exist|may indicate binary incompatibility"
          r"|did not match any variant of untagged enum"
          r"|Numpy is not available"),
    _kind("python_other", ROOT, r"unsupported pickle protocol|bad magic number in "),
    _kind("module_missing", ROOT, r"ModuleNotFoundError|No module named|ImportError|PackageNotFoundError"),
    _kind("syntax", ROOT, r"^(?:SyntaxError|IndentationError|TabError)\b"),
    # models and data
    _kind("index_cache", ROOT, r"FileNotFoundError: .{0,400}(?:_indices/|index-cache/|(?:doc|sample|shuffle)_idx"
          r"|(?:document|sample|shuffle)_index)"),
    _kind("checkpoint_shard", ROOT, r"FileNotFoundError: .{0,400}(?:zero_pp_rank_\d|world_size_\d{1,7}_rank_\d"
          r"|mp_rank_\d|__\d{1,7}_\d{1,7}\.distcp|/\.metadata')"),
    _kind("checkpoint_race", ROOT, r"tmp-checkpoint"
          r"|(?:Directory not empty|File exists).{0,300}(?:checkpoint|global_step|ckpt)"),
    _kind("hub_refuses", ROOT, r"GatedRepoError|gated repo|RepositoryNotFoundError|HfHubHTTPError: (?:401|403|429)"
          r"|(?:401|403|429) Client Error.{0,300}(?:huggingface|hf\.co|modelscope)"),
    _kind("wandb_login", ROOT, r"wandb.{0,80}api_key not configured"),
    _kind("shapes", ROOT, r"size mismatch for |shapes cannot be multiplied|Trying to set a tensor of shape"
          r"|must match the (?:size|existing size)|Sizes of tensors must match|shape mismatch|ShapeError"
          r"|[Vv]ocab(?:ulary)?[ _]size.{0,80}(?:mismatch|differ|not match|larger|smaller|exceed)"),
    _kind("model_damaged", ROOT, r"Unable to load weights from pytorch checkpoint|SafetensorError|UnpicklingError"
          r"|PytorchStreamReader failed|Ran out of input"
          r"|failed finding central directory|HeaderTooLarge|MetadataIncompleteBuffer"),
    _kind("model_missing", ROOT, r"is not a (?:valid model identifier|local folder)|Incorrect path_or_model_id"
          r"|Can't load (?:tokenizer|the configuration|the model|config|feature)"
          r"|no file named (?:pytorch_model|model|tf_m)"
          r"|Unable to find (?:latest file|a checkpoint)|[Cc]heckpoint .{0,200}(?:not found|does not exist)"
          r"|[Nn]o valid checkpoint|checkpoint shards? .{0,60}missing|HFValidationError"
          r"|FileNotFoundError: .{0,400}(?i:model|checkpoint|ckpt|safetensors|global_step|tokenizer"
          r"|(?<![\w-])config\.json|dataset|/data)"),
    _kind("file_missing", ROOT, r"has no (?:file|directory) /|can't open file", alone=True),
    _kind("file_missing", ROOT, r"^-?\w{0,5}sh: (?:(?:line )?\d{1,6}: )?\S+\.(?:sh|py): No such file or directory$",
          alone=True),
    _kind("file_missing", ROOT, r"FileNotFoundError|NotADirectoryError|No such file or directory"),
    _kind("command_missing", ROOT, rf"{_SHELL}(?:\S*/)?{_LAUNCHERS}: (?:command )?not found"
          rf"|(?:zsh|-?z?sh): command not found: {_LAUNCHERS}", alone=True),
    _kind("not_permitted", ROOT, r"^-?\w{0,5}sh: (?:(?:line )?\d{1,6}: )?\S+\.(?:sh|py): Permission denied$",
          alone=True),
    _kind("command_missing", ROOT, r": (?:line \d+: )?(?:\S+: )?(?:command not found|not found)$"),
    _kind("not_permitted", ROOT, r"PermissionError|\[Errno 13\]|Permission denied|Read-only file system"),
    _kind("loss_scale", ROOT, r"loss scale already at minimum"),
    # consequences
    _kind("watchdog_stuck", WAIT, r"watchdog got stuck for \d|Heartbeat monitor timed out", alone=True),
    _kind("wait_gloo", WAIT, r"Timed out waiting \d+ ?ms for (?:recv|send)|barrier.{0,60}[Tt]imed out", alone=True),
    _kind("master_local", CONNECT, r"connect to .{0,60}(?:\((?:127\.0\.0\.1|localhost), ?\d"
          r"|\[?(?:127\.0\.0\.1|localhost)\]?:"
          r"\d{1,5} \(errno: 111)"),
    _kind("master_silent", CONNECT, r"timed out after .{0,40}(?:trying to connect|connecting) to"),
    _kind("refused", CONNECT, r"Connection refused|(?:errno: ?|\[Errno )111\b"),
    _kind("connect_timeout", CONNECT, r"connect\w* .{0,160}timed out|Connection timed out|(?:errno: ?|\[Errno )110\b"),
    _kind("store_connection", CONNECT, r"RendezvousConnectionError|connection to the C10d store has failed"),
    _kind("lost", LOST, r"closed by (?:remote )?peer|reset by peer|Broken pipe|recvValue failed|sendBytes failed"
          r"|communicator was aborted|remote process exited|Failed to recv, got 0 bytes|server has shut ?down"
          r"|connection was likely closed|ncclRemoteError|Socket closed|lost connection|^EOFError\s*$"
          r"|Stop_waiting response is expected|Pin memory thread exited"),
    *job_start_failure.LAST,
)  # fmt: skip
# They are told as warnings while somebody still tries: of a run that failed they say why.
NETWORK = frozenset(
    (
        *("port_in_use", "port_privileged", "address_not_own", "loopback", "gloo_interface"),
        *("name_unknown", "no_route", "refused", "connect_timeout", "master_local"),
        *("ray_head", "efa_memory"),
    )
)
EXCEPTION = re.compile(
    r"(?:[A-Za-z_]\w*\.){0,8}[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Failure|Timeout|OutOfMemory|Closed)\b(?=:|\s*$)"
)
_TERMINATE = re.compile(
    rf"(?:{job_start_failure.GIVES_UP.pattern}"
    r"|terminate called|\s{1,8}what\(\): |Fatal Python error: |\[?E\d{3,4} \d\d:)"
)
# Words of which each kind has one, in lower case; a quick look spares the patterns.
_WORTH = re.compile(
    r"error|errno|eaddr|eacces|exception|exit|signal|interrupt|timeout|timed? ?out|file_baton|memory|oom|alloc|thread"
    r"|space|quota|option|flag|override|struct|identification|pickle|magic|central|header|but found|offline"
    r"|unavailable"
    r"|failed|fault|already|utilizing|assign|connect|gloo|unable|libuv|cache|resolve|resolution|barrier|clients|keys"
    r"|rendezvous|route|unreachable|denied|verification|reachable|install|module|hostfile|unknown|ignored|batch"
    r"|simultaneously|bf16|argument|match|exhausted|ordinal|driver|too old|initialized|cuda|gpu|assert|index|mismatch"
    r"|compiled|ninja|cpu_adam|building|nvcc|not defined|shared object|symbol|glibc|illegal|no such|syntax|shape|vocab"
    r"|checkpoint|not found|identifier|folder|can't|has no|does not exist|permission|read-only|loss scale|refused|peer"
    r"|broken pipe|abort|closed|shutdown|shut down|lost|cancelled|killed|detected|nccl|warn"
    r"|too open|negotiate|account|log in|password|sudo:|slots|as root|reach|parallel|requested|died|placement|agent"
    r"|dead because|gated|stale|checkpoint|is localhost|IP address|docker|container|nvidia-|srun:|not properly|invalid"
    r"|binary file|is over|\(\)|corrupt|detected|architecture|gpu-name|lmod|modulefile|environment|activate|pmi"
    r"|not permitted|inotify|untagged|low on resource|mesh_dim|dimension|retry|completion|DataLoader|overrides"
    r"|pair\.cc|positional",
    re.IGNORECASE,
)


NCCL_KNOWS_MORE = ("refused", "connect_timeout", "lost", "no_route", "host_memory", "fork_memory")
ABOUT_NCCL = re.compile(
    r"NCCL|nccl|ibv_|NET/OFI|socket[A-Z]|WorkNCCL|/dev/shm|Too many open|[Mm]essage truncated|Duplicate GPU"
    r"|Multiple Ranks|socket interface|NET plugin|Cuda failure|nvml[A-Z]|algorithm/protocol|NVLink SHARP|MNNVL"
    r"|HIP failure"
)


GONE = Said("file_raced", ROOT, True)
"""A file that is not there any more for somebody who deletes or renames it."""
RAISED = Said("exception", ROOT, True)
"""An exception of which only its traceback tells that it is one."""


def classify(text: str) -> Said | None:
    """What a line says, its tags taken off; None when it names no failure."""
    text = english(text[:MOST_CHARACTERS])
    if not _WORTH.search(text) or " NCCL INFO " in text:
        return None
    exception = bool(EXCEPTION.match(text)) or bool(_TERMINATE.match(text))
    for kind in KINDS:
        if kind.pattern.search(text):
            ends = (exception or kind.alone) and kind.name not in job_start_failure.HARMLESS
            said = Said(kind.name, kind.weight, ends)
            return _nccl(text, said) or said
    return _nccl(text, None) or (RAISED if EXCEPTION.match(text) else None)


def _nccl(text: str, said: Said | None) -> Said | None:
    """What NCCL's reader makes of a line that is about NCCL; None where it knows no more than the kinds above."""
    if said is not None and said.kind not in NCCL_KNOWS_MORE:
        return None
    if not ABOUT_NCCL.search(text):
        return None
    found = nccl_failure.classify(text)
    if found is None or found["kind"] == "harmless":
        return None
    weight = ROOT if found["weight"] <= nccl_failure.ROOT else LOST
    if found["kind"] == "watchdog_timeout":
        weight = WAIT
    elif found["kind"] in ("connection_refused", "connect_timeout"):
        weight = CONNECT
    return Said(f"nccl:{found['kind']}", weight, True)
