# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ssh login itself: the connection, direct or through a proxy, then by paramiko banner, host key and keys.

Keys are tried in the order of OpenSSH. Host keys are only compared, never added. Nothing of a secret leaves here.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import functools
import logging
import os
import pathlib
import socket
import stat
import subprocess
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import failures as words
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import known_hosts as known
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client

try:
    import paramiko
except ImportError:  # reach_check does not come here without it
    paramiko = None

LOG = "trainmesh.reach"
PASSWORD = "ansible_password"  # how the report calls it
RSA = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")
# paramiko logs whole tracebacks of refused logins; what matters of them is in the result.
logging.getLogger(LOG).addHandler(logging.NullHandler())
logging.getLogger(LOG).propagate = False

REFUSED, SILENT, NO_ROUTE = range(3)
# What ssh -W and nc say when the far side can't be had, and what it means.
PROXY_WORDS = (
    ("connection refused", words.refused),
    ("no route to host", words.no_route),
    ("network is unreachable", words.no_route),
    ("timed out", words.timeout),
    ("could not resolve", words.name),
    ("name or service not known", words.name),
)


# Times the limit for the banner of a host that took the connection: with 10 s as long as Ansible waits for it.
CONNECTED = 1.5
GREETING = 1.0  # s for the first words of a port that has already answered


class Clock:
    """The time that one host has, in seconds; ``stage`` is where it is spent just now."""

    def __init__(self, limit: float) -> None:
        self.given = self.limit = limit
        self.started, self.stage = time.monotonic(), "client"

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def over(self) -> bool:
        """Whether the time of the host is spent."""
        return self.spent >= self.limit

    @property
    def left(self) -> float:
        """Seconds until the limit, never less than a blink: 0 would mean no limit to a socket."""
        return max(0.05, self.limit - self.spent)


@contextlib.contextmanager
def connection(client: Client, clock: Clock) -> t.Iterator[tuple[socket.socket, t.Callable[[], str]]]:
    """A socket to the host's sshd and a function that tells what a proxy said meanwhile; raises Stop."""
    if client.proxy:
        with _through(client.proxy) as (near, said):
            yield near, said
        return
    near = direct(client, clock)
    try:
        yield near, lambda: ""
    finally:
        near.close()


def direct(client: Client, clock: Clock) -> socket.socket:
    """Connect to the first address that takes it, as ssh does; raises Stop with what each address said."""
    clock.stage = "name"
    try:
        found = socket.getaddrinfo(client.hostname, client.port, client.family, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise words.name(client, str(error.args[-1] if error.args else error)) from None
    clock.stage = "tcp"
    seen: list[tuple[int, str]] = []
    for number, (family, kind, protocol, _name, address) in enumerate(found):
        share = clock.left / (len(found) - number)
        near = socket.socket(family, kind, protocol)
        near.settimeout(share)
        try:
            near.connect(address)
            return near
        except OSError as error:
            near.close()
            seen.append(_meaning(error, str(address[0]), share))
    sort = min(sort for sort, _text in seen)
    say = (words.refused, words.timeout, words.no_route)[sort]
    raise say(client, "; ".join(text for _sort, text in seen))


def _meaning(error: OSError, address: str, share: float) -> tuple[int, str]:
    """What an errno of connect says of the host, and the words for the report."""
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return SILENT, f"{address}: no answer within {share:.0f} s"
    name = errno.errorcode.get(error.errno or 0, "")
    sort = REFUSED if error.errno == errno.ECONNREFUSED else NO_ROUTE
    return sort, f"{address}: {error.strerror or error} ({name})"


@contextlib.contextmanager
def _through(command: str) -> t.Iterator[tuple[socket.socket, t.Callable[[], str]]]:
    """A proxy command on one end of a socket pair, as OpenSSH starts it; its end is seen at once, as an end of file."""
    near, far = socket.socketpair()
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {command}"],
        stdin=far.fileno(),
        stdout=far.fileno(),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    far.close()

    def said() -> str:
        """The last words of a proxy that has ended; one that still runs has said nothing final."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        if process.stderr is None:
            return ""
        os.set_blocking(process.stderr.fileno(), False)
        text = process.stderr.read(4096) or b""
        return " ".join(text.decode(errors="replace").split())[-200:]

    try:
        yield near, said
    finally:
        near.close()
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


class Tried(t.NamedTuple):
    """What was tried, for the report. ``problems`` (cause, remedy) are keys that ssh would not use either.

    ``said`` are the banners that sshd sent meanwhile.
    """

    keys: list[str]
    problems: list[tuple[str, str]]
    beyond: list[str]
    said: list[str]


class Answers:
    """What keyboard-interactive gets: the password for one hidden prompt, and nothing for any other.

    ``others`` are the prompts that it does not answer: a code, a visible one, a new password.
    """

    def __init__(self, password: str) -> None:
        self.password = [password]
        self.others: list[str] = []

    def __call__(self, _title: str, _instructions: str, fields: t.Sequence[tuple[str, bool]]) -> list[str]:
        """Answer one round; another prompt ends the connection, because each wrong answer counts as an attempt."""
        if not fields:
            return []
        if len(fields) > 1 or fields[0][1] or not self.password:
            self.others = [prompt.strip() for prompt, _echo in fields]
            raise paramiko.SSHException("it asks for more than the password")
        return [self.password.pop()]


def handshake(
    near: socket.socket,
    client: Client,
    clock: Clock,
    said: t.Callable[[], str],
    confirmed: t.Sequence[known.Entry] = (),
) -> paramiko.Transport:
    """Banner and key exchange, then the host key, strictly; raises Stop. The caller closes the Transport.

    ``confirmed`` are keys that a person has confirmed, beside those of the known_hosts files.
    """
    lines = [*known.lookup(client.known_hosts, client.lookup), *confirmed]
    transport = exchange(near, client, clock, said, known.kinds(lines))
    try:
        _vouched(transport, client, lines)
    except words.Stop:
        transport.close()
        raise
    return transport


def exchange(
    near: socket.socket, client: Client, clock: Clock, said: t.Callable[[], str], kinds: t.Sequence[str], only: str = ""
) -> paramiko.Transport:
    """Banner and key exchange, which show a key of the host; nothing judges it yet. Raises Stop.

    ``kinds`` of keys are asked for first; ``only`` is the one kind that is asked for.
    """
    clock.stage, clock.limit = "banner", CONNECTED * clock.given
    transport = paramiko.Transport(near)
    transport.set_log_channel(LOG)
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = clock.left
    options = transport.get_security_options()
    offered = options.key_types
    options.key_types = _algorithms(offered, only) or _preferred(offered, client.key_algorithms, kinds)
    try:
        transport.start_client(timeout=clock.left)
    except paramiko.ssh_exception.IncompatiblePeer as error:
        transport.close()
        raise words.untested(f"paramiko and this sshd have no algorithm in common ({error})") from None
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        greeting = "" if client.proxy or clock.spent >= clock.given else _greeting(client, clock)
        raise _silent(client, _text(error), said(), greeting) from None
    if clock.spent < clock.given:
        clock.limit = clock.given
    return transport


def _greeting(client: Client, clock: Clock) -> str:
    """What the port says at once to whoever connects, where that is no greeting of ssh; paramiko does not tell it."""
    limit = min(GREETING, clock.left)
    try:
        with socket.create_connection((client.hostname, client.port), limit) as near:
            near.settimeout(limit)
            text = near.recv(256).decode("ascii", "replace")
    except (OSError, UnicodeError):
        return ""
    line = next(iter(text.splitlines()), "").strip()
    return "" if line.startswith("SSH-") or not line.isprintable() else line[:100]


def _silent(client: Client, error: str, proxy_said: str, greeting: str = "") -> words.Stop:
    """No ssh server answered; the proxy, or the ``greeting`` of another service, may give the reason."""
    if words.SHUT_OUT in greeting.lower():
        return words.shut_out(client, greeting)
    # A server or jump host with many simultaneous connections rejects some (MaxStartups).
    crowded = not proxy_said or any(word in proxy_said.lower() for word in ("reset by", "closed by"))
    if not client.proxy:
        stop = words.banner(client, f"{error}; the port says: {greeting}" if greeting else error)
        stop.again = True
        return stop
    for text, say in PROXY_WORDS:
        if text in proxy_said.lower():
            return say(client, f"the proxy says: {proxy_said}")
    stop = words.banner(client, f"the proxy says: {proxy_said or 'nothing'}; {error}")
    stop.cause = f"no ssh server of {client.hostname} answered through the jump host (ProxyJump or ProxyCommand)"
    stop.again = crowded
    stop.remedy = f"ssh {words.login(client)} by hand, with the same arguments; first log in to the jump host"
    return stop


def _preferred(offered: t.Sequence[str], order: t.Sequence[str], kinds: t.Iterable[str]) -> tuple[str, ...]:
    """The algorithms in the order in which ssh asks for them: those of known keys first, and each part as ssh ranks it.

    A host of which only the first of its known keys has changed is refused by ssh, and so it must be here.
    """
    known_first = [name for kind in kinds for name in _algorithms(offered, kind)]
    rank = {name: place for place, name in enumerate(order)}
    return tuple(sorted(offered, key=lambda name: (name not in known_first, rank.get(name, len(rank)))))


def _algorithms(offered: t.Sequence[str], kind: str) -> tuple[str, ...]:
    """The algorithms that use keys of one kind."""
    return tuple(name for name in offered if name in (RSA if kind == "ssh-rsa" else (kind,)))


def _vouched(transport: paramiko.Transport, client: Client, lines: list[known.Entry]) -> None:
    """Raise Stop unless the known_hosts files vouch for the key of the host, or ssh is told to take unknown ones.

    A key that has changed is refused whatever ssh is told: neither a password nor a signature goes there.
    """
    key = transport.get_remote_server_key()
    verdict = known.judge(lines, key.get_name(), key.asbytes())
    print_ = known.fingerprint(key.get_name(), key.asbytes())
    line = f"{key.get_name()} {key.get_base64()}"
    if verdict.state == known.REVOKED:
        raise words.hostkey_revoked(print_, verdict.where)
    changed = verdict.state == known.CHANGED
    if verdict.state == known.KNOWN or not (client.checked or changed):
        return
    if "hostkey" in client.beyond:
        raise words.untested(f"the preflight does not support {client.beyond['hostkey']}, which verifies its host key")
    if changed:
        old = next(known.fingerprint(entry.kind, entry.key) for entry in lines if entry.where == verdict.where)
        raise words.hostkey_changed(client, print_, line, verdict.where, old)
    if verdict.state == known.AUTHORITY:
        raise words.untested(f"paramiko does not support host certificates ({verdict.where})")
    if client.strict:
        raise words.hostkey_unknown(client, print_, line)


def log_in(transport: paramiko.Transport, client: Client, password: str | None, clock: Clock) -> str:
    """Log in with what ssh would try; raises Stop. Returns what let us in: a key, PASSWORD, empty where nothing was."""
    clock.stage = "auth"
    tried = Tried([], [], [], [])
    offered: list[str] = []

    def let_in(method: t.Callable[..., list[str]], *secrets: t.Any) -> bool:
        """One attempt, which may leave other ways that the server offers next."""
        answer = _ask(functools.partial(method, client.user, *secrets), transport, client, tried, clock)
        if answer is not None:
            offered[:] = answer or offered
        return answer is None

    if let_in(transport.auth_none):
        return ""
    if client.public_keys and "publickey" in offered:
        for label, key in keys(client, tried):
            tried.keys.append(label)
            if let_in(transport.auth_publickey, key):
                return label
    if password and {"password", "keyboard-interactive"} & set(offered):
        tried.keys.append(PASSWORD)
        if _by_password(let_in, transport, client, password, "password" in offered):
            return PASSWORD
    raise _denied(client, offered, tried)


def _by_password(
    let_in: t.Callable[..., bool], transport: paramiko.Transport, client: Client, password: str, plain: bool
) -> bool:
    """One attempt with the password: each counts, and too many lock accounts."""
    if plain:
        return let_in(functools.partial(transport.auth_password, fallback=False), password)
    answers = Answers(password)
    try:
        return let_in(transport.auth_interactive, answers)
    except words.Stop:
        if answers.others:
            raise words.more_prompts(client, answers.others) from None
        raise


def _ask(
    attempt: t.Callable[[], list[str]], transport: paramiko.Transport, client: Client, tried: Tried, clock: Clock
) -> list[str] | None:
    """None when it let us in, else what the server offers next, empty where it did not say; may raise Stop."""
    try:
        return attempt() or None
    except paramiko.BadAuthenticationType as error:
        return list(error.allowed_types)
    except paramiko.AuthenticationException as error:
        if "agree on a pubkey" in str(error):
            tried.beyond.append(f"{tried.keys[-1]}: {error}")
        words_of_it = _text(error)
        tried.said.append(_banner(transport))
        if transport.is_active() and not clock.over:
            return []
    except (paramiko.SSHException, EOFError, OSError) as error:
        words_of_it = _text(error)
        tried.said.append(_banner(transport))
    if clock.over:
        raise words.stuck(client, "auth", clock.limit)
    count = len(tried.keys)
    evidence = f"sshd ended the connection: {words_of_it}; tried {', '.join(tried.keys) or 'nothing yet'}"
    problem = words.closed_account(client, tried.said) or (words.too_many(count) if count > 1 else None)
    raise words.auth(client, evidence, (), problem)


def _banner(transport: paramiko.Transport) -> str:
    """What sshd said beside its refusal; kept with the attempt, also when the connection is over."""
    text = getattr(transport.auth_handler, "banner", None) or b""
    return " ".join(text.decode(errors="replace").split())


def _denied(client: Client, offered: t.Collection[str], tried: Tried) -> words.Stop:
    """Permission denied, or untested if an unsupported method might have worked."""
    left_out = list(tried.beyond)
    if "auth" in client.beyond:
        left_out.append(client.beyond["auth"])
    if "gssapi-with-mic" in offered and _has_ticket():
        left_out.append("Kerberos")
    if left_out:
        return words.untested(f"the login may need {'; '.join(left_out)}, which paramiko does not support")
    evidence = f"Permission denied for {client.user}; tried {', '.join(tried.keys) or 'no key'}"
    evidence += f"; sshd offers {', '.join(offered) or 'nothing'}"
    problem = words.closed_account(client, tried.said)
    if not problem and PASSWORD in tried.keys:
        problem = words.wrong_password(client)
    return words.auth(client, evidence, offered, problem or (tried.problems[0] if tried.problems else None))


def _has_ticket() -> bool:
    return bool(os.environ.get("KRB5CCNAME")) or os.path.exists(f"/tmp/krb5cc_{os.getuid()}")


def keys(client: Client, tried: Tried) -> t.Iterator[tuple[str, t.Any]]:
    """Keys in OpenSSH's order: those of the agent that the files name, the agent's others, then the files."""
    held = _agent_keys() if client.agent else []
    public = {path: _public(path) for path in client.keys}
    named = [key for blob in public.values() for key in held if blob == key.asbytes()]
    others = [] if client.only_given_keys else [key for key in held if key not in named]
    for key in (*named, *others):
        yield f"{known.fingerprint(key.get_name(), key.asbytes())} of the agent", key
    blobs = {key.asbytes() for key in held}
    for path, blob in public.items():
        if blob is None or blob not in blobs:
            key = _load(path, tried, given=len(client.keys) == 1)
            if key is not None and key.public_blob:
                yield f"{path} with its certificate", key
                key.public_blob = None
            if key is not None:
                yield path, key


def _agent_keys() -> list[t.Any]:
    try:
        return list(paramiko.Agent().get_keys())
    except (paramiko.SSHException, OSError):
        return []


def _public(path: str) -> bytes | None:
    """The public half, from FILE.pub as ssh reads it."""
    try:
        return base64.b64decode(pathlib.Path(f"{path}.pub").read_text(encoding="utf-8").split()[1])
    except (OSError, UnicodeDecodeError, IndexError, binascii.Error):
        return None


def _load(path: str, tried: Tried, *, given: bool) -> t.Any:
    """A private key, or None with a note why ssh can't use it either."""
    problem = None
    try:
        mode = os.stat(path)
        if mode.st_uid == os.getuid() and stat.S_IMODE(mode.st_mode) & 0o077:
            problem = words.key_open(path, stat.S_IMODE(mode.st_mode))
        else:
            return paramiko.PKey.from_path(path)
    except FileNotFoundError as error:
        problem = words.key_unreadable(path, str(error.strerror)) if given else None  # ssh's defaults need not exist
    except OSError as error:
        problem = words.key_unreadable(path, str(error.strerror))
    except (TypeError, paramiko.PasswordRequiredException):
        problem = words.key_encrypted(path)
    except Exception as error:  # unknown kinds come as exceptions of three libraries
        tried.beyond.append(f"{path} ({type(error).__name__})")
    if problem:
        tried.problems.append(problem)
    return None


def _text(error: BaseException) -> str:
    """The words of the library; some of its errors have none."""
    return " ".join(str(error).split())[:200] or type(error).__name__
