# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a launch script: its variables, and the commands that start jobs.

This is no shell. It splits the script as bash does, follows plain assignments, and takes the commands of the launchers
apart: their own options, the training script and its arguments. What it does not understand it leaves out.
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
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.continued_lines import (
    as_given,
    broken,
    joined,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.expansion import Variable
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import Problem
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import (
    COMPOSER,
    PDSH,
    PYTHON,
    REMOTE,
    TOOLS,
    TORCHRUN,
    WRAPPERS,
    Parsed,
    options_of,
    parsed,
)

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
        tuple(characters.odd((at, line) for at, line in as_given(lines, given) if at in starts)),
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
        value = parsed(expansion.words(simple.words[place:], known), environment)
        written = parsed(expansion.words(simple.words[place:], known, written=True), references)
        if value and value.launcher:
            self._command(simple, line, value, written if written and written.launcher == value.launcher else value)
        elif value and written and value.tool == written.tool == PYTHON and not REMOTE & set(value.through):
            self._plain(simple, line, value, written)
        self._inner(simple, line, value)

    def _plain(self, simple: shell.Simple, line: int, value: Parsed, written: Parsed) -> None:
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

    def _command(self, simple: shell.Simple, line: int, found: Parsed, references: Parsed) -> None:
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

    def _given(self, found: Parsed, written: bool) -> dict[str, str]:
        """The environment of a command: what is exported, and what stands in front of it."""
        exported = {name: one for name, one in self.variables.items() if one.exported}
        given = {name: one.written if written else one.value for name, one in exported.items()}
        return {**given, **found.environment}

    def _options(self, found: Parsed, written: bool) -> tuple[dict[str, str | None], str | None, list[str]]:
        """The options of a launcher, those among them that the environment gives."""
        given = self._given(found, written)
        if found.tool in TOOLS:
            names = TOOLS[found.tool].environment
            options: dict[str, str | None] = {option: given[name] for name, option in names.items() if name in given}
            return options, next((word for word in found.rest if not word.startswith("-")), None), found.rest
        options, script, arguments = options_of(found.launcher, found.rest)
        if found.launcher == COMPOSER:
            options = by_environment.composer(options, given)
        if found.launcher == TORCHRUN:
            for name, value in given.items():
                if name.startswith("PET_"):
                    options.setdefault(name[4:].lower(), value)
        return options, script, arguments

    def _inner(self, simple: shell.Simple, line: int, found: Parsed | None) -> None:
        """Commands in a quoted word or a here-document of bash -c, ssh, srun and the like."""
        words = [word.rsplit("/", 1)[-1] for word in simple.words]
        names = [word for word in words if word in WRAPPERS]
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
