# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve a name as ssh and as the launchers do, within a bound."""

from __future__ import annotations

import socket
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import resolver
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.line_check import is_loopback
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.ssh_config import config_error
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.ssh_options import Options
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.threads import in_threads

_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}


class Names(t.NamedTuple):
    """What a name leads to. ``failure`` is empty when it leads to the target, else what is wrong.

    ``way`` is all that tells ssh's connection from that of another name: host, port and user.
    ``config_error``: what ssh has against its configuration, with the failure ``config``.
    """

    failure: str
    evidence: str
    addresses: list[str]
    way: str = ""
    config_error: str = ""


def addresses_of(name: str, limit: float, family: int = 0) -> list[str]:
    """A name's addresses as programs try them, without zones; none when it does not resolve. Raises TimeoutError."""
    answers = in_threads({name: lambda: resolver.addresses_of(name, family)}, limit)
    if not answers:
        raise TimeoutError(f"{name} is not resolved within {limit:.0f} s")
    found = answers[name] if isinstance(answers[name], list) else []
    return [address.partition("%")[0] for address in found]


def judge(name: str, addresses: t.Sequence[str], known: t.Collection[str], address: str) -> tuple[str, str]:
    """Failure and evidence for a name's addresses; ``known`` are those of the target, ``address`` its data address.

    Loopback counts even beside a good address: programs are given the nearest first.
    """
    shown = ", ".join(addresses)
    if not addresses:
        return "name", f"{name} does not resolve"
    loopback = [found for found in addresses if is_loopback(found)]
    if loopback and not is_loopback(address):
        return "loopback", f"{name} resolves to {', '.join(loopback)}, which is no address for other nodes"
    if not set(known) & set(addresses):
        if ":" not in address and all(":" in found for found in addresses):
            return "wrong_address", f"{name} resolves only to IPv6 ({shown}), while the data address is {address}"
        return "wrong_address", f"{name} resolves to {shown}, none of which is an address of the node ({address})"
    return "", ""


def resolve(name: str, known: t.Collection[str], address: str, limit: float, ssh: Options) -> Names:
    """Where ssh goes for ``name``, and where all other programs go.

    ssh's configuration may send it elsewhere (HostName), while torch and gloo ask the resolver for the
    very name; that an alias is known to ssh alone is no fault. Behind a jump host nothing is resolved here.
    """
    outcome, config = ssh.of(name)
    if outcome.missing:
        return Names("ssh_missing", "there is no ssh client", [])
    if outcome.timed_out:
        return Names("not_met", f"ssh -G {name} gave no answer within {limit:.0f} s", [])
    if not outcome.ok:
        evidence = " ".join(outcome.err.split())[-300:] or f"ssh -G {name} fails"
        return Names("config", evidence, [], config_error=config_error(outcome.err))
    if any(config.get(keyword, "none") != "none" for keyword in ("proxyjump", "proxycommand")):
        return Names("", "", [], name)
    host = config.get("hostname", name)
    try:
        found = addresses_of(host, limit, _FAMILIES.get(config.get("addressfamily", ""), 0))
        failure, evidence = judge(host, found, known, address)
        if not failure and host != name:
            others = addresses_of(name, limit)
            failure, evidence = judge(name, others, known, address) if others else ("", "")
            evidence += f"; ssh itself goes to {host}" if failure else ""
            found = others if failure else found
    except TimeoutError as error:
        return Names("name", str(error), [])
    return Names(failure, evidence, found, f"{found} {config.get('port')} {config.get('user')}")
