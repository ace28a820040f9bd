# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the values of the inventory's variables are read.

Each reader turns a value into the one the model uses, or raises ValueError with what was expected.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
import urllib.parse

from ansible_collections.trainmesh.cluster.plugins.module_utils._install import environments as own_names

USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
CHECKSUM = re.compile(r"(sha256:[0-9a-fA-F]{64}|sha384:[0-9a-fA-F]{96}|sha512:[0-9a-fA-F]{128})?\Z")
FINGERPRINT = re.compile(r"(?<!\S)SHA256:[A-Za-z0-9+/]{43}(?=[=\s]|\Z)")
NODE_BASE = ("compilers", "ninja", "libaio", "python_headers", "chrony", "limits")
CUDA_VERSION = re.compile(r"\d{1,2}\.\d{1,2}(\.\d{1,3})?\Z")
LAUNCHERS = ("deepspeed", "accelerate", "accelerate_standard", "torchrun", "mpirun")
FILE_KINDS = (
    "hostfile", "accelerate", "deepspeed_json", "deepspeed_env", "ssh_config", "launch_script", "nccl_log", "job_log",
    "ds_report", "collect_env", "kernel_log", "node_report",
)  # fmt: skip


def text(value: t.Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise ValueError("expected a text")
    return str(value)


def boolean(value: t.Any) -> bool:
    """A truth value, also in Ansible's other spellings."""
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "yes", "on", "1"):
        return True
    if str(value).lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError("expected true or false")


def auto_or_boolean(value: t.Any) -> str:
    """``auto``, or a truth value as ``true`` or ``false``."""
    if value == "auto":
        return "auto"
    try:
        return str(boolean(value)).lower()
    except ValueError:
        raise ValueError("expected auto, true or false") from None


def number(low: int, high: int, what: str) -> t.Callable[[t.Any], int]:
    """A reader of whole numbers from ``low`` to ``high``; ``what`` names them."""

    def read(value: t.Any) -> int:
        try:
            if isinstance(value, (bool, float)):
                raise ValueError
            found = int(value)
        except (TypeError, ValueError):
            raise ValueError(f"expected {what}, a whole number from {low} to {high}") from None
        if not low <= found <= high:
            raise ValueError(f"expected {what}, a whole number from {low} to {high}")
        return found

    return read


def choice(*choices: str) -> t.Callable[[t.Any], str]:
    """A reader of one of these texts."""

    def read(value: t.Any) -> str:
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return str(value)

    return read


def pattern(pattern: re.Pattern[str], what: str) -> t.Callable[[t.Any], str]:
    """A reader of texts that match; ``what`` says what they are."""

    def read(value: t.Any) -> str:
        if not isinstance(value, str) or not pattern.match(value):
            raise ValueError(f"expected {what}")
        return str(value)

    return read


def address(value: t.Any) -> str:
    """An IP address that other nodes can reach."""
    try:
        address = ipaddress.ip_address(str(value))
    except ValueError:
        raise ValueError("expected an IP address such as 10.0.0.11, not a name") from None
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        raise ValueError("expected an address that the other nodes can reach")
    return str(address)


def directory(value: t.Any) -> str:
    """An absolute path that no shell and no file format reads otherwise."""
    if not isinstance(value, str) or not re.match(r"/[A-Za-z0-9._/+-]+\Z", value) or ".." in value.split("/"):
        raise ValueError("expected an absolute path of letters, digits and ._+-/ only")
    return value.rstrip("/")


def python(value: t.Any) -> str:
    """An interpreter: an absolute path, or a version (3.11), which C(python3.11) is another spelling of."""
    named = re.match(r"(?:python)?(\d+\.\d+(?:\.\d+)?)\Z", value) if isinstance(value, str) else None
    if named:
        return str(named.group(1))
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError('expected the absolute path of an interpreter, or a version in quotes such as "3.11"')
    return str(value)


def driver_branch(value: t.Any) -> str:
    """A branch of the driver, in quotes or not, or the word that removes it."""
    if isinstance(value, bool) or not re.match(r"(\d{3}|absent)\Z", str(value)):
        raise ValueError("expected a branch of the driver such as 570, or absent")
    return str(value)


def repository(value: t.Any) -> str:
    """The address of package sources, which every user of a node can read there."""
    found = text(value)
    if "@" in urllib.parse.urlsplit(found).netloc:
        raise ValueError(
            "expected an address without a name or password: package sources are readable by everybody on a node; keep "
            "the login in /etc/apt/auth.conf.d there"
        )
    return found


def texts(value: t.Any) -> list[str]:
    """A list of texts."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError("expected a list of texts")
    return [str(item) for item in value]


def node_base(value: t.Any) -> list[str]:
    """Parts of a node's base."""
    parts = texts(value)
    if not set(parts) <= set(NODE_BASE):
        raise ValueError(f"expected a list of {', '.join(NODE_BASE)}")
    return parts


def cuda_toolkits(value: t.Any) -> list[dict[str, str]]:
    """CUDA toolkits: each a version, or what is told of it."""
    if not isinstance(value, (list, tuple)):
        raise ValueError('expected a list of CUDA toolkits such as [{version: "12.6"}]')
    return [_cuda_toolkit(item) for item in value]


def _cuda_toolkit(item: t.Any) -> dict[str, str]:
    keys = ("version", "source", "runfile", "checksum")
    if (
        not isinstance(item, t.Mapping)
        or not set(item) <= set(keys)
        or not all(isinstance(part, str) for part in item.values())
    ):
        raise ValueError(f"expected CUDA toolkits with texts for {', '.join(keys)}, versions in quotes")
    if not CUDA_VERSION.match(item.get("version", "")):
        raise ValueError('expected the version of each CUDA toolkit, such as "12.6" or "12.6.3"')
    if item.get("source", "any") not in ("any", "vendor", "distribution"):
        raise ValueError("expected any, vendor or distribution as source of a CUDA toolkit")
    if "runfile" in item and not checksum(item.get("checksum", "")):
        raise ValueError("expected the checksum of each runfile, such as sha256:...: it is run as root")
    return dict(item)


def fingerprints(value: t.Any) -> list[str]:
    """Fingerprints of host keys, also as the whole lines that ssh-keygen -l prints."""
    found = [FINGERPRINT.findall(line) for line in texts(value)]
    if not all(len(one) == 1 for one in found):
        raise ValueError("expected a list of fingerprints as ssh-keygen -lf prints them (SHA256:... of 43 characters)")
    return [one[0] for one in found]


def requirements(value: t.Any) -> list[str]:
    """Requirement lines; options of pip among them would change where packages come from."""
    lines = texts(value)
    wrong = [line for line in lines if not re.match(r"[A-Za-z0-9]", line.strip()) or "\n" in line.strip()]
    if wrong:
        raise ValueError("expected requirements such as transformers==4.57.0, without options of pip")
    return lines


def checksum(value: t.Any) -> str:
    """A checksum that nobody can forge, with the name of its algorithm."""
    if not isinstance(value, str) or not CHECKSUM.match(value):
        raise ValueError("expected a checksum with its algorithm (sha256, sha384, sha512), such as sha256:0a1b...")
    return str(value)


def launchers(value: t.Any) -> list[str]:
    """A list with some of our launchers."""
    names = texts(value)
    wrong = [name for name in names if name not in LAUNCHERS]
    if wrong or not names:
        raise ValueError(f"expected a list with some of {', '.join(LAUNCHERS)}")
    return names


def companions(value: t.Any) -> list[str]:
    """Companions of torch."""
    names = texts(value)
    if any(name not in ("torchvision", "torchaudio") for name in names):
        raise ValueError("expected a list with some of torchvision, torchaudio")
    return names


def environment(value: t.Any) -> dict[str, str]:
    """Environment variables that every launcher passes on unchanged."""
    if not isinstance(value, t.Mapping):
        raise ValueError("expected a mapping of KEY: value")
    result = {}
    for name, content in value.items():
        if not ENV_NAME.match(str(name)):
            raise ValueError(f"{str(name)!r}: expected a name of letters, digits and _")
        if not re.match(r"[\w@%+=:,./-]*\Z", str(content)):
            raise ValueError(f"{name}: expected a value without blanks, quotes or shell signs, as launchers pass it on")
        result[str(name)] = str(content)
    return result


def environments(value: t.Any, parts: t.Mapping[str, t.Callable[[t.Any], t.Any]]) -> list[dict[str, t.Any]]:
    """Environments beside that of all jobs; ``parts`` read what each may have of its own."""
    if not isinstance(value, list):
        raise ValueError("expected a list of environments, such as [{name: vision, torch: 2.12.0}]")
    result: list[dict[str, t.Any]] = []
    for at, item in enumerate(value, 1):
        name = item.get("name") if isinstance(item, t.Mapping) else None
        if not isinstance(name, str) or not own_names.OWN.match(name):
            raise ValueError(
                f"environment {at}: expected a name of at most 32 small letters, digits, _ and -, and not one that "
                "begins with torch-"
            )
        unknown = sorted(set(map(str, item)) - {"name", *parts})
        if unknown:
            raise ValueError(f"{name}: expected no {', '.join(unknown)}, but {', '.join(parts)}")
        if name in (one["name"] for one in result):
            raise ValueError(f"{name} is there twice")
        try:
            own = {part: parts[part](item[part]) for part in parts if item.get(part) is not None}
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        result.append({"name": name, **own})
    return result


def absolute(value: t.Any) -> str:
    """A path on the nodes; ``~/`` is the home of the job user there."""
    if not isinstance(value, str) or not value.startswith(("/", "~/")) or "\n" in value:
        raise ValueError(f"expected an absolute path, or one that begins with ~/, found {value!r}")
    return str(value)


def paths(value: t.Any) -> list[str]:
    """A list of such paths."""
    return [absolute(path) for path in texts(value)]


def syncs(value: t.Any) -> list[dict[str, t.Any]]:
    """A list of paths on the head, or of C({src: ..., dest: ...}) with what C(trainmesh sync) can be told."""
    if not isinstance(value, (list, tuple)):
        raise ValueError("expected a list of paths, or of {src: ..., dest: ...}")
    found = []
    for place, item in enumerate(value, 1):
        entry = dict(item) if isinstance(item, t.Mapping) else {"dest": item}
        unknown = set(entry) - {"src", "dest", "delete", "exclude", "gitignore", "bwlimit"}
        if unknown or "dest" not in entry:
            raise ValueError(
                f"entry {place}: expected dest, and if need be src, delete, exclude, gitignore and bwlimit, "
                f"found {', '.join(map(str, entry))}"
            )
        if not isinstance(entry["dest"], str) or not entry["dest"].startswith("/") or "\n" in entry["dest"]:
            raise ValueError(f"entry {place}: expected an absolute path on the nodes, found {entry['dest']!r}")
        for name in ("delete", "gitignore"):
            entry[name] = boolean(entry.get(name, False))
        entry["exclude"] = texts(entry.get("exclude", []))
        if not re.match(r"(?:[1-9]\d*(?:\.\d+)?[KMG]?)?\Z", str(entry.setdefault("bwlimit", "")), re.IGNORECASE):
            raise ValueError(f"entry {place}: expected a bwlimit such as 50M, found {entry['bwlimit']}")
        found.append(entry)
    return found


def files(value: t.Any) -> list[dict[str, t.Any]]:
    """A list of ``{kind, path}``; ``cluster: true`` says of a launch script that it starts the whole cluster's job."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, t.Mapping) for item in value):
        raise ValueError("expected a list of {kind: ..., path: ...}")
    found = []
    for place, item in enumerate(value, 1):
        if set(item) - {"cluster"} != {"kind", "path"}:
            raise ValueError(f"entry {place}: expected the keys kind and path, found {', '.join(map(str, item))}")
        if item["kind"] not in FILE_KINDS:
            raise ValueError(f"entry {place}: expected one of {', '.join(FILE_KINDS)} as kind")
        whole = {"cluster": True} if boolean(item.get("cluster", False)) else {}
        if whole and item["kind"] != "launch_script":
            raise ValueError(f"entry {place}: cluster is for a launch_script, found a {item['kind']}")
        found.append({"kind": str(item["kind"]), "path": absolute(item["path"]), **whole})
    return found
