# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which launcher a command line starts, and its options.

Tools that run torchrun themselves are read as torchrun with the options that they make of the environment. Options:
DeepSpeed 0.19.6 launcher/runner.py, accelerate 1.15 commands/launch.py, torch 2.14 distributed/run.py; tools:
LLaMA-Factory 0.9.4 launcher.py, ms-swift 4 cli/main.py, XTuner 0.2 entry_point.py, Axolotl 0.13 cli, ColossalAI 0.5
cli/launcher.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import by_environment

DEEPSPEED, ACCELERATE, TORCHRUN, PDSH, COLOSSALAI = "deepspeed", "accelerate", "torchrun", "pdsh", "colossalai"
COMPOSER, PYTHON = "composer", "python"
# Options without a value, dashes as underscores; all others of a launcher take one.
_FLAGS: t.Mapping[str, frozenset[str]] = {
    DEEPSPEED: frozenset(
        "force_multi no_ssh no_ssh_check save_pid no_python no_local_rank module elastic_training bind_cores_to_rank "
        "quiet help h".split()
    ),
    ACCELERATE: frozenset(
        "cpu multi_gpu tpu ipex use_deepspeed use_fsdp use_megatron_lm use_xpu module m no_python debug quiet q fp16 "
        "same_network use_mps_device tpu_use_cluster no_tpu_cluster tpu_use_sudo downcast_bf16 enable_cpu_affinity "
        "use_parallelism_config dynamo_use_dynamic dynamo_use_fullgraph dynamo_use_regional_compilation help h".split()
    ),
    TORCHRUN: frozenset("standalone module m no_python run_path use_env help h".split()),
    PDSH: frozenset("S N k q h V b".split()),
    COLOSSALAI: frozenset(("help",)),
    COMPOSER: frozenset("version v verbose m module_mode c command_mode h help".split()),
}
_SHORT: t.Mapping[str, t.Mapping[str, str]] = {
    DEEPSPEED: {"H": "hostfile", "i": "include", "e": "exclude"},
    COLOSSALAI: {"H": "host"},
    COMPOSER: {"n": "nproc"},
}
_MODULES = {
    "torch.distributed.run": TORCHRUN,
    "torch.distributed.launch": TORCHRUN,
    "deepspeed.launcher.runner": DEEPSPEED,
    "accelerate.commands.launch": ACCELERATE,
    "composer.cli.launcher": COMPOSER,
}
_TORCHRUN_ENVIRONMENT = {
    "NNODES": "nnodes",
    "NODE_RANK": "node_rank",
    "NPROC_PER_NODE": "nproc_per_node",
    "MASTER_ADDR": "master_addr",
    "MASTER_PORT": "master_port",
}


@dataclasses.dataclass(frozen=True)
class Tool:
    """A tool that runs torchrun itself: its subcommands that do, and which variables become options."""

    subcommands: tuple[str, ...]
    environment: t.Mapping[str, str]


TOOLS: t.Mapping[str, Tool] = {
    "llamafactory-cli": Tool(("train",), {**_TORCHRUN_ENVIRONMENT, "RDZV_ID": "rdzv_id"}),
    "swift": Tool(("pt", "sft", "rlhf", "infer"), _TORCHRUN_ENVIRONMENT),
    "megatron": Tool(("pt", "sft", "rlhf"), _TORCHRUN_ENVIRONMENT),
    "xtuner": Tool(
        ("train", "test", "dist_train", "dist_test"),
        {
            **{name: option for name, option in _TORCHRUN_ENVIRONMENT.items() if not name.startswith("MASTER_")},
            "ADDR": "master_addr",
            "PORT": "master_port",
        },
    ),
    # the scripts of OpenMMLab's projects, with configuration and GPUs as arguments
    "dist_train.sh": Tool((), {**_TORCHRUN_ENVIRONMENT, "PORT": "master_port"}),
    "dist_test.sh": Tool((), {**_TORCHRUN_ENVIRONMENT, "PORT": "master_port"}),
}
_TOOL_NAMES = {"llamafactory": "llamafactory-cli", "lmf": "llamafactory-cli"}
_TOOL_MODULES = {
    "llamafactory.cli": "llamafactory-cli",
    "llamafactory.launcher": "llamafactory-cli",
    "swift.cli.main": "swift",
    "swift.cli._megatron.main": "megatron",
}

REMOTE = frozenset(
    "srun mpirun mpiexec mpiexec.hydra orterun ssh pdsh clush parallel-ssh pssh sbatch kubectl parallel".split()
)
"""Commands that run another one on several nodes: what their command line computes is computed once."""

_LOCAL = frozenset(
    "nohup time exec env sudo stdbuf command setsid numactl taskset nice ionice chrt timeout unbuffer systemd-run tmux "
    "screen docker podman nerdctl singularity apptainer enroot conda mamba micromamba uv poetry pipenv pixi hatch nsys "
    "ncu strace su bash sh zsh eval source . xargs script faketime catchsegv watch builtin nsenter chroot".split()
)
WRAPPERS = REMOTE | _LOCAL
"""Commands that run another one."""

_TRL_TRAINS = frozenset("sft dpo grpo kto rloo reward".split())
_SCRIPT_RUNNERS = frozenset(("bash", "sh", "zsh", "source", "."))
_NO_LAUNCH = frozenset(("install", "uninstall", "show", "echo", "pull", "build", "cp", "which", "grep", "pkill"))


class Parsed(t.NamedTuple):
    """A launcher's command: what it is, the words behind its name, the environment and the commands in front of it."""

    launcher: str
    tool: str
    rest: list[str]
    environment: dict[str, str]
    through: tuple[str, ...]


def parsed(words: list[str], environment: t.Mapping[str, str]) -> Parsed | None:
    """The launcher's command in a simple command, with an empty launcher where there is none."""
    known = dict(environment)
    through: list[str] = []
    at = 0
    while at < len(words):
        launcher, tool, rest = _launcher(words[at:])
        if launcher:
            return Parsed(launcher, tool, rest, known, tuple(through))
        name, equals, value = words[at].partition("=")
        base = words[at].rsplit("/", 1)[-1]
        if equals and re.fullmatch(r"[A-Za-z_]\w*", name):
            known[name] = value
        elif base in WRAPPERS:
            through.append(base)
        elif re.fullmatch(r"python[\d.]*", base):
            return Parsed("", PYTHON, words[at + 1 :], known, tuple(through))  # it hands the rest on as it likes
        elif not through or words[at] in _NO_LAUNCH or words[at - 1 : at + 1] == ["command", "-v"] or at > 60:
            return None
        elif through[-1] in _SCRIPT_RUNNERS and not words[at].startswith("-"):
            return None  # a script of its own, and its arguments
        elif words[at].startswith("--export="):
            known.update(pair.partition("=")[::2] for pair in words[at][9:].split(",") if "=" in pair)
        at += 1
    return Parsed("", "", [], known, tuple(through))


def _launcher(words: list[str]) -> tuple[str, str, list[str]]:
    """(which launcher, the name of the command, the words behind it)."""
    name = words[0].rsplit("/", 1)[-1] if words else ""
    which = re.fullmatch(r"(?:\$\(|`)\s*(?:which|command -v|type -p)\s+([\w-]+)\s*[)`]", words[0]) if words else None
    name = which.group(1) if which else name
    if name in ("accelerate-launch", "deepspeed.pt"):
        return name.split("-")[0].split(".")[0], name, words[1:]
    if name in (ACCELERATE, COLOSSALAI):
        starts = words[1:2] == (["launch"] if name == ACCELERATE else ["run"])
        return (name, name, words[2:]) if starts else ("", "", [])
    if name in (DEEPSPEED, TORCHRUN, PDSH, COMPOSER):
        return name, name, words[1:]
    if name in ("fabric", "lightning"):
        behind = 2 if name == "fabric" else 3
        starts = words[1:behind] == ["run", "model"][: behind - 1]
        return (TORCHRUN, "fabric", by_environment.fabric(words[behind:])) if starts else ("", "", [])
    if name == "tune" and words[1:2] == ["run"] and words[2:3] and words[2].startswith("-"):
        return TORCHRUN, "tune", words[2:]  # torchtune hands these options on
    if name == "trl" and words[1:2] and words[1] in _TRL_TRAINS:
        return ACCELERATE, "trl", by_environment.trl(words[2:])
    if name == "axolotl":
        return _axolotl(words[1:])
    name = _TOOL_NAMES.get(name, name)
    if name in TOOLS:
        subcommands = TOOLS[name].subcommands
        starts = not subcommands or (len(words) > 1 and words[1] in subcommands)
        return (TORCHRUN, name, words[1:]) if starts else ("", "", [])
    if re.fullmatch(r"python[\d.]*|\$\{?\w+\}?", name):
        return _module(words)
    return "", "", []


def _axolotl(words: list[str]) -> tuple[str, str, list[str]]:
    """``axolotl train FILE --launcher torchrun -- OPTIONS``, where accelerate is the default."""
    if words[:1] not in (["train"], ["evaluate"], ["inference"]):
        return "", "", []
    behind = words.index("--") if "--" in words else len(words)
    own, options = words[1:behind], words[behind + 1 :]
    chosen = next((word.partition("=")[2] for word in own if word.startswith("--launcher=")), "")
    if "--launcher" in own[:-1]:
        chosen = own[own.index("--launcher") + 1]
    if chosen == "python":
        return "", "", []
    options += [word for word in own if word.startswith(("--main_process_port=", "--num_processes="))]
    rest = [*options, "-m", "axolotl.cli.train", *[word for word in own if not word.startswith("-")]]
    return (TORCHRUN if chosen == TORCHRUN else ACCELERATE), "axolotl", rest


def _module(words: list[str]) -> tuple[str, str, list[str]]:
    """``python -m MODULE`` and ``python $(which torchrun)``."""
    flags = next((at for at, word in enumerate(words[1:5], 1) if not word.startswith("-") or word == "-m"), 0)
    if not flags:
        return "", "", []
    if words[flags] == "-m":
        module = words[flags + 1] if flags + 1 < len(words) else ""
        rest = words[flags + 2 :]
        if module in _TOOL_MODULES:
            tool = _TOOL_MODULES[module]
            return (TORCHRUN, tool, rest) if rest[:1] and rest[0] in TOOLS[tool].subcommands else ("", "", [])
        launcher = _MODULES.get(module, "")
        return launcher, launcher and module, rest
    if re.search(r"(?:\bwhich\s+|/)(?:torchrun|deepspeed|accelerate)\)?`?\Z", words[flags]):
        return _launcher(words[flags:])
    return "", "", []


def options_of(launcher: str, words: list[str]) -> tuple[dict[str, str | None], str | None, list[str]]:
    """(options, script, arguments): the first word that is neither an option nor its value is the script."""
    options: dict[str, str | None] = {}
    at = 0
    while at < len(words):
        text = words[at]
        if not text.startswith("-") or text == "-":
            return options, text, words[at + 1 :]
        name, equals, value = text.lstrip("-").partition("=")
        name = _SHORT.get(launcher, {}).get(name, name.replace("-", "_"))
        if equals or name in _FLAGS[launcher]:
            options[name] = value if equals else None
        else:
            at += 1
            options[name] = words[at] if at < len(words) else ""
        at += 1
    return options, None, []
