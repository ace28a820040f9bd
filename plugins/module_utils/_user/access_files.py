# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that say who may log in from where: those of the TCP wrappers, and of PAM's account step.

What depends on a host name, a netgroup or a program is not judged, and ends the search: nothing is then said.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, to_int
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import sssd

Record = dict[str, t.Any]
YES, NO, MAYBE = 1, 0, -1

SERVERS = ("/usr/sbin/sshd", "/usr/lib/openssh/sshd-session", "/usr/libexec/openssh/sshd-session")
LARGEST_PROGRAM = 8 * 1024 * 1024
MOST_ROWS, MOST_LINES, DEEPEST, LONGEST = 8, 2000, 8, 200
# The administrator's files, and those that come with the packages where these may keep theirs (SUSE): pam(8).
PAM = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d")
SLURM = ("pam_slurm.so", "pam_slurm_adopt.so")


class Login(t.NamedTuple):
    """Who logs in."""

    name: str
    uid: int
    groups: tuple[str, ...]


class Line(t.NamedTuple):
    """A line of a file, as people look for it."""

    file: str
    number: int
    text: str

    def refusing(self, peers: t.Sequence[str], every: t.Sequence[str]) -> Record:
        """The line as a fact: it refuses these peers."""
        kept = None if len(peers) == len(every) else list(peers)
        return {"file": self.file, "line": self.number, "text": self.text[:LONGEST], "peers": kept}


def lines_of(tree: Tree, path: str) -> list[Line]:
    """The lines that say something; one that ends with a backslash goes on."""
    found, begun, number = [], "", 0
    for at, raw in enumerate((tree.text(path, 256 * 1024) or "").splitlines()[:MOST_LINES], 1):
        if not begun:
            number = at
        begun += raw[:-1] if raw.endswith("\\") else raw
        if raw.endswith("\\"):
            continue
        text = begun.strip()
        begun = ""
        if text and not text.startswith("#"):
            found.append(Line(path, number, " ".join(text.split("#", 1)[0].split())))
    return found


def wrappers(tree: Tree, peers: t.Sequence[str]) -> Record | None:
    """The line of /etc/hosts.deny (or hosts.allow) that refuses peers; None where none does, or sshd asks nobody.

    Format: hosts_access(5), hosts_options(5). Distributions build sshd with or without the library.
    """
    allow, deny = lines_of(tree, "/etc/hosts.allow"), lines_of(tree, "/etc/hosts.deny")
    if not peers or not (deny or any(_option(line) == "deny" for line in allow)):
        return None
    if not any("libwrap.so" in (tree.text(path, LARGEST_PROGRAM) or "") for path in SERVERS):
        return None
    refused: dict[Line, list[str]] = {}
    for peer in peers:
        line = _refused_by(allow, deny, peer)
        if line:
            refused.setdefault(line, []).append(peer)
    most = max(refused, key=lambda line: len(refused[line]), default=None)
    return most.refusing(refused[most], peers) if most else None


def _refused_by(allow: t.Sequence[Line], deny: t.Sequence[Line], peer: str) -> Line | None:
    for lines, usual in ((allow, "allow"), (deny, "deny")):
        for line in lines:
            daemons, clients = [*_split(line.text), "", ""][:2]
            fits = _both(_listed(daemons, _is_daemon), _listed(clients, lambda w: _is_client(w, peer)))
            if fits == MAYBE:
                return None
            if fits == YES:
                return line if (_option(line) or usual) == "deny" else None
    return None


def _split(text: str) -> list[str]:
    """The parts of a line between colons that do not stand in brackets."""
    return [part.strip() for part in re.split(r":(?![^\[]*\])", text)]


def _option(line: Line) -> str:
    """``allow`` or ``deny`` where the line itself says so; a command, as with spawn, says nothing."""
    options = [part.lower() for part in _split(line.text)[2:]]
    return next((option for option in options if option in ("allow", "deny")), "")


def _is_daemon(word: str) -> int:
    return YES if word.split("@", 1)[0] in ("ALL", "sshd") else NO


def _is_client(word: str, peer: str) -> int:
    if word == "ALL":
        return YES
    if word == "LOCAL":  # a name without a dot: an address is none
        return NO if "." in peer or ":" in peer else MAYBE
    return _is_origin(word, peer)


def _is_origin(word: str, peer: str) -> int:
    """Whether an address, a network, or the beginning of an address is the peer's; names of hosts are not judged."""
    word = word.strip("[]") if word.count("]") <= 1 else word
    word = word.replace("]", "").replace("[", "")
    if re.fullmatch(r"[\d.]+\.", word):
        return YES if peer.startswith(word) else NO
    if re.fullmatch(r"[\d.*?]+", word) and ("*" in word or "?" in word):
        return YES if fnmatch.fnmatchcase(peer, word) else NO
    try:
        network = ipaddress.ip_network(word, strict=False)
        return YES if ipaddress.ip_address(peer) in network else NO
    except ValueError:
        return MAYBE


def _listed(text: str, fits: t.Callable[[str], int]) -> int:
    """Whether something is in a list with EXCEPT: hosts_access(5), access.conf(5)."""
    parts = [part.replace(",", " ").split() for part in re.split(r"(?:^|[\s,])EXCEPT(?:[\s,]|$)", text)]
    answer = NO
    for words in reversed(parts):
        answers = {fits(word) for word in words}
        found = YES if YES in answers else MAYBE if MAYBE in answers else NO
        answer = _both(found, {YES: NO, NO: YES, MAYBE: MAYBE}[answer]) if words is not parts[-1] else found
    return answer


def _both(one: int, other: int) -> int:
    return NO if NO in (one, other) else MAYBE if MAYBE in (one, other) else YES


def pam(tree: Tree, login: Login, peers: t.Sequence[str]) -> list[Record]:
    """What in the account step of sshd's PAM refuses the user: the rows of Line, ``module`` with them.

    Only modules whose refusal counts and whose files say enough are judged. Those of Slurm refuse whoever has no job
    on the node, which the files do not tell: who reads the rows knows whether the login failed.
    """
    found: list[Record] = []
    for line, module, words in _account_step(tree, login, peers):
        row: Record | None = None
        if module == "pam_access.so":
            row = _access(tree, words, login, peers)
        elif module == "pam_listfile.so":
            row = _listfile(tree, line, words, login)
        elif module == "pam_succeed_if.so":
            row = line.refusing([], []) if _succeeds(words, login) == NO else None
        elif module == "pam_sss.so":
            row = None if _is_local(tree, login) else sssd.refusing(tree, login.name, login.groups)
        elif module == "pam_deny.so" or (module in SLURM and login.uid and "action_no_jobs=ignore" not in words):
            row = line.refusing([], [])
        if row and len(found) < MOST_ROWS:
            found.append({**row, "module": module[:-3]})
    return found


def directory(tree: Tree, login: Login, peers: t.Sequence[str]) -> Record | None:
    """The option of sssd by which a directory says whether the user may log in; None where PAM does not ask it."""
    if not login.uid or _is_local(tree, login):
        return None
    asked = any(module == "pam_sss.so" for _line, module, _words in _account_step(tree, login, peers))
    return sssd.asking(tree) if asked else None


Module = tuple[Line, str, list[str]]


def _account_step(tree: Tree, login: Login, peers: t.Sequence[str]) -> list[Module]:
    """(line, module, its words) of each account module whose refusal is final, files that are included too."""
    found: list[Module] = []
    _read_step(tree, _place(tree, "sshd"), 0, found, lambda module, words: _ends(tree, module, words, login, peers))
    return found


Ends = t.Callable[[str, list[str]], int]


def _read_step(tree: Tree, path: str, depth: int, found: list[Module], ends: Ends) -> bool:
    """Whether what stands below is reached at any rate: a module that is sufficient may end the step before."""
    skip = 0
    for line in lines_of(tree, path):
        words = re.sub(r"\[[^\]]*\]", lambda match: match[0].replace(" ", "_"), line.text).split()
        included = words[1] if words[0] == "@include" and len(words) > 1 else ""
        if words[0].lstrip("-") == "account" and len(words) > 2:
            control, module = words[1], words[2].rpartition("/")[2]
            included = words[2] if control in ("include", "substack") else ""
            if _is_final(control) and not skip:
                found.append((line, module, words[3:]))
            # [success=1 ...] leaves out what stands below it, mostly the pam_deny.so that ends the step
            jump = re.search(r"success=(\d)", control) if control.startswith("[") else None
            skip = int(jump[1]) if jump and ends(module, words[3:]) != NO else max(0, skip - 1)
            if (control == "sufficient" or "success=done" in control) and ends(module, words[3:]) != NO:
                return False
        if included and depth < DEEPEST and not _read_step(tree, _place(tree, included), depth + 1, found, ends):
            return False
    return True


def _is_final(control: str) -> bool:
    """Whether a module's refusal ends the login."""
    return control in ("required", "requisite") or bool(re.search(r"default=(bad|die)", control))


def _ends(tree: Tree, module: str, words: list[str], login: Login, peers: t.Sequence[str]) -> int:
    """Whether a module that is sufficient lets the user in without asking those below it."""
    if module == "pam_localuser.so":
        return MAYBE if tree.text("/etc/passwd", 4096) is None else YES if _is_local(tree, login) else NO
    if module == "pam_usertype.so" and words[:1] in (["issystem"], ["isregular"]):
        return YES if (login.uid < 1000) == (words[0] == "issystem") else NO
    if module == "pam_succeed_if.so":
        return _succeeds(words, login)
    if module == "pam_listfile.so":
        return NO if _listfile(tree, Line("", 0, ""), words, login) else MAYBE
    if module == "pam_access.so":
        row = _access(tree, words, login, peers)
        return NO if row and row["peers"] is None else MAYBE
    return MAYBE


def _is_local(tree: Tree, login: Login) -> bool:
    """Whether the user is in the node's own files, and not of a directory."""
    rows = (tree.text("/etc/passwd", 1024 * 1024) or "").splitlines()
    return any(row.startswith(f"{login.name}:") for row in rows)


def _place(tree: Tree, name: str) -> str:
    """The file of a service; that of the administrator goes before that of the package."""
    if name.startswith("/"):
        return name
    return next((f"{place}/{name}" for place in PAM if tree.has(f"{place}/{name}")), f"{PAM[0]}/{name}")


def _access(tree: Tree, words: t.Sequence[str], login: Login, peers: t.Sequence[str]) -> Record | None:
    """The line of access.conf that refuses the user from peers. The first that fits decides: access.conf(5)."""
    given = next((word.partition("=")[2] for word in words if word.startswith("accessfile=")), "")
    files = [given or "/etc/security/access.conf"]
    if not given:
        files += [
            f"/etc/security/access.d/{name}" for name in tree.names("/etc/security/access.d") if name[-5:] == ".conf"
        ]
    lines = [line for file in files for line in lines_of(tree, file)]
    refused: dict[Line, list[str]] = {}
    for peer in peers:
        line = _refusing_entry(lines, login, peer)
        if line:
            refused.setdefault(line, []).append(peer)
    most = max(refused, key=lambda line: len(refused[line]), default=None)
    return most.refusing(refused[most], peers) if most else None


def _refusing_entry(lines: t.Sequence[Line], login: Login, peer: str) -> Line | None:
    for line in lines:
        parts = [part.strip() for part in line.text.split(":", 2)]
        if len(parts) != 3 or parts[0] not in ("+", "-"):
            continue
        fits = _both(
            _listed(parts[1], lambda word: _is_user(word, login)), _listed(parts[2], lambda w: _comes(w, peer))
        )
        if fits == MAYBE:
            return None
        if fits == YES:
            return line if parts[0] == "-" else None
    return None


def _is_user(word: str, login: Login) -> int:
    if word.startswith("@") or "@" in word:
        return MAYBE
    name = word.strip("()")
    if word == "ALL" or name in login.groups or (word == login.name):
        return YES
    return NO


def _comes(word: str, peer: str) -> int:
    if word == "ALL":
        return YES
    if word == "LOCAL" or re.fullmatch(r"(tty|cron|:|pts)\S*", word):
        return NO
    return _is_origin(word, peer)


def _listfile(tree: Tree, line: Line, words: t.Sequence[str], login: Login) -> Record | None:
    """A file of users: with sense=allow those who are not in it are refused. See pam_listfile(8)."""
    given = dict(word.partition("=")[::2] for word in words)
    text = tree.text(given.get("file", ""), 256 * 1024) if given.get("file") else None
    if text is None or given.get("item") not in ("user", "group"):
        return None
    names = {row.strip() for row in text.splitlines()}
    held = bool(names & ({login.name} if given["item"] == "user" else set(login.groups)))
    refused = held if given.get("sense") == "deny" else not held
    return line.refusing([], []) if refused else None


def _succeeds(words: t.Sequence[str], login: Login) -> int:
    """Whether the conditions of pam_succeed_if hold; MAYBE for those that are not about the user's name or group."""
    rest = [word for word in words if word not in ("quiet", "quiet_success", "quiet_fail", "debug", "use_uid", "audit")]
    answer = YES
    for at in range(0, len(rest) - len(rest) % 3, 3):
        answer = _both(answer, _condition(rest[at], rest[at + 1], rest[at + 2], login))
    return MAYBE if len(rest) % 3 or not rest else answer


def _condition(field: str, operator: str, value: str, login: Login) -> int:
    number = to_int(value)
    if field == "uid" and number is not None:
        signs = {"eq": "=", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
        tests = {
            "=": login.uid == number,
            "!=": login.uid != number,
            "<": login.uid < number,
            "<=": login.uid <= number,
            ">": login.uid > number,
            ">=": login.uid >= number,
        }
        operator = signs.get(operator, operator)
        return MAYBE if operator not in tests else YES if tests[operator] else NO
    if field == "user" and operator in ("ingroup", "notingroup"):
        inside = bool(set(value.split(":")) & {*login.groups})
        return YES if inside == (operator == "ingroup") else NO
    if field == "user" and operator in ("=", "!=", "in", "notin"):
        inside = login.name in value.split(":")
        return YES if inside == (operator in ("=", "in")) else NO
    return MAYBE
