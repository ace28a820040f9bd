# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a launch script: its variables, and the commands that start jobs.

This is no shell. It splits the script as bash does, follows plain assignments, and takes the commands of the launchers
apart: their own options, the training script and its arguments. Tools that run torchrun themselves are read as torchrun
with the options that they make of the environment. What it does not understand it leaves out. Options: DeepSpeed
0.19.6 launcher/runner.py, accelerate 1.15 commands/launch.py, torch 2.14 distributed/run.py; tools: LLaMA-Factory
0.9.4 launcher.py, ms-swift 4 cli/main.py, XTuner 0.2 entry_point.py, Axolotl 0.13 cli, ColossalAI 0.5 cli/launcher.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import (
    by_environment,
    characters,
    expansion,
    shell,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.expansion import Variable
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import Problem

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
_WRAPPERS = REMOTE | _LOCAL
_TRL_TRAINS = frozenset("sft dpo grpo kto rloo reward".split())
_SCRIPT_RUNNERS = frozenset(("bash", "sh", "zsh", "source", "."))
_NO_LAUNCH = frozenset(("install", "uninstall", "show", "echo", "pull", "build", "cp", "which", "grep", "pkill"))
_DECLARATIONS = frozenset(("export", "declare", "typeset", "local", "readonly"))
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)(\+?)=(.*)", re.DOTALL)
_LAUNCHES = re.compile(
    r"\b(?:torchrun|deepspeed|accelerate|llamafactory-cli|swift|xtuner|axolotl|colossalai|composer|fabric|lightning|tune|trl|torch\.distributed\.\w+|pdsh)\b"
)
_UNSET_TEST = re.compile(r"-z\s|!\s+-v\s|-n\s.*\|\||\+x\}")
_DEEPEST = 3  # commands inside quoted commands


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that starts a job.

    ``options`` are the launcher's own, dashes as underscores, None for a flag; ``written`` the same with what comes
    from outside kept as references; ``words`` are all of them as they came; ``script`` and ``arguments`` what is
    launched; ``environment`` assignments in front of it. ``feeds`` says that something else is its standard input (a
    pipe, or a loop that reads), and nothing was done about it. ``tool`` is the command's name, which is not the
    launcher's where a tool runs it. ``through`` are the commands around it, such as nohup and srun. ``once`` says that
    its command line is put together once for all nodes. ``conditional``: it runs in some cases only;
    ``looped``: in a loop over words or lines. ``background``: the script does not wait for its end.
    """

    launcher: str
    line: int
    options: t.Mapping[str, str | None]
    words: tuple[str, ...]
    script: str | None
    arguments: tuple[str, ...]
    environment: t.Mapping[str, str]
    feeds: bool
    written: t.Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    tool: str = ""
    through: tuple[str, ...] = ()
    once: bool = False
    conditional: bool = False
    looped: bool = False
    background: bool = False

    def argument(self, *names: str) -> str | None:
        """The value of the training script's argument ``--name``, dashes and underscores alike; None without one."""
        for at, text in enumerate(self.arguments):
            name, equals, value = text.partition("=")
            if text.startswith("--") and name[2:].replace("-", "_") in names:
                if equals:
                    return value
                return self.arguments[at + 1] if at + 1 < len(self.arguments) else ""
        return None


class Loop(t.NamedTuple):
    """``for NAME in WORDS``: the words as they are written."""

    name: str
    words: tuple[str, ...]
    line: int


class Written(t.NamedTuple):
    """A line that the script itself puts into a file."""

    path: str
    text: str
    line: int


@dataclasses.dataclass(frozen=True)
class Script:
    """A launch script; ``problems`` are ``comment``, ``blank`` (behind a backslash) and ``comment_line``.

    ``lines`` are (number, text) of the command lines, continued ones in one, comments left out; ``writes`` what is put
    into files; ``batch`` says that a batch system starts the script, once; ``unclosed`` are quotes that nobody closes;
    ``odd`` characters in the commands that only look like blanks or hyphens.
    """

    variables: t.Mapping[str, Variable]
    commands: tuple[Command, ...]
    problems: tuple[Problem, ...]
    loops: tuple[Loop, ...] = ()
    writes: tuple[Written, ...] = ()
    lines: tuple[tuple[int, str], ...] = ()
    batch: bool = False
    unclosed: tuple[Problem, ...] = ()
    odd: tuple[Problem, ...] = ()


@functools.lru_cache(maxsize=256)
def launch_script(text: str) -> Script:
    """Read a script."""
    given = text.replace("\r\n", "\n").split("\n")
    text = characters.as_meant(text)
    lines = text.split("\n")
    batch = bool(re.search(r"^#(?:SBATCH|PBS|BSUB|\$)\s", text, re.MULTILINE))
    reader = _Reader({}, (), batch)
    reader.read(text, 0)
    launched = [command for command in reader.commands if command.launcher != PYTHON]
    commands = launched or reader.commands  # beside a launcher, python prepares something
    starts = {command.line for command in commands}
    return Script(
        reader.variables,
        tuple(commands),
        tuple(broken(lines)),
        tuple(reader.loops),
        tuple(reader.writes),
        tuple((number, line.strip()) for number, line in joined(lines) if not line.lstrip().startswith("#")),
        batch,
        tuple(Problem(line, "unclosed", what) for line, what in shell.unclosed(text)),
        tuple(characters.odd((at, line) for at, line in _as_given(lines, given) if at in starts)),
    )


class _Reader:
    """Walks through the simple commands of a script, and of the scripts in its quotes."""

    def __init__(self, variables: dict[str, Variable], through: tuple[str, ...], once: bool, depth: int = 0) -> None:
        self.variables = variables
        self.commands: list[Command] = []
        self.loops: list[Loop] = []
        self.writes: list[Written] = []
        self._through, self._once, self._depth = through, once, depth
        self._all_exported = False
        self._turning: frozenset[str] = frozenset()
        self._counted: frozenset[str] = frozenset()  # those that are set in several places, such as counters
        self._settled: set[str] = set()  # those of them that this turn of the loop has set before, from what is known

    def _visible(self, simple: shell.Simple) -> dict[str, Variable]:
        """The variables whose values are known at a command: not those that change with each turn of a loop."""
        if not simple.looped or not self._turning:
            return self.variables
        unknown = self._turning - self._settled
        return {name: one for name, one in self.variables.items() if name not in unknown}

    def read(self, text: str, offset: int) -> None:
        """Read a text that begins ``offset`` lines below the top of the file."""
        commands = shell.simple_commands(text)
        turning = [name for one in commands if one.looped for name in _assigned(one)]
        self._turning = frozenset(turning)
        self._counted = frozenset(name for name in turning if turning.count(name) > 1)
        for simple in commands:
            line = simple.line + offset
            head = simple.words[0] if simple.words else ""
            if not simple.looped:
                self._settled.clear()
            if head in ("for", "select"):
                self._loop(simple, line)
            elif head == "set" and len(simple.words) > 1:
                self._set(simple.words[1:])
            elif head == "unset":
                for name in simple.words[1:]:
                    self.variables.pop(name, None)
            elif head in ("mpirun", "mpiexec", "orterun"):
                self._sent_by_mpi(simple, line)
                self._launch(simple, line)
            elif head in _DECLARATIONS or (head and all(map(_ASSIGNED.match, simple.words))):
                self._assign(simple, line)
            elif head == ":":
                self._defaults(simple, line)
            elif head in ("read", "IFS=") and simple.document:
                value = expansion.text(f'"{simple.document}"', self.variables).strip()
                self.variables[simple.words[-1]] = Variable(value, False, line, value)
            else:
                self._launch(simple, line)
            self._note_writes(simple, line)

    def _loop(self, simple: shell.Simple, line: int) -> None:
        if len(simple.words) > 1:
            self.loops.append(Loop(simple.words[1], simple.words[3:], line))
            self.variables.pop(simple.words[1], None)

    def _set(self, options: t.Sequence[str]) -> None:
        joined_options = " ".join(options)
        if re.match(r"-\w*a|-o allexport", joined_options):
            self._all_exported = True
        elif re.match(r"\+\w*a|\+o allexport", joined_options):
            self._all_exported = False

    def _assign(self, simple: shell.Simple, line: int) -> None:
        """Take up ``A=b``, ``export A=b C=d`` and ``export A``."""
        declares = simple.words[0] in _DECLARATIONS
        flags = [word for word in simple.words[1:] if word.startswith("-")] if declares else []
        exported = self._all_exported or simple.words[0] == "export" or any("x" in flag for flag in flags)
        for word in simple.words[1:] if declares else simple.words:
            match = _ASSIGNED.match(word)
            if match:
                self._set_variable(match.group(1), match.group(2), match.group(3), exported, simple, line)
            elif exported and word in self.variables:
                self.variables[word] = dataclasses.replace(self.variables[word], exported=True)

    def _set_variable(self, name: str, plus: str, raw: str, exported: bool, simple: shell.Simple, line: int) -> None:
        known = self.variables.get(name)
        visible = self._visible(simple)
        of_itself = bool(plus) or bool(re.search(rf"\b{name}\b", raw))
        if of_itself and known:
            visible = {**visible, name: known}
        elements = None
        if raw.startswith("(") and raw.endswith(")"):
            pieces = expansion.array(raw)
            elements = (*(known.words or () if known and plus else ()), *expansion.words(pieces, visible))
            value = expansion.quoted(elements)
            written = " ".join(
                [*([known.written] if known and plus else []), *expansion.words(pieces, visible, written=True)]
            )
        else:
            before = known if plus else None
            value = (before.value if before else "") + expansion.text(raw, visible)
            written = (before.written if before else "") + expansion.text(raw, visible, written=True)
        if simple.looped and not of_itself and not simple.conditional and name not in self._counted:
            self._settled.add(name)
        else:
            self._settled.discard(name)
        if simple.conditional:
            written = self._in_some_cases(name, known, written, simple)
        exported = exported or bool(known and known.exported)
        self.variables[name] = Variable(
            value[: expansion.MOST], exported, line, written[: expansion.MOST], elements, simple.conditional
        )

    def _in_some_cases(self, name: str, known: Variable | None, written: str, simple: shell.Simple) -> str:
        """How a rule sees a variable that is set in a branch: a default behind a test whether it is set, else open."""
        if known is None and name in simple.guard and _UNSET_TEST.search(simple.guard):
            return f"${{{name}:-{written}}}"
        return f"${name}"

    def _defaults(self, simple: shell.Simple, line: int) -> None:
        """``: ${NAME:=default}``."""
        for word in simple.words[1:]:
            match = re.fullmatch(r"\"?\$\{([A-Za-z_]\w*):?=(.*)\}\"?", word, re.DOTALL)
            if match and match.group(1) not in self.variables:
                name, raw = match.groups()
                value = expansion.text(raw, self.variables)
                written = expansion.text(raw, self.variables, written=True)
                self.variables[name] = Variable(value, False, line, f"${{{name}:-{written}}}")

    def _sent_by_mpi(self, simple: shell.Simple, line: int) -> None:
        """``mpirun -x NAME=VALUE``."""
        for option, raw in zip(simple.words, simple.words[1:], strict=False):
            match = _ASSIGNED.match(raw) if option in ("-x", "-genv", "-env") else None
            if match:
                self._set_variable(match.group(1), "", match.group(3), True, simple, line)

    def _note_writes(self, simple: shell.Simple, line: int) -> None:
        """``echo TEXT > FILE``, ``cat > FILE << EOF`` and ``tee FILE``."""
        targets = [raw for sign, raw in simple.redirections if sign in (">", ">>", ">|")]
        if simple.words[:1] == ("tee",):
            targets += [word for word in simple.words[1:] if not word.startswith("-")]
        if not targets or simple.words[:1] not in ((), ("echo",), ("printf",), ("cat",), ("tee",)):
            return
        path = expansion.text(targets[0], self.variables)
        text = simple.document
        if simple.words[:1] in (("echo",), ("printf",)):
            found = expansion.words(simple.words[1:], self.variables)
            text = " ".join(word for word in found if not re.fullmatch(r"-[neE]+", word)).replace("\\n", "\n")
        self.writes += [Written(path, row, line) for row in text.split("\n") if row.strip()]

    def _launch(self, simple: shell.Simple, line: int) -> None:
        """Take up the command of a launcher, and the scripts that others are given in quotes."""
        known = self._visible(simple)
        place = next((at for at, word in enumerate(simple.words) if not _ASSIGNED.match(word)), len(simple.words))
        assignments = [match for word in simple.words[:place] if (match := _ASSIGNED.match(word))]
        environment = {match.group(1): expansion.text(match.group(3), known) for match in assignments}
        references = {match.group(1): expansion.text(match.group(3), known, True) for match in assignments}
        value = _parsed(expansion.words(simple.words[place:], known), environment)
        written = _parsed(expansion.words(simple.words[place:], known, written=True), references)
        if value and value.launcher:
            self._command(simple, line, value, written if written and written.launcher == value.launcher else value)
        elif value and written and value.tool == written.tool == PYTHON and not REMOTE & set(value.through):
            self._plain(simple, line, value, written)
        self._inner(simple, line, value)

    def _plain(self, simple: shell.Simple, line: int, value: _Parsed, written: _Parsed) -> None:
        """Take up ``python train.py`` where the environment says which node it is, and who is the master."""
        options = by_environment.plain(value.rest, self._given(value, written=False))
        references = by_environment.plain(value.rest, self._given(written, written=True))
        if options is not None and references is not None:
            once = self._once or bool(REMOTE & set(self._through))
            script = next((word for word in value.rest if not word.startswith("-")), None)
            self.commands.append(
                Command(
                    PYTHON, line, options, tuple(value.rest), script, tuple(value.rest), value.environment, False,
                    references, PYTHON, (*self._through, *value.through), once,
                    simple.conditional, "for" in simple.inside or "while" in simple.inside, simple.background,
                )
            )  # fmt: skip

    def _command(self, simple: shell.Simple, line: int, found: _Parsed, references: _Parsed) -> None:
        options, script, arguments = self._options(found, written=False)
        through = (*self._through, *found.through)
        redirected = any(sign == "<" for sign, _target in simple.redirections)
        fed = (simple.piped or "read" in simple.inside) and not redirected and not simple.document
        self.commands.append(
            Command(
                found.launcher,
                line,
                options,
                tuple(found.rest),
                script,
                tuple(arguments),
                found.environment,
                fed,
                self._options(references, written=True)[0],
                found.tool,
                through,
                self._once or bool(REMOTE & set(through)),
                simple.conditional,
                bool({"for", "read"} & set(simple.inside)),
                simple.background,
            )
        )

    def _given(self, found: _Parsed, written: bool) -> dict[str, str]:
        """The environment of a command: what is exported, and what stands in front of it."""
        exported = {name: one for name, one in self.variables.items() if one.exported}
        given = {name: one.written if written else one.value for name, one in exported.items()}
        return {**given, **found.environment}

    def _options(self, found: _Parsed, written: bool) -> tuple[dict[str, str | None], str | None, list[str]]:
        """The options of a launcher, those among them that the environment gives."""
        given = self._given(found, written)
        if found.tool in TOOLS:
            names = TOOLS[found.tool].environment
            options: dict[str, str | None] = {option: given[name] for name, option in names.items() if name in given}
            return options, next((word for word in found.rest if not word.startswith("-")), None), found.rest
        options, script, arguments = _options(found.launcher, found.rest)
        if found.launcher == COMPOSER:
            options = by_environment.composer(options, given)
        if found.launcher == TORCHRUN:
            for name, value in given.items():
                if name.startswith("PET_"):
                    options.setdefault(name[4:].lower(), value)
        return options, script, arguments

    def _inner(self, simple: shell.Simple, line: int, found: _Parsed | None) -> None:
        """Commands in a quoted word or a here-document of bash -c, ssh, srun and the like."""
        words = [word.rsplit("/", 1)[-1] for word in simple.words]
        names = [word for word in words if word in _WRAPPERS]
        if self._depth >= _DEEPEST or not names or (found and found.launcher not in ("", PDSH)):
            return
        for raw in (*simple.words[1:], simple.document):
            text = raw if raw is simple.document else expansion.text(raw, self._visible(simple))
            if raw and _LAUNCHES.search(text) and re.search(r"\s", text):
                there = bool(REMOTE & set(names))
                at_the_node = raw.startswith("'") and there
                once = not at_the_node and (self._once or there)
                inner = _Reader(dict(self._visible(simple)), (*self._through, *names), once, self._depth + 1)
                inner.read(text, line - 1)
                for command in inner.commands:
                    looped = command.looped or bool({"for", "read"} & set(simple.inside))
                    behind = command.background or simple.background or ("ssh" in names and "-f" in simple.words)
                    self.commands.append(
                        dataclasses.replace(command, line=line, once=once, looped=looped, background=behind)
                    )


def _assigned(simple: shell.Simple) -> t.Iterator[str]:
    """The names that a simple command sets, counters among them."""
    for word in simple.words:
        match = _ASSIGNED.match(word) or re.fullmatch(r"\(*([A-Za-z_]\w*)(?:\+\+|--|[-+*]=.*)\)*", word)
        if match:
            yield match.group(1)


class _Parsed(t.NamedTuple):
    """A launcher's command: what it is, the words behind its name, the environment and the commands in front of it."""

    launcher: str
    tool: str
    rest: list[str]
    environment: dict[str, str]
    through: tuple[str, ...]


def _parsed(words: list[str], environment: t.Mapping[str, str]) -> _Parsed | None:
    """The launcher's command in a simple command, with an empty launcher where there is none."""
    known = dict(environment)
    through: list[str] = []
    at = 0
    while at < len(words):
        launcher, tool, rest = _launcher(words[at:])
        if launcher:
            return _Parsed(launcher, tool, rest, known, tuple(through))
        name, equals, value = words[at].partition("=")
        base = words[at].rsplit("/", 1)[-1]
        if equals and re.fullmatch(r"[A-Za-z_]\w*", name):
            known[name] = value
        elif base in _WRAPPERS:
            through.append(base)
        elif re.fullmatch(r"python[\d.]*", base):
            return _Parsed("", PYTHON, words[at + 1 :], known, tuple(through))  # it hands the rest on as it likes
        elif not through or words[at] in _NO_LAUNCH or words[at - 1 : at + 1] == ["command", "-v"] or at > 60:
            return None
        elif through[-1] in _SCRIPT_RUNNERS and not words[at].startswith("-"):
            return None  # a script of its own, and its arguments
        elif words[at].startswith("--export="):
            known.update(pair.partition("=")[::2] for pair in words[at][9:].split(",") if "=" in pair)
        at += 1
    return _Parsed("", "", [], known, tuple(through))


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


def _options(launcher: str, words: list[str]) -> tuple[dict[str, str | None], str | None, list[str]]:
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


def joined(lines: t.Sequence[str]) -> t.Iterator[tuple[int, str]]:
    """(number of its first line, text) of each command line, continued ones made one as bash does."""
    held, start = "", 0
    for number, line in enumerate(lines, 1):
        start = start or number
        comment = not held.strip() and line.lstrip().startswith("#")
        if re.search(r"(?<!\\)(?:\\\\)*\\$", line) and not comment and not _in_comment(held + line):
            held += line[:-1] + " "
            continue
        yield start, held + line
        held, start = "", 0
    if held:
        yield start, held


def _as_given(lines: t.Sequence[str], given: t.Sequence[str]) -> t.Iterator[tuple[int, str]]:
    """The command lines as they are meant, with the characters that they were given with."""
    starts = [number for number, _line in joined(lines)]
    for start, end in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        yield start, " ".join(given[start - 1 : end - 1])


def _in_comment(line: str) -> bool:
    """Whether a line ends inside a comment, where a backslash does not continue it."""
    if "#" not in line:
        return False
    bare = re.sub(r"\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\"", "_", line)
    return bool(re.search(r"(?:^|\s)#", bare))


def broken(lines: t.Sequence[str]) -> t.Iterator[Problem]:
    """Continued commands that end earlier than they look.

    ``comment``: ``\\ # text`` on one line. ``blank``: a blank behind the backslash. ``comment_line``: a
    line of comment inside a continued command, with arguments after it.
    """
    continued = False
    for number, line in enumerate(lines, 1):
        following = next((other.strip() for other in lines[number:] if not other.lstrip().startswith("#")), "")
        goes_on = following.startswith("-")
        if continued and line.lstrip().startswith("#"):
            if goes_on:
                yield Problem(number, "comment_line", line.strip())
            continued = False
            continue
        if not line.lstrip().startswith("#"):
            if re.search(r"\s\\\s+#", line):
                yield Problem(number, "comment", line.strip())
            elif re.search(r"\\[ \t]+$", line) and goes_on:
                yield Problem(number, "blank", line.strip())
        continued = line.endswith("\\") and not _in_comment(line)
