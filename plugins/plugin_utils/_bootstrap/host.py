# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first contact with one host: log in, install the key, provide Python, add the sudo rule."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap import controller_key, failures, host_key
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.controller_key import PublicKey
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.host_key import Shown
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.shell import Answer, Root, Shell
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import failures as words
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import known_hosts as known
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import login, ssh_config
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.check import patiently
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.login import Clock
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import Target

# The packages that bring Python, the first one first; the others where that one is too old for Ansible.
PACKAGES = {
    "apt-get": ("python3",),
    "dnf": ("python3", "python3.12", "python3.11", "python39"),
    "yum": ("python3", "python39"),
    "zypper": ("python3", "python313", "python312", "python311"),
    "apk": ("python3",),
}
_VERSION = re.compile(r"@(\d+)\.(\d+)\.(\d+)@(.*)@")
_FROM_PACKAGE = re.compile(r"(?:/usr/bin/env )?(?:/usr/bin/|/bin/)?python3(?:\.\d+)?\Z")
_PLAIN_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the user wants of all hosts, and the time limits in seconds of a login and of an installation."""

    check: bool = False
    accept_new: bool = False
    make_key: bool = False
    nopasswd: bool = False
    limit: float = 20.0
    install_limit: float = 900.0


class Host:
    """One host under way. ``done`` is what the table shows, by column; ``stop`` is why it can't go on."""

    def __init__(self, target: Target, fingerprints: t.Sequence[str], wish: Wish) -> None:
        self.target, self.fingerprints, self.wish = target, fingerprints, wish
        self.client: Client | None = None
        self.shown: Shown | None = None
        self.confirmed: tuple[known.Entry, ...] = ()
        self.key: PublicKey | None = None
        self.done: dict[str, str] = {}
        self.changed = False
        self.loose_home = ""
        self.stop: words.Stop | None = None
        if target.untested:
            self.stop = words.untested(target.untested)

    def guarded(self, step: t.Callable[[], None]) -> None:
        """Take a step; what goes wrong there is the host's own failure and does not stop the others."""
        try:
            step()
        except words.Stop as stop:
            self.stop = stop
        except TimeoutError:
            self.stop = words.stuck(self.client, "command", self.wish.limit)
        except Exception as error:  # a fault of a library must not take the other hosts along
            self.stop = words.untested(f"{type(error).__name__}: {error}")

    def read(self) -> None:
        """How ssh would come there; an unknown key is never simply taken, whatever ssh is told."""
        client = ssh_config.read(self.target, self.wish.limit)
        self.client = dataclasses.replace(client, strict=True, checked=True)

    def meet(self) -> None:
        """See the key of the host; ``shown`` is one that nobody vouches for yet, or that the inventory does."""
        client = self._client
        if "tcp" in client.beyond:
            raise words.untested(f"{client.beyond['tcp']} of the ssh configuration is not supported")
        shown = host_key.look(client, self.wish.limit)
        if host_key.is_known(client, shown):
            self.done["host_key"] = "known"
            return
        if not client.keeps_in:
            raise host_key.not_kept(client, shown)
        if self.fingerprints:
            shown = host_key.expected(client, shown, self.fingerprints, self.wish.limit)
        self.shown = shown

    def confirm(self) -> None:
        """Somebody vouches for the key that was shown: the login has to meet this one and no other."""
        if self.shown:
            self.confirmed = (self.shown.entry(),)
            self._change("host_key", "recorded", "to record")

    def work(self) -> None:
        """Log in, and see to everything that Ansible needs."""
        self.key = controller_key.read(self._client)

        def attempt(client: Client, patience: int = 1) -> words.Stop | None:
            try:
                self._log_in(client, patience * self.wish.limit)
            except words.Stop as stop:
                return stop
            return None

        clock = Clock(self.wish.limit)
        stop = patiently(lambda: attempt(self._client), clock)
        if stop and stop.step == "untested":  # a busy host: once more, with more time
            stop = attempt(self._client, 2)
        if stop and "MaxAuthTries" in stop.cause and self.target.password and login.PASSWORD not in stop.evidence:
            stop = attempt(dataclasses.replace(self._client, public_keys=False))  # the keys used up all attempts
        if stop:
            raise failures.with_password(self._client, stop, bool(self.target.password))

    @property
    def _client(self) -> Client:
        if self.client is None:
            raise words.untested("ssh -G gave no answer")
        return self.client

    def _log_in(self, client: Client, limit: float) -> None:
        clock = Clock(limit)
        with login.connection(client, clock) as (near, said):
            transport = login.handshake(near, client, clock, said, self.confirmed)
            try:
                let_in_by = login.log_in(transport, client, self.target.password, clock)
                self._set_up(Shell(transport, (self.target.password, self.target.become_password)), let_in_by)
            finally:
                transport.close()

    def _set_up(self, shell: Shell, let_in_by: str) -> None:
        """The steps on the host; the key comes first, because it needs no root."""
        survey = self._survey(shell)
        is_root = survey.values("uid") == ["0"]
        root, no_root = (Root(()), None) if is_root else self._root(shell)
        self._key(shell, survey, let_in_by, root)
        self._python(shell, survey, root, no_root)
        self._sudo(shell, root, no_root, is_root)
        wanted = self.target.become if self.target.become is not None else not is_root
        if no_root and wanted and self.target.become_command:
            raise no_root

    def _survey(self, shell: Shell) -> Answer:
        survey = shell.script("survey.sh", " ".join(PACKAGES), *self.target.pythons, limit=self.wish.limit)
        if not survey.says("end"):
            raise failures.no_shell(self._client, survey.last())
        return survey

    def _root(self, shell: Shell) -> tuple[Root | None, words.Stop | None]:
        """How to become root, or why that is not possible."""
        target = self.target
        if not target.become_command:
            return None, failures.no_way_to_root(target.become_untested)
        given = f"{target.become_password}\n" if target.become_password else ""
        answer = shell.command(("env", "LC_ALL=C", *target.become_command, "true"), given, self.wish.limit)
        if answer.rc == 0:
            return Root(target.become_command, target.become_password), None
        say = words.sudo_password if target.become_password else words.sudo
        return None, say(self._client, answer.last(), target.become_command[0])

    def _key(self, shell: Shell, survey: Answer, let_in_by: str, root: Root | None) -> None:
        """The controller's key into the file where sshd looks for it, unless it has just let us in."""
        key = self.key
        if key is None:
            if let_in_by and let_in_by != login.PASSWORD:  # one of the agent
                self.done["key"] = "present"
            elif self.wish.make_key and self.wish.check:
                self._change("key", "installed", "to make")
            else:
                raise controller_key.missing(self._client)
            return
        if let_in_by.startswith(key.path) or let_in_by == f"{key.fingerprint} of the agent":
            self.done["key"] = "present"
            return
        home = survey.values("home")[0]
        file = self._keys_file(shell, home, root)
        own = file.startswith(f"{home}/")
        if not own and root is None:
            raise failures.foreign_keys_file(self._client, file)
        what, mode = "look" if self.wish.check else "add", "600" if own else "644"
        answer = shell.script(
            "authorized_key.sh",
            *(what, file, key.blob, key.line, mode),
            limit=self.wish.limit,
            root=None if own else root,
        )
        if not answer.says("end"):
            raise failures.key_not_written(self._client, answer.last(), file)
        self.loose_home = next(iter(answer.values("loose_home")), "")
        if answer.says("present") and not answer.values("loose"):
            self.done["key"] = "present"
        else:
            self._change("key", "installed", "to install")

    def _keys_file(self, shell: Shell, home: str, root: Root | None) -> str:
        """Where sshd reads the keys of the user; only root may ask it."""
        client = self._client
        told = shell.script("sshd.sh", client.user, limit=self.wish.limit, root=root) if root else Answer(0, "")
        file = next((one.split()[0] for one in told.values("keys_file") if one.split()), ".ssh/authorized_keys")
        if file == "none" or told.values("keys_taken") == ["no"]:
            raise failures.no_keys_taken(
                client, "AuthorizedKeysFile none" if file == "none" else "PubkeyAuthentication no"
            )
        file = ssh_config.expand(file, {"h": home, "u": client.user})
        return file if file.startswith("/") else f"{home}/{file}"

    def _python(self, shell: Shell, survey: Answer, root: Root | None, no_root: words.Stop | None) -> None:
        """A Python that Ansible can use, from the distribution's packages where there is none."""
        version = good_version(survey)
        if version:
            self.done["python"] = version
            return
        found = " ".join(survey.values("python"))
        manager = next(iter(survey.values("manager")), "")
        if not manager or not any(_FROM_PACKAGE.match(python) for python in self.target.pythons):
            raise words.python(self._client, found or f"no {', '.join(self.target.pythons)}", (), manager)
        if root is None:
            raise no_root or failures.no_way_to_root("")
        if self.wish.check:
            self._change("python", "", "to install")
            return
        answer = Answer(0, "")
        for package in PACKAGES[manager][1 if found else 0 :] or PACKAGES[manager]:
            answer = shell.script("package.sh", manager, package, limit=self.wish.install_limit, root=root)
            version = good_version(self._survey(shell))
            if version:
                self._change("python", f"{version} installed", "")
                return
        raise failures.no_package(self._client, manager, answer.last())

    def _sudo(self, shell: Shell, root: Root | None, no_root: words.Stop | None, is_root: bool) -> None:
        """Whether sudo asks for a password, and our rule where it should not."""
        if is_root or not self.target.become_command:
            self.done["sudo"] = "root" if is_root else "-"
            return
        if self._asks_nothing(shell):
            self.done["sudo"] = "no password"
            return
        self.done["sudo"] = "password" if root else "none"
        if not self.wish.nopasswd:
            return
        if root is None:
            raise no_root or failures.no_way_to_root("")
        if not self.wish.check:
            user = self._client.user
            if not _PLAIN_USER.match(user):
                raise failures.odd_user(self._client)
            answer = shell.script("sudo_rule.sh", f"trainmesh_{user}", user, limit=self.wish.limit, root=root)
            if not answer.says("added"):
                raise failures.no_rule(self._client, answer.last())
            if not self._asks_nothing(shell):
                raise failures.rule_without_effect(self._client, f"/etc/sudoers.d/trainmesh_{user}")
        self._change("sudo", "rule added", "to add")

    def _asks_nothing(self, shell: Shell) -> bool:
        command = without_password(self.target.become_command)
        return shell.command((*command, "true"), "", self.wish.limit).rc == 0

    def _change(self, column: str, done: str, planned: str) -> None:
        self.done[column] = planned if self.wish.check else done
        self.changed = True


def good_version(survey: Answer) -> str:
    """The version of the Python that Ansible would use, empty where there is none or it is too old."""
    match = _VERSION.search(" ".join(survey.values("python")))
    if not match or tuple(map(int, match.groups()[:2])) < words.MIN_PYTHON:
        return ""
    return ".".join(match.groups()[:3])


def without_password(command: t.Sequence[str]) -> tuple[str, ...]:
    """The become command as if no password were there to give."""
    if "-S" not in command:
        return tuple(command)
    begin = command.index("-S")
    return (*command[:begin], "-n", *command[begin + 3 :])
