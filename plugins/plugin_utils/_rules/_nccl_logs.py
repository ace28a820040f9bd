# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The logs of NCCL in a Case, whose they are, and which hosts a failure in them is attributed to."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import per_host
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import nccl
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import addresses as own_addresses
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import gpus, in_mig_mode, node, rows
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import text as text_of
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, Finding, dig, once
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import _job_sources as job_sources
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_remedies import Advice

PROBE = "collective probe"  # the place of logs that are not of users
VIRTUAL = re.compile(
    r"veth|br-|docker|podman|virbr|vnet|vmnet|vboxnet|lxc|lxd|cni|flannel|cali|cilium|weave|kube|nodelocaldns|ovs|"
    r"tailscale|wg|zt|tun|tap|ppp|utun|nebula|vxlan|gre|sit|dummy|idrac|usb\d|bmc"
)


class Log(t.NamedTuple):
    """A log of NCCL: where it came from, the node it lay on, and what it says."""

    path: str
    holder: str
    said: Data


def texts(case: Case, kind: str) -> t.Iterator[tuple[str, str, str]]:
    """(node, path, text) of the files of a kind; the same text on several nodes counts once, but for reports."""
    seen: set[str] = set()
    for name in case.order:
        for file in rows(case.user.get(name), "files"):
            text = dig(file, "text", "")
            if dig(file, "kind") != kind or not text or (kind == "nccl_log" and text in seen):
                continue
            seen.add(text)
            yield name, str(dig(file, "path", kind)), text


@once
def host_words(case: Case) -> frozenset[str]:
    """All that the nodes are called by, in lists that several of them write into one file."""
    found = set(case.order)
    for name in case.order:
        at = node(case, name)
        found.update(str(dig(at, key, "")) for key in ("address", "hostname", "fqdn"))
        found.update(map(str, dig(at, "names", [])))
    return frozenset(found - {""})


def parts(case: Case, kind: str) -> t.Iterator[tuple[str, str, str]]:
    """(node, path, text) of the files of a kind, those with the output of several hosts taken apart.

    A host that is none of the plan's nodes has the name that the file has for it.
    """
    for name, path, text in texts(case, kind):
        for host, part in per_host.split(text, host_words(case)):
            yield (node_of(case, host) or host) if host else name, path, part


@once
def logs(case: Case) -> tuple[Log, ...]:
    """The logs of users, and what the probe of collectives kept of its own."""
    own = dict(dig(case.collective, "nccl", {})).items()
    probe = [Log(PROBE, name, said) for name, said in own if isinstance(said, dict) and name in case.plan["nodes"]]
    return (*handed_in(case), *probe)


@once
def handed_in(case: Case) -> tuple[Log, ...]:
    """The logs of users alone, those of jobs where NCCL tells more: no job of this run changes them.

    The files of several nodes are one log.
    """
    given = list(texts(case, "nccl_log"))
    hosts = [{line.host for line in nccl.split(content) if line.level and line.host} for _name, _path, content in given]
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for file, names in zip(given, hosts, strict=True):
        # one file a node: files of one host each, of which no other file tells
        alone = len(names) == 1 and sum(bool(names & other) for other in hosts) == 1
        groups.setdefault("" if alone else file[1], []).append(file)
    found = []
    for files in groups.values():
        paths = ", ".join(dict.fromkeys(path for _name, path, _content in files))
        found.append(Log(paths, files[0][0], nccl.parse(*(content for _name, _path, content in files))))
    return (*found, *(Log(*part) for job in job_sources.jobs(case) for part in job.nccl))


def files_there(kind: str) -> t.Callable[[Case], bool]:
    """Whether a user names a file of that kind, as the ``applies`` of a rule."""
    return lambda case: any(texts(case, kind))


def logs_there(case: Case) -> bool:
    """Whether there is a log of NCCL."""
    of_jobs = any(job.nccl for job in job_sources.jobs(case))
    return of_jobs or any(texts(case, "nccl_log")) or bool(dig(case.collective, "nccl"))


def node_of(case: Case, word: str | None) -> str | None:
    """The node that a log means by a host name or an address; None when it is none of them."""
    for name in case.order if word else ():
        at = node(case, name)
        known = {name, *(str(dig(at, key, "")) for key in ("address", "hostname", "fqdn")), *dig(at, "names", [])}
        known.update(own_addresses(case, name))
        if word in known:
            return name
    return None


def writer(case: Case, log: Log, host: str) -> str:
    """Who wrote a line: a node's name, else the log's own word; the probe's logs are their node's."""
    if log.path == PROBE:
        return log.holder
    hosts = dig(log.said, "hosts", [])
    word = host or (hosts[0] if len(hosts) == 1 else "")
    return node_of(case, word) or word or log.path


def in_log(case: Case, identity: str, severity: str, found: t.Mapping[str, str], words: tuple[str, str]) -> Finding:
    """A Finding attributed to the nodes among the keys of ``found``; ``words`` are cause and remedy."""
    return Finding(identity, severity, tuple(name for name in found if name in case.plan["nodes"]), dict(found), *words)


def worlds(log: Log) -> list[Data]:
    """The jobs in a log."""
    return rows(log.said, "worlds")


def addresses(log: Log) -> dict[str, set[str]]:
    """{address: the hosts that say it is theirs} of a log."""
    found: dict[str, set[str]] = {}
    for host, part in dig(log.said, "by_host", {}).items():
        for each in rows(part, "interfaces"):
            found.setdefault(text_of(each, "address"), set()).add(str(host))
    return found


# "enp1s0f0np0" is the first port of an adapter, "ib0" one of InfiniBand
PORT = re.compile(r"np\d+\Z|\Aib")


def link_local(address: str) -> int:
    """The version of IP of an address that counts on one cable only (169.254/16, fe80::/10); 0 of any other."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return 0
    return parsed.version if parsed.is_link_local else 0


def unusable(case: Case, log: Log, host: str) -> list[Data]:
    """The interfaces that NCCL took on a host of a log though no other node reaches it there."""
    meant = dig(node(case, writer(case, log, host)), "interface")  # a cluster may well be one over a VPN
    found: dict[str, Data] = {}
    owners = addresses(log)
    for each in rows(dig(log.said, "by_host", {}).get(host), "interfaces"):
        name, address = text_of(each, "name"), text_of(each, "address")
        shared = len(owners.get(address, ())) > 1 and ":" not in address
        # 169.254/16 is what the cards of management controllers have, and those of two nodes on one cable, which are
        # ports of an adapter; any card has an address of fe80::/10
        of_bmc = link_local(address) == 4 and not PORT.search(name)
        if name != meant and (VIRTUAL.match(name) or of_bmc or shared):
            found.setdefault(name, each)
    return list(found.values())


def unusable_addresses(case: Case, log: Log) -> set[str]:
    """The addresses of such interfaces, on any host of a log."""
    hosts = dig(log.said, "by_host", {})
    return {text_of(each, "address") for host in hosts for each in unusable(case, log, host)}


def goes_nowhere(peer: t.Any, bad: t.Collection[str]) -> bool:
    """Whether a peer was tried at such an address; that of its own card may be link-local and in no log."""
    alike = {link_local(each) for each in bad} - {0}
    return peer in bad or link_local(str(peer)) in alike


def of_peer(case: Case, log: Log, peer: str | None) -> str | None:
    """The node, or the log's own word for the host, that an address or a name in a message means."""
    if not peer:
        return None
    hosts = addresses(log).get(peer, set())
    word = next(iter(hosts)) if len(hosts) == 1 else ""
    if not word and peer in dig(log.said, "hosts", []):
        word = peer
    return node_of(case, peer) or node_of(case, word) or word or None


# What CUDA and NCCL say of a MIG instance, which sees one GPU and no other.
OF_MIG = ("cuda_not_supported", "cuda_busy", "cuda_ordinal", "cuda_peer_access", "duplicate_gpu")


def follows_from_mig(case: Case, log: Log, failure: Data) -> bool:
    """Whether a failure is what MIG makes of NCCL on a node whose GPUs are in that mode: gpu-mig tells of it."""
    host = _who_wrote(case, log, failure)
    return dig(failure, "kind") in OF_MIG and any(in_mig_mode(gpu) for gpu in gpus(case, host))


def _who_wrote(case: Case, log: Log, failure: Data) -> str:
    """The node that a line is of; without NCCL's prefix what pdsh and others put in front may still name one."""
    tagged = node_of(case, text_of(failure, "text").partition(":")[0].strip("[] "))
    host = text_of(failure, "host")
    return writer(case, log, host) if host or not tagged else tagged


def accused(case: Case, log: Log, advice: Advice, failures: t.Sequence[Data]) -> dict[str, str]:
    """{host: the line that speaks against it}: whom the failures of one kind in a job are attributed to.

    Where several ends are possible and one host is an end of every connection that failed, it is that one.
    A peer that is nobody's address stands as it is and is no host; without a peer it is who wrote the line.
    """
    ends: list[tuple[str, str | None, str]] = []
    for each in failures:
        peer = dig(each, "peer")
        line = f"{log.path} line {dig(each, 'line', 0)}: {dig(each, 'text', '')[:300]}"
        if advice.attributed_to != "here" and not peer:
            line += " (the line does not name the peer)"
        ends.append((_who_wrote(case, log, each), of_peer(case, log, peer) or peer, line))
    if advice.attributed_to == "here":
        return {here: line for here, _peer, line in reversed(ends)}
    pairs = {frozenset((here, peer)) for here, peer, _line in ends if peer}
    common = frozenset.intersection(*pairs) if pairs else frozenset()
    if len(pairs) > 1 and len(common) == 1 and all(peer for _here, peer, _line in ends):
        return {next(iter(common)): next(line for *_ends, line in ends)}
    found: dict[str, str] = {}
    for here, peer, line in ends:
        both = {"both": (here, peer), "peer_only": (peer or log.path,)}.get(advice.attributed_to, (peer or here,))
        for name in both:
            if name:
                found.setdefault(name, line)
    return found
