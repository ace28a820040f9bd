# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(trainmesh.cluster.sync_push)."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "src": {"type": "str", "required": True},
    "dest": {"type": "str", "required": True},
    "delete": {"type": "bool", "default": False},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "gitignore": {"type": "bool", "default": False},
    "bwlimit": {"type": "str", "default": ""},
    "prefix": {"type": "path", "default": "/opt/trainmesh"},
    "user": {"type": "str"},
}
LIBRARY = pathlib.Path(__file__).parents[2] / "roles/launch_config/files/lib/trainmesh"
PARTIAL = ".trainmesh-partial"
# A line with the password for sudo, then what rsync says; the shell becomes ssh, so that rsync waits for ssh alone. The
# password is in the environment of rsync and of this shell, which are the user's own, and in no arguments.
WITH_PASSWORD = """word=$TRAINMESH_BECOME_PASSWORD
unset TRAINMESH_BECOME_PASSWORD
exec "$@" < <(printf '%s\\n' "$word"; unset word; exec cat)
"""
MARK = "="  # begins the lines that tell of a change
SHOWN = 200


class ActionModule(ActionBase):
    """Runs rsync on the controller, over the connection that Ansible has to the node."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Copy, or show what would be copied."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _report, args = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            source = self._source(args["src"])
            if not os.path.isdir(source) and os.path.basename(source) != os.path.basename(args["dest"]):
                raise AnsibleError(f"dest, {args['dest']}, has to end with the name of the file, as src: {source}")
            lines = self._copy(source, args)
        except AnsibleError as error:
            return {**result, "failed": True, "msg": str(error)}
        shown = "".join(f"{line}\n" for line in lines[:SHOWN])
        diff = {"prepared": shown} if shown else {}
        return {**result, "changed": bool(lines), "count": len(lines), "diff": diff}

    def _source(self, path: str) -> str:
        """The file or directory, beside the playbook or where a shell would find it."""
        named = os.path.expanduser(path)
        beside = os.path.join(self._loader.get_basedir(), named)
        found = next((each for each in (beside, os.path.abspath(named)) if os.path.exists(each)), None)
        if found is None:
            raise AnsibleError(f"src: there is no {path} on the controller, neither as {beside} nor as "
                               f"{os.path.abspath(named)}")  # fmt: skip
        return os.path.normpath(found)

    def _copy(self, source: str, args: t.Mapping[str, t.Any]) -> list[str]:
        """What was copied, or would be."""
        program, whole = shutil.which("rsync"), os.path.isdir(source)
        if program is None:
            raise AnsibleError("rsync is missing on the controller: install its package")
        if args["delete"] and whole and not os.listdir(source):
            raise AnsibleError(f"src, {source}, is empty: delete would empty {args['dest']} too")
        receiver, password = self._receiver(args, whole)
        with contextlib.ExitStack() as files:
            rules = files.enter_context(_file("".join(f"{rule}\n" for rule in filters(source, args)) if whole else ""))
            wrapper = ["bash", files.enter_context(_file(WITH_PASSWORD))] if password else []
            words = [program, "-rlptSOJ", "--no-D", f"--partial-dir={PARTIAL}", f"--out-format={MARK}%i %n"]
            words += [f"--filter=. {rules}"] if whole else []
            words += ["--delete", "--force"] if args["delete"] and whole else []
            words += [f"--bwlimit={args['bwlimit']}"] if args["bwlimit"] else []
            words += ["--dry-run"] if self._task.check_mode else []
            words += [f"--rsh={shlex.join([*wrapper, *self._ssh()])}", f"--rsync-path={receiver}"]
            host = self._connection.host
            to = f"[{host}]:./" if ":" in host else f"{host}:./"
            done = run([*words, f"{source}/" if whole else source, to], password)
        if done.returncode not in (0, 24):
            raise AnsibleError(f"rsync to {host}: {reason(done.stderr)}")
        return [line[1:] for line in done.stdout.splitlines() if line.startswith(MARK)]

    def _ssh(self) -> list[str]:
        """ssh as Ansible calls it; the connection is open already, so that no password is asked for again."""
        if self._connection.transport != "ssh":
            raise AnsibleError(f"files are pushed over ssh, and this connection is {self._connection.transport}: put "
                               "them on the head, and leave src out")  # fmt: skip
        words = [os.fsdecode(word) for word in self._connection._build_command("ssh", "ssh", "-T")]
        return words[next(at for at, word in enumerate(words) if os.path.basename(word) == "ssh") :]

    def _receiver(self, args: t.Mapping[str, t.Any], whole: bool) -> tuple[str, str]:
        """The program that rsync talks to, and the password that it reads first.

        It becomes the job user, looks whether the destination is one, and becomes rsync.
        """
        login = self._low_level_execute_command("id -un", sudoable=False)["stdout"].split()
        become, password = self._become(login[-1] if login else "", args["user"])
        place = args["dest"] if whole else os.path.dirname(args["dest"])
        flags = ["1" if flag else "0" for flag in (args["delete"] and whole, self._task.check_mode)]
        words = [f"{args['prefix']}/bin/trainmesh", "sync-part", "receive", encoded(os.path.normpath(place)), *flags]
        return shlex.join([*become, *words]), password

    def _become(self, login: str, user: str | None) -> tuple[list[str], str]:
        """How to become the job user, and the password for it: rsync's own way has no place for Ansible's become."""
        if not login or user in (None, login):
            return [], ""
        if login == "root":
            return ["runuser", "-u", str(user), "--"], ""
        # -k: what sudo still remembers now it may have forgotten when rsync starts
        asked = self._low_level_execute_command(f"sudo -k -n -u {shlex.quote(str(user))} true", sudoable=False)
        plugin = self._connection.become
        password = plugin.get_option("become_pass", playcontext=self._play_context) if plugin else None
        if not asked["rc"]:
            return ["sudo", "-n", "-u", str(user)], ""
        if not password:
            raise AnsibleError(f"{login} has to become {user}, and sudo asks for a password: give it with -K or as "
                               "ansible_become_password")  # fmt: skip
        return ["sudo", "-k", "-S", "-p", "", "-u", str(user)], str(password)


@contextlib.contextmanager
def _file(text: str) -> t.Iterator[str]:
    """The path of a file with this text, for as long as it is needed."""
    with tempfile.NamedTemporaryFile("w", prefix="trainmesh-", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        yield file.name


def run(words: t.Sequence[str], password: str = "") -> subprocess.CompletedProcess[str]:
    """Run rsync with messages in English, and with nothing of the user's own settings for it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RSYNC_", "LC_", "LANG"))}
    kept |= {"LC_ALL": "C"} | ({"TRAINMESH_BECOME_PASSWORD": password} if password else {})
    return subprocess.run(list(words), env=kept, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", check=False)  # fmt: skip


def filters(source: str, args: t.Mapping[str, t.Any]) -> list[str]:
    """The rules of rsync for what is left out; the same as those of trainmesh sync."""
    gitignore = library("gitignore")
    rules = [f"- {PARTIAL}/", *(f"- {pattern}" for pattern in args["exclude"])]
    rules += gitignore.of_file(f"{source}/.trainmeshignore")
    return rules + (gitignore.rules(source) if args["gitignore"] else [])


def encoded(word: str) -> str:
    """As the command on the nodes reads it."""
    return str(library("words").encode(word))


def library(name: str) -> t.Any:
    """A file of the command that the nodes have; it needs no other one."""
    spec = importlib.util.spec_from_file_location(f"trainmesh_sync_{name}", LIBRARY / f"{name}.py")
    if spec is None or spec.loader is None:
        raise AnsibleError(f"{LIBRARY}/{name}.py is missing: install the collection again")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reason(text: str) -> str:
    """The line that says why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("rsync error:", "rsync: connection unexpectedly"))]
    if any(re.search(r"(?i)(sorry|sudo).*(try again|incorrect password)", line) for line in lines):
        return "sudo did not take the password (ansible_become_password, or that of -K)"
    return (telling or lines or ["no reason given"])[0]
