# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the ssh client would reach a host, as ``ssh -G`` tells it.

So everything that ssh reads counts: ~/.ssh/config, /etc/ssh, the arguments of the inventory. Nothing is contacted.
paramiko's own reader follows no Include, knows no arguments and no defaults, and takes a line that ssh refuses.
"""

from __future__ import annotations

import dataclasses
import os
import pwd
import re
import shlex
import socket
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command as base_command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.ssh_config import settings
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import failures as words
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import Target

OFF = ("no", "false", "off", "none", "")
NONE = ("", "none")
FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
# What ssh can do and this check can not; where one of them decides, the host is untested.
BEYOND_CONNECT = {"bindaddress": "BindAddress", "bindinterface": "BindInterface"}
BEYOND_HOSTKEY = {"knownhostscommand": "KnownHostsCommand", "verifyhostkeydns": "VerifyHostKeyDNS"}
BEYOND_AUTH = {"pkcs11provider": "PKCS11Provider", "hostbasedauthentication": "HostbasedAuthentication"}


@dataclasses.dataclass(frozen=True)
class Client:
    """The effective configuration of the ssh client for one host.

    ``lookup`` is the name under which known_hosts has it, ``proxy`` the command that makes the connection, empty for
    a direct one. ``strict``: an unknown key is refused; ``checked``: an unknown key is not simply taken each time;
    ``verified``: a machine that comes in place of a known one is noticed. ``keeps_in`` is the file in which ssh writes
    down accepted keys, empty where it keeps none; ``hashes``: it writes no names there. ``key_algorithms`` are those of
    host keys in the order in which ssh wants them.
    """

    hostname: str
    port: int
    user: str
    lookup: str
    keys: tuple[str, ...] = ()
    only_given_keys: bool = False
    agent: bool = True
    public_keys: bool = True
    known_hosts: tuple[str, ...] = ()
    strict: bool = True
    checked: bool = True
    verified: bool = True
    keeps_in: str = ""
    hashes: bool = False
    key_algorithms: tuple[str, ...] = ()
    family: int = socket.AF_UNSPEC
    proxy: str = ""
    beyond: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


def read(target: Target, limit: float) -> Client:
    """Ask ``ssh -G``, for at most ``limit`` seconds; raises Stop."""
    outcome = base_command.run([target.executable, "-G", *target.args, target.host], limit)
    if outcome.missing or outcome.timed_out:
        raise words.untested(outcome.err or f"{target.executable} -G gave no answer within {limit:g} s")
    if not outcome.ok:
        raise words.config(" ".join(outcome.text.split())[:300] or f"ssh -G ended with {outcome.rc}")
    return parse(outcome.out, target)


def parse(text: str, target: Target) -> Client:
    """The answer of ``ssh -G`` as a Client."""
    values = settings(text)

    def one(name: str, default: str = "") -> str:
        return values.get(name, [default])[0]

    hostname, user = one("hostname", target.host), one("user")
    port = int(one("port")) if one("port").isdigit() else 22
    own = pwd.getpwuid(os.getuid())
    tokens = {"h": hostname, "p": str(port), "r": user, "n": target.host}
    tokens |= {"d": own.pw_dir, "u": own.pw_name, "i": str(own.pw_uid), "l": socket.gethostname()}
    files = " ".join((one("userknownhostsfile"), one("globalknownhostsfile"))).split()
    kept_in = [path for path in one("userknownhostsfile").split() if path not in (*NONE, "/dev/null")]
    alias = one("hostkeyalias")
    name = (hostname if alias in NONE else alias).lower()
    strict = one("stricthostkeychecking", "ask")
    agent = one("identityagent", "SSH_AUTH_SOCK")
    return Client(
        hostname=hostname,
        port=port,
        user=user,
        lookup=name if alias not in NONE or port == 22 else f"[{name}]:{port}",
        keys=tuple(_path(path, tokens) for path in values.get("identityfile", []) if path not in NONE),
        only_given_keys=one("identitiesonly") not in OFF,
        agent=agent in ("SSH_AUTH_SOCK", "$SSH_AUTH_SOCK"),
        public_keys=one("pubkeyauthentication", "yes") not in OFF,
        known_hosts=tuple(_path(path, tokens) for path in files if path not in NONE),
        strict=strict not in (*OFF, "accept-new"),
        checked=strict not in OFF,
        verified=strict not in OFF and (strict != "accept-new" or bool(kept_in)),
        keeps_in=_path(kept_in[0], tokens) if kept_in else "",
        hashes=one("hashknownhosts") not in OFF,
        key_algorithms=tuple(one("hostkeyalgorithms").split(",")),
        family=FAMILIES.get(one("addressfamily"), socket.AF_UNSPEC),
        proxy=_proxy(one("proxycommand"), one("proxyjump"), target, tokens),
        beyond=_beyond(values, agent),
    )


def _beyond(values: t.Mapping[str, t.Sequence[str]], agent: str) -> dict[str, str]:
    """Options in use that this check can't follow, by the step they matter for."""
    found = {}
    for step, names in (("tcp", BEYOND_CONNECT), ("hostkey", BEYOND_HOSTKEY), ("auth", BEYOND_AUTH)):
        used = [option for name, option in names.items() if values.get(name, [""])[0] not in OFF]
        if step == "auth" and agent not in ("none", "SSH_AUTH_SOCK", "$SSH_AUTH_SOCK"):
            used.append("IdentityAgent")
        if used:
            found[step] = ", ".join(used)
    return found


def expand(text: str, tokens: t.Mapping[str, str]) -> str:
    """ssh's %-tokens replaced; one that is not known stays as it is (TOKENS in ssh_config(5))."""
    return re.sub(r"%(.)", lambda match: {"%": "%", **tokens}.get(match.group(1), match.group(0)), text)


def _path(text: str, tokens: t.Mapping[str, str]) -> str:
    return os.path.expanduser(expand(text, tokens))


def _proxy(command: str, jump: str, target: Target, tokens: t.Mapping[str, str]) -> str:
    """The shell command whose input and output are the connection, as ssh itself would start it."""
    if command not in NONE:
        return expand(command, tokens)
    if jump in NONE:
        return ""
    *before, last = [hop if "://" in hop else f"ssh://{hop}" for hop in jump.split(",")]
    argv = [target.executable, *_config_file(target.args), "-o", "BatchMode=yes"]
    argv += ["-J", ",".join(before)] if before else []
    host = f"[{tokens['h']}]" if ":" in tokens["h"] else tokens["h"]
    return shlex.join([*argv, "-W", f"{host}:{tokens['p']}", last])


def _config_file(args: t.Sequence[str]) -> list[str]:
    """The -F of the arguments: the only one that ssh hands on to its jump hosts."""
    for number, word in enumerate(args):
        if word == "-F" and number + 1 < len(args):
            return ["-F", args[number + 1]]
        if word.startswith("-F") and len(word) > 2:
            return [word]
    return []
