# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: try ssh and TCP from one node to every other, and say what failed."""

from __future__ import annotations

import concurrent.futures
import re
import socket
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._bounded import Outcome, run

MARK = "trainmesh-probe"
# ssh's own words (OpenSSH 7 to 10), the first that fits names the layer.
_SSH_LAYERS = (
    ("name", r"Could not resolve hostname|Name or service not known|Temporary failure in name resolution"),
    ("hostkey_changed", r"REMOTE HOST IDENTIFICATION HAS CHANGED|HOST KEY .*CHANGED"),
    ("hostkey_unknown", r"Host key verification failed|No .* host key is known"),
    ("permission", r"Permission denied|Too many authentication failures"),
    ("refused", r"Connection refused"),
    ("no_route", r"No route to host|Network is unreachable"),
    ("timeout", r"Connection timed out|Operation timed out|timed out during banner"),
    ("closed", r"Connection closed|Connection reset|kex_exchange_identification"),
    ("config", r"Bad configuration option|terminating, \d+ bad configuration|Bad owner or permissions"),
)
# Source: launchers.md section 3, errno table.
_ERRNO = {111: "refused", 113: "no_route", 110: "timeout", 101: "no_route"}


class Target(t.NamedTuple):
    """A peer to try: its name and data address, the names ssh shall use, and the ports that listen there."""

    name: str
    address: str
    hostname: str
    ssh_names: t.Sequence[str]
    ports: t.Sequence[int]


def ssh_verdict(outcome: Outcome, hostname: str) -> dict[str, t.Any]:
    """What one ssh login showed: ``ok``, else the layer that failed and the evidence."""
    if outcome.missing:
        return _result(False, "ssh_missing", outcome.err, outcome)
    if outcome.timed_out:
        return _result(False, "timeout", f"no answer within {outcome.seconds:.0f} s", outcome)
    marked = re.search(rf"{MARK} (\S+)", outcome.out)
    if outcome.rc == 0 and marked:
        noise = outcome.out.replace(marked.group(0), "").strip()
        if marked.group(1) != hostname:
            return _result(False, "wrong_machine", f"answered as {marked.group(1)}, expected {hostname}", outcome)
        return _result(
            not noise, "noise" if noise else "", f"the login prints {noise[:120]!r}" if noise else "", outcome
        )
    evidence = " ".join(outcome.err.split())[-300:]
    layer = next((name for name, pattern in _SSH_LAYERS if re.search(pattern, outcome.err)), "other")
    return _result(False, layer, evidence or f"exit status {outcome.rc}", outcome)


def _result(ok: bool, layer: str, evidence: str, outcome: Outcome) -> dict[str, t.Any]:
    return {"ok": ok, "layer": layer, "evidence": evidence, "seconds": round(outcome.seconds, 2)}


def try_ssh(name: str, hostname: str, limit: float) -> dict[str, t.Any]:
    """Log in without a terminal and with strict checking, as a launcher does."""
    options = ["BatchMode=yes", "StrictHostKeyChecking=yes", f"ConnectTimeout={max(1, int(limit) - 1)}"]
    argv = ["ssh", *(word for option in options for word in ("-o", option)), name, f"echo {MARK} $(hostname)"]
    return ssh_verdict(run(argv, limit), hostname)


def try_tcp(address: str, port: int, greeting: str, limit: float) -> dict[str, t.Any]:
    """Connect and read the listener's greeting."""
    started = time.monotonic()

    def answer(layer: str, evidence: str = "") -> dict[str, t.Any]:
        return {"ok": not layer, "layer": layer, "evidence": evidence, "seconds": round(time.monotonic() - started, 3)}

    try:
        with socket.create_connection((address, port), limit) as connection:
            connection.settimeout(limit)
            heard = connection.recv(200).decode("utf-8", "replace").strip()
    except (TimeoutError, socket.timeout):
        return answer("timeout", f"{address} port {port}: no answer within {limit:.0f} s (packets dropped)")
    except OSError as error:
        return answer(
            _ERRNO.get(error.errno or 0, "other"), f"{address} port {port}: {error.strerror} (errno {error.errno})"
        )
    if heard != greeting:
        return answer("stranger", f"{address} port {port}: something else answers there: {heard[:60]!r}")
    return answer("")


def turned(targets: t.Sequence[Target], own: str) -> list[Target]:
    """The targets from the one behind the own host on, so that the nodes do not all knock at the same door at once.

    sshd drops logins at random when more than ten wait unauthenticated (MaxStartups 10:30:100).
    """
    start = next((number + 1 for number, target in enumerate(targets) if target.hostname == own), 0)
    return [*targets[start:], *targets[:start]]


def try_target(target: Target, token: str, limit: float) -> dict[str, t.Any]:
    """One target: its names one after the other, then its ports. A login that sshd cut off is tried once more."""
    logins = {}
    for alias in target.ssh_names:
        logins[alias] = try_ssh(alias, target.hostname, limit)
        if logins[alias]["layer"] == "closed":
            time.sleep(1)
            logins[alias] = try_ssh(alias, target.hostname, limit)
    greeting = f"trainmesh {token} {target.name}"
    return {
        "ssh": logins,
        "tcp": {str(port): try_tcp(target.address, port, greeting, limit) for port in target.ports},
    }


def probe(targets: t.Sequence[Target], token: str, limit: float, workers: int) -> dict[str, t.Any]:
    """At most ``workers`` targets at a time: {name: {ssh: {alias: result}, tcp: {port: result}}}."""
    ordered = turned(targets, socket.gethostname())
    with concurrent.futures.ThreadPoolExecutor(max_workers=workers) as pool:
        results = list(pool.map(lambda target: try_target(target, token, limit), ordered))
    return {target.name: result for target, result in zip(ordered, results)}


__all__ = ("MARK", "Target", "probe", "ssh_verdict", "try_ssh", "try_target", "try_tcp", "turned")
