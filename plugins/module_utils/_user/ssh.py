# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ssh and sshd make of a user: settings in force, keys, and where names lead."""

from __future__ import annotations

import base64
import binascii
import concurrent.futures
import hashlib
import os
import re
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import alike, command, ssh_config, ssh_options
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, to_int
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import certificates, sshd
from ansible_collections.trainmesh.cluster.plugins.module_utils._config.ssh_files import KEY_NAME, OURS

Record = dict[str, t.Any]
Runner = t.Callable[..., command.Outcome]

FIPS = "/proc/sys/crypto/fips_enabled"
DEFAULT_KEY_FILES = ".ssh/authorized_keys .ssh/authorized_keys2"
KEY_NAMES = (f"{OURS}/{KEY_NAME}", "id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk", "id_dsa")
SERVER_PLACES = ("/usr/sbin/sshd", "/sbin/sshd", "/usr/local/sbin/sshd")
WORKERS, MAX_KEYS, LONGEST_LINE = 8, 2048, 240
_LISTS = ("allowusers", "denyusers", "allowgroups", "denygroups")
# Those that may refuse a login although the key is right; their line is told.
_REFUSING = frozenset(
    (
        *_LISTS,
        *("permitrootlogin", "pubkeyauthentication", "usepam", "strictmodes", "authorizedkeysfile", "maxstartups"),
        *("authenticationmethods", "forcecommand", "chrootdirectory", "maxauthtries", "maxsessions", "revokedkeys"),
        *("pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes", "requiredrsasize"),
    )
)
_PLAIN = ("permitrootlogin", "authorizedkeysfile", "maxstartups", "persourcemaxstartups", "persourcepenalties")
_UNSET = ("any", "none")
_NOT_SAID = "not in connection test specification"
_KEY = re.compile(r"(?:^|\s)((?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+) ([A-Za-z0-9+/]+={0,2})(?:\s+(.*))?$")


def server(tree: Tree, user: str, host: str, peer: str, run: Runner, limit: float, own: str = "") -> Record:
    """sshd's settings for a login of ``user`` from ``peer`` to the address ``own``, by sshd itself (root) or its files.

    ``source`` is ``sshd -T``, ``config`` (parts for certain users or addresses are not judged then)
    or None; ``problem`` is what kept sshd from telling, or None. ``lines``: refusing_lines().
    """
    problem: str | None = None
    program = next((place for place in SERVER_PLACES if tree.has(place)), None)
    if program is None:
        problem = "there is no sshd here"
    elif os.geteuid() == 0:
        login = f"user={user},host={host},addr={peer}"
        outcome = run([program, "-T", "-C", login], limit)
        if not outcome.ok and _NOT_SAID in outcome.text:  # a Match for LocalAddress, LocalPort or RDomain
            port = ssh_config.server_ports(ssh_config.server_settings(tree) or {})[0]
            outcome = run([program, "-T", "-C", f"{login},laddr={own or peer},lport={port},rdomain="], limit)
        if outcome.ok:
            settings = ssh_config.settings(outcome.out)
            shown = server_certificates(tree, settings)
            lines = refusing_lines(tree, settings)
            told: Record = {"source": "sshd -T", "problem": None, "certificates": shown, "lines": lines}
            told.update({name: settings.get(name, []) for name in _LISTS})  # a group may have a blank in its name
            return {**_of_server(tree, settings), **told}
        why = f"no answer within {limit:.0f} s" if outcome.timed_out else " ".join(outcome.text.split())[:300]
        problem = f"sshd -T: {why or 'no answer'}"
    found = ssh_config.server_settings(tree)
    if found is None:
        why = "/etc/ssh/sshd_config cannot be read: run this as root"
        nothing: Record = {"source": None, "ports": [], "problem": problem or why, "certificates": None, "lines": {}}
        return {**_of_server(tree, {}), **nothing}
    told = {"source": "config", "problem": problem, "certificates": None, "lines": refusing_lines(tree, found)}
    return {**_of_server(tree, found), **told}


def refusing_lines(tree: Tree, found: ssh_config.Settings) -> dict[str, str]:
    """Where the settings stand that may refuse a login, by keyword: ``FILE line N: TEXT``.

    Of several lines of a keyword it is the one that has the value in force.
    """
    lines: dict[str, str] = {}
    sure: set[str] = set()
    for line in ssh_config.server_lines(tree):
        if line.keyword not in _REFUSING or line.keyword in sure:
            continue
        value = [word.lower() for word in " ".join(found.get(line.keyword, [])).split()]
        said = [word.lower() for word in line.value.split()]
        if line.keyword not in lines or said == value:
            lines[line.keyword] = f"{line.file} line {line.number}: {line.keyword} {line.value}"[:LONGEST_LINE]
        if said == value:
            sure.add(line.keyword)
    return lines


def server_certificates(tree: Tree, found: ssh_config.Settings) -> Record:
    """The certificates of sshd, whether it has our drop-in, and why it can't be given ours; by C(sshd -T)."""
    paths = found.get("hostcertificate", [])
    texts = (certificate(tree, path) for path in paths)
    main = tree.text(sshd.MAIN) or ""
    drop_in = tree.has(certificates.DROP_IN)
    problem = certificates.server_problem(found, sshd.has_drop_ins(main))
    return {"host": [text for text in texts if text], "drop_in": drop_in, "problem": problem}


def certificate(tree: Tree, path: str) -> str | None:
    """Type and base64 of a certificate in a file, or None."""
    line = " ".join((tree.text(path) or "").split()[:2])
    return line if certificates.read(line) else None


def _of_server(tree: Tree, found: ssh_config.Settings) -> Record:
    """The settings that decide on logins; the first value counts, lists add up. Format: sshd_config(5)."""
    first = {keyword: values[0] for keyword, values in found.items()}
    plain = {name: first.get(name) for name in _PLAIN}
    words = {name: first.get(name) for name in ("strictmodes", "pubkeyauthentication", "usepam")}
    flags = {name: None if word is None else word.lower() in ("yes", "true") for name, word in words.items()}
    lists = {name: " ".join(found.get(name, [])).split() for name in _LISTS}
    limits = {name: to_int(first.get(name)) for name in ("maxauthtries", "maxsessions", "requiredrsasize")}
    odd = {
        name: None if first.get(name, "none").lower() in _UNSET else first[name][:LONGEST_LINE]
        for name in ("authenticationmethods", "forcecommand", "chrootdirectory", "revokedkeys")
    }
    accepted = first.get("pubkeyacceptedalgorithms") or first.get("pubkeyacceptedkeytypes")
    refused = {"refused_types": _refused_types(accepted), "fips": tree.line(FIPS) == "1"}
    refused["revokedkeys_missing"] = bool(odd["revokedkeys"]) and not tree.has(str(odd["revokedkeys"]))
    return {**plain, **flags, **lists, **limits, **odd, **refused, "ports": ssh_config.server_ports(found)}


def _refused_types(accepted: str | None) -> list[str]:
    """The usual types of keys that are not among the accepted ones; RSA keys sign by other names than their own."""
    if not accepted or accepted[:1] in "+-^":
        return []  # only sshd itself can tell what this adds to or takes from
    names = set(accepted.split(","))
    kinds = {kind: {kind} for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384")}
    kinds["ssh-rsa"] = {"ssh-rsa", "rsa-sha2-256", "rsa-sha2-512"}
    return [kind for kind, signs in kinds.items() if not signs & names]


def key_files(setting: str | None, user: str, home: str, uid: int) -> list[str]:
    """The files that AuthorizedKeysFile names for a user. Tokens: sshd_config(5)."""
    tokens = {"%%": "%", "%h": home, "%u": user, "%U": str(uid)}
    words = [word for word in (setting or DEFAULT_KEY_FILES).split() if word.lower() != "none"]
    paths = [re.sub(r"%[%huU]", lambda match: tokens[match.group(0)], word) for word in words]
    return [path if path.startswith("/") else f"{home}/{path}" for path in paths]


def authorized(tree: Tree, files: t.Iterable[str]) -> list[Record]:
    """The keys in these files: ``type``, ``fingerprint``, ``comment``, ``options``, ``file``."""
    found: list[Record] = []
    for path in files:
        for line in (tree.text(path, 1024 * 1024) or "").splitlines():
            key = public_key(line)
            if key and len(found) < MAX_KEYS:
                found.append({**key, "file": path})
    return found


def public_key(line: str) -> Record | None:
    """``type``, ``fingerprint``, ``comment``, ``options`` of a line of authorized_keys or a .pub file, or None."""
    line = line.strip()
    match = None if line.startswith("#") else _KEY.search(line)
    if not match:
        return None
    try:
        blob = base64.b64decode(match.group(2), validate=True)
    except (binascii.Error, ValueError):
        return None
    sha = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    options = line[: match.start(1)].strip()
    return {
        "type": match.group(1),
        "fingerprint": f"SHA256:{sha}",
        "comment": (match.group(3) or "").strip(),
        "options": options,
    }


def expected(lines: t.Iterable[str]) -> Record:
    """How without() knows these lines of authorized_keys again: ``count`` and ``digest``."""
    rows = [row for line in lines if (row := public_key(line))]
    return {"count": len(rows), "digest": alike.digest(rows)}


def without(keys: list[Record], wanted: t.Mapping[str, t.Any]) -> tuple[list[Record], Record | None]:
    """(the keys without those that expected() described, the ``file`` of these and where they stood, ``at``).

    All keys and None where these are not there, one behind the other as we write them.
    """
    at = next((number for number, key in enumerate(keys) if key["comment"].startswith(f"{OURS} ")), 0)
    end = at + wanted["count"]
    found = [{part: value for part, value in key.items() if part != "file"} for key in keys[at:end]]
    files = {key["file"] for key in keys[at:end]}
    if len(files) != 1 or alike.digest(found) != wanted["digest"]:
        return keys, None
    return keys[:at] + keys[end:], {"file": files.pop(), "at": at}


def own_keys(tree: Tree, home: str) -> list[Record]:
    """The user's key pairs: ``path`` (of the private part, which is not read), ``type``, ``fingerprint``, ``mode``."""
    names = tree.names(f"{home}/.ssh")
    privates = dict.fromkeys([*KEY_NAMES, *(name[:-4] for name in names if name.endswith(".pub"))])
    found = []
    for name in privates:
        path = f"{home}/.ssh/{name}"
        if not tree.has(path):
            continue
        key = public_key(tree.line(f"{path}.pub") or "") or {}
        try:
            mode: str | None = f"{os.stat(tree.path(path)).st_mode & 0o7777:04o}"
        except OSError:
            mode = None
        found.append(
            {
                "path": path,
                "type": key.get("type"),
                "fingerprint": key.get("fingerprint"),
                "mode": mode,
                "comment": key.get("comment"),
                "certificate": certificate(tree, f"{path}-cert.pub"),
                "bits": rsa_bits(tree.line(f"{path}.pub") or ""),
            }
        )
    return found


def rsa_bits(line: str) -> int | None:
    """The length of an RSA key in bits, from its public half; None for another one. Format: RFC 4253, 6.6."""
    match = _KEY.search(line)
    if not match or match.group(1) != "ssh-rsa":
        return None
    try:
        blob = base64.b64decode(match.group(2), validate=True)
        parts, at = [], 0
        while at < len(blob):
            size = int.from_bytes(blob[at : at + 4], "big")
            parts.append(blob[at + 4 : at + 4 + size])
            at += 4 + size
    except (binascii.Error, ValueError):
        return None
    return int.from_bytes(parts[2], "big").bit_length() if len(parts) == 3 else None


def authorities(tree: Tree, home: str) -> list[str]:
    """The fingerprints of those whose host certificates our file of known hosts accepts."""
    lines = (tree.text(f"{home}/.ssh/{OURS}/known_hosts", 1024 * 1024) or "").splitlines()
    keys = (public_key(line) for line in lines if line.startswith("@cert-authority "))
    return [key["fingerprint"] for key in keys if key]


def known_hosts(tree: Tree, home: str) -> list[str]:
    """The files of known hosts that there are."""
    places = ("/etc/ssh/ssh_known_hosts", f"{home}/.ssh/known_hosts", f"{home}/.ssh/known_hosts2")
    ours = f"{home}/.ssh/trainmesh/known_hosts"
    return [path for path in (*places, ours) if tree.has(path)]


def client(names: t.Iterable[str], options: ssh_options.Options, limit: float) -> Record:
    """Where ssh would go for each name: ``targets`` with hostname, port and user; ``problem`` is ssh's complaint.

    ``problem_kind`` is what config_error() calls it. ``untested`` is set where ssh gave no answer in time, which says
    nothing of its configuration; after ``limit`` seconds nothing more is asked. ``certificates``: whether it
    accepts them from all of these names; None: not known. ``without_keys``: the option that keeps ssh from offering a
    key, by name.
    """
    wanted = list(dict.fromkeys(names))
    end = time.monotonic() + limit
    with concurrent.futures.ThreadPoolExecutor(max_workers=WORKERS) as pool:
        answers = list(pool.map(lambda name: options.of(name) if time.monotonic() < end else None, wanted))
    targets: dict[str, Record] = {}
    without: dict[str, str] = {}
    problem = kind = untested = accepts = None
    for name, answer in zip(wanted, answers):
        if answer is None or answer.outcome.timed_out:
            untested = untested or f"ssh -G {name} gave no answer within {limit:.0f} s"
        elif answer.outcome.ok:
            found = answer.options
            port = to_int(found.get("port"))
            accepts = certificates.client_accepts(found) and accepts is not False
            targets[name] = {"hostname": found.get("hostname"), "port": port, "user": found.get("user")}
            if said := _without_keys(found):
                without[name] = said
        elif problem is None:
            problem = " ".join(answer.outcome.err.split())[:300] or f"ssh -G {name} gave no answer"
            kind = ssh_config.config_error(answer.outcome.err)
    told = {"problem": problem, "problem_kind": kind, "untested": untested, "targets": targets}
    return {**told, "certificates": accepts, "without_keys": without}


def _without_keys(found: t.Mapping[str, str]) -> str:
    """The option of ssh -G that keeps it from offering a key; empty where there is none."""
    if found.get("pubkeyauthentication", "yes").lower() in ("no", "false"):
        return f"pubkeyauthentication {found['pubkeyauthentication']}"
    methods = found.get("preferredauthentications", "")
    return "" if not methods or "publickey" in methods.split(",") else f"preferredauthentications {methods}"
