# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the nodes know each other: by the keys of all, or by certificates (C(trainmesh_ssh_trust)).

Access is never lost on the way from one to the other. New trust comes first: a node's own keys stay with the others
until it was seen with its certificates, and certificates stay on the nodes until every node was seen without trust in
them. So a change takes two runs, and each of them may end anywhere.
"""

from __future__ import annotations

import re
import time
import typing as t
import urllib.parse

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import certificates
from ansible_collections.trainmesh.cluster.plugins.module_utils._config.certificates import Certificate
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.authority import (
    HOSTS,
    USERS,
    Authority,
    Records,
    Request,
    Signed,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.nodes import Host
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import ssh, ssh_sources

Facts = t.Mapping[str, t.Any]
UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400}
# What ssh-keygen takes as an address of source-address: none with a zone.
_SOURCE = re.compile(r"[0-9a-fA-F.:/]+\Z")
# What a preview shows of a certificate that the run is still to sign.
NOT_YET = "(signed on the controller by the run)"


class Seen(t.NamedTuple):
    """What the nodes say in this run: the facts of the job user by node, and the nodes that are members already.

    ``members`` are in the memory of the controller, or have the cluster's block in their hosts file: the others may
    rely on their keys. Nobody relies on those of a node that joins.
    """

    users: t.Mapping[str, Facts]
    members: t.Collection[str]

    @classmethod
    def of(cls, hosts: t.Iterable[Host], users: t.Mapping[str, Facts], memory: t.Iterable[str], identity: str) -> Seen:
        """From the hosts and facts of a run, and the names in the memory of the controller."""
        blocks = {host.name: host.fabric.get("cluster_block") or {} for host in hosts}
        held = {name for name, block in blocks.items() if block.get("id") == identity}
        known = {name: facts for name, facts in users.items() if facts and isinstance(facts, t.Mapping)}
        return cls(known, held | set(memory))


def seconds(validity: str) -> int:
    """The length of a time such as 52w."""
    return int(validity[:-1]) * UNITS[validity[-1]]


def principal_of(identity: str, user: str) -> str:
    """What certificates of this cluster and job user carry, and no others."""
    return f"trainmesh-{identity}-{urllib.parse.quote(user, safe='')}"


class Trust:
    """What the plan needs of certificates. With ``write`` keys are made, and what is due is signed and kept."""

    def __init__(self, cluster: Cluster, authority: Authority, seen: Seen, options: Facts, write: bool) -> None:
        self.cluster, self.authority, self.seen, self.write = cluster, authority, seen, write
        self.is_wanted = options["ssh_trust"] == "ca"
        self.validity: str = options["ssh_validity"]
        self.principal = principal_of(authority.identity, cluster.user)
        self.now = int(time.time())
        if self.is_wanted and write:
            authority.make()
        self.records = authority.load() if authority.exists() else Records()
        self.keys = {kind: authority.public(kind) for kind in (USERS, HOSTS)}
        # Who has nothing but certificates for the others to know, so that the report expects good ones.
        self.expected = {node.name for node in cluster.nodes} if write else set(self.records.trusting)
        self._see()
        self.is_used = self.is_wanted or bool(self.records.trusting)
        if self.is_used:
            self._renew()
            self._revoke()
        if write and self.is_used:
            self.records.spelled = {kind: self._spelled(kind) for kind in (USERS, HOSTS)}
            authority.save(self.records)
        elif write:
            authority.remove()

    def enter(self, plan: dict[str, t.Any]) -> None:
        """Put into the plan what the roles write."""
        listed = self.records.revoked[USERS]
        revoked = self.authority.revocation_list(listed, self.write) if self.is_used else ""
        plan["ssh"].update(
            trust="ca" if self.is_wanted else "keys",
            authorities={kind: certificates.fingerprint(self.keys[kind]) for kind in (USERS, HOSTS)},
            principal=self.principal,
            revoked=revoked,
            revoked_serials=sorted(found.serial for line in listed if (found := certificates.read(line))),
        )
        if self.is_wanted:
            spelled = self._spelled(USERS)
            plan["ssh"]["config"] = ssh.client_config(self.cluster, certified=True)
            plan["ssh"]["authorized_keys"] = ssh.authorized_keys(self.cluster, spelled)
            plan["ssh"]["known_hosts"] = [
                *ssh.authority_hosts(self.cluster, self.keys[HOSTS] or ssh.NOT_YET),
                *ssh.known_hosts(self.cluster, self._spelled(HOSTS)),
                *ssh.revoked_hosts(map(_key_of, self.records.revoked[HOSTS])),
            ]
            plan["reasons"] += self._reasons()
            for name in self._refusing():
                why = "its ssh accepts no ed25519 certificates (HostKeyAlgorithms, PubkeyAcceptedAlgorithms)"
                plan["warnings"].append(f"{name}: {why}: the nodes keep the host keys of all for it, and its own key")
        for node in self.cluster.nodes:
            own = self._of_node(node)
            plan["nodes"][node.name].update(own)
            if own["certificate_problem"]:
                stays = "it stays with the keys of all nodes, and they with its host key"
                plan["warnings"].append(f"{node.name}: {own['certificate_problem']}: {stays}")

    def _reasons(self) -> list[str]:
        """What the next run goes on with."""
        spelled = self._spelled(USERS) | self._spelled(HOSTS)
        waiting = [node.name for node in self.cluster.nodes if node.name in spelled and not self.problem(node.name)]
        shown = ", ".join(waiting[:6]) + (f" and {len(waiting) - 6} more" if len(waiting) > 6 else "")
        if not waiting:
            return []
        return [f"the other nodes keep the keys of {shown} until a later run sees the certificates there"]

    def _of_node(self, node: Node) -> dict[str, t.Any]:
        takes = not self.problem(node.name)
        lines: list[str] = []
        if self.is_wanted and takes:
            lines = [ssh.authority_key(self.keys[USERS] or ssh.NOT_YET, self.principal)]
        elif self.is_wanted:
            lines = ssh.authorized_keys(self.cluster, {one.name for one in self.cluster.nodes} - self._spelled(USERS))
        certified = self.is_used and takes and node.reachable
        hosts = [self._line(HOSTS, key) for key in node.host_keys] if certified else []
        return {
            "authority_lines": lines,
            "certificate": self._line(USERS, node.public_key) if self.is_used and self._logs_in(node) else "",
            "host_certificates": [line for line in hosts if line],
            # sshd is changed where it has something of ours, or gets it
            "sshd_certificates": certified or self._has_drop_in(node.name),
            "by_certificate": {
                kind: self.is_wanted and node.name in self.expected - self.records.spelled[kind]
                for kind in (USERS, HOSTS)
            },
            "certificate_problem": self.problem(node.name) if self.is_wanted and node.reachable else "",
        }

    def _line(self, kind: str, key: str) -> str:
        signed = self.records.issued[kind].get(key)
        return signed.line if signed else NOT_YET if self.is_wanted and not self.write else ""

    def _logs_in(self, node: Node) -> bool:
        return node in self.cluster.login_sources

    # What the nodes were seen with

    def _see(self) -> None:
        """Which nodes have their certificates, and which trust the authority; of those not seen, as it was."""
        prints = {certificates.fingerprint(key) for key in self.keys.values() if key}
        for node in self.cluster.nodes:
            facts = self.seen.users.get(node.name)
            if facts is None:
                continue
            for kind, has in ((USERS, self._has_user), (HOSTS, self._has_host)):
                note = self.records.certified[kind].add if has(node, facts) else self.records.certified[kind].discard
                note(node.name)
            if self.is_wanted or prints & _trusted(facts):
                self.records.trusting.add(node.name)
            else:
                self.records.trusting.discard(node.name)
        if self.is_wanted:
            self.records.trusting |= {node.name for node in self.cluster.nodes}
        self.records.trusting &= {node.name for node in self.cluster.nodes}

    def _has_user(self, _node: Node, facts: Facts) -> bool:
        own = own_key(facts)
        found = certificates.read(str(own.get("certificate")))
        return (
            found is not None
            and self._is_good(USERS, found)
            and certificates.fingerprint(found.public_key) == own.get("fingerprint")
            and self.principal in found.principals
        )

    def _has_host(self, node: Node, facts: Facts) -> bool:
        lines = _of_sshd(facts).get("host")
        shown = map(str, lines if isinstance(lines, list) else [])
        found = {one.public_key: one for line in shown if (one := certificates.read(line))}
        wanted = set(_host_names(node))
        good = (key in found and self._is_good(HOSTS, found[key]) for key in node.host_keys)
        return bool(node.host_keys) and all(good) and all(wanted <= set(one.principals) for one in found.values())

    def _is_good(self, kind: str, found: Certificate) -> bool:
        if found.serial in {one.serial for line in self.records.revoked[kind] if (one := certificates.read(line))}:
            return False
        is_ours = found.authority == certificates.fingerprint(self.keys[kind]) and f"{found.kind}s" == kind
        return is_ours and found.valid_after <= self.now < found.valid_before

    def _has_drop_in(self, name: str) -> bool:
        return bool(_of_sshd(self.seen.users.get(name) or {}).get("drop_in"))

    def _spelled(self, kind: str) -> set[str]:
        """The nodes whose own keys the others need: members without certificates, and those that can have none.

        An ssh that is told to accept no certificates needs the host keys of all, and shows its own key.
        """
        found = set(self._refusing())
        if found and kind == HOSTS:
            return {node.name for node in self.cluster.nodes}
        for node in self.cluster.nodes:
            is_known = node.name in self.seen.members or (kind == HOSTS and bool(self.problem(node.name)))
            if is_known and node.name not in self.records.certified[kind]:
                found.add(node.name)
        return found

    def _refusing(self) -> list[str]:
        """The nodes whose ssh accepts no certificates."""
        users = self.seen.users
        names = [node.name for node in self.cluster.login_sources if node.name in users]
        return [name for name in names if _part(users[name], "ssh_client").get("certificates") is False]

    def problem(self, name: str) -> str:
        """Why a node's sshd can't be given certificates; empty where it can, or was not seen."""
        facts = self.seen.users.get(name)
        if facts is None:
            return ""
        return str(_of_sshd(facts).get("problem", "its sshd did not say how it is configured"))

    # What is signed and revoked

    def _requests(self, kind: str) -> dict[str, Request]:
        """What the nodes need, by public key: nodes that share a home or a host key share its certificate."""
        found: dict[str, Request] = {}
        sources = ssh_sources.told_apart(self.cluster.nodes)
        nodes = self.cluster.login_sources if kind == USERS else self.cluster.nodes
        for node in nodes:
            for key in [node.public_key] if kind == USERS else node.host_keys:
                if not key:
                    continue
                before = found.get(key, Request(key, (), (), ()))
                principals = [self.principal] if kind == USERS else _host_names(node)
                allowed = [one for one in sources[node.name] if _SOURCE.match(one)] if kind == USERS else []
                if kind == USERS and not allowed:
                    advice = "trainmesh_ssh_trust: ca needs a data address without a zone: set trainmesh_address"
                    raise ValueError(f"{node.name}: {advice}")
                found[key] = Request(
                    key,
                    (*before.names, node.name),
                    tuple(dict.fromkeys([*before.principals, *principals])),
                    tuple(dict.fromkeys([*before.sources, *allowed])),
                )
        return found

    def _renew(self) -> None:
        """Sign what is new, has changed, or ends soon, of nodes that can be given it in this run."""
        reached = {node.name for node in self.cluster.nodes if node.reachable}
        for kind in (USERS, HOSTS):
            issued, requests = self.records.issued[kind], self._requests(kind)
            for key, signed in list(issued.items()):
                if key not in requests:
                    self._replace(kind, issued.pop(key))
                elif not _says(signed, requests[key]) and reached & set(requests[key].names):
                    self._replace(kind, issued[key])
            for key, request in requests.items():
                fits = key in issued and _says(issued[key], request) and not self._is_due(issued[key])
                if self.write and not fits and reached & set(request.names):
                    self.records.serial += 1
                    line = self.authority.sign(kind, request, self.records.serial, self.validity)
                    issued[key] = Signed(line, request.names)

    def _is_due(self, signed: Signed) -> bool:
        """Whether less than a third is left, or more than is wanted now."""
        found, wanted = certificates.read(signed.line), seconds(self.validity)
        left = found.valid_before - self.now if found else 0
        return not wanted / 3 <= left <= wanted

    def _replace(self, kind: str, signed: Signed) -> None:
        """Note that a certificate is to be revoked: a host's is when no node has its key any more."""
        if kind == USERS:
            self.records.replaced.append(signed)
        else:
            found = certificates.read(signed.line)
            if found:
                self.records.revoked[HOSTS].append(signed.line)

    def _revoke(self) -> None:
        """Revoke what its nodes need no more: they are no members, or were seen with a newer certificate."""
        in_use = {key for node in self.cluster.nodes for key in node.host_keys}
        self.records.revoked[HOSTS] = [
            line for line in self._unexpired(self.records.revoked[HOSTS]) if _key_of(line) not in in_use
        ]
        sources = {node.name for node in self.cluster.login_sources}
        waiting = []
        for signed in self.records.replaced:
            if all(name not in sources or self._has_newer(name, signed) for name in signed.names):
                self.records.revoked[USERS].append(signed.line)
            else:
                waiting.append(signed)
        self.records.replaced = waiting
        self.records.revoked[USERS] = self._unexpired(self.records.revoked[USERS])

    def _has_newer(self, name: str, signed: Signed) -> bool:
        """Whether a node was seen with a certificate that is the one wanted now."""
        facts = self.seen.users.get(name)
        line = own_key(facts or {}).get("certificate")
        return line != signed.line and line in {one.line for one in self.records.issued[USERS].values()}

    def _unexpired(self, lines: t.Iterable[str]) -> list[str]:
        kept: dict[str, None] = {}
        for line in lines:
            found = certificates.read(line)
            if found and found.valid_before > self.now:
                kept[line] = None
        return list(kept)


def _says(signed: Signed, request: Request) -> bool:
    """Whether a certificate says what is asked for."""
    found = certificates.read(signed.line)
    return found is not None and (set(found.principals), set(found.sources)) == (
        set(request.principals),
        set(request.sources),
    )


def _key_of(line: str) -> str:
    found = certificates.read(line)
    return found.public_key if found else ""


def _host_names(node: Node) -> list[str]:
    return list(dict.fromkeys([*node.names, node.address]))


def own_key(facts: Facts) -> Facts:
    """What a node says of the key that it logs in with; empty where it has none."""
    ours = [key for key in _rows(facts, "own_keys") if str(key.get("path")).endswith(ssh.KEY.lstrip("~"))]
    return ours[0] if ours else {}


def _of_sshd(facts: Facts) -> Facts:
    return _part(_part(facts, "sshd"), "certificates")


def _rows(facts: Facts, key: str) -> list[Facts]:
    found = facts.get(key)
    return [row for row in found if isinstance(row, t.Mapping)] if isinstance(found, list) else []


def _part(facts: Facts, key: str) -> Facts:
    found = facts.get(key)
    return found if isinstance(found, t.Mapping) else {}


def _trusted(facts: Facts) -> set[str]:
    """The fingerprints of the authorities that a node trusts."""
    users = [key for key in _rows(facts, "authorized_keys") if "cert-authority" in str(key.get("options"))]
    hosts = _part(facts, "known_hosts").get("authorities")
    return {str(key.get("fingerprint")) for key in users} | set(map(str, hosts if isinstance(hosts, list) else []))
