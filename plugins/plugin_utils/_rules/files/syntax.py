# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on files that can't be parsed, and on keys that nobody reads.

Source: DeepSpeed 0.19.6 runtime/config_utils.py, accelerate 1.15 commands/config and utils/deepspeed.py.
"""

from __future__ import annotations

import difflib
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import at_least, key, table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import shortened
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import (
    characters,
    formats,
    loose_json,
    value_kinds,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launch_script import Script
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common

NEAR = 0.8
"""How alike two names are, of 1, that are taken for one and its misspelling."""

_REFUSES_SINCE = "0.9.0"  # DeepSpeed reads zero_optimization and its monitors with pydantic
_PREFIXED = ("fsdp_config", "fp8_config", "dynamo_config")


def near(name: str, known: t.Iterable[str]) -> str:
    """The known name of which this one may be a misspelling; empty where none is near."""
    names = {one.lower().replace("-", "_"): one for one in known}
    found = difflib.get_close_matches(name.lower().replace("-", "_"), names, 1, NEAR)
    return names[found[0]] if found else ""


@rule(
    About(
        "file-unparsable",
        layer="launcher",
        severity=FAIL,
        also=(WARN,),
        title="A configuration file cannot be parsed",
        symptom="`JSONDecodeError`, `cannot start any token`",
        source="gpt-neox#680, dolly#161, Accelerate utils/deepspeed.py",
    ),
    needs=("user",),
    applies=common.given("deepspeed_json", "accelerate", "launch_script"),
)
def unparsable(case: Case) -> t.Iterator[Answer]:
    """Lines at which the programs that read a file stop."""
    cause = "The file is not {what}: the programs that read it stop at this line, or give other settings than it shows."
    for copy in common.copies(case, "deepspeed_json"):
        for problem in formats.mapping(copy.text, strict_json=True)[1]:
            yield finding(
                "file-unparsable",
                FAIL,
                copy.host,
                f"{copy.at(problem.line)}: {problem.text}",
                cause.format(what="strict JSON, as Accelerate and Transformers want it"),
                f"python3 -m json.tool {copy.path} shows the next place, until it prints the file.",
            )
    for copy in common.copies(case, "accelerate"):
        for problem in formats.mapping(copy.text)[1]:
            yield finding(
                "file-unparsable",
                FAIL,
                copy.host,
                f"{copy.at(problem.line)}: {problem.text}",
                cause.format(what="JSON" if copy.text.lstrip().startswith("{") else "YAML"),
                "accelerate config --config_file FILE writes one that can be read; indent with blanks, not with tabs.",
            )
    for copy, script in common.scripts(case):
        for problem in script.unclosed if len(copy.text.encode("utf-8", "replace")) < formats.MOST_TEXT else ():
            yield finding(
                "file-unparsable",
                FAIL,
                copy.host,
                f"{copy.at(problem.line)}: {problem.text}",
                cause.format(what="a script that bash can read"),
                f"bash -n {copy.path} shows where bash gives up.",
            )
        yield from _characters(copy, script)
    for kind in ("deepspeed_json", "accelerate"):
        for copy in common.copies(case, kind):
            yield from _undecodable(copy)


_LOOKALIKE = "A character that looks like a blank or a hyphen and is none: the shell takes it for a part of a word."
_RETURN = "The shell takes the carriage return for a part of each last word"
_OF_SCRIPTS = {
    "utf16": (FAIL, "An editor of Windows, or PowerShell's >, wrote it.", "iconv -f UTF-16 -t UTF-8 {path} > new.sh"),
    "carriage": (FAIL, "All of the script is one line, a comment if the first one is.", "sed -i 's/\\r/\\n/g' {path}"),
    "windows": (FAIL, f"{_RETURN}: lines are not continued, names are not found.", "sed -i 's/\\r$//' {path}"),
    "windows_luck": (WARN, f"{_RETURN}.", "sed -i 's/\\r$//' {path}"),
    "mark": (WARN, "The kernel does not see its #!: only a shell that is told to read it runs it.",
             "sed -i '1s/^\\xef\\xbb\\xbf//' {path}"),
}  # fmt: skip


def _characters(copy: common.Copy, script: Script) -> t.Iterator[Answer]:
    """Encodings, line ends and characters that a shell does not read as a person does."""
    for problem in characters.encoding(copy.text):
        severity, cause, fix = _OF_SCRIPTS[problem.what]
        place = f"{copy.at(problem.line)}: {problem.text}"
        yield finding("file-unparsable", severity, copy.host, place, cause, fix.format(path=copy.path))
    for problem in script.odd:
        fix = f"grep -nP '[^\\x00-\\x7F]' {copy.path} shows them all; type them anew."
        yield finding("file-unparsable", FAIL, copy.host, f"{copy.at(problem.line)}: {problem.text}", _LOOKALIKE, fix)


def _undecodable(copy: common.Copy) -> t.Iterator[Answer]:
    """Bytes that are no UTF-8; where a long text was cut off, its last character does not count."""
    for number, line in enumerate(copy.text[:-1].split("\n"), 1):
        if "\ufffd" in line and "\0" not in copy.text:
            yield finding(
                "file-unparsable",
                FAIL,
                copy.host,
                f"{copy.at(number)}: a byte that is not UTF-8: {shortened(line.strip(), 80)}",
                "The file has another encoding than the programs that read it: `UnicodeDecodeError`.",
                f"iconv -f ISO-8859-1 -t UTF-8 {copy.path} > new, if that is how it was written.",
            )
            return


@rule("acc-unknown-key", needs=("user",), applies=common.given("accelerate"))
def accelerate_sections(case: Case) -> t.Iterator[Answer]:
    """Keys below Accelerate's sections, which it passes over without a word."""
    sections = table("accelerate_keys")["sections"]
    deepspeed = table("deepspeed_keys")
    in_json = {*deepspeed["ignored"][""], *deepspeed["refused"]["zero_optimization"]}
    remedy = "Write the names that `accelerate config` writes; what only DeepSpeed knows belongs into its JSON."
    for copy, data in common.mappings(case, "accelerate"):
        for section, known in sections.items():
            found = data.get(section)
            for name in map(str, found if isinstance(found, dict) else ()):
                if name in known or (section in _PREFIXED and f"{section[: -len('config')]}{name}" in known):
                    continue
                place = f"{copy.path}: {section}.{name}"
                alike = near(name, known) or (section in _PREFIXED and near(f"{section[:-6]}{name}", known))
                if alike:
                    cause = (
                        "Accelerate passes over a key that it does not know below a section: the setting has no effect."
                    )
                    yield finding("acc-unknown-key", WARN, copy.host, f"{place}; {alike} is meant", cause, remedy)
                elif section == "deepspeed_config" and name in in_json:
                    cause = (
                        "It is a key of DeepSpeed's JSON file, which Accelerate does not read here: it has no effect."
                    )
                    fix = (
                        f"deepspeed_config_file: /absolute/ds.json, with {name} in it, in the place of the other keys."
                    )
                    yield finding("acc-unknown-key", INFO, copy.host, place, cause, fix)
                elif not at_least(common.version(case, copy.host, "accelerate"), "1.16"):
                    cause = "Accelerate does not read this key: it has no effect."
                    yield finding("acc-unknown-key", INFO, copy.host, place, cause, remedy)


@rule(
    About(
        "ds-unknown-key",
        layer="launcher",
        severity=FAIL,
        also=(WARN,),
        title="A key that DeepSpeed does not know",
        symptom="`Extra inputs are not permitted`, or a setting without effect",
        source="DeepSpeed runtime/config_utils.py",
    ),
    needs=("user",),
    applies=common.given("deepspeed_json"),
)
def deepspeed_keys(case: Case) -> t.Iterator[Answer]:
    """Keys at which DeepSpeed stops, and misspelt ones that it passes over."""
    keys = table("deepspeed_keys")
    for copy, data in common.mappings(case, "deepspeed_json"):
        have = common.version(case, copy.host, "deepspeed")
        passed_over = dict(keys["ignored"])
        for section, known in keys["refused"].items():
            since = keys["refused_since"].get(section, _REFUSES_SINCE)
            if key(have) and not at_least(have, since):
                passed_over[section] = known
                continue
            for name, alike in _unknown(data, section, known):
                if dig(data, section)[name] == "auto":
                    continue
                newer = "" if since == _REFUSES_SINCE else f" ({since} and newer)"
                cause = f"DeepSpeed{newer} stops at a key that it does not know here: `Extra inputs are not permitted`."
                fix = "Write the name as DeepSpeed's documentation has it, or take the key out."
                place = f"{copy.path}: {section}.{name}" + (f"; {alike} is meant" if alike else "")
                severity = FAIL if key(have) or not newer else WARN
                yield finding("ds-unknown-key", severity, copy.host, place, cause, fix)
        for section, known in passed_over.items():
            for name, alike in _unknown(data, section, known):
                if alike:
                    place = f"{copy.path}: {section + '.' if section else ''}{name}; {alike} is meant"
                    cause = "DeepSpeed passes over a key that it does not know: the setting has no effect."
                    yield finding("ds-unknown-key", WARN, copy.host, place, cause, f"Write {alike}.")


@rule(
    About(
        "ds-no-object",
        layer="launcher",
        severity=FAIL,
        title="A section of DeepSpeed's file is a plain value",
        symptom="`value is not a valid dict`, `has no attribute 'get'`",
        source="Lightning#17790, DeepSpeed runtime/config.py",
    ),
    needs=("user",),
    applies=common.given("deepspeed_json"),
)
def deepspeed_sections(case: Case) -> t.Iterator[Answer]:
    """Sections that are a word, a number or true in the place of an object with keys."""
    keys, types = table("deepspeed_keys"), table("deepspeed_types")
    sections = [one for one in dict.fromkeys((*keys["refused"], *keys["ignored"], *types["objects"])) if one]
    for copy, data in common.mappings(case, "deepspeed_json"):
        for section in sections:
            above, _dot, name = section.rpartition(".")
            outer = dig(data, above) if above else data
            if not isinstance(outer, dict) or name not in outer or isinstance(outer[name], dict):
                continue
            value = outer[name]
            old = section == "zero_optimization" and isinstance(value, bool)  # that of the first versions
            taken = types["may_be_null"] if value is None else types["auto_is_dropped"] if value == "auto" else ()
            if old or section in taken:
                continue
            line = loose_json.line_of(copy.text, section.split("."))
            yield finding(
                "ds-no-object",
                FAIL,
                copy.host,
                f"{copy.at(line)}: {section}: {value_kinds.shown(value)}",
                "DeepSpeed takes an object with keys here, and stops at anything else.",
                _OBJECTS.get(name, f'"{name}": {{...}} with its keys in its place, or take the key out.'),
            )


_OBJECTS = {
    "zero_optimization": '"zero_optimization": {"stage": 2} in its place, with the stage that is meant.',
    "optimizer": '"optimizer": {"type": "AdamW", "params": {"lr": "auto"}} in its place, or take the key out.',
    "scheduler": '"scheduler": {"type": "WarmupLR", "params": {}} in its place, or take the key out.',
    **{
        name: f'"{name}": {{"device": "cpu"}} in its place, or take the key out.'
        for name in ("offload_optimizer", "offload_param")
    },
    **{name: f'"{name}": {{"enabled": true}} in its place, or take the key out.' for name in ("fp16", "bf16", "amp")},
}


def _unknown(data: Data, section: str, known: t.Sequence[str]) -> t.Iterator[tuple[str, str]]:
    """(key, the known one that is near) of the keys of a section that are not known; remarks are none."""
    found = dig(data, section) if section else data
    for name in found if isinstance(found, dict) else ():
        if str(name) not in known and not str(name).startswith(("_", "/", "#", "comment")):
            yield str(name), near(str(name), known)
