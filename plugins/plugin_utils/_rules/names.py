# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on host names and on what they resolve to."""

from __future__ import annotations

import ipaddress
import re
import shlex
import typing as t
from collections import abc

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import line_check
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.host_names import HOST_NAME, is_address
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    absent,
    addresses,
    live,
    mapping,
    names,
    node,
    shorten,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import ssh_results
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
    once,
    rule,
)

_LOOPBACK = "A name of a node resolves to a loopback address: gloo and c10d then connect to the own machine."
UNNAMED = frozenset({"localhost", "localhost.localdomain", "(none)", "localhost4", "localhost6"})


def _short(name: t.Any) -> str:
    return str(name).split(".", 1)[0].lower()


def _groups(values: t.Mapping[str, str]) -> list[list[str]]:
    """Hosts with an equal value, where there are several."""
    found: dict[str, list[str]] = {}
    for host, value in values.items():
        found.setdefault(value, []).append(host)
    return [hosts for hosts in found.values() if len(hosts) > 1]


@once
def duplicates(case: Case) -> set[str]:
    """Nodes with the host name of another one; where the plan gives it to one of them, the others."""
    found: set[str] = set()
    hostnames = {name: str(dig(facts, "hostname", "")).lower() for name, facts in case.fabric.items()}
    for hosts in _groups({name: value for name, value in hostnames.items() if value and name not in absent(case)}):
        wrong = {host for host in hosts if hostnames[host] != str(dig(node(case, host), "hostname", "")).lower()}
        found |= wrong or set(hosts)
    return found


@rule(
    About(
        "name-duplicate-hostname",
        layer="name",
        severity=FAIL,
        also=(WARN,),
        title="Two machines have the same name",
        symptom="each node waits alone; NCCL takes them for one host",
        source="field notes",
    ),
    needs=("fabric",),
)
def duplicate_hostname(case: Case) -> t.Iterable[Answer]:
    """Nodes with one host name, with none of their own, or with one machine-id."""
    hostnames = {name: str(dig(case.fabric[name], "hostname", "")).lower() for name in live(case)}
    named = {name: value for name, value in hostnames.items() if value}
    same = duplicates(case)
    for host in [name for name in named if name in same or named[name] in UNNAMED]:
        twins = [other for other in named if other != host and named[other] == named[host]]
        yield finding(
            "name-duplicate-hostname",
            FAIL,
            host,
            f"hostname is {named[host]}" + (f", as on {', '.join(twins)}" if twins else ""),
            "Nodes without a host name of their own are taken for one machine by launchers and NCCL.",
            "hostnamectl set-hostname NAME, another one on each node (no reboot needed), or trainmesh_hostname in the "
            "inventory and site.yml.",
        )
    ids = {name: str(dig(case.fabric[name], "machine_id", "")) for name in live(case)}
    for hosts in _groups({name: value for name, value in ids.items() if value}):
        if any(dig(case.fabric[host], "container") or host in same for host in hosts):
            continue  # containers of one image often share it, and nothing there depends on it
        for host in hosts:
            yield finding(
                "name-duplicate-hostname",
                WARN,
                host,
                f"machine-id {ids[host]}, as on {', '.join(other for other in hosts if other != host)}",
                "Machines with one machine-id are clones: DHCP may give both the same address.",
                "On the clone: rm /etc/machine-id && systemd-machine-id-setup, then reboot.",
            )


@rule(
    About(
        "name-etc-hostname-format",
        layer="name",
        severity=WARN,
        also=(FAIL,),
        title="/etc/hostname is not a bare name",
        symptom="the machine is called `HOSTNAME=...`",
        source="field notes",
    ),
    needs=("fabric",),
)
def hostname_file(case: Case) -> t.Iterable[Answer]:
    """/etc/hostname holds something else than the bare name of the machine."""
    for host in live(case):
        facts = case.fabric[host]
        text, now = str(dig(facts, "hostname_file", "")).strip(), str(dig(facts, "hostname", ""))
        if not text or text.startswith("#"):  # hostname(5) allows comments
            continue
        remedy = f"hostnamectl set-hostname {node(case, host).get('hostname') or 'NAME'} (no reboot needed)"
        if not HOST_NAME.match(text):
            cause = "/etc/hostname must hold the bare name and nothing else."
            bad_now = not now or not HOST_NAME.match(now) or now.lower() in UNNAMED
            evidence = f"/etc/hostname is {text[:60]!r}, the name in force {now!r}"
            yield finding("name-etc-hostname-format", FAIL if bad_now else WARN, host, evidence, cause, remedy)
        elif host in duplicates(case):
            continue  # that the name in force is another node's says it all
        elif now and _short(text) != _short(now) and not dig(facts, "hostname_file_mounted"):
            cause = "The name in force is not the one in /etc/hostname: it changes with the next boot."
            evidence = f"/etc/hostname is {text}, the name in force {now}"
            yield finding("name-etc-hostname-format", WARN, host, evidence, cause, remedy)


@rule(
    About(
        "name-hostname-differs",
        layer="name",
        severity=WARN,
        title="A machine's name is not the inventory's",
        symptom="messages name other machines than the inventory",
        source="hostname(7)",
    ),
    needs=("mesh",),
)
def hostname_differs(case: Case) -> t.Iterable[Answer]:
    """The right machine answers, under another name than the plan has for it."""
    for item in ssh_results(case, "wrong_machine"):
        own = str(dig(case.fabric.get(item.target), "hostname", ""))
        wanted = str(dig(node(case, item.target), "hostname", ""))
        if item.target in duplicates(case):
            continue
        if own and own != wanted and item.answered_as == own:
            may = dig(case.fabric.get(item.target), "can_set_hostname") is not False
            yield finding(
                "name-hostname-differs",
                WARN,
                item.target,
                f"its host name is {own}, the plan has {wanted}",
                "The node's host name is not the one in the inventory.",
                (f"hostnamectl set-hostname {wanted}, or " if may else "")
                + f"trainmesh_hostname: {own} for this host in the inventory.",
            )


def _resolved(case: Case) -> t.Iterator[tuple[str, str, Data]]:
    """(node, name, answer) of every name that a node looked up."""
    for host in live(case):
        for name, answer in mapping(case.fabric[host], "resolution").items():
            yield host, str(name), answer


def _entry(facts: t.Any, name: str) -> str:
    """Where /etc/hosts says so, in words."""
    for line in dig(facts, "hosts_entries", []):
        if line_check.is_loopback(str(dig(line, "address", ""))) and name in dig(line, "names", []):
            return f" (/etc/hosts line {dig(line, 'line')})"
    return ""


@once
def _passed_over(case: Case) -> dict[tuple[str, str], Data]:
    """{(node, name): where it stands} of names that /etc/hosts has on a node, and that lead nowhere or elsewhere."""
    return {
        (host, str(name)): place
        for host in live(case)
        for name, place in mapping(case.fabric[host], "name_service.names").items()
        if isinstance(place, abc.Mapping) and _leads_elsewhere(case, host, str(name))
    }


def _leads_elsewhere(case: Case, host: str, name: str) -> bool:
    """Whether a node's name leads to none of its addresses: another good one than in /etc/hosts is as good."""
    answer = dig(case.fabric[host], "resolution", {}).get(name)
    found, owner = {str(item) for item in dig(answer, "addresses", [])}, _owner(case, name)
    if owner is None:
        return not found and name == dig(case.fabric[host], "hostname")
    good = {*addresses(case, owner), str(dig(node(case, owner), "address"))}
    return bool(dig(answer, "loopback")) or not found & good


@rule(
    About(
        "name-hosts-unused",
        layer="name",
        severity=FAIL,
        also=(WARN,),
        title="Names in /etc/hosts do not resolve",
        symptom="`Name or service not known`, although the line is there",
        source="nsswitch.conf(5), resolved.conf(5), nscd(8)",
    ),
    needs=("fabric",),
)
def hosts_unused(case: Case) -> t.Iterable[Answer]:
    """Names with a line in /etc/hosts to which the resolver gives another answer, or none."""
    seen: dict[str, list[str]] = {}
    for (host, name), place in _passed_over(case).items():
        answer = dig(case.fabric[host], "resolution", {}).get(name)
        found = ", ".join(map(str, dig(answer, "addresses", []))) or dig(answer, "error", "no address")
        line = f"/etc/hosts line {dig(place, 'line')} gives {name} {dig(place, 'address')}"
        seen.setdefault(host, []).append(f"{line}, the resolver: {found}")
    for item in ssh_results(case, "name"):
        if _closed(case, item.source):
            seen.setdefault(item.source, []).append(f"{item.what}: {item.evidence}")
    # ssh has the addresses from its own configuration, and DNS may know the names: then only scripts miss them
    closed = [host for host in case.fabric if host not in seen and _closed(case, host)]
    for host, texts in [*seen.items(), *((host, []) for host in closed)]:
        why, cause, remedy = _switched(case, host)
        severity = FAIL if host in seen else WARN
        yield finding("name-hosts-unused", severity, host, shorten([why, *texts]), cause, remedy)


def _closed(case: Case, host: str) -> bool:
    """Whether /etc/hosts is there for root alone, and the jobs are somebody else's."""
    mode = str(dig(case.fabric.get(host), "name_service.mode", ""))
    return mode.isdigit() and not int(mode, 8) & 0o004 and dig(case.plan, "user") != "root"


def _switched(case: Case, host: str) -> tuple[str, str, str]:
    """(what was seen, cause, remedy) of a resolver that passes /etc/hosts over."""
    facts = dig(case.fabric[host], "name_service", {})
    place = str(dig(facts, "switch.file", "/etc/nsswitch.conf"))
    first = "sed -i 's/^hosts:.*/hosts: files dns/' /etc/nsswitch.conf"
    if place != "/etc/nsswitch.conf":  # that of the package, which an update writes anew
        first = f"cp {shlex.quote(place)} /etc/nsswitch.conf && {first}"
    if _closed(case, host):
        cause = "Only root may read /etc/hosts: the programs of all others do not see its names."
        return f"/etc/hosts has mode {dig(facts, 'mode')}", cause, "chmod 644 /etc/hosts"
    switch = dig(facts, "switch")
    if not switch:
        cause = "/etc/nsswitch.conf has no line for hosts, so that the resolver may leave /etc/hosts out."
        return "no line for hosts in /etc/nsswitch.conf", cause, "echo 'hosts: files dns' >> /etc/nsswitch.conf"
    seen = f"{place} line {dig(switch, 'line')}: {dig(switch, 'text')}"
    sources = [str(source) for source in dig(switch, "sources", [])]
    asked = [source for source in sources if not source.startswith("[")]
    resolve = "resolve" in asked and dig(facts, "resolved_reads_hosts") is not False
    if (
        "resolve" in asked
        and not resolve
        and asked.index("resolve") < (asked.index("files") if "files" in asked else 99)
    ):
        cause = "systemd-resolved is asked first, and ReadEtcHosts=no keeps it from reading /etc/hosts."
        remedy = (
            f"Set ReadEtcHosts=yes in /etc/systemd/resolved.conf and systemctl restart systemd-resolved; or {first}"
        )
        return f"{seen}; ReadEtcHosts=no", cause, remedy
    if "files" not in asked and not resolve:
        return seen, "The resolver does not read /etc/hosts: files is not among its sources.", first
    if asked and asked[0] != "files" and not resolve:
        cause = f"The resolver asks {asked[0]} before /etc/hosts, and takes that answer, or waits for it."
        return seen, cause, first
    if dig(facts, "nscd"):
        cause = "nscd runs, and answers from its cache what was so before the line was there."
        return f"{seen}; nscd runs", cause, "nscd -i hosts; or systemctl disable --now nscd"
    cause = "The resolver gives another answer than /etc/hosts, and its settings do not say why."
    return seen, cause, "getent -s files hosts NAME; getent hosts NAME; systemd-resolve --flush-caches where it runs"


@rule(
    About(
        "name-loopback-127-0-1-1",
        layer="name",
        severity=FAIL,
        also=(WARN,),
        title="A machine's name leads to loopback",
        symptom="others connect to 127.0.1.1, errno 111",
        source="PT#79388, PT#73656, gloo#219, gloo#223, sglang#3226",
    ),
    needs=("fabric",),
)
def loopback(case: Case) -> t.Iterable[Answer]:
    """A node's name that resolves to a loopback address: the others are told to connect to themselves."""
    remedy = (
        "Take the name off that line of /etc/hosts and give it to the data address (site.yml does), or set "
        "GLOO_SOCKET_IFNAME and a numeric MASTER_ADDR for every job."
    )
    for host, name, answer in _resolved(case):
        owner = host if _short(name) == _short(dig(case.fabric[host], "hostname", "")) else _owner(case, name)
        if owner is None or not dig(answer, "loopback") or name.lower() in UNNAMED or is_address(name):
            continue
        if (host, name) in _passed_over(case):
            continue  # name-hosts-unused
        told = dig(dig(case.stack.get(host), "login_environment.variables", {}), "GLOO_SOCKET_IFNAME")
        given = told or "GLOO_SOCKET_IFNAME" in dig(case.plan, "env", {})
        found = ", ".join(map(str, dig(answer, "addresses", [])))
        whose = "its own name" if owner == host else f"the name of {owner}"
        severity = WARN if given and owner == host else FAIL
        evidence = f"{whose} {name} is {found}{_entry(case.fabric[host], name)}"
        yield finding("name-loopback-127-0-1-1", severity, host, evidence, _LOOPBACK, remedy)
    for item in ssh_results(case, "loopback"):
        if (item.source, item.what) in _passed_over(case):
            continue
        if not dig(dig(case.fabric.get(item.source), "resolution", {}).get(item.what), "loopback"):
            evidence = f"{item.what}: {item.evidence}"
            yield finding("name-loopback-127-0-1-1", FAIL, item.source, evidence, _LOOPBACK, remedy)


@once
def _names_of(case: Case, name: str) -> set[str]:
    at = node(case, name)
    found = [*dig(at, "names", []), dig(at, "hostname"), dig(at, "fqdn")]
    return {str(item) for item in found if item and not is_address(item)}


@once
def _owners(case: Case) -> dict[str, str]:
    """The node that each name stands for: the first in rank order."""
    found: dict[str, str] = {}
    for other in names(case):
        for name in _names_of(case, other):
            found.setdefault(name, other)
    return found


def _owner(case: Case, name: t.Any) -> str | None:
    """The node that a name stands for."""
    return _owners(case).get(str(name))


@rule(
    About(
        "name-hosts-typo",
        layer="name",
        severity=FAIL,
        title="A node name does not resolve to its node",
        symptom="`Name or service not known`",
        source="field notes, CPM-2-Finetune#42",
    ),
    needs=("fabric",),
)
def hosts_typo(case: Case) -> t.Iterable[Answer]:
    """Names of nodes that do not resolve, or to an address that the node does not have."""
    managed = bool(dig(case.plan, "managed", False))
    told: set[tuple[str, str]] = set()
    for host, name, answer in _resolved(case):
        owner = _owner(case, name)
        found = [str(item) for item in dig(answer, "addresses", [])]
        if owner is None or dig(answer, "loopback") or (host, name) in _passed_over(case):
            continue
        if found and not set(found) & {*addresses(case, owner), str(dig(node(case, owner), "address"))}:
            evidence = f"{name} is {', '.join(found)}"
        elif not found and (managed or host == owner):
            evidence = f"{name}: {dig(answer, 'error', 'no address')}"
        else:
            continue
        told.add((host, name))
        yield _typo(case, host, owner, evidence)
    unread = {host for host, _name in _passed_over(case)}
    for item in ssh_results(case, "name", "wrong_address"):
        answer = dig(case.fabric.get(item.source), "resolution", {}).get(item.what)
        unused = item.failure == "name" and (item.source in unread or _closed(case, item.source))
        if (item.source, item.what) not in told and not (dig(answer, "loopback") or unused):
            yield _typo(case, item.source, item.target, f"{item.what}: {item.evidence}")


def _typo(case: Case, host: str, owner: str, evidence: str) -> Finding:
    """Attributed to the node that does the look-up: its /etc/hosts or its name server has to be fixed."""
    at: Data = node(case, owner)
    named = " ".join(sorted(_names_of(case, owner), key=lambda text: ("." not in text, text)))
    return finding(
        "name-hosts-typo",
        FAIL,
        host,
        f"{evidence} ({owner} is at {dig(at, 'address', 'an unknown address')})",
        "A name of a node does not lead to it from here: a missing or misspelt line of /etc/hosts, or the name server.",
        f"Run site.yml, which keeps a block in /etc/hosts, or put there: {dig(at, 'address', 'ADDRESS')} {named}",
    )


@rule(
    About(
        "name-fqdn-unresolvable",
        layer="name",
        severity=WARN,
        title="The head's full name does not resolve on other nodes",
        symptom="MASTER_ADDR is a name that nobody knows",
        source="PT#85300, PT#150532, PT#107021",
    ),
    needs=("fabric",),
)
def fqdn(case: Case) -> t.Iterable[Answer]:
    """The name by which the head announces itself is not known on the peers."""
    head = str(dig(case.plan, "head", ""))
    name = str(dig(case.fabric.get(head), "fqdn", ""))
    if not name or head in absent(case) or _owner(case, name) or is_address(name) or name.lower() in UNNAMED:
        return
    lost = [
        host
        for host, facts in case.fabric.items()
        if host != head
        and dig(dig(facts, "resolution", {}).get(name), "error")
        and host not in absent(case)
        and (host, name) not in _passed_over(case)
    ]
    if lost:
        yield Finding(
            "name-fqdn-unresolvable",
            WARN,
            (head,),
            {head: f"socket.getfqdn() is {name}, which does not resolve on {', '.join(lost)}"},
            "The head announces itself by a name that other nodes can't resolve, as torchrun's c10d rendezvous does.",
            "Put the name into /etc/hosts of every node, or use torchrun --rdzv-backend=static or --local-addr.",
        )


@rule(
    About(
        "name-cloud-init-resets",
        layer="name",
        severity=WARN,
        title="cloud-init takes /etc/hosts back at the next boot",
        symptom="all is well until a reboot, then names do not resolve",
        source="NVIDIA/deepops#663, cloud-init#2221",
    ),
    needs=("fabric",),
)
def cloud_init(case: Case) -> t.Iterable[Answer]:
    """A file of names that cloud-init writes anew at each boot, told while all still works."""
    managed = dig(case.plan, "managed") is True
    for host in live(case) if len(names(case)) > 1 else ():
        found = dig(case.fabric[host], "cloud_init", {})
        if dig(found, "writes_hosts") is not True or not (managed or dig(case.fabric[host], "cluster_block")):
            continue
        name = "" if dig(found, "keeps_name") else f"; {dig(found, 'name_line', 'preserve_hostname is not set')}"
        yield finding(
            "name-cloud-init-resets",
            WARN,
            host,
            f"{dig(found, 'hosts_line', 'manage_etc_hosts')}{name}",
            "cloud-init owns /etc/hosts there: the names of the nodes go at the next boot"
            + ("." if dig(found, "keeps_name") else ", and the host name may be set back too."),
            _cloud_init_remedy(found, managed),
        )


def _cloud_init_remedy(found: t.Any, managed: bool) -> str:
    """Where a drop-in helps: ours, or one by hand on a cluster that we do not manage; else the module is taken out."""
    if "manage_etc_hosts: false" not in dig(found, "needs", []):
        return (
            "sed -i '/update[_-]etc[_-]hosts/s/^/# /' /etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d/*.cfg there: "
            "the line stands above the drop-in that trainmesh_cloud_init: keep_ours writes"
            + (", in what the cloud gives." if dig(found, "given") else ".")
        )
    if managed:
        return (
            "trainmesh_cloud_init: keep_ours in the inventory, and site.yml: it writes a drop-in by which cloud-init "
            "leaves /etc/hosts and the host name alone."
        )
    drop_in = "printf 'manage_etc_hosts: false\\npreserve_hostname: true\\n' > /etc/cloud/cloud.cfg.d/99-names.cfg"
    return f"{drop_in} on each."


@rule("master-addr-malformed")
def master_address(case: Case) -> t.Iterable[Answer]:
    """An address of the master that is none, or that every node takes for itself."""
    head, several = str(dig(case.plan, "head", "")), len(names(case)) > 1
    given = {"the plan": dig(case.plan, "master.address"), "trainmesh_env": dig(case.plan, "env.MASTER_ADDR")}
    for where, value in given.items():
        problem = "" if value is None else malformed(str(value), several)
        if problem:
            yield Finding(
                "master-addr-malformed",
                FAIL,
                (head,),
                {head: f"{where} has {value!r}: {problem}"},
                "The master's address is not one at which the other nodes can reach the head.",
                f"Set it to the head's data address, {dig(node(case, head), 'address', 'as ip address shows it')} "
                "(trainmesh_address in the inventory).",
            )


def malformed(text: str, several: bool) -> str:
    """What is wrong with an address or name of a master, empty when nothing is."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        if re.fullmatch(r"[\d.]*", text):
            return "it is empty" if not text else "a number is read as an address such as 0.0.0.5"
        if several and text.lower() in UNNAMED:
            return "every node takes it for itself"
        return "" if HOST_NAME.match(text) else "it is neither an address nor a host name"
    if address.version == 4 and text.startswith("0."):
        return "addresses of 0.0.0.0/8 are no machine's"
    if address.is_multicast or address.is_unspecified:
        return "it is no machine's address"
    return "every node takes it for itself" if several and address.is_loopback else ""
