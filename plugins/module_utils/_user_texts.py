# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: texts that belong to the user, without the secrets in them."""

from __future__ import annotations

import json
import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric_files import Tree

HIDDEN = "<hidden>"
MAX_TEXT = 64 * 1024

# the pattern of _stack_login_env, as a part of a name
_NAME = r"[\w.-]*(?:TOKEN|KEY|PASSW|SECRET|CREDENTIAL|AUTH)[\w.-]*"
_VALUE = r""""(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s,;}\]"'\\]+"""
_ASSIGNED = re.compile(rf"(?i)(?<![\w.-])({_NAME})([\"']?[ \t]*[=:][ \t]*)({_VALUE})")
_OPTION = re.compile(rf"(?i)(?<!\S)(--{_NAME})([ \t]+)((?!-){_VALUE})")
_URL_LOGIN = re.compile(r"(?<=://)[^/@\s\"']*@")
_KNOWN = re.compile(r"\b(?:hf_|gh[pousr]_|glpat-|sk-(?!ssh-|ecdsa-)|AKIA)[A-Za-z0-9_-]{16,}")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_HARMLESS = re.compile(r"[\"']?(?:[\d.]+|true|false|null|none|yes|no|auto|\$\{?\w+\}?|)[\"']?\Z", re.IGNORECASE)
# a partition of InfiniBand; how ssh checks host keys; the files and the algorithms that it uses
_NO_SECRET = re.compile(
    r"(?i)NCCL_IB_PKEY|\w*HostKey\w*|AuthorizedKeys\w*|\w*Authentication\w*|[\w.-]*tokenizer[\w.-]*|\w*keyboard\w*"
)


def masked(text: str) -> str:
    """``text`` with the values of names that look secret, keys and logins in URLs replaced; lines stay where they are.

    Numbers, booleans and references to variables stay: they are no secrets, and JSON stays JSON.
    """
    text = _PEM.sub(lambda match: HIDDEN + "\n" * match.group(0).count("\n"), text)
    text = _ASSIGNED.sub(_without_value, text)
    text = _OPTION.sub(_without_value, text)
    return _KNOWN.sub(HIDDEN, _URL_LOGIN.sub("***@", text))


def _without_value(match: re.Match[str]) -> str:
    name, between, value = match.groups()
    if _NO_SECRET.fullmatch(name.lstrip("-")) or _HARMLESS.match(value):
        return match.group(0)
    quote = value[0] if value[0] in "\"'" else ""
    return f"{name}{between}{quote}{HIDDEN}{quote}"


def handed_in(files: t.Iterable[t.Mapping[str, str]]) -> list[dict[str, t.Any]]:
    """``kind``, ``path``, ``exists``, ``text`` (masked, at most 64 KiB), ``error`` of each file asked for."""
    found = []
    for wish in files:
        path = os.path.expanduser(wish["path"])
        found.append({"kind": wish["kind"], "path": wish["path"], **text_of(path)})
    return found


def text_of(path: str) -> dict[str, t.Any]:
    """``exists``, ``text`` and ``error`` of a file; a pipe or a device in its place is not read."""
    try:
        if not os.path.isfile(path):
            there = os.path.lexists(path)
            return {"exists": there, "text": None, "error": "it is not a plain file" if there else None}
        with open(path, "rb") as stream:
            text = stream.read(MAX_TEXT).decode("utf-8", "replace")
    except OSError as error:
        return {"exists": True, "text": None, "error": error.strerror}
    return {"exists": True, "text": masked(text), "error": None}


def nccl_conf(tree: Tree, home: str) -> list[dict[str, t.Any]]:
    """The files that NCCL reads: ``path`` and ``values``; only those that exist.

    One KEY=VALUE a line, # in the first column, nothing trimmed. Source: NCCL 2.30 src/misc/param.cc.
    """
    found = []
    for shown, path in (("~/.nccl.conf", f"{home}/.nccl.conf"), ("/etc/nccl.conf", "/etc/nccl.conf")):
        text = tree.text(path)
        if text is not None:
            rows = [row.partition("=") for row in text.splitlines() if "=" in row and not row.startswith("#")]
            found.append({"path": shown, "values": {name: value for name, _equals, value in rows}})
    return found


def accelerate_default(tree: Tree, cache: str) -> list[dict[str, t.Any]]:
    """The configuration that ``accelerate launch`` takes without being told: ``path`` and flat ``values``.

    ``cache`` is HF_HOME. The YAML file goes before the JSON one. Source: accelerate 1.15
    commands/config/config_args.py.
    """
    for name, read in (("default_config.yaml", flat_yaml), ("default_config.json", flat_json)):
        path = f"{cache}/accelerate/{name}"
        text = tree.text(path)
        if text is not None:
            return [{"path": path, "values": read(masked(text))}]
    return []


def flat_yaml(text: str) -> dict[str, str]:
    """The scalars of a block of mappings, as ``accelerate config`` writes it, under dotted names.

    A node need not have a YAML library; lists and anything unusual are passed over.
    """
    values: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for row in text.splitlines():
        name, colon, value = row.strip().partition(":")
        if not colon or name.startswith(("#", "-")) or (value and not value.startswith(" ")):
            continue
        depth = len(row) - len(row.lstrip())
        above = [item for item in above if item[0] < depth]
        value = re.sub(r"\s+#.*$", "", value).strip()
        if value and value not in ("{}", "[]"):
            values[".".join([*(item[1] for item in above), name])] = value.strip("\"'")
        else:
            above.append((depth, name))
    return values


def flat_json(text: str) -> dict[str, str]:
    """The scalars of a JSON object under dotted names; nothing when it is none."""
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    values: dict[str, str] = {}
    todo: list[tuple[str, t.Any]] = [("", data)]
    while todo:
        name, value = todo.pop()
        if isinstance(value, dict):
            todo += [(f"{name}.{key}".lstrip("."), item) for key, item in value.items()]
        elif name and not isinstance(value, list):
            values[name] = value if isinstance(value, str) else json.dumps(value)
    return values


def deepspeed_env(tree: Tree, home: str, directories: t.Iterable[str]) -> list[dict[str, str]]:
    """The environment files that DeepSpeed sends to every node, ``path`` and ``text`` (masked): those that exist."""
    found = []
    for shown, place in [("~/.deepspeed_env", home), *((f"{one}/.deepspeed_env", one) for one in directories)]:
        text = tree.text(f"{place}/.deepspeed_env")
        if text is not None:
            found.append({"path": shown, "text": masked(text)})
    return found


__all__ = (
    "HIDDEN",
    "MAX_TEXT",
    "accelerate_default",
    "deepspeed_env",
    "flat_json",
    "flat_yaml",
    "handed_in",
    "masked",
    "nccl_conf",
    "text_of",
)
