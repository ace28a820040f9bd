# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the variables that an inventory may set, and how each is read.

The one list of the public interface: the inventory check, the plan and the README's table follow it.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

PREFIX = "trainmesh_"
HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*\Z")
USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
LAUNCHERS = ("deepspeed", "accelerate", "accelerate_standard", "torchrun", "mpirun")


@dataclasses.dataclass(frozen=True)
class Variable:
    """One variable: its scope (``host`` or ``cluster``), default, meaning and reader.

    ``read`` turns a value into the one the model uses, or raises ValueError with what was expected.
    """

    scope: str
    default: t.Any
    meaning: str
    read: t.Callable[[t.Any], t.Any]


def _text(value: t.Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected a text")
    return str(value)


def _boolean(value: t.Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "yes", "on", "1"):
        return True
    if str(value).lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError("expected true or false")


def _number(low: int, high: int, what: str) -> t.Callable[[t.Any], int]:
    def read(value: t.Any) -> int:
        try:
            if isinstance(value, (bool, float)):
                raise ValueError
            number = int(value)
        except (TypeError, ValueError):
            raise ValueError(f"expected {what}, a whole number from {low} to {high}") from None
        if not low <= number <= high:
            raise ValueError(f"expected {what}, a whole number from {low} to {high}")
        return number

    return read


def _choice(*choices: str) -> t.Callable[[t.Any], str]:
    def read(value: t.Any) -> str:
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return str(value)

    return read


def _pattern(pattern: re.Pattern[str], what: str) -> t.Callable[[t.Any], str]:
    def read(value: t.Any) -> str:
        if not isinstance(value, str) or not pattern.match(value):
            raise ValueError(f"expected {what}")
        return str(value)

    return read


def _address(value: t.Any) -> str:
    try:
        address = ipaddress.ip_address(str(value))
    except ValueError:
        raise ValueError("expected an IP address such as 10.0.0.11, not a name") from None
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        raise ValueError("expected an address that the other nodes can reach")
    return str(address)


def _directory(value: t.Any) -> str:
    if not isinstance(value, str) or not re.match(r"/[A-Za-z0-9._/+-]+\Z", value) or ".." in value.split("/"):
        raise ValueError("expected an absolute path of letters, digits and ._+-/ only")
    return value.rstrip("/")


def _texts(value: t.Any) -> list[str]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError("expected a list of texts")
    return [str(item) for item in value]


def _launchers(value: t.Any) -> list[str]:
    names = _texts(value)
    wrong = [name for name in names if name not in LAUNCHERS]
    if wrong or not names:
        raise ValueError(f"expected a list with some of {', '.join(LAUNCHERS)}")
    return names


def _companions(value: t.Any) -> list[str]:
    names = _texts(value)
    if any(name not in ("torchvision", "torchaudio") for name in names):
        raise ValueError("expected a list with some of torchvision, torchaudio")
    return names


def _environment(value: t.Any) -> dict[str, str]:
    if not isinstance(value, t.Mapping):
        raise ValueError("expected a mapping of KEY: value")
    result = {}
    for name, content in value.items():
        if not ENV_NAME.match(str(name)):
            raise ValueError(f"expected names of letters, digits and _, found {name!r}")
        if not re.match(r"[\w@%+=:,./-]*\Z", str(content)):
            raise ValueError(f"{name}: expected a value without blanks, quotes or shell signs, as launchers pass it on")
        result[str(name)] = str(content)
    return result


_PORT = _number(1, 65535, "a TCP port")
_VERSION = _pattern(re.compile(r"\d+(\.\d+)+([a-z]+\d+|\.post\d+)?\Z"), "an exact version such as 2.13.0")
_NAME = _pattern(HOST_NAME, "a host name of letters, digits, dots and dashes")

VARIABLES: dict[str, Variable] = {
    "address": Variable(
        "host", None, "The data address; default: the source address of the route to the other nodes.", _address
    ),
    "slots": Variable(
        "host",
        None,
        "Ranks on the node; default: its usable GPUs, or 1 without GPUs.",
        _number(1, 1024, "a number of ranks"),
    ),
    "interface": Variable(
        "host", None, "Network interface of the jobs; default: the one that holds the data address.", _text
    ),
    "ssh_port": Variable(
        "host", None, "Port that the node's sshd shall listen on as well; default: those it has.", _PORT
    ),
    "hostname": Variable(
        "host", None, "Host name of the node; default: the inventory name up to the first dot.", _NAME
    ),
    "fqdn": Variable("host", None, "Fully qualified name; default: host name and C(trainmesh_domain).", _NAME),
    "group": Variable("cluster", "all", "Inventory group that holds the nodes of this cluster.", _text),
    "head": Variable(
        "cluster", None, "Inventory name of the node of rank 0; default: the first host, kept ever after.", _text
    ),
    "user": Variable(
        "cluster", None, "User that runs the jobs; default: the login user.", _pattern(USER_NAME, "a user name")
    ),
    "prefix": Variable("cluster", "/opt/trainmesh", "Directory of everything, the same on every node.", _directory),
    "domain": Variable("cluster", "trainmesh.internal", "Domain of the fully qualified names.", _NAME),
    "master_port": Variable(
        "cluster", 29500, "Port of the rendezvous on the head.", _number(1024, 65535, "an unprivileged TCP port")
    ),
    "firewall": Variable(
        "cluster", "auto", "Which firewall to open for the nodes.", _choice("auto", "none", "firewalld", "ufw")
    ),
    "ssh_trust": Variable("cluster", "keys", "How the nodes trust each other.", _choice("keys")),
    "python_env": Variable("cluster", "venv", "Kind of Python environment.", _choice("venv", "conda")),
    "python": Variable(
        "cluster", None, "Interpreter of the venv (default /usr/bin/python3) or version for conda (3.11).", _text
    ),
    "torch": Variable("cluster", None, "Version of torch; default: the tested set.", _VERSION),
    "torch_build": Variable(
        "cluster",
        "auto",
        "Build of torch; auto: by the weakest GPU and the oldest driver.",
        _pattern(re.compile(r"(auto|cpu|cu\d{3})\Z"), "auto, cpu or a CUDA build such as cu126"),
    ),
    "torch_companions": Variable(
        "cluster", [], "torchvision and torchaudio, at the versions that match torch.", _companions
    ),
    "deepspeed": Variable("cluster", None, "Version of deepspeed; default: the tested set.", _VERSION),
    "accelerate": Variable("cluster", None, "Version of accelerate; default: the tested set.", _VERSION),
    "extra_packages": Variable("cluster", [], "More requirement lines for the environment.", _texts),
    "wheelhouse": Variable(
        "cluster",
        "",
        "Empty: nodes install from the index; C(auto) or a directory on the controller: from files handed to them.",
        _text,
    ),
    "index_url": Variable(
        "cluster", "", "Package index or mirror; default: the one that pip on the controller uses.", _text
    ),
    "conda_installer": Variable(
        "cluster", "", "URL or controller path of the Miniconda or Miniforge installer.", _text
    ),
    "conda_installer_checksum": Variable("cluster", "", "Checksum of the installer such as C(sha256:...).", _text),
    "conda_channels": Variable("cluster", [], "Channels, URLs or directories, instead of the installer's own.", _texts),
    "conda_init": Variable("cluster", False, "Let conda change the job user's shell start-up files.", _boolean),
    "precision": Variable(
        "cluster",
        "auto",
        "Precision of the jobs; auto: bf16 only where every GPU can.",
        _choice("auto", "bf16", "fp16", "fp32"),
    ),
    "zero_stage": Variable(
        "cluster", 2, "ZeRO stage that the launch scripts use by default.", _number(0, 3, "a ZeRO stage")
    ),
    "launchers": Variable("cluster", list(LAUNCHERS[:4]), "Launchers that are set up and proven.", _launchers),
    "env": Variable("cluster", {}, "Environment variables for the jobs.", _environment),
    "packages_install": Variable("cluster", True, "Install missing distribution packages (pdsh, rsync).", _boolean),
    "state_dir": Variable(
        "cluster",
        None,
        "Directory on the controller for lock and memory; default: C(.trainmesh) beside the inventory.",
        _text,
    ),
    "verify_jobs": Variable("cluster", True, "Run a real job through each launcher at the end.", _boolean),
    "job_timeout": Variable(
        "cluster", 300, "Seconds that one job of the verification may take.", _number(10, 86400, "seconds")
    ),
}


def read(values: t.Mapping[str, t.Any], scope: str) -> dict[str, t.Any]:
    """The variables of one scope with defaults filled in, by short name; raises ValueError on a bad one."""
    result = {}
    for name, variable in VARIABLES.items():
        if variable.scope == scope:
            value = values.get(PREFIX + name)
            result[name] = variable.default if value is None else variable.read(value)
    return result


__all__ = ("HOST_NAME", "LAUNCHERS", "PREFIX", "VARIABLES", "Variable", "read")
