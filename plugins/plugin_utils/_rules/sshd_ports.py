# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the port of sshd, and on who answers there."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    absent,
    names,
    node,
    number,
    shorten,
    text,
    texts,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import (
    Attempt,
    by_pair,
    ssh_results,
    tcp_results,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Finding,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._either_end import (
    UNANSWERED,
    own_block,
    rules,
    words,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._let_in import open_up

NET_FAILURES = ("refused", "timeout", "no_route")


def listens(case: Case, name: str) -> list[int] | None:
    """The ports on which a node's sshd really listens; None when that is not known."""
    if dig(case.fabric.get(name), "sshd.source") not in ("process", "config"):
        return None
    return [int(port) for port in dig(case.fabric.get(name), "sshd.ports", [])]


def sshd_not_on_planned_port(case: Case, name: str) -> bool:
    """Whether it is known that the node's own sshd does not listen on the port that the plan has for it."""
    port = int(dig(node(case, name), "ssh_port", 22))
    ports, everything = listens(case, name), dig(case.fabric.get(name), "listening_ports")
    if ports is not None:
        return port not in ports
    return isinstance(everything, list) and port not in everything


def restart(sshd: Data) -> str:
    """The command by which sshd takes up its configuration, also where no systemd runs, as in many containers."""
    if dig(sshd, "systemd") is not False:
        return f"sshd -t && systemctl restart {shlex.quote(text(sshd, 'unit') or 'ssh.service')}"
    pid = number(sshd, "pid")
    return f"sshd -t && kill -HUP {int(pid)}" if pid else "sshd -t && { pkill -HUP -o -x sshd || $(command -v sshd); }"


@rule(
    About(
        "ctr-sshd-port-clash",
        layer="ssh",
        severity=FAIL,
        title="The container's sshd and the host's use the same port",
        symptom="the container's sshd is dead, peers reach the server's",
        source="field notes, DS#4387",
    ),
    needs=("mesh",),
)
def port_clash(case: Case) -> t.Iterable[Answer]:
    """Another machine's sshd answers on the node's address and port, as a host's does for its container."""
    found = ssh_results(case, "wrong_machine")
    found += [item for item in ssh_results(case, "hostkey_changed") if sshd_not_on_planned_port(case, item.target)]
    hostnames = {str(dig(case.fabric.get(name), "hostname", "")) for name in names(case)} - {""}
    for item in found:
        if item.answered_as in hostnames:
            continue  # a node of the cluster under a wrong name or address: that is for the rules on names
        at = node(case, item.target)
        seen = f"from {item.source} as {item.what}: {item.evidence or 'another host key'}"
        yield finding(
            "ctr-sshd-port-clash",
            FAIL,
            item.target,
            seen,
            "Another machine's sshd answers on its address and port; a container on its host's network shares the "
            "host's ports, and the host's sshd has this one.",
            f"Give its own sshd a port that is free on {dig(at, 'address', 'the host')}: trainmesh_ssh_port: 2222 for "
            "this host in the inventory (then site.yml), or Port 2222 in its /etc/ssh/sshd_config and a restart.",
        )


@rule(
    About(
        "ssh-port-blocked",
        layer="ssh",
        severity=FAIL,
        title="A firewall between nodes blocks ssh",
        symptom="timeouts between nodes, while the controller gets in",
        source="connect(2), Linux netfilter",
    ),
    "ssh-port-mismatch",
    "sshd-not-listening",
    needs=("mesh",),
)
def port_refused(case: Case) -> t.Iterable[Answer]:
    """Logins that do not get as far as sshd: a wrong port, no sshd there, or something in between."""
    dead = {item.pair for item in tcp_results(case) if not item.ok}
    alive = {item.pair for item in tcp_results(case) if item.ok}
    for pair, items in by_pair(ssh_results(case, *NET_FAILURES)).items():
        first, (source, target) = items[0], pair
        port = int(dig(node(case, target), "ssh_port", 22))
        asked = dig(dig(case.user.get(source), "ssh_client.targets", {}).get(first.what), "port")
        if asked is not None and int(asked) != port and not sshd_not_on_planned_port(case, target):
            yield finding(
                "ssh-port-mismatch",
                FAIL,
                source,
                f"ssh -G {first.what} says port {asked}; sshd of {target} is on port {port}",
                "Its ssh configuration names another port than the one on which the peer's sshd listens.",
                f"Set Port {port} in the Host block of {target} in ~/.ssh/config there, or run site.yml.",
            )
        elif sshd_not_on_planned_port(case, target):
            yield from _wrong_port(case, first, port)
        elif elsewhere := _listens_elsewhere(case, target):
            yield _on_other_addresses(case, first, elsewhere)
        elif pair not in dead or pair in alive:
            yield _blocked(case, first, port)


def _listens_elsewhere(case: Case, name: str) -> list[str]:
    """The addresses on which a node's sshd listens, where that is not the one at which the others call."""
    found = texts(case.fabric.get(name), "sshd.addresses")
    plain = {one.removeprefix("::ffff:") for one in found}
    if not plain or plain & {"0.0.0.0", "::", str(dig(node(case, name), "address", ""))}:
        return []
    return found


def _on_other_addresses(case: Case, item: Attempt, found: t.Sequence[str]) -> Finding:
    at = node(case, item.target)
    sshd = dig(case.fabric.get(item.target), "sshd", {})
    return finding(
        "sshd-not-listening",
        FAIL,
        item.target,
        f"sshd listens on {', '.join(found)} alone, the nodes call at {dig(at, 'address')}; from {item.source}: "
        f"{item.evidence}",
        "Its sshd listens on some addresses of the node, and the one that jobs use is not among them (ListenAddress).",
        f"grep -rni ListenAddress /etc/ssh/sshd_config /etc/ssh/sshd_config.d on {item.target} (ListenStream= of its "
        f"ssh.socket), take the line out or add {dig(at, 'address')}, then {restart(sshd)}",
    )


_REJECTED = re.compile(
    r"sshd -T: (.*(?:Bad configuration option|line \d+|terminating, \d+ bad|Unsupported option|no hostkeys available|"
    r"is not allowed within a Match).*)"
)


def rejected(case: Case, name: str) -> str:
    """What sshd has against its own configuration; empty where it accepts it, or did not say."""
    found = _REJECTED.search(" ".join(text(case.user.get(name), "sshd.problem").split()))
    return found[1] if found else ""


def _config_finding(case: Case, name: str, said: str, severity: str) -> Finding:
    if "no hostkeys" in said:
        remedy = f"ssh-keygen -A on {name}, then {restart(dig(case.fabric.get(name), 'sshd', {}))}"
    else:
        remedy = (
            f"sshd -t on {name} names file and line: correct it or take it out, then "
            f"{restart(dig(case.fabric.get(name), 'sshd', {}))}, while a login is still open."
        )
    return finding(
        "sshd-config-invalid",
        severity,
        name,
        said[:300],
        "sshd does not accept its configuration: it starts no more, after a restart or a reboot nobody gets in.",
        remedy,
    )


@rule(
    About(
        "sshd-config-invalid",
        layer="ssh",
        severity=WARN,
        also=(FAIL,),
        title="sshd rejects its own configuration",
        symptom="all is well until sshd is restarted, then `Connection refused`",
        source="OpenSSH sshd(8) -t",
    ),
    needs=("user",),
)
def config_rejected(case: Case) -> t.Iterable[Answer]:
    """A configuration with which the running sshd could not start again."""
    refusing = {item.target for item in ssh_results(case, *NET_FAILURES) if sshd_not_on_planned_port(case, item.target)}
    for name in [name for name in case.user if name not in absent(case)]:
        if said := rejected(case, name):
            yield _config_finding(case, name, said, FAIL if name in refusing else WARN)


def _wrong_port(case: Case, item: Attempt, port: int) -> t.Iterator[Finding]:
    """The target's sshd is not where the plan has it."""
    if rejected(case, item.target):
        return  # sshd-config-invalid
    sshd, seen = dig(case.fabric.get(item.target), "sshd", {}), f"from {item.source}: {item.evidence}"
    ports, wanted = dig(sshd, "ports", []), dig(sshd, "config_ports", [])
    shown = ", ".join(map(str, ports))
    if ports and port not in wanted:
        yield finding(
            "ssh-port-mismatch",
            FAIL,
            item.target,
            f"sshd listens on {shown}, the nodes try {port}; {seen}",
            "Its sshd listens on another port than the one by which the other nodes try to reach it.",
            f"Use one port everywhere: trainmesh_ssh_port: {ports[0]} for this host in the inventory and site.yml, or "
            f"Port {ports[0]} in its Host block of ~/.ssh/config on every node.",
        )
        return
    asks = f"its configuration asks for {', '.join(map(str, wanted))}" if wanted else "no port is configured"
    yield finding(
        "sshd-not-listening",
        FAIL,
        item.target,
        f"sshd listens on {shown or 'no port'}, {asks}; {seen}",
        f"Nothing listens on its ssh port {port}: sshd does not run, or it runs with an older configuration.",
        f"{restart(sshd)}, then ss -ltnp | grep sshd",
    )


def _blocked(case: Case, item: Attempt, port: int) -> Finding:
    seen = f"from {item.source}: {item.evidence}"
    own = own_block(case, item.pair, str(port), item.failure in UNANSWERED)
    if own:
        cause, remedy = words(case, [own])
        return finding("ssh-port-blocked", FAIL, own.host, f"{own.evidence}; {seen}", cause, remedy)
    kept = _kept_out(case, item, port)
    if kept:
        calls = [each for each in ssh_results(case, *NET_FAILURES) if each.target == item.target]
        sources = dict.fromkeys(each.source for each in calls if _kept_out(case, each, port))
        line, remedy = shorten(text(row, "rule") for row in kept), open_up(case, item.target, list(sources), kept)
        cause = f"A rule of its firewall keeps the nodes named here from its sshd on port {port}."
        return finding("ssh-port-blocked", FAIL, item.target, f"{line}; {seen}", cause, remedy)
    return finding(
        "ssh-port-blocked",
        FAIL,
        item.target,
        seen,
        f"Its sshd is on port {port}, yet the nodes named here do not get through to it, while other ports were not "
        "seen to fail.",
        f"Let the nodes' addresses in to port {port}/tcp in its firewall (trainmesh_firewall and site.yml do), and see "
        "that no device on the way filters it.",
    )


def _kept_out(case: Case, item: Attempt, port: int) -> list[Data]:
    """The rules of the target that certainly keep the source from its sshd."""
    return [row for row in rules(case, item.target, item.source, str(port), "in") if dig(row, "sure") is True]


@rule(
    About(
        "sshd-not-listening",
        layer="ssh",
        severity=FAIL,
        also=(WARN,),
        title="sshd does not listen on the expected port",
        symptom="the service is running and the port is not there",
        source="field notes",
    ),
    needs=("fabric",),
)
def not_yet_restarted(case: Case) -> t.Iterable[Answer]:
    """A port that sshd's configuration names and on which nothing listens, although today's logins work."""
    failing = {item.target for item in ssh_results(case, *NET_FAILURES)}
    for name in set(case.fabric) - absent(case) - failing:
        sshd = dig(case.fabric[name], "sshd", {})
        missing = sorted(set(dig(sshd, "config_ports", [])) - set(dig(sshd, "ports", [])))
        unit = str(dig(sshd, "unit", "ssh.service"))
        if missing and dig(sshd, "source") == "process" and not unit.endswith(".socket"):
            yield finding(
                "sshd-not-listening",
                WARN,
                name,
                f"sshd listens on {', '.join(map(str, dig(sshd, 'ports', []))) or 'no port'}, configured is "
                f"{', '.join(map(str, dig(sshd, 'config_ports', [])))}",
                "Its sshd has not taken up its configuration: after the next restart it listens elsewhere.",
                f"{restart(sshd)}; then set trainmesh_ssh_port to the port that is meant.",
            )


@rule(
    About(
        "sshd-upgraded-not-restarted",
        layer="ssh",
        severity=WARN,
        also=(FAIL,),
        title="sshd was upgraded but not restarted",
        symptom="logins fail until sshd is restarted",
        source="field notes",
    ),
    needs=("fabric",),
)
def upgraded(case: Case) -> t.Iterable[Answer]:
    """The program of the running sshd was replaced on the disk."""
    for name, facts in case.fabric.items():
        if dig(facts, "sshd.binary_deleted") is True and name not in absent(case):
            broken = any(item.target == name for item in ssh_results(case, "closed"))
            yield finding(
                "sshd-upgraded-not-restarted",
                FAIL if broken else WARN,
                name,
                f"the program of process {dig(facts, 'sshd.pid')} is no longer on the disk",
                "sshd was upgraded and not restarted: the old daemon starts new helper programs, and logins may fail.",
                f"{restart(dig(facts, 'sshd', {}))}, then try a second login.",
            )
