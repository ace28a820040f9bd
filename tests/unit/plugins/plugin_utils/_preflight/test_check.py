# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to a host: every step that can fail, against small ssh servers of our own on loopback."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import hmac
import os
import pathlib
import shlex
import socket
import subprocess
import threading
import types
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import check as preflight_check
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import failures, ssh_config
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import known_hosts as known
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.target import Target

paramiko = pytest.importorskip("paramiko")

LIMIT_S = 6.0
GOOD = "TRAINMESH python @3.11.2@/usr/bin/python3@\nTRAINMESH manager dnf\nTRAINMESH become 0 \n"


@pytest.fixture(scope="session")
def ssh_keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """A host key, the user's key, another one, and one with a passphrase."""
    folder = tmp_path_factory.mktemp("keys")
    for name, phrase in (("host", ""), ("user", ""), ("other", ""), ("locked", "not-for-the-report")):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", phrase, "-C", name, "-f", str(folder / name)]
        subprocess.run(command, check=True, timeout=30)
    return {name: folder / name for name in ("host", "user", "other", "locked")}


class Server(paramiko.ServerInterface):
    """Lets one key or password in, and answers any command with the same words."""

    def __init__(self, blob: bytes, password: str, answer: str | None) -> None:
        self.blob, self.password, self.answer = blob, password, answer
        self.commands: list[str] = []
        self.methods: list[str] = []

    def get_allowed_auths(self, username):
        return "publickey,password" if self.password else "publickey"

    def check_auth_publickey(self, username, key):
        self.methods.append("publickey")
        return paramiko.AUTH_SUCCESSFUL if key.asbytes() == self.blob else paramiko.AUTH_FAILED

    def check_auth_password(self, username, password):
        self.methods.append("password")
        return paramiko.AUTH_SUCCESSFUL if password == self.password else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        self.commands.append(command.decode())
        if self.answer is not None:
            # Only after the client was told that the command runs.
            threading.Timer(0.1, self._reply, args=(channel,)).start()
        return True

    def _reply(self, channel):
        if " -S " in self.commands[-1]:
            self.typed = channel.makefile("rb").read().decode()
            wrong = "become 1 [sudo via ansible, key=trainmesh] password: sudo: 1 incorrect password attempt"
            self.answer = self.answer if self.typed == "s3cret-Ω\n" else GOOD.replace("become 0 ", wrong + self.typed)
        channel.sendall(f"Welcome!\n{self.answer}".encode())
        channel.send_exit_status(0)
        channel.close()


@contextlib.contextmanager
def listening(serve: t.Callable[[socket.socket], None]) -> t.Iterator[int]:
    """A port on loopback where each connection is given to ``serve``."""
    listener = socket.create_server(("127.0.0.1", 0))

    def loop() -> None:
        while True:
            try:
                near, _address = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(near,), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


@contextlib.contextmanager
def sshd(ssh_keys, answer=GOOD, password="", also=()) -> t.Iterator[tuple[int, Server]]:
    """A small ssh server that knows the user's key; ``also`` are further host keys of it."""
    host_keys = [paramiko.PKey.from_path(ssh_keys["host"]), *also]
    server = Server(paramiko.PKey.from_path(ssh_keys["user"]).asbytes(), password, answer)

    def serve(near: socket.socket) -> None:
        transport = paramiko.Transport(near)
        transport.set_log_channel("trainmesh.reach")
        server.transport = transport
        for host_key in host_keys:
            transport.add_server_key(host_key)
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            transport.start_server(server=server)

    with listening(serve) as port:
        yield port, server


@pytest.fixture
def host(tmp_path, ssh_keys):
    """Makes a Target on loopback that knows the server's host key, or another one, or none."""

    def make(port, key="user", host_key="host", extra=(), **rest) -> Target:
        lines = tmp_path / f"known_hosts-{host_key}"
        public = ssh_keys[host_key].with_suffix(".pub").read_text() if host_key else ""
        lines.write_text(f"[127.0.0.1]:{port} {public}\n" if public else "")
        options = {
            "UserKnownHostsFile": lines,
            "GlobalKnownHostsFile": "/dev/null",
            "IdentityFile": ssh_keys.get(key, key),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "User": "alice",
            "Port": port,
        }
        words = [*extra, *(f"{name}={value}" for name, value in options.items())]
        args = ("-F", "/dev/null", *(part for word in words for part in ("-o", word)))
        return Target("n1", "127.0.0.1", args=args, **rest)

    return make


def row(target: Target, limit: float = LIMIT_S) -> preflight_check.Row:
    return preflight_check.check([target], limit, 4)["n1"]


def test_a_good_host_is_good_and_says_who_it_would_be(ssh_keys, host):
    with sshd(ssh_keys) as (port, server):
        seen = row(host(port))
    assert (seen["ok"], seen["step"], seen["user"], seen["port"]) == (True, "", "alice", port)
    assert "sudo -n true" in server.commands[0], "alice is not root: sudo is tried"


@pytest.mark.parametrize("become", [False, None])
def test_sudo_is_asked_only_where_root_is_wanted(ssh_keys, host, become):
    with sshd(ssh_keys) as (port, server):
        assert row(host(port, become=become))["ok"] is True
    assert ("sudo" in server.commands[0]) is (become is None)


def test_a_sudo_that_wants_a_password_is_untested_and_the_host_good(ssh_keys, host):
    with sshd(ssh_keys) as (port, server):
        seen = row(host(port, become_untested="sudo with a password is not tried"))
    assert (seen["ok"], seen["step"]) == (True, "untested")
    assert "sudo" not in server.commands[0]


@pytest.mark.parametrize(
    ("answer", "step", "evidence", "remedy"),
    [
        ("TRAINMESH python sh: python3: not found\nTRAINMESH manager dnf", "python", "not found", "dnf install"),
        ("TRAINMESH python @3.6.8@/usr/bin/python3@\nTRAINMESH manager apt-get", "python", "3.6.8", "apt-get install"),
        ("This account is currently not available.", "python", "not available", "usermod"),
        ("", "python", "Welcome!", "usermod"),
        (GOOD.replace("become 0 ", "become 1 sudo: a password is required"), "sudo", "password is", "/etc/sudoers.d"),
        (GOOD.replace("become 0 ", "become 1 sudo: sorry, you must have a tty"), "sudo", "a tty", "!requiretty"),
        (f"{GOOD}TRAINMESH tmp mktemp: No space left on device", "tmp", "No space", "df -i /tmp"),
        (f"{GOOD}TRAINMESH tmp mktemp: Read-only file system", "tmp", "Read-only", "fsck"),
        (f"{GOOD}TRAINMESH tmp mktemp: Permission denied", "tmp", "Permission", "chmod 1777 /tmp"),
    ],
)
def test_python_and_sudo_on_the_host(ssh_keys, host, answer, step, evidence, remedy):
    with sshd(ssh_keys, answer) as (port, _server):
        seen = row(host(port))
    assert (seen["ok"], seen["step"]) == (False, step)
    assert evidence in seen["evidence"] and remedy in seen["remedy"]


SUDO = ("sudo", "-k", "-S", "-p", "[sudo via ansible, key=trainmesh] password:", "-u", "root")


def test_the_sudo_password_goes_by_the_standard_input_and_nowhere_else(ssh_keys, host):
    with sshd(ssh_keys) as (port, server):
        target = host(port, become_command=SUDO, become_password="s3cret-Ω")
        seen = row(target)
    assert (seen["ok"], seen["step"]) == (True, "")
    assert "s3cret" not in server.commands[0] + repr(target) + repr(seen)


def test_a_sudo_that_needs_no_password_may_end_before_it_comes(ssh_keys, host, monkeypatch):
    def send(self, data):
        if data == b"s3cret\n":
            raise OSError("Socket is closed")
        return sendall(self, data)

    sendall = paramiko.Channel.sendall
    monkeypatch.setattr(paramiko.Channel, "sendall", send)
    monkeypatch.setattr(Server, "_reply", lambda self, channel: answered(channel))
    with sshd(ssh_keys) as (port, _server):
        seen = row(host(port, become_command=SUDO, become_password="s3cret"))
    assert (seen["ok"], seen["step"]) == (True, ""), seen


def answered(channel: t.Any) -> None:
    channel.sendall(GOOD.encode())
    channel.close()


def test_a_wrong_sudo_password_is_told_without_it(ssh_keys, host):
    with sshd(ssh_keys) as (port, server):
        seen = row(host(port, become_command=SUDO, become_password="of-another-host"))
    assert (seen["ok"], seen["step"], len(server.commands)) == (False, "sudo", 1)
    assert "1 incorrect password attempt" in seen["evidence"] and "rejects the password" in seen["cause"]
    assert "of-another-host" not in repr(seen)


@pytest.mark.parametrize(
    "said", ["sudo: sorry, you must have a tty to run sudo", "sudo: A terminal is required to run"]
)
@pytest.mark.parametrize("secret", ["", "s3cret-Ω"])
def test_a_sudo_that_wants_the_terminal_that_ansible_brings_is_untested(ssh_keys, host, said, secret):
    way = {"become_command": SUDO if secret else ("sudo", "-n"), "become_password": secret}
    with sshd(ssh_keys, GOOD.replace("become 0 ", f"become 1 {said}")) as (port, _server):
        seen, piped = row(host(port, terminal=True, **way)), row(host(port, **way))
    assert (seen["ok"], seen["step"]) == (True, "untested") and "requires a terminal" in seen["evidence"]
    assert (piped["ok"], piped["step"]) == (False, "sudo")
    assert "!requiretty" in piped["remedy"] and "ansible_ssh_pipelining: false" in piped["remedy"]


def test_a_prompt_that_this_ansible_does_not_understand(ssh_keys, host):
    said = "become 0 [odd: [sudo via ansible, key=trainmesh] password:] Password:"
    with sshd(ssh_keys, GOOD.replace("become 0 ", said.replace("odd", "sudo x"))) as (port, _server):
        seen = row(host(port, become_command=SUDO, become_password="s3cret-Ω"))
    assert (seen["ok"], seen["step"]) == (False, "sudo") and "sudo.ws" in seen["remedy"]


def test_behind_a_jump_host_the_remedy_goes_through_it():
    client = dataclasses.replace(ssh_config.parse(EFFECTIVE, Target("n1", "n1")), proxy="ssh -W n1:22 'a b'%h")
    remedy = failures.banner(client, "nothing").remedy
    argv = shlex.split(remedy[remedy.index("ssh -o") :].split(" true")[0])
    assert argv[2] == "ProxyCommand=ssh -W n1:22 'a b'%%h" and "ssh-keyscan" not in remedy


def test_a_command_that_never_ends_is_left_behind(ssh_keys, host):
    with sshd(ssh_keys, answer=None) as (port, server):
        seen = row(host(port), limit=1.5)
    assert (seen["ok"], seen["step"], len(server.commands)) == (None, "untested", 2)
    assert "did not answer within 1.5 s" in seen["evidence"] and "trainmesh_reach_timeout: 4.5" in seen["remedy"]


def test_a_server_without_passwords_gets_another_remedy(ssh_keys, host):
    with sshd(ssh_keys) as (port, _server):
        seen = row(host(port, key="other", password="of-no-use"))
    assert seen["step"] == "auth" and seen["evidence"].endswith("sshd offers publickey")
    assert "ssh-copy-id" not in seen["remedy"] and "~alice/.ssh/authorized_keys" in seen["remedy"]


def test_a_server_that_hangs_up_after_some_keys(ssh_keys, host, monkeypatch):
    def hang_up(self, username, key):
        self.asked = getattr(self, "asked", 0) + 1
        if self.asked == 2:
            self.transport.close()
        return paramiko.AUTH_FAILED

    monkeypatch.setattr(Server, "check_auth_publickey", hang_up)
    with sshd(ssh_keys) as (port, _server):
        target = host(port, key="other", extra=(f"IdentityFile={ssh_keys['user']}",))
        seen = row(target)
    assert seen["step"] == "auth" and "MaxAuthTries" in seen["cause"] and "IdentitiesOnly" in seen["remedy"]


@pytest.mark.parametrize(
    ("banner", "cause", "remedy"),
    [
        ("Your account has expired; please contact your system administrator.", "has expired", "chage -E -1 alice"),
        ("The account is locked due to 3 failed logins.", "is locked", "passwd -u alice"),
        ("Access denied by pam_slurm_adopt: you have no active jobs on this node", "job of Slurm", "pam_access.so"),
        ("System is booting up. Unprivileged users are not permitted", "booting", "systemctl is-system-running"),
    ],
)
def test_what_the_host_says_of_an_account_is_the_cause(ssh_keys, host, monkeypatch, banner, cause, remedy):
    def refuse(self, username, password):
        self.transport._send_message(auth_banner(banner))
        self.transport.close() if "expired" in banner else None
        return paramiko.AUTH_FAILED

    monkeypatch.setattr(Server, "check_auth_password", refuse)
    with sshd(ssh_keys, password="open-sesame") as (port, _server):
        seen = row(host(port, key="other", password="open-sesame"))
    assert seen["step"] == "auth" and cause in seen["cause"] and remedy in seen["remedy"]


def auth_banner(text: str) -> t.Any:
    message = paramiko.Message()
    message.add_byte(paramiko.common.cMSG_USERAUTH_BANNER)
    message.add_string(text)
    message.add_string("")
    return message


def test_a_rejected_password_is_told_as_that(ssh_keys, host):
    with sshd(ssh_keys, password="open-sesame") as (port, _server):
        seen = row(host(port, key="other", password="wrong-guess"))
    assert "rejects the password of alice" in seen["cause"] and "passwd -S alice" in seen["remedy"]


def test_a_key_goes_with_its_certificate_and_then_alone(ssh_keys, host, tmp_path):
    key = tmp_path / "certified"
    key.write_bytes(ssh_keys["user"].read_bytes())
    key.chmod(0o600)
    key.with_suffix(".pub").write_text(ssh_keys["user"].with_suffix(".pub").read_text())
    sign = ["ssh-keygen", "-q", "-s", str(ssh_keys["other"]), "-I", "id", "-n", "alice", str(key.with_suffix(".pub"))]
    subprocess.run(sign, check=True, timeout=30)
    assert (tmp_path / "certified-cert.pub").exists()
    with sshd(ssh_keys) as (port, _server):
        assert row(host(port, key=str(key)))["ok"] is True, "the server does not know the authority, but the key"


def test_a_key_that_sshd_does_not_want(ssh_keys, host):
    with sshd(ssh_keys, password="x") as (port, _server):
        seen = row(host(port, key="other"))
    assert (seen["ok"], seen["step"]) == (False, "auth")
    assert str(ssh_keys["other"]) in seen["evidence"]
    assert f"ssh-copy-id -i {ssh_keys['other']}.pub -p {port} alice@127.0.0.1" in seen["remedy"]


def test_a_password_opens_the_door_and_never_shows(ssh_keys, host):
    with sshd(ssh_keys, password="open-sesame") as (port, _server):
        good = row(host(port, key="other", password="open-sesame"))
        bad = row(host(port, key="other", password="wrong-guess"))
    assert (good["ok"], bad["step"]) == (True, "auth")
    assert "ansible_password" in bad["evidence"]
    assert "wrong-guess" not in f"{bad} {host(port, password='wrong-guess')!r}"


def test_a_key_that_ssh_would_not_use_is_named(ssh_keys, host, tmp_path):
    loose = tmp_path / "loose"
    loose.write_bytes(ssh_keys["user"].read_bytes())
    loose.chmod(0o644)
    with sshd(ssh_keys) as (port, _server):
        seen = {key: row(host(port, key=key)) for key in (str(loose), "locked", str(tmp_path / "nowhere"))}
    assert {one["step"] for one in seen.values()} == {"auth"}
    assert [one["remedy"].split()[0] for one in seen.values()] == ["chmod", "eval", "correct"]


@pytest.mark.parametrize(
    ("host_key", "step", "remedy"),
    [("other", "hostkey_changed", "ssh-keygen -R"), (None, "hostkey_unknown", "at the host's console")],
)
def test_host_keys_are_checked_and_never_added(ssh_keys, host, tmp_path, host_key, step, remedy):
    with sshd(ssh_keys) as (port, server):
        target = host(port, host_key=host_key)
        before = {path: path.read_text() for path in tmp_path.glob("known_hosts*")}
        seen = row(target)
    assert (seen["ok"], seen["step"]) == (False, step)
    assert remedy in seen["remedy"] and "SHA256:" in seen["evidence"]
    assert {path: path.read_text() for path in tmp_path.glob("known_hosts*")} == before
    assert not server.commands, "nobody logs in to a stranger"


@pytest.mark.parametrize(("also_known", "good"), [("other", False), ("host", True), (None, True)])
@pytest.mark.parametrize("first", [True, False])
def test_of_several_known_keys_the_one_that_ssh_asks_for_is_compared(ssh_keys, host, tmp_path, also_known, good, first):
    ecdsa = paramiko.ECDSAKey.generate()
    with sshd(ssh_keys, also=[ecdsa]) as (port, _server):
        target = host(port, host_key=also_known)
        file = tmp_path / f"known_hosts-{also_known}"
        lines = [file.read_text(), f"[127.0.0.1]:{port} {ecdsa.get_name()} {ecdsa.get_base64()}\n"]
        file.write_text("".join(lines[::-1] if first else lines))
        seen = row(target)
        command = ["ssh", "-o", "BatchMode=yes", *target.args, "127.0.0.1", "true"]
        ssh = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (seen["ok"], "HAS CHANGED" in ssh.stderr) == (good, not good)
    assert good or seen["step"] == "hostkey_changed"


@pytest.mark.parametrize("host_key", ["other", None])
def test_the_remedy_takes_the_very_key_that_was_compared(ssh_keys, host, tmp_path, host_key):
    with sshd(ssh_keys) as (port, _server):
        target = host(port, host_key=host_key)
        seen = row(target)
        assert seen["evidence"].split(",")[0].removeprefix("the host shows ") in seen["remedy"]
        assert "keyscan" not in seen["remedy"]
        subprocess.run(["sh", "-c", seen["remedy"].split("then ", 1)[1]], check=True, capture_output=True, timeout=30)
        assert row(target)["ok"]


@pytest.mark.parametrize(("word", "good"), [("no", True), ("accept-new", True), ("ask", False)])
def test_an_unknown_key_is_what_ssh_was_told_to_make_of_it(ssh_keys, host, word, good):
    with sshd(ssh_keys) as (port, _server):
        seen = row(host(port, host_key=None, extra=(f"StrictHostKeyChecking={word}",)))
    assert seen["ok"] is good


@pytest.mark.parametrize("word", ["no", "off", "accept-new", "ask", "yes"])
def test_a_changed_key_gets_neither_a_password_nor_a_signature(ssh_keys, host, word):
    with sshd(ssh_keys, password="open-sesame") as (port, server):
        target = host(port, host_key="other", extra=(f"StrictHostKeyChecking={word}",), password="open-sesame")
        seen = row(target)
    assert (seen["ok"], seen["step"], server.methods) == (False, "hostkey_changed", [])


def test_a_changed_key_that_another_source_may_vouch_for_gets_nothing_either(ssh_keys, host):
    extra = ("StrictHostKeyChecking=no", "VerifyHostKeyDNS=yes")
    with sshd(ssh_keys, password="open-sesame") as (port, server):
        seen = row(host(port, host_key="other", extra=extra, password="open-sesame"))
    assert (seen["step"], server.methods) == ("untested", [])


@pytest.mark.parametrize(
    ("strict", "file", "verified"),
    [
        ("no", "~/.ssh/known_hosts", False),
        ("off", "/dev/null", False),
        ("accept-new", "/dev/null", False),
        ("accept-new", "none", False),
        ("accept-new", "~/.ssh/known_hosts ~/.ssh/known_hosts2", True),
        ("ask", "/dev/null", True),
        ("true", "~/.ssh/known_hosts", True),
    ],
)
def test_whether_another_machine_would_be_noticed(strict, file, verified):
    text = f"hostname n1\nstricthostkeychecking {strict}\nuserknownhostsfile {file}\n"
    assert ssh_config.parse(text, Target("n1", "n1")).verified is verified


def test_nothing_listens(host):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    seen = row(host(port))
    assert (seen["ok"], seen["step"]) == (False, "tcp_refused")
    assert "ECONNREFUSED" in seen["evidence"] and str(port) in seen["cause"]


@pytest.mark.parametrize(
    ("greeting", "cause"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "another service"),
        (b"Exceeded MaxStartups\r\n", "MaxStartups"),
        (b"Not allowed at this time\r\n", "PerSourcePenalties"),
    ],
)
def test_another_service_behind_the_port(host, greeting, cause):
    def serve(near: socket.socket) -> None:
        near.sendall(greeting)
        near.close()

    with listening(serve) as port:
        seen = row(host(port), limit=2)
    assert (seen["ok"], seen["step"]) == (False, "banner")
    assert greeting.decode().splitlines()[0] in seen["evidence"] and cause in seen["cause"]


def test_the_root_of_a_cloud_image_is_told_whom_to_log_in_as():
    client = types.SimpleNamespace(user="root", hostname="10.0.0.5", port=22)
    stop = failures.shell(client, 'Please login as the user "rocky" rather than the user "root".')
    assert stop.step == "auth" and stop.remedy.startswith("ansible_user: rocky for this host")
    assert failures.shell(client, "This account is currently not available.").step == "python"


def test_a_server_that_says_nothing_costs_only_its_own_time(ssh_keys, host):
    held = []
    with listening(held.append) as silent, sshd(ssh_keys) as (port, _server):
        mute = host(silent)
        good = Target("n2", "127.0.0.1", args=host(port).args)
        seen = preflight_check.check([mute, good], 1.5, 4)
    assert (seen["n1"]["step"], seen["n1"]["ok"]) == ("banner", False)
    assert seen["n1"]["seconds"] < 4
    # The files of both hosts are one: only the step before the keys matters here.
    assert seen["n2"]["step"] != "banner"


def test_one_turned_away_by_a_crowd_tries_again(ssh_keys, host):
    crowd = [True]
    host_key = paramiko.PKey.from_path(ssh_keys["host"])
    server = Server(paramiko.PKey.from_path(ssh_keys["user"]).asbytes(), "", GOOD)

    def serve(near: socket.socket) -> None:
        if crowd:
            crowd.pop()
            near.close()
            return
        transport = paramiko.Transport(near)
        transport.add_server_key(host_key)
        with contextlib.suppress(paramiko.SSHException):  # a look at the greeting is no login
            transport.start_server(server=server)

    with listening(serve) as port:
        assert row(host(port))["ok"] is True


def test_a_name_without_an_address(monkeypatch):
    def unknown(*args: t.Any) -> t.NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    seen = row(Target("n1", "no-such-host.invalid", args=("-F", "/dev/null")))
    assert (seen["ok"], seen["step"], seen["address"]) == (False, "name", "no-such-host.invalid")
    assert seen["evidence"] == "Name or service not known"


def test_the_way_leads_through_a_proxy_command(ssh_keys, host, tmp_path):
    bridge = tmp_path / "bridge.py"
    bridge.write_text(
        "import socket, sys, threading, os\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while (d := os.read(0, 4096)): s.sendall(d)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while (d := s.recv(4096)): os.write(1, d)\n"
    )
    with sshd(ssh_keys) as (port, _server):
        assert row(host(port, extra=(f"ProxyCommand=python3 {bridge} %h %p",)))["ok"] is True
    # Gone now: the proxy's own last words tell.
    seen = row(host(port, extra=("ProxyCommand=echo 'channel 0: open failed: Connection refused' >&2",)))
    assert seen["step"] == "tcp_refused"
    assert row(host(port, extra=("ProxyCommand=false",)), limit=2)["step"] == "banner"


def test_a_host_that_can_not_be_tried_is_neither_good_nor_bad(host):
    seen = row(Target("n1", "n1", untested="its ansible_connection is local, not ssh"))
    assert (seen["ok"], seen["step"]) == (None, "untested")
    assert row(host(22, extra=("BindAddress=127.0.0.1",)))["step"] == "untested"
    assert row(Target("n1", "n1", executable="/nonexistent/ssh"))["step"] == "untested"


def test_a_configuration_that_ssh_refuses_is_said_in_its_words():
    seen = row(Target("n1", "n1", args=("-F", "/dev/null", "-o", "NoSuchOption=1")))
    assert (seen["ok"], seen["step"]) == (False, "config")
    assert "nosuchoption" in seen["evidence"].lower()


def test_a_library_that_breaks_takes_no_other_host_along(monkeypatch, host):
    def broken(target, limit):
        if target.name == "n1":
            raise RuntimeError("boom")
        raise failures.config("no")

    monkeypatch.setattr(ssh_config, "read", broken)
    seen = preflight_check.check([Target("n1", "n1"), Target("n2", "n2")], LIMIT_S, 1)
    assert (seen["n1"]["ok"], seen["n1"]["evidence"]) == (None, "RuntimeError: boom")
    assert seen["n2"]["step"] == "config"


def test_a_resolver_that_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr(preflight_check, "GRACE", 0.1)
    gate = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: gate.wait(20) and [])
    seen = row(Target("n1", "n1", args=("-F", "/dev/null")), limit=0.5)
    gate.set()
    assert (seen["ok"], seen["step"], seen["evidence"]) == (False, "name", "no answer within 0.5 s")


def test_the_table_shows_the_bad_hosts_only():
    assert preflight_check.table({"n1": {"ok": True}, "n2": {"ok": None}}) == ""
    bad = {
        "ok": False, "step": "auth", "address": "10.0.0.2", "port": 2222,
        "evidence": "E", "cause": "C", "remedy": "R",
    }  # fmt: skip
    text = preflight_check.table({"n1": {"ok": True}, "n2": bad})
    assert text.split() == "1 of 2 hosts failed the preflight: n2 10.0.0.2:2222 auth E cause: C fix: R".split()


def test_the_command_is_what_a_shell_understands():
    command = preflight_check.question(("/nonexistent/python3", "python3"), ("true", "--no  glob *"))
    outcome = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30, check=True)
    lines = outcome.stdout.splitlines()
    assert preflight_check.node_clock(outcome.stdout, 0.0, 1.0)["epoch"] > 1.7e9
    assert "not found" in lines[1] and lines[2].startswith("TRAINMESH python @3.")
    assert lines[-1].strip() == "TRAINMESH become 0" and "TRAINMESH tmp" not in outcome.stdout
    assert "!" not in command and "\n" not in command


EFFECTIVE = """\
host n1
user alice
hostname 10.0.0.5
port 2222
stricthostkeychecking ask
identitiesonly yes
identityfile ~/.ssh/id_%r
globalknownhostsfile /etc/ssh/ssh_known_hosts
userknownhostsfile /k/%h /k/%%
pubkeyauthentication true
hostbasedauthentication no
verifyhostkeydns false
"""


def test_the_effective_configuration_of_ssh():
    client = ssh_config.parse(EFFECTIVE, Target("n1", "n1"))
    assert (client.hostname, client.port, client.user, client.lookup) == ("10.0.0.5", 2222, "alice", "[10.0.0.5]:2222")
    assert client.known_hosts == ("/k/10.0.0.5", "/k/%", "/etc/ssh/ssh_known_hosts")
    assert client.keys == (os.path.expanduser("~/.ssh/id_alice"),)
    assert client.strict and client.checked and client.only_given_keys and not client.proxy and not client.beyond


def test_options_that_lead_elsewhere_are_noticed():
    text = EFFECTIVE + "hostkeyalias node-1\nknownhostscommand /bin/x\nidentityagent /run/agent\nbindinterface eth0\n"
    client = ssh_config.parse(text, Target("n1", "n1"))
    assert client.lookup == "node-1", "an alias goes without the port"
    assert client.beyond == {"tcp": "BindInterface", "hostkey": "KnownHostsCommand", "auth": "IdentityAgent"}
    assert not client.agent


@pytest.mark.parametrize(
    ("line", "proxy"),
    [
        ("proxyjump j1", "ssh -F /x -o BatchMode=yes -W 10.0.0.5:2222 ssh://j1"),
        ("proxyjump a@j1:24,j2", "ssh -F /x -o BatchMode=yes -J ssh://a@j1:24 -W 10.0.0.5:2222 ssh://j2"),
        ("proxycommand nc %h %p", "nc 10.0.0.5 2222"),
        ("proxycommand none", ""),
    ],
)
def test_the_way_through_other_machines(line, proxy):
    target = Target("n1", "n1", args=("-o", "User=alice", "-F", "/x"))
    assert ssh_config.parse(f"{EFFECTIVE}{line}\n", target).proxy == proxy


def hashed(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))


@pytest.mark.parametrize(
    ("patterns", "name", "held"),
    [
        ("n1,10.0.0.5", "10.0.0.5", True),
        ("n1", "n10", False),
        ("[n1]:2222", "[n1]:2222", True),
        ("[n1]:2222", "n1", False),
        ("*.example.org,!bad.example.org", "good.example.org", True),
        ("*.example.org,!bad.example.org", "bad.example.org", False),
        ("N?", "n1", True),
        (hashed("[n1]:2222"), "[n1]:2222", True),
        (hashed("n1"), "n2", False),
        ("|1|nonsense", "n1", False),
    ],
)
def test_which_line_of_known_hosts_is_about_a_host(patterns, name, held):
    assert known.covers(patterns, name) is held


def test_what_known_hosts_says_of_a_key(tmp_path):
    def line(marker: str, names: str, kind: str, key: bytes) -> str:
        return f"{marker} {names} {kind} {base64.b64encode(key).decode()} comment".strip()

    path = tmp_path / "known_hosts"
    path.write_text(
        "\n".join(
            [
                "# a comment",
                "n1 ssh-ed25519 %%%not-base64",
                line("", "n1,n2", "ssh-ed25519", b"good"),
                line("@revoked", "*", "ssh-ed25519", b"lost"),
                line("@cert-authority", "*.ca", "ssh-ed25519", b"authority"),
                "short",
            ]
        )
    )
    files = [str(tmp_path / "absent"), str(path)]

    def state(name: str, kind: str, key: bytes) -> tuple[str, str]:
        judged = known.judge(known.lookup(files, name), kind, key)
        return judged.state, judged.where.removeprefix(f"{path}:")

    assert state("n1", "ssh-ed25519", b"good") == (known.KNOWN, "3")
    assert state("[n2]:2222", "ssh-ed25519", b"good") == (known.KNOWN, "3"), "as ssh: the name without its port"
    assert state("n1", "ssh-ed25519", b"bad") == (known.CHANGED, "3")
    assert state("[n2]:2222", "ssh-ed25519", b"bad")[0] == known.UNKNOWN, "another host may answer at another port"
    assert state("n1", "ssh-rsa", b"bad") == (known.UNKNOWN, ""), "a key of another kind is new, not changed"
    assert state("n1", "ssh-ed25519", b"lost") == (known.REVOKED, "4")
    assert state("x.ca", "ssh-ed25519", b"any")[0] == known.AUTHORITY
    assert known.kinds(known.lookup(files, "n1")) == ["ssh-ed25519"]


def test_every_end_names_a_step_a_cause_and_a_remedy():
    client = ssh_config.parse(EFFECTIVE, Target("n1", "n1"))
    for stage in ("name", "tcp", "banner", "auth", "command"):
        stop = failures.stuck(client, stage, 10)
        assert stop.step and stop.cause and stop.remedy and "10 s" in stop.evidence
    assert failures.auth(client, "e", (), ("a cause", "a remedy")).remedy == "a remedy"


@pytest.mark.parametrize(
    ("step", "other", "tries"),
    [
        ("banner", {"step": "", "seconds": 6.0}, 2),  # the controller or the network is slow
        ("banner", {"step": "", "seconds": 0.9}, 1),
        ("banner", {"step": "auth", "seconds": 6.0}, 2),
        ("banner", {"step": "banner", "seconds": 0.3}, 2),  # too many connections at once: says nothing of the speed
        ("banner", {"step": "no_route", "seconds": 3.0}, 2),  # no ssh server has answered yet
        ("banner", {"step": "untested", "seconds": 0.0}, 2),
        ("auth", {"step": "", "seconds": 6.0}, 1),
        ("python", {"step": "", "seconds": 6.0}, 1),
        ("tcp_timeout", {"step": "", "seconds": 6.0}, 1),
    ],
)
def test_a_silent_host_is_tried_again_with_more_time_only_where_the_others_are_slow_too(
    monkeypatch, step, other, tries
):
    limits = []

    def once(targets, limit, workers):
        limits.append(limit)
        late = {"ok": False, "step": step, "seconds": 15.0}
        good = {"ok": True, "step": "", "seconds": 18.0}
        quick = {"ok": {"": True, "untested": None}.get(other["step"], False), **other}
        return {target.name: quick if target.name == "b" else good if len(limits) > 1 else late for target in targets}

    monkeypatch.setattr(preflight_check, "_once", once)
    rows = preflight_check.check([Target("a", "a"), Target("b", "b")], 10, 4)
    assert limits == [10, 20][:tries] and rows["a"]["ok"] is (tries == 2) and rows["b"]["step"] == other["step"]


@pytest.mark.parametrize(
    ("step", "seconds", "dead"),
    [("banner", 15.0, True), ("banner", 0.3, False), ("tcp_refused", 0.1, True), ("auth", 15.0, False)],
)
def test_a_host_that_was_silent_to_the_end_is_dead_and_one_that_closes_the_connection_is_not(step, seconds, dead):
    assert preflight_check.is_dead({"ok": False, "step": step, "seconds": seconds}, 10) is dead


def test_a_host_that_took_the_connection_has_half_as_much_time_again(host):
    held = []
    with listening(held.append) as port:
        seen = preflight_check.Attempt(host(port), 1.0).run()
    assert (seen["ok"], seen["step"], len(held)) == (False, "banner", 1) and seen["seconds"] >= 1.5


@pytest.mark.parametrize("said", ["sorry, you must have a tty to run sudo", "a password is required"])
def test_the_line_for_sudo_is_proved_as_a_copy(tmp_path, said):
    """One bad file in sudoers.d shuts sudo for everybody: what visudo refuses is not put there."""
    client = types.SimpleNamespace(user="it.user")
    remedy = failures.sudo(client, said, "sudo").remedy
    command = remedy.partition("as root: ")[2]
    etc, root = tmp_path / "etc", tmp_path / "root"
    for directory in (etc, root, tmp_path / "bin"):
        directory.mkdir()
    command = command.replace("/etc/sudoers.d", str(etc)).replace("/root/", f"{root}/")
    for refused in (True, False):
        (tmp_path / "bin/visudo").write_text(f"#!/bin/sh\nexit {int(refused)}\n")
        (tmp_path / "bin/visudo").chmod(0o755)
        path = f"{tmp_path}/bin:{os.environ['PATH']}"
        subprocess.run(["sh", "-c", command], env={"PATH": path}, check=False, timeout=30)
        assert [entry.name for entry in etc.iterdir()] == ([] if refused else ["trainmesh_it_user"])
    assert "it.user" in (etc / "trainmesh_it_user").read_text()
