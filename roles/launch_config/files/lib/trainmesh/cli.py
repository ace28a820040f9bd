# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: ``trainmesh COMMAND ...``. Options stand before the script, the script's own behind it."""

from __future__ import annotations

import argparse
import os
import sys
import typing as t

from trainmesh import (
    doctor,
    env,
    execute,
    facts,
    look,
    node_packages,
    packages,
    plan_memory,
    run,
    sync,
    top,
)
from trainmesh.installation import Refused

USAGE_STATUS = 64


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> t.NoReturn:
        raise Refused(f"{message} (--help lists what there is)")


def main(prefix: str, words: t.Sequence[str]) -> int:
    """Carry out one command; the exit status."""
    name = "trainmesh"
    try:
        if words[:1] == ["part"]:  # these three are what the head asks of other nodes
            return run.part(prefix, words[1:])
        if words[:1] == ["here"]:
            return facts.answer(prefix, words[1:])
        if words[:1] == ["packages"]:
            return node_packages.answer(prefix, words[1:])
        own = parser(prefix).parse_args(words[:1])
        name = f"trainmesh {own.command}"
        if "before_script" in own:
            own_words, rest = before_the_script(own.sub, words[1:])
            return int(own.action(prefix, own.sub.parse_args(own_words), rest))
        return int(own.action(prefix, own.sub.parse_args(words[1:])))
    except Refused as error:
        sys.stderr.write(f"{name}: {error}\n")
        return USAGE_STATUS
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # nobody reads any more: Python would complain of it once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141


def parser(prefix: str) -> argparse.ArgumentParser:
    """The commands."""
    made = Parser(
        prog="trainmesh", description="The daily work on the cluster, from its head.",
        epilog="trainmesh COMMAND --help tells more of each.",
    )  # fmt: skip
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (run, sync, look, execute, doctor, top, env, packages, plan_memory):
        module.add_to(commands, prefix)
    return made


def before_the_script(options: argparse.ArgumentParser, words: t.Sequence[str]) -> tuple[list[str], list[str]]:
    """(the command's own options, the first other word and all behind it), which argparse would read as well.

    A value is joined with its option: it may look like an option itself.
    """
    own: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            return own, list(words[at + 1 :])
        if word == "-" or not word.startswith("-"):
            break
        name, equals, _value = word.partition("=")
        action = options._option_string_actions.get(name)
        if action is None:
            raise Refused(f"unknown option {word} (options of the script come after the script; --help lists mine)")
        takes_value = action.nargs is None and not equals
        if takes_value and at + 1 >= len(words):
            raise Refused(f"{word} needs a value")
        own.append(f"{word}={words[at + 1]}" if takes_value else word)
        at += 2 if takes_value else 1
    return own, list(words[at:])
