# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what ``NCCL_DEBUG=INFO`` has printed.

Formats of NCCL 2.2 to 2.31 (``src/debug.cc``: ``host:pid:tid [device] [file:line] NCCL INFO text``),
with what mpirun, srun, pdsh, torchrun, Kubernetes, JSON collectors and terminals put in front. Lines of several ranks
may be glued together, in any order, doubled or cut. Nothing here raises and nothing is judged.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.collected import unwrap
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import nccl_worlds
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.nccl_failure import first_cause

MAX_WARNINGS = 50
# also as cat -v and rsyslog write the escape character
ANSI = re.compile(r"(?:\x1b|\^\[|#033)\[[0-9;]{0,20}[A-Za-z]|(?<![\w\]])\[0m ?")
# What a tracker of issues or a chat makes of the name of a file: "[p2p.cc:7](https://p2p.cc:7/)"
LINKED = re.compile(r"\[([\w./-]{1,80}:\d{1,6})\]\(https?://[^)\s]{1,200}\)")
# Begins at the colon after the host name, so that a long word costs nothing; 2.2 has no "NCCL" in it.
PREFIX = re.compile(
    r":(?P<pid>\d{1,10}):(?P<tid>\d{1,10}) (?:\[(?P<dev>-?\d{1,10})\] )?"
    r"(?:(?P<where>[\w./+-]{1,120}:\d{1,6}|"
    r"[\w:<>*&~ ]{1,160}\([^()\n]{0,300}\)(?: const)?:\d{1,6})"  # the signature of a function of a plugin
    r"(?: \([^)\n]{0,200}\))? )?"
    r"(?:NCCL )?(?P<level>INFO|WARN|CALL|TRACE|VERSION|ABORT) "
)
# A wrapper wrote a prefix of its own: "[misc/socket.cc:586] [gpu3:pid=3942408] NCCL WARN text", or none at all.
BARE = re.compile(r"(?:\A|[\s\])>:])NCCL (?P<level>INFO|WARN|VERSION) ")
BARE_HOST = re.compile(r"\[([A-Za-z0-9][\w.-]{0,100}):(?:pid[=:])?(\d{1,10})[\]:]")
BARE_TAG = re.compile(r"(?!rank|default|std|worker|local|node_?rank)(?=[\w.-]*[a-z\d])([A-Za-z][\w.-]{0,100}):")
# "gpu4 [5] misc/socket.cc:46 NCCL WARN text": without process and thread, behind a time
BARE_DEVICE = re.compile(
    r"(?:\A|\s)(?!(?i:rank|gpu|device|dev|task|worker|process|proc|local_rank) )(?P<host>[A-Za-z][\w.-]{0,100}) "
    r"\[(?P<dev>\d{1,3})\] (?:\S{1,200}:\d{1,6} )?\Z"
)
BARE_WHERE = re.compile(r"\[?([\w/+-]{1,80}\.(?:cc|h):\d{1,6})\]?")
# What a collector of lines writes before each: a time, a task, a pod, a rank.
TAG_TIME = re.compile(r"\[?\d{4}-\d\d-\d\d[T ][\d:.,]{5,18}(?:Z|[+-]\d\d:?\d\d)?\]?:?\s*")
RANK_TAG = re.compile(r"\[[Rr]ank ?(\d{1,7})\]")
VERSION = re.compile(r"NCCL version (\d{1,2}(?:\.\d{1,3}){1,3})(?:-?[a-z]\w{0,20})?(?:\+cuda(\d{1,2}\.\d{1,2}))?")
DRIVER = re.compile(r"cudaDriverVersion (\d{3,6})")
BOOTSTRAP = re.compile(r"Bootstrap ?: Using (.*)")
SOCKET = re.compile(r"NET/Socket ?: Using (.*)")
# name:address<port>, where old versions number them: [0]eth0:10.0.0.1<0>
INTERFACE = re.compile(r"(?:\[\d{1,3}\])?([\w.@-]{1,40}):([0-9A-Fa-f.:]{2,45}(?:%[\w.-]{1,40})?)<\d{1,5}>")
DEVICES = re.compile(r"NET/IB ?: Using (.*)")
DEVICE = re.compile(r"\[\d{1,3}\](?:\{\d+\} )?([\w.-]{1,60}:\d{1,3}/(?:IB|RoCE))")
NETWORK = re.compile(r"Using network (.{1,60})")
NO_DIRECT = re.compile(r"GPU Direct RDMA Disabled for HCA \d")
PLUGIN = re.compile(r"Initialized NET plugin (\S{1,60})")
RANKS = re.compile(r"\bnranks[ =](\d{1,7})\b")
CHANNEL = re.compile(
    r"(?:Channel|Ring) (\d{1,4})(?:/\d{1,4})? : (\d{1,7})(?:\[\w+\])? -> (\d{1,7})(?:\[\w+\])?"
    r"(?: \[(send|receive)\])? via (\S{1,80})"
)
VARIABLE = re.compile(r"\b(NCCL_[A-Z0-9_]{1,60}) set by environment to (.{0,200}?)\.?$")


class Line(t.NamedTuple):
    """One line of NCCL; ``level`` is empty for a line that is not NCCL's own (torch, launchers)."""

    host: str
    level: str
    where: str
    device: int | None
    text: str
    number: int
    process: str = ""
    thread: str = ""
    tag: str = ""


def split(text: str) -> t.Iterator[Line]:
    """The lines, those that run into each other apart again; ``number`` counts from 1 in the file."""
    known: set[str] = set()
    rows = enumerate(re.split(r"\r?\n|\r", text), start=1)
    for number, raw in ((number, part) for number, row in rows for part in unwrap(row)):
        line = ANSI.sub("", raw) if "[" in raw else raw
        line = LINKED.sub(r"\1", line) if "](http" in line else line
        starts = list(PREFIX.finditer(line))
        hosts: list[str] = []
        for match in starts:
            hosts.append(_host(line, match.start(), known if hosts else None))
            known.add(hosts[0])
        first = starts[0].start() - len(hosts[0]) if starts else len(line)
        tag = _tag(line[:first])
        if line[:first].strip():
            yield Line("", "", "", None, line[:first].strip(), number) if starts else _bare(line, number)
        for place, match in enumerate(starts):
            last = starts[place + 1].start() - len(hosts[place + 1]) if place + 1 < len(starts) else len(line)
            device = match.group("dev")
            yield Line(
                hosts[place],
                match.group("level"),
                match.group("where") or "",
                int(device) if device else None,
                line[match.end() : last].strip(),
                number,
                f"{hosts[place]}:{match.group('pid')}",
                match.group("tid"),
                tag,
            )


def _tag(text: str) -> str:
    """What stands before the host, without the time."""
    return TAG_TIME.sub("", text.strip()).strip()


def _bare(line: str, number: int) -> Line:
    """A line without NCCL's own prefix: torch's, or NCCL's behind that of a wrapper."""
    said = BARE.search(line)
    if not said:
        return Line("", "", "", None, line.strip(), number)
    before = line[: said.start()]
    named, where = BARE_HOST.search(before), BARE_WHERE.search(before)
    tagged = BARE_TAG.match(_tag(before))
    numbered = BARE_DEVICE.search(f"{before.rstrip()} ")
    host = named.group(1) if named else tagged.group(1) if tagged else numbered.group("host") if numbered else ""
    process = f"{host}:{named.group(2)}" if named else f"{host}:[{numbered.group('dev')}]" if numbered and host else ""
    where_text = where.group(1) if where else ""
    device = int(numbered.group("dev")) if numbered else None
    return Line(host, said.group("level"), where_text, device, line[said.end() :].strip(), number, process, "", "")


def _host(line: str, end: int, known: set[str] | None) -> str:
    """The name before the colon; of a line glued to another one, the longest name met before that it ends in."""
    word = re.split(r"[\s:\"'<>()\[\]|]", line[max(0, end - 255) : end])[-1]
    if known is None:
        return word
    return max((host for host in known if word.endswith(host)), key=len, default=word)


def _with_hosts(lines: t.Sequence[Line], one_of_several: bool) -> list[Line]:
    """Lines that are not NCCL's own belong to whom their tag belongs: a host, a task, a rank; else to nobody.

    Of several files one that names a single host is that host's own.
    """
    tags: dict[str, set[str]] = {}
    ranks: dict[str, set[str]] = {}
    for line in lines:
        if line.tag and line.host:
            tags.setdefault(line.tag, set()).add(line.host)
        said = nccl_worlds.COMMUNICATOR.search(line.text) if line.host else None
        if said:
            ranks.setdefault(said.group(1), set()).add(line.host)
    hosts = {line.host for line in lines if line.host}
    own = {tag: next(iter(found)) for tag, found in tags.items() if len(found) == 1}
    if one_of_several and len(hosts) == 1:
        own[""] = next(iter(hosts))
    return [line if line.host else line._replace(host=_by_tag(line.text, own, ranks, hosts)) for line in lines]


def _by_tag(text: str, tags: t.Mapping[str, str], ranks: t.Mapping[str, set[str]], hosts: set[str]) -> str:
    bare = TAG_TIME.sub("", text, count=1)
    for tag in sorted(tags, key=len, reverse=True):
        if bare.startswith(tag):
            return tags[tag]
    word = bare.partition(":")[0].lstrip("[")
    rank = RANK_TAG.search(bare[:200])
    found = ranks.get(rank.group(1), set()) if rank else set()
    return word if word in hosts else next(iter(found)) if len(found) == 1 else ""


def parse(*texts: str) -> dict[str, t.Any]:
    """All that the log says; several texts are the files of one log, such as one of each node.

    ``hosts``, ``nccl_versions``, ``nccl_cuda``, ``cuda_driver_versions``, ``networks``, ``hcas``,
    ``bootstrap_ifaces``, ``nranks`` are sorted lists of what was met; ``uses_gdrdma`` is whether a
    channel says so; ``init_complete_lines`` and ``warn_lines`` count. ``by_host`` has the same for each
    host with its ``interfaces``, ``transports`` (name to number of channel lines), ``complete`` (ranks)
    and ``started`` (ranks). ``environment`` are the NCCL variables. ``warnings`` are the WARN lines,
    ``failures`` what they and other lines say went wrong, ``cause`` the one of them to look at first. ``worlds`` are
    the jobs in it, each with what its hosts said, the ranks that began and were ready, and its ``causes``.
    """
    summary = _empty()
    lines = [line for text in texts for line in _with_hosts(list(split(text)), len(texts) > 1)]
    summary["worlds"] = nccl_worlds.read(lines)
    failures = [each for world in summary["worlds"] for each in world.pop("failures")]
    summary["failures"] = sorted(failures, key=lambda each: int(each["line"]))[:MAX_WARNINGS]
    summary["cause"] = first_cause([each for world in summary["worlds"] for each in world["causes"]])
    for line in lines:
        host = _of_host(summary, line.host) if line.level else None
        _read_text(summary, host, line)
        if line.level == "WARN":
            summary["warn_lines"] += 1
            if len(summary["warnings"]) < MAX_WARNINGS:
                summary["warnings"].append(nccl_worlds.place(line))
    return _finish(summary)


def _empty() -> dict[str, t.Any]:
    return {
        "hosts": set(), "nccl_versions": set(), "nccl_cuda": set(), "cuda_driver_versions": set(), "networks": set(),
        "hcas": set(), "bootstrap_ifaces": set(), "nranks": set(), "uses_gdrdma": False, "init_complete_lines": 0,
        "warn_lines": 0, "lines": 0, "by_host": {}, "environment": {}, "warnings": [], "failures": [], "cause": None,
        "worlds": [],
    }  # fmt: skip


def _of_host(summary: dict[str, t.Any], name: str) -> dict[str, t.Any]:
    """The part of one host; a prefix without a name has the empty one."""
    summary["lines"] += 1
    if name:
        summary["hosts"].add(name)
    fresh: dict[str, t.Any] = {
        "nccl_versions": set(), "cuda_driver_versions": set(), "networks": set(), "plugins": set(), "hcas": set(),
        "interfaces": {}, "transports": {}, "channels": set(), "complete": set(), "started": set(), "gdrdma": None,
    }  # fmt: skip
    part: dict[str, t.Any] = summary["by_host"].setdefault(name, fresh)
    return part


def _read_text(summary: dict[str, t.Any], host: dict[str, t.Any] | None, line: Line) -> None:
    """Versions stand on bare lines too; all else only counts behind NCCL's own prefix."""
    for version, cuda in VERSION.findall(line.text):
        summary["nccl_versions"].add(version)
        if cuda:
            summary["nccl_cuda"].add(cuda)
        if host is not None:
            host["nccl_versions"].add(version)
    if host is None:
        return
    for found in DRIVER.findall(line.text):
        summary["cuda_driver_versions"].add(found)
        host["cuda_driver_versions"].add(found)
    variable = VARIABLE.search(line.text)
    if variable:
        summary["environment"].setdefault(variable.group(1), variable.group(2))
    _read_network(summary, host, line.text)
    _read_communicator(summary, host, line.text)


def _read_network(summary: dict[str, t.Any], host: dict[str, t.Any], text: str) -> None:
    """Interfaces, devices and the network chosen; NCCL's bootstrap uses the first interface named."""
    for pattern, use in ((BOOTSTRAP, "bootstrap"), (SOCKET, "socket")):
        match = pattern.search(text)
        found = INTERFACE.findall(match.group(1)) if match else []
        for name, address in found:
            host["interfaces"].setdefault(f"{use} {name}", {"name": name, "address": address, "use": use})
        if found and use == "bootstrap":
            summary["bootstrap_ifaces"].add(found[0][0])
    devices = DEVICES.search(text)
    for device in DEVICE.findall(devices.group(1)) if devices else []:
        summary["hcas"].add(device)
        host["hcas"].add(device)
    network = NETWORK.search(text)
    if network:
        summary["networks"].add(network.group(1).strip())
        host["networks"].add(network.group(1).strip())
    host["plugins"].update(PLUGIN.findall(text))
    if NO_DIRECT.search(text):
        host["gdrdma"] = bool(host["gdrdma"])


def _read_communicator(summary: dict[str, t.Any], host: dict[str, t.Any], text: str) -> None:
    """Ranks and the ways between them."""
    summary["nranks"].update(int(number) for number in RANKS.findall(text))
    ranks = nccl_worlds.COMMUNICATOR.search(text)
    if ranks:
        host["complete" if ranks.group(4) == "COMPLETE" else "started"].add(int(ranks.group(1)))
    summary["init_complete_lines"] += 1 if "Init COMPLETE" in text else 0
    channel = CHANNEL.search(text)
    if not channel:
        return
    transport = transport_of(channel.group(5))
    host["transports"][transport] = host["transports"].get(transport, 0) + 1
    host["channels"].add(int(channel.group(1)))
    if transport.startswith("NET/") and transport != "NET/Socket":
        host["gdrdma"] = bool(host["gdrdma"]) or "GDRDMA" in channel.group(5)
        summary["uses_gdrdma"] = summary["uses_gdrdma"] or "GDRDMA" in channel.group(5)


def transport_of(via: str) -> str:
    """``NET/IB/0/GDRDMA`` is ``NET/IB``, ``P2P/CUMEM/read`` is ``P2P/CUMEM``, ``SHM/direct/direct`` is ``SHM``."""
    words = via.split("/")
    if words[0] == "SHM":
        return "SHM"
    return "/".join(re.sub(r"\(.*", "", word) for word in words[:2])


def _finish(summary: dict[str, t.Any]) -> dict[str, t.Any]:
    """Sets become sorted lists, so that the answer is plain data."""
    for part in [summary, *summary["by_host"].values()]:
        for key, content in part.items():
            if isinstance(content, set):
                part[key] = sorted(content)
    for part in summary["by_host"].values():
        part["interfaces"] = list(part["interfaces"].values())
        part["channels"] = len(part["channels"])
    return summary
