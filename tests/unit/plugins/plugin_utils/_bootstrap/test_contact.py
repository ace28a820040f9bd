# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole first contact, against an ssh server of our own on loopback that runs commands in a home of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import socket
import subprocess
import threading
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap import contact, host_key, table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._bootstrap.host import Host, Wish
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import PROMPT, Target

paramiko = pytest.importorskip("paramiko")

PASSWORD, SUDO_PASSWORD = "open-4711", "become-4711"
SUDO = ("sudo", "-k", "-S", "-p", PROMPT, "-u", "root")
# Asks for a password like the real one, and says what it was given only by its exit status.
FAKE_SUDO = f"""#!/bin/sh
case " $* " in *" -n "*) echo 'sudo: a password is required' >&2; exit 1;; esac
printf '%s' '{PROMPT}' >&2
IFS= read -r given
[ "$given" = {SUDO_PASSWORD} ] || {{ echo 'sudo: 1 incorrect password attempt' >&2; exit 1; }}
shift 6
exec "$@"
"""


class Server(paramiko.ServerInterface):
    """One login: by a key of the home, by the password, or by prompts."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.round = 0

    def get_allowed_auths(self, username):
        return f"publickey,{self.node.method}"

    def check_auth_publickey(self, username, key):
        file = self.node.home / ".ssh/authorized_keys"
        return (
            paramiko.AUTH_SUCCESSFUL if file.exists() and key.get_base64() in file.read_text() else paramiko.AUTH_FAILED
        )

    def check_auth_password(self, username, password):
        self.node.given.append(password)
        return paramiko.AUTH_SUCCESSFUL if password == PASSWORD else paramiko.AUTH_FAILED

    def check_auth_interactive(self, username, submethods):
        return paramiko.InteractiveQuery("", "", *self.node.prompts[0])

    def check_auth_interactive_response(self, responses):
        self.node.given += responses
        if responses != [PASSWORD]:
            return paramiko.AUTH_FAILED
        self.round += 1
        if self.round < len(self.node.prompts):
            return paramiko.InteractiveQuery("", "", *self.node.prompts[self.round])
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        self.node.commands.append(command.decode())
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel, command):
        first = channel.recv(4096)  # input or its end: so the client knows that the command runs
        env = {"HOME": str(self.node.home), "PATH": f"{self.node.home}/tools:/usr/bin:/bin"}
        with subprocess.Popen(
            ["/bin/sh", "-c", command], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            feeder = threading.Thread(target=self._feed, args=(channel, process, first), daemon=True)
            feeder.start()
            for data in iter(lambda: process.stdout.read1(4096), b""):
                channel.sendall(data)
        channel.send_exit_status(process.returncode)
        channel.close()

    @staticmethod
    def _feed(channel, process, data):
        with contextlib.suppress(OSError, ValueError):
            while data:
                process.stdin.write(data)
                process.stdin.flush()
                data = channel.recv(4096)
            process.stdin.close()


@dataclasses.dataclass
class Node:
    """A host with an sshd, and what it was given and asked to run."""

    home: pathlib.Path
    host_keys: list[t.Any]
    method: str = "password"
    prompts: list[t.Any] = dataclasses.field(default_factory=list)
    given: list[str] = dataclasses.field(default_factory=list)
    commands: list[str] = dataclasses.field(default_factory=list)
    port: int = 0

    def serve(self, near: socket.socket) -> None:
        """One connection; each takes the next host key, the last one stays."""
        transport = paramiko.Transport(near)
        transport.set_log_channel("trainmesh.reach")
        transport.add_server_key(self.host_keys.pop(0) if len(self.host_keys) > 1 else self.host_keys[0])
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            transport.start_server(server=Server(self))


@pytest.fixture
def keys(tmp_path):
    """Two host keys and the path of the controller's."""
    for name in ("host", "other", "mine"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(tmp_path / name)]
        subprocess.run(command, check=True, timeout=30)
    return {name: tmp_path / name for name in ("host", "other", "mine")}


@pytest.fixture
def node(tmp_path, keys):
    """Makes a node that listens on loopback."""
    listeners = []

    def make(*host_keys: str, **more) -> Node:
        home = tmp_path / f"home{len(listeners)}"
        (home / "tools").mkdir(parents=True)
        home.chmod(0o755)
        for name, text in {"sudo": FAKE_SUDO, "sshd": "#!/bin/sh\n", "id": "#!/bin/sh\necho 1000\n"}.items():
            (home / "tools" / name).write_text(text)
            (home / "tools" / name).chmod(0o755)
        made = Node(home, [paramiko.PKey.from_path(keys[name]) for name in host_keys or ("host",)], **more)
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        made.port = listener.getsockname()[1]

        def loop() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=made.serve, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=loop, daemon=True).start()
        return made

    yield make
    for listener in listeners:
        listener.close()


@pytest.fixture
def meet(tmp_path, keys):
    """Runs a first contact with nodes, and gives their rows; ``answer`` is that of the person who is asked."""

    def run(
        *nodes: Node, answer: str = "", password: str | None = PASSWORD, fingerprints=(), **wish
    ) -> list[table.Row]:
        wanted = Wish(limit=20, **{"accept_new": True, **wish})
        hosts = {}
        for number, one in enumerate(nodes):
            options = {
                "UserKnownHostsFile": tmp_path / "known_hosts",
                "GlobalKnownHostsFile": "/dev/null",
                "StrictHostKeyChecking": "no",  # whatever ssh is told, no unknown key is simply taken
                "IdentityFile": keys["mine"],
                "IdentityAgent": "none",
                "User": "alice",
                "Port": one.port,
            }
            args = ("-F", "/dev/null", *(part for name, value in options.items() for part in ("-o", f"{name}={value}")))
            target = Target(
                f"n{number}",
                "127.0.0.1",
                args=args,
                password=password,
                become_command=SUDO,
                become_password=SUDO_PASSWORD,
            )
            hosts[f"n{number}"] = Host(target, fingerprints, wanted)
        contact.meet_all(hosts, wanted, 8, lambda _hosts: answer)
        rows = [table.row(host) for host in hosts.values()]
        assert not any(secret in repr(rows) for secret in (PASSWORD, SUDO_PASSWORD))
        return rows

    return run


def states(row: table.Row) -> tuple[t.Any, ...]:
    return row["ok"], row["changed"], row["host_key"], row["key"], row["sudo"]


def test_a_host_with_a_password_is_opened_for_the_key_and_a_second_time_nothing_is_left_to_do(node, meet, tmp_path):
    one = node()
    (first,) = meet(one)
    assert states(first) == (True, True, "recorded", "installed", "password"), first["line"]
    assert one.given == [PASSWORD]
    before = (tmp_path / "known_hosts").read_text()
    (second,) = meet(one, password=None, accept_new=False, answer="nobody may be asked")
    assert states(second) == (True, False, "known", "present", "password"), second["line"]
    assert one.given == [PASSWORD] and (tmp_path / "known_hosts").read_text() == before
    assert not any(secret in " ".join(one.commands) for secret in (PASSWORD, SUDO_PASSWORD))


def test_in_check_mode_nothing_is_written_anywhere(node, meet, tmp_path):
    one = node()
    (row,) = meet(one, check=True)
    assert states(row) == (True, True, "to record", "to install", "password"), row["line"]
    assert not (tmp_path / "known_hosts").exists() and not (one.home / ".ssh").exists()


def test_nobody_logs_in_to_a_host_that_nobody_vouches_for(node, meet, tmp_path):
    one = node()
    (row,) = meet(one, accept_new=False, answer="nobody is there")
    assert (row["ok"], row["step"], row["cause"]) == (False, "hostkey_unknown", "nobody is there")
    (row,) = meet(one, fingerprints=["SHA256:another"])
    assert (row["ok"], row["step"]) == (False, "hostkey_unexpected"), "also where new ones are accepted"
    (row,) = meet(one, accept_new=False, answer="in check mode", check=True)
    assert (row["ok"], row["step"]) == (None, "later")
    assert not one.given and not one.commands and not (tmp_path / "known_hosts").exists()


def test_the_fingerprint_of_the_inventory_stands_for_a_person(node, meet, keys):
    one = node()
    shown = host_key.Shown("ssh-ed25519", one.host_keys[0].asbytes())
    (row,) = meet(one, fingerprints=[shown.fingerprint], accept_new=False, answer="nobody is there")
    assert row["ok"] is True, row["line"]


def test_another_host_after_the_confirmation_gets_no_password(node, meet):
    one = node("host", "other")
    (row,) = meet(one)
    assert (row["ok"], row["step"]) == (False, "hostkey_changed") and not one.given


def test_a_wrong_password_is_tried_once_and_stops_no_other_host(node, meet):
    good, bad = node(), node()
    assert [row["ok"] for row in meet(good)] == [True]
    one, two = meet(good, bad, password="guess-4711")
    assert (one["ok"], two["ok"], two["step"]) == (True, False, "auth")
    assert "rejects the password" in two["cause"] and bad.given == ["guess-4711"] and "guess" not in repr(two)


def test_without_a_password_it_says_that_one_is_missing(node, meet):
    (row,) = meet(node(), password=None)
    assert row["step"] == "auth" and "no password is set" in row["cause"] and "(-k)" in row["remedy"]


def test_a_single_hidden_prompt_gets_the_password(node, meet):
    one = node(method="keyboard-interactive", prompts=[[("Password: ", False)]])
    (row,) = meet(one)
    assert row["ok"] is True, row["line"]


@pytest.mark.parametrize(
    ("prompts", "cause"),
    [
        ([[("Password: ", False)], [("Code: ", False)]], "more than a password"),
        ([[("Password: ", False)], [("New password: ", False)]], "must be changed"),
        ([[("Password: ", False), ("Code: ", False)]], "more than a password"),
        ([[("Say something: ", True)]], "more than a password"),
    ],
)
def test_any_other_prompt_gets_nothing(node, meet, prompts, cause):
    one = node(method="keyboard-interactive", prompts=prompts)
    (row,) = meet(one)
    assert (row["ok"], row["step"]) == (False, "auth") and cause in row["cause"]
    assert one.given in ([], [PASSWORD])


def test_a_wrong_sudo_password_is_told_after_the_key_is_there(node, meet, monkeypatch):
    one = node()
    (one.home / "tools/sudo").write_text(FAKE_SUDO.replace(SUDO_PASSWORD, "another"))
    (row,) = meet(one)
    assert (row["ok"], row["step"], row["key"], row["sudo"]) == (False, "sudo", "installed", "none")
    assert "rejects the password" in row["cause"]


def test_a_login_that_runs_no_command_is_told(node, meet, monkeypatch):
    def refuse(_server, channel, _command):
        while channel.recv(4096):
            pass
        channel.sendall(b"WARNING: Your password has expired.\nPassword change required but no TTY available.\n")
        channel.send_exit_status(1)
        channel.close()

    monkeypatch.setattr(Server, "_run", refuse)
    (row,) = meet(node())
    assert (row["ok"], row["step"]) == (False, "auth") and "must be changed at the next login" in row["cause"]


def test_a_home_that_can_not_be_written_is_named(node, meet):
    one = node()
    (one.home / ".ssh").write_text("a file where the directory should be")
    (row,) = meet(one)
    assert (row["ok"], row["step"]) == (False, "key") and f"{one.home}/.ssh" in row["evidence"]


def test_a_missing_key_of_the_controller_is_made_on_request_only(node, meet, keys):
    keys["mine"].unlink()
    os.unlink(f"{keys['mine']}.pub")
    one = node()
    (row,) = meet(one)
    assert (row["ok"], row["step"]) == (False, "key") and "trainmesh_make_key" in row["remedy"]
    (row,) = meet(one, check=True, make_key=True)
    assert row["key"] == "to make" and not keys["mine"].exists()
    (row,) = meet(one, make_key=True)
    assert (row["ok"], row["key"]) == (True, "installed"), row["line"]


def test_hosts_that_ssh_does_not_reach_are_left_alone():
    host = Host(Target("n1", "n1", untested="its ansible_connection is local, not ssh", by_ssh=False), [], Wish())
    contact.meet_all({"n1": host}, Wish(), 1, lambda _hosts: "")
    assert table.row(host)["ok"] is None and table.row(host)["line"] == "its ansible_connection is local, not ssh"
