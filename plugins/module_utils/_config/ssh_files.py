# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job user's ssh files that make the mesh."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import ssh_config
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.file_write import mode_of
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.textfile import (
    Change,
    changes_of,
    edited,
    read_text,
    settled,
)

OURS = "trainmesh"
KEY_NAME = "id_ed25519"
# A key that the others are still to be told of; it becomes the key when they are.
NEXT = ".new"


def directories(home: str) -> list[tuple[str, int]]:
    """Directories that must exist, with the modes that sshd's StrictModes and ssh ask for."""
    return [(f"{home}/.ssh", 0o700), (f"{home}/.ssh/{OURS}", 0o700)]


def certificate_file(home: str) -> str:
    """The certificate of the key: beside it, where ssh looks for it also without CertificateFile."""
    return f"{home}/.ssh/{OURS}/{KEY_NAME}-cert.pub"


def leaves(authorized_keys: t.Sequence[str], known_hosts: t.Sequence[str], config: str) -> bool:
    """Whether nothing of the mesh is wanted."""
    return not (authorized_keys or known_hosts or config)


def file_wishes(
    home: str, authorized_keys: t.Sequence[str], known_hosts: t.Sequence[str], config: str, certificate: str = ""
) -> list[tuple[str, str, int | None]]:
    """(path, text, mode) of every file; foreign lines of the user's own files are kept.

    The certificate comes before the lines that do without the keys of others. Raises BlockError.
    """
    ssh = f"{home}/.ssh"
    if leaves(authorized_keys, known_hosts, config):
        texts = [(path, edited(path, [])) for path in (f"{ssh}/authorized_keys", f"{ssh}/config")]
        return [(path, text, None) for path, text in texts]
    include = [f"Include {OURS}/config"] if config else []
    return [
        *([(certificate_file(home), f"{certificate}\n", 0o600)] if certificate else []),
        (f"{ssh}/{OURS}/known_hosts", "".join(f"{line}\n" for line in known_hosts), 0o600),
        (f"{ssh}/{OURS}/config", config, 0o600),
        (f"{ssh}/authorized_keys", edited(f"{ssh}/authorized_keys", authorized_keys), 0o600),
        # where nothing of ours is in it, the user's file needs no mode, nor to be there
        (f"{ssh}/config", edited(f"{ssh}/config", include, at_start=True), 0o600 if config else None),
    ]


def changes(home: str, wishes: list[tuple[str, str, int | None]]) -> tuple[list[Change], list[tuple[str, int]]]:
    """What must change: files, and (path, mode) of directories to make or to close."""
    return changes_of(wishes), open_directories(home)


def open_directories(home: str) -> list[tuple[str, int]]:
    """(path, mode) of the directories to make or to close.

    A home that others may write to makes sshd ignore authorized_keys, so those bits go.
    """
    closing = [(path, mode) for path, mode in directories(home) if mode_of(path) != mode]
    home_mode = mode_of(home)
    if home_mode is not None and home_mode & 0o022:
        closing.insert(0, (home, home_mode & ~0o022))
    return closing


class State(t.NamedTuple):
    """The files that make the mesh, each with its mode; of a file of the user's the lines of our block.

    None stands for a block that does not stand as we write it. Without a block the user's configuration needs no mode.
    """

    known_hosts: tuple[str, int | None]
    config: tuple[str, int | None]
    authorized_keys: tuple[list[str] | None, int | None]
    include: tuple[list[str] | None, int | None]
    certificate: tuple[str, int | None]


def state_of(home: str) -> State:
    """What there is."""
    ssh = f"{home}/.ssh"
    known_hosts, config, keys, users = (
        f"{ssh}/{OURS}/known_hosts",
        f"{ssh}/{OURS}/config",
        f"{ssh}/authorized_keys",
        f"{ssh}/config",
    )
    include = settled(read_text(users), at_start=True)
    return State(
        (read_text(known_hosts), mode_of(known_hosts)),
        (read_text(config), mode_of(config)),
        (settled(read_text(keys)), mode_of(keys)),
        (include, None if include == [] else mode_of(users)),
        (read_text(certificate_file(home)), mode_of(certificate_file(home))),
    )


def wanted_state(
    authorized_keys: t.Sequence[str], known_hosts: t.Sequence[str], config: str, certificate: str
) -> State:
    """What state_of() finds where file_wishes() with these is fulfilled."""
    return State(
        ("".join(f"{line}\n" for line in known_hosts), 0o600),
        (config, 0o600),
        (list(authorized_keys), 0o600),
        ([f"Include {OURS}/config"], 0o600) if config else ([], None),
        (f"{certificate}\n", 0o600) if certificate else ("", None),
    )


def mode_diffs(closing: t.Iterable[tuple[str, int]]) -> list[dict[str, str]]:
    """The directories' modes as Ansible's diff shows them."""
    rows = []
    for path, mode in closing:
        have = mode_of(path)
        before = "absent" if have is None else f"mode {have:04o}"
        rows.append({"header": path, "before": f"{before}\n", "after": f"mode {mode:04o}\n"})
    return rows


def close(closing: t.Iterable[tuple[str, int]]) -> None:
    """Make the directories with their modes; refuses a link in place of a directory."""
    for path, mode in closing:
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if stat.S_ISLNK(os.lstat(path).st_mode) and path.endswith(f"/{OURS}"):
                raise ValueError(f"{path} is a symbolic link; expected a directory of the job user") from None
        os.chmod(path, mode)


def host_key_files(tree: Tree) -> list[str]:
    """Public host key files that sshd presents: those its configuration names, else OpenSSH's defaults.

    Source: HostKey in sshd_config(5).
    """
    named = (ssh_config.server_settings(tree) or {}).get("hostkey")
    paths = named or [f"/etc/ssh/ssh_host_{kind}_key" for kind in ("ed25519", "ecdsa", "rsa")]
    return [f"{path}.pub" for path in paths]


def read_text_if_allowed(path: str) -> str:
    """The text of a file, empty when it is absent or not for this user."""
    try:
        return read_text(path)
    except OSError:
        return ""


def key_line(text: str) -> str | None:
    """Type and base64 of the first public key in a text, without its comment; None when there is none."""
    match = re.search(r"(?m)^((?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+)", text)
    return match.group(1) if match else None


def awaits(key: str, authorized_keys: t.Iterable[str]) -> str:
    """The next key of the file ``key``, if there is one that the others are told of now; else empty."""
    public = next_key(key)
    return public if is_told(public, authorized_keys) else ""


def next_key(key: str) -> str:
    """The public half of the next key of the file ``key``; empty when there is none."""
    public = key_line(read_text_if_allowed(f"{key}{NEXT}.pub"))
    return public if public and os.path.exists(f"{key}{NEXT}") else ""


def is_told(public: str, authorized_keys: t.Iterable[str]) -> bool:
    """Whether these lines tell the others of a key."""
    return bool(public) and any(f" {public} " in line for line in authorized_keys)


def half_switched(key: str) -> bool:
    """Whether switch() was interrupted: the private key is the next one, and the public one is not."""
    return os.path.exists(f"{key}{NEXT}.pub") and not os.path.exists(f"{key}{NEXT}")


def switch(key: str) -> None:
    """Make the next key the key."""
    if os.path.exists(f"{key}{NEXT}"):
        os.replace(f"{key}{NEXT}", key)
    os.replace(f"{key}{NEXT}.pub", f"{key}.pub")


def pinned(keys: t.Iterable[str]) -> list[str]:
    """The keys that peers pin: ed25519 alone if there is one, as ssh then asks for that; else all."""
    every = list(keys)
    return [line for line in every if line.startswith("ssh-ed25519 ")] or every
