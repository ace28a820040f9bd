# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key pair of the job user, which is made where it lives, and the host keys of the node."""

from __future__ import annotations

import errno
import os
import pwd
import tempfile
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command, search_path
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import ssh_files

KEYGEN_S = 60.0
FIPS = "/proc/sys/crypto/fips_enabled"


class Wish(t.NamedTuple):
    """``create`` a missing key with this ``comment``; ``rotate``: make the next one beside it."""

    comment: str
    create: bool = False
    rotate: bool = False


def converge(wish: Wish, check: bool) -> dict[str, t.Any]:
    """Make the key where it is missing and wished, or the next one, and read all keys, as the user who runs this.

    Raises ValueError with the words of ssh-keygen, and OSError.
    """
    account = pwd.getpwuid(os.geteuid())
    key = own = f"{account.pw_dir}/.ssh/{ssh_files.OURS}/{ssh_files.KEY_NAME}"
    half = wish.create and ssh_files.half_switched(own)
    if half and not check:
        ssh_files.switch(own)
    if wish.create and wish.rotate and os.path.exists(own):
        key = f"{own}{ssh_files.NEXT}"
    missing = wish.create and not (os.path.exists(key) and os.path.exists(f"{key}.pub"))
    if missing and not check:
        _make(key, wish.comment, account.pw_dir)
    publics = [ssh_files.key_line(ssh_files.read_text_if_allowed(f"{path}.pub")) for path in (key, own)]
    texts = [ssh_files.read_text_if_allowed(path) for path in ssh_files.host_key_files(Tree())]
    host_keys = ssh_files.pinned(line for line in map(ssh_files.key_line, texts) if line)
    return {
        "changed": missing or half,
        "public_key": publics[0] or publics[1] or "",
        "host_keys": host_keys,
        "user": account.pw_name,
        "home": account.pw_dir,
        "diff": [{"header": f"{key}.pub", "before": "absent\n", "after": "present\n"}] if missing else [],
    }


def _make(key: str, comment: str, home: str) -> None:
    """Make what is missing of a key pair.

    Of several nodes with one home that do so at the same time one makes the key, and all have it then: the private half
    is linked into place, which fails where another one is, and its public half follows from it.
    """
    keygen = search_path.which("ssh-keygen")
    if not keygen:
        raise ValueError("there is no ssh-keygen here: install the OpenSSH client")
    ssh_files.close(ssh_files.directories(home))
    with tempfile.TemporaryDirectory(prefix=".new-key-", dir=os.path.dirname(key)) as own:
        if not os.path.exists(key):
            kind = "ecdsa" if Tree().line(FIPS) == "1" else "ed25519"  # FIPS 140 knows no ed25519 everywhere
            _run([keygen, "-q", "-t", kind, "-N", "", "-C", comment, "-f", f"{own}/key"])
            _link(f"{own}/key", key)
        with open(f"{own}/public", "w", encoding="utf-8") as stream:
            stream.write(_run([keygen, "-y", "-P", "", "-f", key]))
        os.chmod(f"{own}/public", 0o644)
        os.replace(f"{own}/public", f"{key}.pub")


def _link(made: str, key: str) -> None:
    """Put a file in its place, unless one is there; on file systems without links by its name alone."""
    try:
        os.link(made, key)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        os.rename(made, key)


def _run(argv: list[str]) -> str:
    outcome = command.run(argv, KEYGEN_S)
    if not outcome.ok:
        raise ValueError(f"ssh-keygen: {outcome.text.strip() or 'no answer in time'}")
    return outcome.out
