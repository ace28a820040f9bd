# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on refused keys: the login failed at the source, the reason lies at the target.

sshd tells a client nothing but "Permission denied", so the reason is looked for in the files and the
options of the target, in the order in which sshd would stumble over them; the first one counts.
"""

from __future__ import annotations

import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import addresses, node, rows
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import Attempt, by_pair, ssh_results
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
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import _login_words as login_words
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import certificates
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._login_reasons import comes_from, explain

GROUP_OR_OTHERS_WRITE, GROUP_OR_OTHERS = 0o022, 0o077
_WANTED_MODE = {"home": "755", "ssh_dir": "700", "authorized_keys": "600"}


class Reason(t.NamedTuple):
    """Why a key was refused: the rule, the node to be fixed, what was seen there, and the two sentences."""

    rule: str
    host: str
    evidence: str
    cause: str
    remedy: str


@rule(
    About(
        "ssh-key-missing-pair",
        layer="ssh",
        severity=FAIL,
        title="A node's key is not authorized on another node",
        symptom="`not reachable via ssh`, ssh 255",
        source="field notes, DS#4907, DS#579",
    ),
    About(
        "ssh-self-login-missing",
        layer="ssh",
        severity=FAIL,
        title="A node cannot log in to itself",
        symptom="the first host is not reachable although the others are",
        source="field notes, DS#5709",
    ),
    About(
        "ssh-wrong-user-keydir",
        layer="ssh",
        severity=FAIL,
        title="Keys belong to another user than the job user",
        symptom="asks for a password although keys were exchanged",
        source="field notes",
    ),
    About(
        "ssh-key-unusable",
        layer="ssh",
        severity=FAIL,
        title="A node's ssh offers no key that it can use",
        symptom='`Load key "...": error in libcrypto`, `agent refused operation`',
        source="OpenSSH ssh(1), ssh-keygen(1)",
    ),
    About(
        "ssh-perms-too-open",
        layer="ssh",
        severity=FAIL,
        title="sshd rejects keys: file permissions too open",
        symptom="the key is ignored, a password is asked",
        source="field notes",
    ),
    About(
        "sshd-refuses-user",
        layer="ssh",
        severity=FAIL,
        title="sshd, PAM or the account exclude the job user",
        symptom="`Permission denied` although the key is right",
        source="OpenSSH sshd_config(5), pam(8), shadow(5), hosts_access(5)",
    ),
    About(
        "ssh-login-refused",
        layer="ssh",
        severity=FAIL,
        title="sshd refuses a login; the reason is unknown",
        symptom="`Permission denied` although keys and files are right",
        source="OpenSSH sshd(8)",
    ),
    "ssh-no-common-algorithm",
    needs=("mesh",),
)
def refused(case: Case) -> t.Iterable[Answer]:
    """Every refused key, each with one reason."""
    for pair, items in by_pair(ssh_results(case, "permission")).items():
        if certificates.explains(case, pair[0], certificates.USERS):
            continue
        reason = _reason(case, items[0])
        yield finding(reason.rule, FAIL, reason.host, reason.evidence, reason.cause, reason.remedy)
    for item in ssh_results(case, "config"):
        if item.config_error == "permissions":
            cause = "ssh does not read its configuration, because others may write to it."
            remedy = "chmod 600 ~/.ssh/config && chown $(id -un) ~/.ssh/config, as the job user"
            yield finding("ssh-perms-too-open", FAIL, item.source, item.evidence, cause, remedy)


def job_user(case: Case, name: str) -> str:
    """The user of the jobs on a node."""
    return str(dig(case.plan, "user") or dig(case.user.get(name), "name", "root"))


def _wrong_login(case: Case, item: Attempt) -> Reason | None:
    """The source asks for another user than the jobs'."""
    user = job_user(case, item.target)
    asked = dig(dig(case.user.get(item.source), "ssh_client.targets", {}).get(item.what), "user")
    if not asked or asked == user:
        return None
    return Reason(
        "ssh-wrong-user-keydir",
        item.source,
        f"ssh -G {item.what} says user {asked}, the jobs run as {user}",
        "It logs in to the other nodes as another user than the one whose keys were handed out.",
        f"Put User {user} into the Host blocks of ~/.ssh/config there, or run site.yml with trainmesh_user: {user}.",
    )


def _no_key(case: Case, item: Attempt) -> Reason | None:
    """The source has no key that ssh could offer."""
    facts = case.user.get(item.source)
    keys = dig(facts, "own_keys")
    if not isinstance(keys, list):
        return None
    user, home = job_user(case, item.source), str(dig(facts, "home", "~"))
    if not keys:
        return Reason(
            "ssh-key-missing-pair",
            item.source,
            f"{user} has no key pair in {home}/.ssh",
            "It has no key with which to log in to the nodes.",
            "Run site.yml, which makes one and hands it out; or ssh-keygen -t ed25519 -N '' there, then ssh-copy-id to "
            "every node, itself too.",
        )
    if all(_mode(key) & GROUP_OR_OTHERS for key in keys):
        shown = ", ".join(f"{dig(key, 'path')} has mode {dig(key, 'mode')}" for key in keys)
        paths = " ".join(shlex.quote(str(dig(key, "path"))) for key in keys)
        cause = "ssh does not use a private key that others may read."
        return Reason("ssh-perms-too-open", item.source, shown, cause, f"as {user}: chmod 600 {paths}")
    return None


def _no_algorithm(case: Case, item: Attempt) -> Reason | None:
    """ssh itself says that the two ends have nothing in common."""
    return _by_words(case, item, login_words.BEFORE)


def _unusable_key(case: Case, item: Attempt) -> Reason | None:
    """ssh says that it can't use a key; where it has another one that the target knows, that is not the reason."""
    found = _by_words(case, item, login_words.KEYS)
    if not found:
        return None
    others = {
        str(dig(key, "fingerprint"))
        for key in rows(case.user.get(item.source), "own_keys")
        if str(dig(key, "path")) not in item.evidence
    }
    known = {str(dig(entry, "fingerprint")) for entry in rows(case.user.get(item.target), "authorized_keys")}
    return None if others & known else found


def _by_words(case: Case, item: Attempt, words: t.Sequence[login_words.Said]) -> Reason | None:
    found = login_words.meaning(case, item, job_user(case, item.source), words)
    seen = f"{item.source} to {item.target} as {item.what}: {item.evidence}"
    return Reason(found.rule, found.host, seen, found.cause, f"{found.remedy}.") if found else None


def _offers_none(case: Case, item: Attempt) -> Reason | None:
    """The source's configuration keeps ssh from offering keys at all."""
    line = dig(case.user.get(item.source), "ssh_client.without_keys", {})
    said = dig(line, item.what) if isinstance(line, t.Mapping) else None
    if not said:
        return None
    return Reason(
        "ssh-key-unusable",
        item.source,
        f"ssh -G {item.what} says {said}",
        "Its ssh configuration keeps ssh from offering a key, and a launcher has no terminal for a password.",
        "grep -rniE 'pubkeyauthentication|preferredauthentications' ~/.ssh/config /etc/ssh/ssh_config* there, and take "
        "these lines out; or set both in a Host block for the nodes above them.",
    )


def _sshd_refuses(case: Case, item: Attempt) -> Reason | None:
    """A setting of the target's sshd, of PAM or of the account that keeps the user, or keys at all, out."""
    found = explain(case, item, job_user(case, item.target), "permission")
    return Reason("sshd-refuses-user", item.target, *found) if found else None


def _files_refused(case: Case, item: Attempt) -> Reason | None:
    """Owners and modes with which sshd does not trust the target's files (StrictModes)."""
    facts, user = case.user.get(item.target), job_user(case, item.target)
    paths = {key: dig(facts, f"paths.{key}", {}) for key in _WANTED_MODE}
    shut = [at for at in paths.values() if _is_shut(at, user)]
    if shut:  # whatever StrictModes says
        shown = ", ".join(f"{dig(at, 'path')} is {dig(at, 'owner')}'s, with mode {dig(at, 'mode')}" for at in shut)
        targets = " ".join(shlex.quote(str(dig(at, "path"))) for at in shut)
        cause = f"sshd reads the keys with the rights of {user}, who may not open these: root made them."
        whole = "-h" if paths["home"] in shut else "-hR"
        return Reason("ssh-wrong-user-keydir", item.target, shown, cause, f"chown {whole} {user}: {targets}, as root")
    if dig(facts, "sshd.strictmodes") is False:
        return None
    foreign = {key: at for key, at in paths.items() if dig(at, "owner", user) not in (user, "root", "0")}
    if foreign:
        shown = ", ".join(f"{dig(at, 'path')} belongs to {dig(at, 'owner')}" for at in foreign.values())
        targets = " ".join(shlex.quote(str(dig(at, "path"))) for at in foreign.values())
        cause = f"The files by which sshd knows {user} belong to another user, so that sshd ignores them."
        # -h: a link that the user has put there must not hand over what it leads to.
        remedy = f"chown -h {user}: {targets}" if "home" in foreign else f"chown -hR {user}: {targets}"
        return Reason("ssh-wrong-user-keydir", item.target, shown, cause, remedy)
    loose = {key: at for key, at in paths.items() if dig(at, "others_write") or _mode(at) & GROUP_OR_OTHERS_WRITE}
    above = dig(facts, "paths.above_keys", {})  # ~/.ssh itself is told of above
    if dig(above, "others_write") and dig(above, "path") not in [dig(at, "path") for at in loose.values()]:
        loose["above_keys"] = above
    if not loose:
        return None
    shown = ", ".join(f"{dig(at, 'path')} has mode {dig(at, 'mode', 'writable by others')}" for at in loose.values())
    commands = (["chmod", _WANTED_MODE.get(key, "go-w"), str(dig(at, "path"))] for key, at in loose.items())
    # As their owner, who can open nothing that is not theirs through a link.
    owner = "root" if any(str(dig(at, "owner", user)) in ("root", "0") for at in loose.values()) else user
    remedy = f"as {owner}: {' && '.join(map(shlex.join, commands))}"
    cause = "sshd ignores the keys of a user whose home, .ssh or authorized_keys others may write to (StrictModes)."
    if "above_keys" in loose:
        cause = "sshd ignores keys in a file above which others may write to a directory (StrictModes)."
    return Reason("ssh-perms-too-open", item.target, shown, cause, remedy)


def _is_shut(entry: t.Any, user: str) -> bool:
    """Whether a file of root's is one that the user may certainly not read, or a directory not to be entered."""
    wanted = 0o044 if str(dig(entry, "path", "")).endswith("authorized_keys") else 0o011
    of_root = str(dig(entry, "owner", user)) in ("root", "0") and user != "root"
    return of_root and dig(entry, "mode") is not None and not _mode(entry) & wanted


def _mode(entry: t.Any) -> int:
    """The permission bits of a file's facts; 0 when they are not known."""
    try:
        return int(str(dig(entry, "mode", "0")), 8)
    except ValueError:
        return 0


def _not_authorized(case: Case, item: Attempt) -> Reason | None:
    """The source's keys are not among those that the target's file lists, or not from that address."""
    facts = case.user.get(item.target)
    known, own = dig(facts, "authorized_keys"), dig(case.user.get(item.source), "own_keys")
    if not isinstance(known, list) or not isinstance(own, list):
        return None
    prints = {str(dig(key, "fingerprint")) for key in own}
    if "None" in prints:
        return None  # a private key without its public part: nobody can tell which one it is
    entries = [entry for entry in known if str(dig(entry, "fingerprint")) in prints]
    barred = [entry for entry in entries if _elsewhere(case, item.source, entry)]
    if entries and len(barred) < len(entries):
        return None
    user = job_user(case, item.target)
    file = str(dig(facts, "paths.authorized_keys.path", "~/.ssh/authorized_keys"))
    if not entries and certificates.is_expected(case, item.source, certificates.USERS):
        return _authority_missing(case, item, known, file)
    rule_id = "ssh-self-login-missing" if item.source == item.target else "ssh-key-missing-pair"
    if barred:
        evidence = f"{file} admits the key of {item.source} only with {dig(barred[0], 'options')}"
        cause = "The key is admitted from other addresses than the one it comes from."
    elif item.source == item.target:
        evidence = f"its own key is not in {file} of {user}"
        cause = "It may not log in to itself, which launchers do as with any other node."
    else:
        evidence = f"the key of {item.source} is not in {file} of {user} ({len(known)} other keys are)"
        cause = "The keys of the nodes named here are missing where its sshd looks for them."
    return Reason(rule_id, item.target, evidence, cause, _admit(case, item, user, file))


def _authority_missing(case: Case, item: Attempt, known: t.Sequence[Data], file: str) -> Reason | None:
    """The target does not trust the authority of the cluster, by whose certificates nodes log in."""
    if certificates.is_trusted(case, known):
        return None
    return Reason(
        "ssh-key-missing-pair",
        item.target,
        f"the line of the cluster's authority is not in {file}",
        "The nodes log in by certificates, and this node does not trust who signs them.",
        "Run site.yml over all nodes.",
    )


def _admit(case: Case, item: Attempt, user: str, file: str) -> str:
    """How the key gets where sshd looks; site.yml and ssh-copy-id write below the home alone."""
    home = str(dig(case.user.get(item.target), "home", "")).rstrip("/")
    if home and file.startswith("/") and not file.startswith(f"{home}/"):
        return (
            f"As root on {item.target}: cat {home}/.ssh/authorized_keys >> {file}; or add .ssh/authorized_keys to "
            f"AuthorizedKeysFile in its sshd_config, then reload sshd: site.yml writes to {home}/.ssh alone."
        )
    remedy = "Run site.yml over all nodes, or, as the job user on each node named in the evidence: ssh-copy-id "
    return remedy + f"{user}@{item.what}"


def _elsewhere(case: Case, source: str, entry: Data) -> bool:
    """Whether a from="..." names none of the source's addresses; names of hosts in it are taken to fit."""
    options = str(dig(entry, "options", ""))
    start = options.find('from="')
    own = {*addresses(case, source), str(dig(node(case, source), "address", ""))} - {""}
    if start < 0 or not own or not case.fabric.get(source):
        return False
    allowed = [item.strip() for item in options[start + len('from="') :].split('"', 1)[0].split(",")]
    if any(item.startswith("!") and comes_from(own, item[1:]) for item in allowed):
        return True
    return all(comes_from(own, item) is False for item in allowed if not item.startswith("!"))


def _unknown(case: Case, item: Attempt) -> Reason:
    """Nothing that was read explains it."""
    enforcing = dig(case.fabric.get(item.target), "selinux") == "enforcing"
    hint = "restorecon -Rv ~/.ssh (SELinux is enforcing), then " if enforcing else ""
    systemd = dig(case.fabric.get(item.target), "sshd.systemd") is not False
    log = "journalctl -u ssh -u sshd" if systemd else "/var/log/auth.log or the output of sshd"
    return Reason(
        "ssh-login-refused",
        item.target,
        f"from {item.source} as {item.what}: {item.evidence}",
        "Its sshd refuses the login, and nothing in its files or options that could be read says why.",
        f"{hint}{log} on it says why; on the other node: ssh -v -o BatchMode=yes {item.what} true, and ssh-keygen -y "
        "-P '' -f KEY, which fails where the key has a passphrase: nobody can type that for a launcher",
    )


REASONS: tuple[t.Callable[[Case, Attempt], Reason | None], ...] = (
    _wrong_login,
    _no_key,
    _no_algorithm,
    _unusable_key,
    _offers_none,
    _sshd_refuses,
    _files_refused,
    _not_authorized,
    _unknown,
)


def _reason(case: Case, item: Attempt) -> Reason:
    """The first that fits; the last of them always does."""
    return next(reason for reason in (judge(case, item) for judge in REASONS) if reason)
