# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the proxies that logins have."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import live, mapping, names, node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
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
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._login_reasons import comes_from


@rule(
    About(
        "env-proxy",
        layer="launcher",
        severity=INFO,
        also=(WARN,),
        title="A proxy stands between the nodes",
        symptom="HTTP and gRPC between nodes end at the proxy, with 403 or 503",
        source="curl(1) NO_PROXY, gRPC environment variables",
    ),
    needs=("stack",),
)
def proxies(case: Case) -> t.Iterable[Answer]:
    """A proxy of the login from which the nodes are not exempt, or that only some nodes have."""
    given = {host: _proxy(case, host) for host in live(case, "stack")}
    have = [host for host, proxy in given.items() if proxy]
    several = len(names(case)) > 1
    for host, proxy in given.items():
        if proxy and several and not _exempt(case, host):
            peers = ",".join(str(dig(node(case, name), "address", name)) for name in names(case)[:8])
            yield finding(
                "env-proxy",
                INFO,
                host,
                f"{proxy}; no_proxy is {_variable(case, host, 'no_proxy') or 'not set'}",
                "What talks HTTP or gRPC between the nodes (an etcd rendezvous, Ray, inference servers, metrics) goes "
                "through the proxy; PyTorch's own rendezvous, gloo and NCCL do not.",
                f"no_proxy={peers},localhost,127.0.0.1 in /etc/environment of every node, with the names of all nodes.",
            )
        elif not proxy and 2 * len(have) > len(given):
            yield finding(
                "env-proxy",
                WARN,
                host,
                f"no proxy is set, while {', '.join(have[:6])} have one",
                "Most nodes reach the package index and model hubs by a proxy, and this one is not told of it.",
                "Put the http_proxy, https_proxy and no_proxy of the other nodes into its /etc/environment.",
            )


def _variable(case: Case, host: str, name: str) -> str:
    found = mapping(case.stack.get(host), "login_environment.variables")
    return str(found.get(name) or found.get(name.upper()) or "")


def _proxy(case: Case, host: str) -> str:
    """The proxy of a login, as ``name=value``."""
    for name in ("https_proxy", "http_proxy", "all_proxy"):
        value = _variable(case, host, name)
        if value:
            return f"{name}={value}"
    return ""


def _exempt(case: Case, host: str) -> bool:
    """Whether no_proxy names every other node, by address, network, name or domain; ``*`` names all."""
    items = [item.strip().lstrip(".").lower() for item in _variable(case, host, "no_proxy").split(",") if item.strip()]
    return all(_named_in(items, node(case, name)) for name in names(case) if name != host)


def _named_in(items: t.Sequence[str], peer: Data) -> bool:
    called = [str(dig(peer, key, "")).lower() for key in ("address", "hostname", "fqdn")]
    for item in items:
        if item == "*" or item in called or any(name.endswith(f".{item}") for name in called[1:]):
            return True
        if "/" in item and comes_from([called[0]], item):
            return True
    return False
