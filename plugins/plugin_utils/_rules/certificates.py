# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the certificates by which nodes know each other (C(trainmesh_ssh_trust: ca)).

sshd tells a client nothing but "Permission denied", and ssh little more of a host, so that the certificates themselves
are looked at. A node whose own keys the others still have is not judged: it needs no certificate yet.
"""

from __future__ import annotations

import statistics
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._config.certificates import (
    Certificate,
    fingerprint,
    read,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    live,
    login_sources,
    node,
    rows,
    shorten,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    About,
    Answer,
    Case,
    Data,
    dig,
    finding,
    rule,
)

USERS, HOSTS = "users", "hosts"
_WHOSE = {USERS: "the certificate of the job user's key", HOSTS: "the certificate of sshd's host key"}
_OUR_KEY = "/.ssh/trainmesh/id_ed25519"
_ALONE = "The other nodes know it, and let it in, by its certificates alone."
_SITE = "Run site.yml over all nodes: it signs what is missing or wrong, and hands it out."


class Fault(t.NamedTuple):
    """What is wrong with a certificate: the rule, what was seen, and why that matters."""

    rule: str
    evidence: str
    cause: str


@rule(
    About(
        "ssh-certificate-missing",
        layer="ssh",
        severity=FAIL,
        title="A node has no ssh certificate",
        symptom="`Permission denied`, or `Host key verification failed.`",
        source="OpenSSH ssh-keygen(1) CERTIFICATES",
    ),
    About(
        "ssh-certificate-expired",
        layer="ssh",
        severity=FAIL,
        title="An ssh certificate is expired or not yet valid",
        symptom="logins stop on all nodes on one day; sshd logs `Certificate invalid: expired`",
        source="OpenSSH ssh-keygen(1) CERTIFICATES",
    ),
    About(
        "ssh-certificate-foreign",
        layer="ssh",
        severity=FAIL,
        title="An ssh certificate is for another key, cluster, user or host",
        symptom="sshd logs `Certificate lacks principal`; ssh says `name is not a listed principal`",
        source="OpenSSH ssh-keygen(1) CERTIFICATES, sshd(8) principals",
    ),
    About(
        "ssh-certificate-revoked",
        layer="ssh",
        severity=FAIL,
        title="A node logs in with a revoked ssh certificate",
        symptom="sshd logs `Authentication key ... revoked by file`",
        source="OpenSSH sshd_config(5) RevokedKeys",
    ),
    needs=("user",),
)
def certificate(case: Case) -> t.Iterable[Answer]:
    """Certificates that the other nodes do not accept."""
    for kind in (USERS, HOSTS):
        for host in live(case, "user"):
            for fault in faults(case, host, kind):
                yield finding(fault.rule, FAIL, host, fault.evidence, fault.cause, _remedy(fault))
    yield from _wrong_clocks(case)


def _remedy(fault: Fault) -> str:
    if fault.rule == "ssh-certificate-expired":
        return f"{_SITE} A longer time between two runs needs a longer trainmesh_ssh_validity."
    return _SITE


def is_expected(case: Case, host: str, kind: str) -> bool:
    """Whether the others know a node by nothing but its certificate, as far as its facts can tell."""
    expected = dig(node(case, host), f"by_certificate.{kind}") is True
    return expected and bool(case.user.get(host)) and (kind == HOSTS or host in login_sources(case))


def is_trusted(case: Case, authorized_keys: t.Sequence[Data]) -> bool:
    """Whether the keys of a node's authorized_keys name the cluster's authority, for the cluster's principal."""
    authority, principal = dig(case.plan, "ssh.authorities.users"), str(dig(case.plan, "ssh.principal", ""))
    ours = [key for key in authorized_keys if dig(key, "fingerprint") == authority]
    options = [str(dig(key, "options", "")) for key in ours]
    return any("cert-authority" in text and f'"{principal}"' in text for text in options)


def explains(case: Case, host: str, kind: str) -> bool:
    """Whether something is wrong with a node's certificate, which then is told once."""
    return bool(faults(case, host, kind))


def faults(case: Case, host: str, kind: str) -> list[Fault]:
    """What is wrong with the certificates of a node; nothing where none is expected, or nothing is known of them."""
    if not is_expected(case, host, kind):
        return []
    lines, keys = _certified(case, host, kind)
    if lines is None:
        return []
    found = {one.public_key: one for line in lines if (one := read(line))}
    if not found:
        return [Fault("ssh-certificate-missing", f"{_WHOSE[kind]} is not there", _ALONE)]
    every = [_fault(case, host, kind, one, keys) for one in found.values()]
    return [fault for fault in every if fault]


def _certified(case: Case, host: str, kind: str) -> tuple[list[str] | None, set[str]]:
    """The certificates of a node (None: not known), and the fingerprints of the keys that they should be for."""
    facts = case.user[host]
    if kind == HOSTS:
        shown = dig(facts, "sshd.certificates.host")
        return (list(map(str, shown)) if isinstance(shown, list) else None), set()
    own = [key for key in rows(facts, "own_keys") if str(dig(key, "path")).endswith(_OUR_KEY)]
    if not own or "certificate" not in own[0]:
        return None, set()
    return [str(dig(own[0], "certificate", ""))], {str(dig(own[0], "fingerprint", ""))}


def _fault(case: Case, host: str, kind: str, found: Certificate, keys: set[str]) -> Fault | None:
    whose, now = f"{_WHOSE[kind]} (serial {found.serial})", _now(case)
    if found.authority != dig(case.plan, f"ssh.authorities.{kind}"):
        cause = "The other nodes trust the authority of this cluster alone."
        return Fault("ssh-certificate-foreign", f"{whose} was signed by another authority, {found.authority}", cause)
    wanted = _principals(case, host, kind)
    if not wanted <= set(found.principals):
        shown = (
            f"{whose} is for {shorten(found.principals)}, expected {shorten(sorted(wanted - set(found.principals)))}"
        )
        return Fault("ssh-certificate-foreign", shown, "A certificate is accepted for what it names alone.")
    if keys and found.public_key and fingerprint(found.public_key) not in keys:
        cause = "A certificate is accepted together with the key that it is for."
        return Fault("ssh-certificate-foreign", f"{whose} is for another key than the one beside it", cause)
    if now is not None and found.valid_before <= now:
        return Fault("ssh-certificate-expired", f"{whose} expired on {_date(found.valid_before)}", _ALONE)
    if now is not None and found.valid_after > now:
        shown = f"{whose} is not valid before {_date(found.valid_after)}"
        return Fault("ssh-certificate-expired", shown, _ALONE)
    if kind == USERS and found.serial in dig(case.plan, "ssh.revoked_serials", []):
        cause = "It was revoked when the node left the cluster or got another one."
        return Fault("ssh-certificate-revoked", f"{whose} is revoked", cause)
    return None


def _principals(case: Case, host: str, kind: str) -> set[str]:
    """What a certificate has to name; of a host its address, under which ssh looks for it."""
    if kind == USERS:
        return {str(dig(case.plan, "ssh.principal", ""))}
    return {str(dig(node(case, host), "address", ""))}


def _times(case: Case) -> dict[str, int]:
    clocks = {host: dig(case.user[host], "time") for host in live(case, "user")}
    return {host: clock for host, clock in clocks.items() if isinstance(clock, int)}


def _now(case: Case) -> float | None:
    """The time by most clocks, so that one that is wrong makes no certificate invalid."""
    times = _times(case)
    return statistics.median_low(times.values()) if times else None


def _wrong_clocks(case: Case) -> t.Iterator[Answer]:
    """Nodes that by their own clock accept no certificate, while by the others' the certificates are valid."""
    now = _now(case)
    for host, clock in _times(case).items():
        every = [read(line) for other in live(case, "user") for line in _user_lines(case, other)]
        good = [one for one in every if one and now is not None and one.valid_after <= now < one.valid_before]
        if good and not any(one.valid_after <= clock < one.valid_before for one in good):
            yield finding(
                "ssh-certificate-expired",
                FAIL,
                host,
                f"its clock says {_date(clock)}, when no certificate of the cluster is valid",
                "A node accepts certificates by its own clock.",
                "timedatectl set-ntp true, or: chronyc makestep; then see that the date is right.",
            )


def _user_lines(case: Case, host: str) -> list[str]:
    return (_certified(case, host, USERS)[0] or []) if is_expected(case, host, USERS) else []


def _date(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return f"second {seconds} since 1970"
