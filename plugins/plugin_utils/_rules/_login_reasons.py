# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a node's sshd lets the job user not in, or gives no session, although the key is right.

Each reason is asked only of failures that it can cause: a refused login (``permission``), a connection that is closed
after the key was taken (``closed``), or a session that runs something else (``other``).
"""

from __future__ import annotations

import datetime
import fnmatch
import ipaddress
import re
import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    addresses,
    names,
    node,
    rows,
    text,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import Attempt
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Data, dig

MOST_NAMED = 8
REFUSED, CLOSED, OTHER, SILENT = "permission", "closed", "other", "no_answer"


class Refusal(t.NamedTuple):
    """What was seen, why that keeps the user out, and the command that changes it."""

    evidence: str
    cause: str
    remedy: str


class Login(t.NamedTuple):
    """A login that failed: the job user, where it came from, and what the target says of sshd and the account."""

    case: Case
    item: Attempt
    user: str
    sshd: Data
    account: Data

    @property
    def sources(self) -> list[str]:
        """The addresses that the source may come from."""
        own = [*addresses(self.case, self.item.source), str(dig(node(self.case, self.item.source), "address", ""))]
        local = ["127.0.0.1", "::1"] if self.item.source == self.item.target else []
        return [address for address in dict.fromkeys((*own, *local)) if address]

    def line(self, keyword: str, value: str) -> str:
        """Where a setting of sshd stands, and the setting itself."""
        found = dig(self.sshd, f"lines.{keyword}")
        return str(found) if found else value

    def change(self, keyword: str, wish: str) -> str:
        """How that line is changed."""
        place = str(dig(self.sshd, f"lines.{keyword}", "")).partition(": ")[0]
        where = f" in {place}" if place else " in /etc/ssh/sshd_config or sshd_config.d"
        return (
            f"{wish}{where} on {self.item.target}, then {reload(dig(self.case.fabric.get(self.item.target), 'sshd'))}"
        )

    def is_refused(self, row: Data) -> bool:
        """Whether a row of the target's files is about the source."""
        peers = dig(row, "peers")
        return bool(row) and (peers is None or bool({*map(str, peers)} & {*self.sources}))


def reload(sshd: t.Any) -> str:
    """The command by which sshd reads its configuration again, also where no systemd runs."""
    if dig(sshd, "systemd") is not False:
        unit = str(dig(sshd, "unit", "ssh.service"))
        return f"sshd -t && systemctl reload {unit if unit.endswith('.service') else 'ssh.service'}"
    pid = dig(sshd, "pid")
    return f"sshd -t && kill -HUP {pid}" if pid else "sshd -t && pkill -HUP -o -x sshd"


def explain(case: Case, item: Attempt, user: str, failure: str) -> Refusal | None:
    """The first reason that fits the failure, and that the target's facts show."""
    facts = case.user.get(item.target)
    login = Login(case, item, user, dig(facts, "sshd", {}), dig(facts, "account", {}))
    for kinds, judge in _REASONS:
        found = judge(login) if failure in kinds else None
        if found:
            return found
    return None


def _no_keys(login: Login) -> Refusal | None:
    if dig(login.sshd, "pubkeyauthentication") is not False:
        return None
    return _option(login, "pubkeyauthentication", "PubkeyAuthentication no", "Set PubkeyAuthentication yes")


def _no_file(login: Login) -> Refusal | None:
    if str(dig(login.sshd, "authorizedkeysfile", "")).lower() != "none":
        return None
    cause = "Its sshd reads no file of keys, and AuthorizedKeysCommand, if there is one, does not know the nodes' keys."
    wish = "Set AuthorizedKeysFile .ssh/authorized_keys"
    return _option(login, "authorizedkeysfile", "AuthorizedKeysFile none", wish, cause)


def _revoked(login: Login) -> Refusal | None:
    if dig(login.sshd, "revokedkeys_missing") is not True:
        return None
    file = str(dig(login.sshd, "revokedkeys"))
    return Refusal(
        f"{login.line('revokedkeys', f'RevokedKeys {file}')}, and there is no such file",
        "sshd refuses every key while it can't read the file of the revoked ones.",
        f"touch {shlex.quote(file)} on {login.item.target}, where none is revoked; or "
        f"{login.change('revokedkeys', 'take RevokedKeys out')}",
    )


def _option(login: Login, keyword: str, value: str, wish: str, cause: str = "") -> Refusal:
    cause = cause or f"The options of its sshd do not let {login.user} in by key."
    return Refusal(login.line(keyword, value), cause, login.change(keyword, wish))


def _root(login: Login) -> Refusal | None:
    setting = str(dig(login.sshd, "permitrootlogin", ""))
    if login.user != "root" or setting.lower() not in ("no", "forced-commands-only"):
        return None
    return _option(login, "permitrootlogin", f"PermitRootLogin {setting}", "Set PermitRootLogin prohibit-password")


def _users(login: Login) -> Refusal | None:
    denied, allowed = ([str(one) for one in dig(login.sshd, key, [])] for key in ("denyusers", "allowusers"))
    if any(_names(login, pattern) for pattern in denied):
        wish = f"Take {login.user} out of DenyUsers"
        return _option(login, "denyusers", f"DenyUsers {' '.join(denied)}", wish)
    if allowed and not any(_names(login, pattern) for pattern in allowed):
        wish = f"Add {login.user} to AllowUsers"
        found = _option(login, "allowusers", f"AllowUsers {' '.join(allowed)}", wish)
        return found._replace(evidence=f"{found.evidence} (not {login.user} from {' or '.join(login.sources[:3])})")
    return None


def _names(login: Login, pattern: str) -> bool:
    """Whether a pattern of AllowUsers or DenyUsers is about the login; a host name behind ``@`` is taken to fit."""
    user, at, host = pattern.partition("@")
    return fnmatch.fnmatchcase(login.user, user) and (not at or comes_from(login.sources, host) is not False)


def comes_from(sources: t.Collection[str], pattern: str) -> bool | None:
    """Whether one of the addresses fits a pattern or a network; None for names, which are not looked up here."""
    if not sources:
        return None
    try:
        network = ipaddress.ip_network(pattern, strict=False)
        return any(ipaddress.ip_address(source) in network for source in sources)
    except ValueError:
        pass
    if pattern.strip("*?") and not set(pattern.lower()) <= set("0123456789abcdef.:*?"):
        return None
    return any(fnmatch.fnmatchcase(source, pattern) for source in sources)


def _groups(login: Login) -> Refusal | None:
    groups = dig(login.account, "groups")
    if not isinstance(groups, list):
        return None
    denied, allowed = ([str(one) for one in dig(login.sshd, key, [])] for key in ("denygroups", "allowgroups"))
    own = " ".join(map(str, groups))
    hit = [group for group in groups if any(fnmatch.fnmatchcase(str(group), pattern) for pattern in denied)]
    if hit:
        wish = f"gpasswd -d {login.user} {hit[0]}, or take {hit[0]} out of DenyGroups"
        return _option(login, "denygroups", f"DenyGroups {' '.join(denied)}", wish)
    if allowed and not any(fnmatch.fnmatchcase(str(group), pattern) for group in groups for pattern in allowed):
        plain = next((group for group in allowed if not set("*?") & set(group)), "GROUP")
        found = _option(login, "allowgroups", f"AllowGroups {' '.join(allowed)}", f"Add one of its groups ({own})")
        remedy = f"usermod -aG {plain} {login.user} on {login.item.target}; or: {found.remedy}"
        return found._replace(evidence=f"{found.evidence} ({login.user} is in {own})", remedy=remedy)
    return None


def _locked(login: Login) -> Refusal | None:
    if dig(login.sshd, "usepam") is not False or dig(login.account, "password") != "locked":
        return None
    return Refusal(
        f"{login.line('usepam', 'UsePAM no')}; the password of {login.user} in /etc/shadow begins with !",
        "Without PAM sshd takes an account whose password is locked for a locked account, whatever its key.",
        f"usermod -p '*' {login.user} on {login.item.target}, which has no password either and is not locked; or "
        f"{login.change('usepam', 'UsePAM yes')}",
    )


def _shell(login: Login) -> Refusal | None:
    problem = str(dig(login.account, "shell_problem", ""))
    if not problem:
        return None
    cause = f"{login.user} can have no session there: sshd runs every command by the login shell."
    return Refusal(problem, cause, f"usermod -s /bin/bash {login.user} on {login.item.target}")


def _expired(login: Login) -> Refusal | None:
    when = dig(login.account, "expired")
    if not when:
        return None
    cause = "The account is no longer valid, and sshd refuses it whatever its key."
    remedy = f"chage -E -1 -I -1 {login.user} on {login.item.target}; chage -l {login.user} shows its dates"
    return Refusal(f"the account {login.user} {when}", cause, remedy)


def _password_expired(login: Login) -> Refusal | None:
    when = dig(login.account, "password_expired")
    if not when or dig(login.sshd, "usepam") is False:
        return None
    return Refusal(
        f"the password of {login.user} {when}",
        "PAM asks for a new password before anything is run, and a launcher's login has no terminal to answer on.",
        f"chage -d $(date +%F) -M -1 {login.user} on {login.item.target}, or passwd {login.user}",
    )


def _nologin(login: Login) -> Refusal | None:
    found = dig(login.account, "nologin")
    if not found or login.user == "root":
        return None
    file = text(found, "file")
    cause = (
        "While that file is there, nobody but root may log in: a shutdown, a boot or somebody's maintenance left it."
    )
    said = f": {text(found, 'text')}" if text(found, "text") else ""
    return Refusal(
        f"{file} exists{said}", cause, f"rm {shlex.quote(file)} on {login.item.target}, when it is not in use"
    )


def _wrappers(login: Login) -> Refusal | None:
    row = dig(login.account, "hosts_access", {})
    if not login.is_refused(row):
        return None
    case = login.case
    every = [str(dig(node(case, name), "address", name)) for name in names(case)][:MOST_NAMED]
    return Refusal(
        f"{text(row, 'file')} line {dig(row, 'line')}: {text(row, 'text')}",
        "The TCP wrappers of its sshd close connections from other nodes before anybody can log in.",
        f"echo 'sshd: {' '.join(every)}' >> /etc/hosts.allow on {login.item.target}, with the addresses of all nodes; "
        "or change that line",
    )


_OF_SLURM = (
    "put 'account sufficient pam_access.so' above it, and +:{user}:ALL into /etc/security/access.conf; or start jobs "
    "by sbatch or srun on all of these nodes"
)
_OF_MODULE = {
    "pam_access": "+:{user}:ALL in a line above it lets the user in",
    "pam_listfile": "change the list that it names",
    "pam_succeed_if": "let the user fulfil the condition (usermod -aG GROUP {user}), or take the line out",
    "pam_sss": "add the user, or a group of it (realm permit {user}), then sss_cache -E && systemctl restart sssd",
    **dict.fromkeys(("pam_slurm", "pam_slurm_adopt"), _OF_SLURM),
}


def _pam(login: Login) -> Refusal | None:
    if dig(login.sshd, "usepam") is False:
        return None
    for row in rows(login.account, "pam"):
        if login.is_refused(row):
            how = _OF_MODULE.get(text(row, "module"), "take the line out").format(user=login.user)
            file, number, module = text(row, "file"), dig(row, "line"), text(row, "module")
            whom = f"{login.user}, who has no job of Slurm there," if module.startswith("pam_slurm") else login.user
            return Refusal(
                f"{file} line {number}: {text(row, 'text')}",
                f"{module} of its sshd refuses {whom} after the key was taken.",
                f"Edit line {number} of {file} on {login.item.target}: {how}",
            )
    return None


def _directory(login: Login) -> Refusal | None:
    """What a directory says is not in the files: the last reason that is thought of."""
    found = dig(login.account, "directory")
    early = re.search(r"kex_exchange|reset by", login.item.evidence)  # before anybody was asked
    if not found or early or dig(login.sshd, "usepam") is False:
        return None
    host = login.item.target
    return Refusal(
        f"{text(found, 'file')} line {dig(found, 'line')}: {text(found, 'text')}",
        f"{login.user} is a user of a directory, which is asked at each login and may say no (a GPO, HBAC, a filter).",
        f"sssctl user-checks {login.user} -s sshd on {host} says whether it does; realm permit {login.user}, a rule "
        f"of HBAC (ipa hbactest --user {login.user} --host {host} --service sshd), or ad_gpo_access_control = disabled",
    )


def _methods(login: Login) -> Refusal | None:
    methods = str(dig(login.sshd, "authenticationmethods", ""))
    if not methods or any(re.fullmatch(r"publickey(:\S+)?", one) for one in methods.split()):
        return None
    cause = (
        "Its sshd wants more than a key, such as a password or a code, and a launcher has no terminal to give it on."
    )
    wish = f"Set AuthenticationMethods publickey for {login.user} (in a Match User block)"
    return _option(login, "authenticationmethods", f"AuthenticationMethods {methods}", wish, cause)


def _types(login: Login) -> Refusal | None:
    refused = [str(kind) for kind in dig(login.sshd, "refused_types", [])]
    keys = rows(login.case.user.get(login.item.source), "own_keys")
    kinds = {text(key, "type") for key in keys}
    if not kinds or not kinds <= {*refused}:
        return None
    shown = login.line("pubkeyacceptedalgorithms", login.line("pubkeyacceptedkeytypes", "PubkeyAcceptedAlgorithms"))
    keyword = "pubkeyacceptedalgorithms" if "acceptedalg" in shown.lower() else "pubkeyacceptedkeytypes"
    cause = "Its sshd, or the system's crypto policy, does not accept keys of this type."
    wish = f"Add {' and '.join(sorted(kinds))} to PubkeyAcceptedAlgorithms"
    found = _option(login, keyword, shown, wish, cause)
    if dig(login.sshd, "fips") is True and kinds == {"ssh-ed25519"}:
        cause = "The node is in FIPS mode, in which sshd takes no ed25519 keys, whatever its options are."
        remedy = (
            "ssh-keygen -t ecdsa -N '' -f ~/.ssh/id_ecdsa as the job user on the nodes named in the evidence, and its "
            ".pub into authorized_keys of every node (ssh-copy-id); or have all nodes in FIPS mode, or none."
        )
        return Refusal(f"fips_enabled is 1; the key of {login.item.source} is ssh-ed25519", cause, remedy)
    return found._replace(evidence=f"{found.evidence[:160]} lacks {', '.join(sorted(kinds))}, the key of the source")


def _short(login: Login) -> Refusal | None:
    least = dig(login.sshd, "requiredrsasize")
    keys = rows(login.case.user.get(login.item.source), "own_keys")
    lengths = [dig(key, "bits") for key in keys]
    if not isinstance(least, int) or not lengths or not all(isinstance(bits, int) and bits < least for bits in lengths):
        return None
    return Refusal(
        f"{login.line('requiredrsasize', f'RequiredRSASize {least}')}; the key of {login.item.source} is RSA with "
        f"{max(lengths)} bits",
        "Its sshd, or the system's crypto policy, refuses RSA keys that are so short.",
        "ssh-keygen -t ed25519 -N '' -f ~/.ssh/id_ed25519 as the job user on the nodes named in the evidence, and its "
        ".pub into authorized_keys of every node (site.yml does both)",
    )


def _too_many(login: Login) -> Refusal | None:
    tries = dig(login.sshd, "maxauthtries")
    keys = rows(login.case.user.get(login.item.source), "own_keys")
    crowded = isinstance(tries, int) and len(keys) > tries
    if "Too many authentication failures" not in login.item.evidence and not crowded:
        return None
    shown = login.line("maxauthtries", f"MaxAuthTries {tries}")
    return Refusal(
        f"{shown}; {login.item.source} has {len(keys)} keys, besides those of an agent",
        "sshd counts every key that is offered, and gives up before the right one has its turn.",
        f"Put IdentitiesOnly yes and IdentityFile of the right key into the Host block of {login.item.target} in "
        f"~/.ssh/config on the nodes named in the evidence; or {login.change('maxauthtries', 'set MaxAuthTries 6')}",
    )


def _sessions(login: Login) -> Refusal | None:
    if dig(login.sshd, "maxsessions") != 0:
        return None
    cause = "Its sshd lets nobody open a session, only forward ports."
    return _option(login, "maxsessions", "MaxSessions 0", "Set MaxSessions 10", cause)


def _forced(login: Login) -> Refusal | None:
    command = dig(login.sshd, "forcecommand")
    if not command:
        return None
    cause = f"Its sshd runs that command in every session of {login.user}, in the place of what a launcher asks for."
    return _option(login, "forcecommand", f"ForceCommand {command}", "Take ForceCommand out", cause)


def _lines_of_keys(login: Login) -> list[Data]:
    """The lines of the target's authorized_keys that have a key of the source."""
    own = {text(key, "fingerprint") for key in rows(login.case.user.get(login.item.source), "own_keys")} - {""}
    every = rows(login.case.user.get(login.item.target), "authorized_keys")
    return [key for key in every if text(key, "fingerprint") in own]


def _forced_by_key(login: Login) -> Refusal | None:
    forced = [key for key in _lines_of_keys(login) if re.search(r'(?:^|,)command="', text(key, "options"))]
    if not forced:
        return None
    file = text(forced[0], "file") or "~/.ssh/authorized_keys"
    return Refusal(
        f"{file} admits the key of {login.item.source} with {text(forced[0], 'options')[:120]}",
        "sshd runs that command in the place of what a launcher asks for.",
        f'Take command="..." off that line of {file} on {login.item.target}',
    )


def _chroot(login: Login) -> Refusal | None:
    place = dig(login.sshd, "chrootdirectory")
    if not place:
        return None
    cause = "Its sshd shuts sessions into a directory, which needs a whole system in it and may belong to root alone."
    wish = f"Take ChrootDirectory out for {login.user}"
    return _option(login, "chrootdirectory", f"ChrootDirectory {place}", wish, cause)


_SHARED_HOMES = {"nfs_t": "use_nfs_home_dirs", "cifs_t": "use_samba_home_dirs", "fusefs_t": "use_fusefs_home_dirs"}


def _labels(login: Login) -> Refusal | None:
    found = dig(login.account, "labels", {})
    if not isinstance(found, t.Mapping) or not found:
        return None
    shown = ", ".join(f"{path} is {kind}" for path, kind in found.items())
    paths = shlex.join(sorted(map(str, found)))
    shared = next((kind for kind in _SHARED_HOMES if kind in found.values()), "")
    if shared:
        cause = "SELinux does not let sshd read the keys of a home on a file system of another machine."
        return Refusal(
            f"SELinux is enforcing, and {shown}",
            cause,
            f"setsebool -P {_SHARED_HOMES[shared]} on, on {login.item.target}",
        )
    return Refusal(
        f"SELinux is enforcing, and {shown}",
        "SELinux does not let sshd read the keys of the user: their files have another context than ssh_home_t.",
        f"restorecon -Rv {paths} on {login.item.target}; for a home elsewhere than /home first semanage fcontext -a -e "
        "/home DIRECTORY",
    )


def _expiry(login: Login) -> Refusal | None:
    """Every line with the source's key has an end that is over: expiry-time of sshd(8), YYYYMMDD[HHMM[SS]]."""
    keys, today = _lines_of_keys(login), _today(login)
    ends = [re.search(r'expiry-time="(\d{8})', text(key, "options")) for key in keys]
    if not ends or not today or not all(end and end[1] < today for end in ends):
        return None
    file = text(keys[0], "file") or "~/.ssh/authorized_keys"
    return Refusal(
        f"{file} admits the key of {login.item.source} with {text(keys[0], 'options')[:120]}",
        "The line that admits the key says until when, and that is over.",
        f"Take expiry-time off that line of {file} on {login.item.target}, or set a later one",
    )


def _today(login: Login) -> str:
    """The day of the target's clock as YYYYMMDD."""
    now = dig(login.case.user.get(login.item.target), "time")
    if not isinstance(now, (int, float)) or now <= 0:
        return ""
    return datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%Y%m%d")


_REASONS: tuple[tuple[tuple[str, ...], t.Callable[[Login], Refusal | None]], ...] = (
    ((REFUSED,), _no_keys),
    ((REFUSED,), _no_file),
    ((REFUSED,), _revoked),
    ((REFUSED,), _root),
    ((REFUSED,), _users),
    ((REFUSED,), _groups),
    ((REFUSED,), _locked),
    ((REFUSED, CLOSED, OTHER), _expired),
    ((CLOSED, OTHER, REFUSED), _nologin),
    ((REFUSED, OTHER, CLOSED), _shell),
    ((CLOSED, SILENT), _wrappers),  # silent while libwrap asks a name server that does not answer
    ((CLOSED, REFUSED), _pam),
    ((CLOSED, OTHER), _password_expired),
    ((REFUSED,), _methods),
    ((REFUSED,), _types),
    ((REFUSED,), _short),
    ((REFUSED,), _expiry),
    ((OTHER,), _sessions),
    ((OTHER,), _forced),
    ((OTHER,), _forced_by_key),
    ((OTHER, CLOSED), _chroot),
    ((REFUSED,), _labels),
    ((REFUSED, CLOSED), _too_many),
    ((CLOSED,), _directory),
)
