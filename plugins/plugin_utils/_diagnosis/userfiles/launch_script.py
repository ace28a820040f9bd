# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a launch script: its variables, and the commands that start jobs.

This is no shell. It joins continued lines as bash does, follows plain assignments, and splits the
commands of the launchers into their own options, the training script and its arguments. What it
does not understand it leaves out. Options: DeepSpeed 0.19.6 launcher/runner.py, accelerate 1.15
commands/launch.py, torch 2.14 distributed/run.py.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import Problem

DEEPSPEED, ACCELERATE, TORCHRUN, PDSH = "deepspeed", "accelerate", "torchrun", "pdsh"
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
}
_SHORT: t.Mapping[str, t.Mapping[str, str]] = {DEEPSPEED: {"H": "hostfile", "i": "include", "e": "exclude"}}
_MODULES = {
    "torch.distributed.run": TORCHRUN,
    "torch.distributed.launch": TORCHRUN,
    "deepspeed.launcher.runner": DEEPSPEED,
    "accelerate.commands.launch": ACCELERATE,
}
_ASSIGNED = re.compile(r"\s*(export\s+|declare\s+-x\s+)?([A-Za-z_]\w*)=(.*)", re.DOTALL)
_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?-)([^}]*))?\})")
_SUBSTITUTION = re.compile(r"\$\((?:[^()]|\([^()]*\))*\)|`[^`]*`")
_SEPARATORS = frozenset((";", "&&", "||", "|", "|&", "&", "(", ")", ";;", "do", "then", "else", "{", "}"))
_WRAPPERS = frozenset(("nohup", "time", "exec", "env", "sudo", "stdbuf", "command"))


@dataclasses.dataclass(frozen=True)
class Variable:
    """An assignment: the value as written, without quotes; whether it is exported, and its line."""

    value: str
    exported: bool
    line: int


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that starts a job.

    ``options`` are the launcher's own, dashes as underscores, None for a flag; ``words`` are all of
    them as they came; ``script`` and ``arguments`` what is launched; ``environment`` assignments in
    front of it. ``feeds`` says that something else is its standard input (a pipe, or a loop that
    reads), and nothing was done about it.
    """

    launcher: str
    line: int
    options: t.Mapping[str, str | None]
    words: tuple[str, ...]
    script: str | None
    arguments: tuple[str, ...]
    environment: t.Mapping[str, str]
    feeds: bool

    def argument(self, *names: str) -> str | None:
        """The value of the training script's argument ``--name``, dashes and underscores alike; None without one."""
        for at, text in enumerate(self.arguments):
            name, equals, value = text.partition("=")
            if text.startswith("--") and name[2:].replace("-", "_") in names:
                if equals:
                    return value
                return self.arguments[at + 1] if at + 1 < len(self.arguments) else ""
        return None


@dataclasses.dataclass(frozen=True)
class Script:
    """A launch script; ``problems`` are ``comment``, ``blank`` (behind a backslash) and ``comment_line``."""

    variables: t.Mapping[str, Variable]
    commands: tuple[Command, ...]
    problems: tuple[Problem, ...]


@functools.lru_cache(maxsize=256)
def launch_script(text: str) -> Script:
    """Read a script."""
    lines = text.replace("\r\n", "\n").split("\n")
    variables: dict[str, Variable] = {}
    commands: list[Command] = []
    loops = 0
    for number, line in joined(lines):
        stripped = line.strip()
        loops += bool(re.match(r"while\s+(?:\w+=\S*\s+)?read\b", stripped))
        loops -= bool(loops and re.match(r"done\b", stripped))
        if stripped.startswith("#"):
            continue
        _assign(stripped, number, variables)
        for words, piped in _simple_commands(_substituted(line, variables)):
            command = _command(words, number, piped or loops > 0)
            if command:
                commands.append(command)
    return Script(variables, tuple(commands), tuple(broken(lines)))


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


def _in_comment(line: str) -> bool:
    """Whether a line ends inside a comment, where a backslash does not continue it."""
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


def _assign(line: str, number: int, variables: dict[str, Variable]) -> None:
    """Take up ``A=b``, ``export A=b C=d`` and ``export A``."""
    match = _ASSIGNED.match(line)
    if match and not match.group(1):
        try:
            first = shlex.split(_SUBSTITUTION.sub(lambda one: shlex.quote(one.group(0)), line), comments=True)
        except ValueError:
            first = line.split()
        if len(first) > 1 and not all("=" in word or word in _SEPARATORS for word in first):
            return  # A=b command: it holds for that command alone
    exported = re.match(r"(?:export|declare\s+-x)\s+(.*)", line, re.DOTALL)
    body = exported.group(1) if exported else line if match else ""
    for word in _words(body):
        name, equals, value = word.partition("=")
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            break
        if equals:
            known = variables.get(name)
            value = _REFERENCE.sub(lambda one: _looked_up(one, variables), value)
            variables[name] = Variable(value, bool(exported) or bool(known and known.exported), number)
        elif exported and name in variables:
            variables[name] = dataclasses.replace(variables[name], exported=True)


def _words(text: str) -> list[str]:
    """The words of a simple command up to a separator; substitutions stay in one piece."""
    text = _SUBSTITUTION.sub(lambda one: shlex.quote(one.group(0)), text)
    text = re.split(r";|&&|\|\|", text, maxsplit=1)[0] if "'" not in text and '"' not in text else text
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()


def _looked_up(match: re.Match[str], variables: t.Mapping[str, Variable]) -> str:
    """The value of a reference where it is known, its default, or the reference as it is."""
    name = match.group(1) or match.group(2)
    if name in variables:
        return variables[name].value
    return match.group(4) if match.group(4) is not None else match.group(0)


def _substituted(line: str, variables: t.Mapping[str, Variable]) -> str:
    """A line with the known variables put in, and each command substitution as one word."""
    line = _REFERENCE.sub(lambda one: _looked_up(one, variables), line)
    return _SUBSTITUTION.sub(lambda one: shlex.quote(one.group(0)) if "'" not in one.group(0) else '"$(...)"', line)


def _simple_commands(line: str) -> t.Iterator[tuple[list[str], bool]]:
    """(words, does a pipe feed it) of each command of a line."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#" if re.search(r"(?:^|\s)#", line) else ""
    try:
        tokens = list(lexer)
    except ValueError:
        tokens = line.split()
    words: list[str] = []
    piped = False
    for token in tokens:
        if token in _SEPARATORS:
            if words:
                yield words, piped
            words, piped = [], token in ("|", "|&")
        else:
            words.append(token)
    if words:
        yield words, piped


def _command(words: list[str], line: int, fed: bool) -> Command | None:
    """The launcher's command in a simple command, or None."""
    redirected = any(word == "<" for word in words)
    words = _without_redirections(words)
    environment: dict[str, str] = {}
    while words and (words[0] in _WRAPPERS or re.match(r"[A-Za-z_]\w*=", words[0]) or words[0] in ("-oL", "-i")):
        name, equals, value = words.pop(0).partition("=")
        if equals:
            environment[name] = value
    launcher, rest = _launcher(words)
    if launcher is None:
        return None
    options, script, arguments = _options(launcher, rest)
    return Command(launcher, line, options, tuple(rest), script, tuple(arguments), environment, fed and not redirected)


def _without_redirections(words: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif re.fullmatch(r"[<>&]+", word):
            skip = True
            if kept and kept[-1] in ("1", "2"):
                kept.pop()
        else:
            kept.append(word)
    return kept


def _launcher(words: list[str]) -> tuple[str | None, list[str]]:
    """(which launcher, the words behind its name)."""
    if not words:
        return None, []
    name = words[0].rsplit("/", 1)[-1]
    if name == ACCELERATE:
        return (ACCELERATE, words[2:]) if words[1:2] == ["launch"] else (None, [])
    if name in (DEEPSPEED, TORCHRUN, PDSH):
        return name, words[1:]
    if re.fullmatch(r"python[\d.]*|\$\{?\w+\}?", name) and "-m" in words[:4]:
        at = words.index("-m")
        module = words[at + 1] if at + 1 < len(words) else ""
        return _MODULES.get(module), words[at + 2 :]
    return None, []


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
