# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment that a command started by ssh on this node gets.

That is what pdsh and the launchers give to every rank: no terminal, no login shell. A module sees
it in its own environment only when Ansible logged in by ssh as the very user; after sudo or su,
or on a local connection, the user's login shell is asked instead, as sshd would start it.
"""

from __future__ import annotations

import os
import pwd
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, to_int

Runner = t.Callable[..., command.Outcome]

# fmt: off
NAMES = frozenset(
    (
        "PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "VIRTUAL_ENV", "CC",
        "CXX", "LANG", "LC_ALL", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "ftp_proxy", "HTTP_PROXY",
        "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "FTP_PROXY", "MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK",
        "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "TMPDIR", "MAX_JOBS",
    )
)
PREFIXES = (
    "NCCL_", "GLOO_", "CUDA_", "TORCH_", "TORCHINDUCTOR_", "TRITON_", "PYTORCH_", "DS_", "DEEPSPEED_", "ACCELERATE_",
    "PDSH_", "CONDA_", "OMP_", "MKL_", "UCX_", "FI_", "OMPI_", "HF_", "TRANSFORMERS_", "NVIDIA_", "UV_", "PIP_",
)
# fmt: on
"""The variables worth reporting: they change where a rank finds its software or how it talks."""

_SECRET = re.compile(r"TOKEN|KEY|PASSW|SECRET|CREDENTIAL|AUTH", re.IGNORECASE)
_NO_SECRET = frozenset(("NCCL_IB_PKEY",))  # the index of an InfiniBand partition
_URL_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")
_PROXY_LOGIN = re.compile(r"^(?:(\w+://))?.*@", re.DOTALL)
_OTHER_USER = frozenset(("sudo", "su", "doas", "runuser", "machinectl", "pbrun", "dzdo", "ksu"))
# What sshd itself gives (the --with-superuser-path and --with-default-path of Debian's build; others differ in order).
_ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_USER_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/games"
_LONGEST = 4096
_MARK = "trainmesh-environment"


def read(
    tree: Tree, environ: t.Mapping[str, str], run: Runner, limit: float, *, became: bool = False
) -> tuple[str, str, dict[str, str]]:
    """(source, shell, environment) of a non-interactive login of the user that this process runs as.

    ``source`` is ``session`` (the module's own environment), ``shell`` (asked of the login shell)
    or ``unknown`` (the shell gave no answer within ``limit`` seconds; the module's own then).
    ``became`` says that the process itself gave root's rights up, which its ancestors do not show.
    """
    shell = _login_shell()
    if environ.get("SSH_CONNECTION") and not became and not became_another_user(tree):
        return "session", shell, dict(environ)
    base = {name: environ[name] for name in ("SSH_CLIENT", "SSH_CONNECTION") if environ.get(name)}
    asked = _ask_shell(tree, shell, base, run, limit)
    return ("shell", shell, asked) if asked else ("unknown", shell, dict(environ))


def became_another_user(tree: Tree, pid: str = "self") -> bool:
    """True when one of the module's ancestors is sudo, su or the like: then HOME and PATH are not ssh's."""
    for _generation in range(32):
        # "1234 (name) S 1 ...": the name may hold blanks and brackets, so split behind the last one
        head, _bracket, tail = (tree.line(f"/proc/{pid}/stat") or "").rpartition(")")
        if head.partition("(")[2] in _OTHER_USER:
            return True
        fields = tail.split()
        parent = to_int(fields[1]) if len(fields) > 1 else None
        if not parent or parent == 1:
            return False
        pid = str(parent)
    return False


def chosen(environment: t.Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """(variables to report, names whose values are withheld because they look secret)."""
    shown, hidden = {}, []
    for name in sorted(environment):
        if name not in NAMES and not name.startswith(PREFIXES):
            continue
        if _SECRET.search(name) and name not in _NO_SECRET:
            hidden.append(name)
        else:
            shown[name] = without_login(name, environment[name])[:_LONGEST]
    return shown, hidden


def without_login(name: str, value: str) -> str:
    """The value without the user name and password of a URL; a proxy need not even be a URL."""
    if name.lower().endswith("_proxy") and name.lower() != "no_proxy":
        return _PROXY_LOGIN.sub(lambda match: (match.group(1) or "") + "***@", value)
    return _URL_LOGIN.sub("***@", value)


def parse(text: str) -> dict[str, str]:
    """The output of ``env -0`` behind our mark, because a start-up file may print something first."""
    _noise, mark, listing = text.rpartition(_MARK + "\n")
    if not mark:
        return {}
    pairs = (entry.partition("=") for entry in listing.split("\0"))
    return {name: value for name, equals, value in pairs if equals and name.isidentifier()}


def _login_shell() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_shell or "/bin/sh"
    except KeyError:
        return "/bin/sh"  # a container may run under a user id that /etc/passwd does not have


def _ask_shell(tree: Tree, shell: str, base: t.Mapping[str, str], run: Runner, limit: float) -> dict[str, str]:
    """Start the shell as sshd does: a bare environment, and SSH_CLIENT, on which bash reads ~/.bashrc."""
    try:
        user = pwd.getpwuid(os.geteuid())
        who = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    except KeyError:
        who = {"HOME": "/"}
    start = {
        "PATH": _USER_PATH if os.geteuid() else _ROOT_PATH,
        **etc_environment(tree.text("/etc/environment") or ""),
        "SSH_CLIENT": "127.0.0.1 22 22",
        **who,
        "SHELL": shell,
        **base,
    }
    # values travel in the environment, never in argv, which every user of the machine can read
    unwanted = sorted(({*os.environ} | {"LC_ALL", "LANG"}) - {*start})
    drop = [word for name in unwanted if "=" not in name for word in ("-u", name)]
    # not in the home directory: changing into one on a dead file server could not be bounded
    return parse(run(["/usr/bin/env", *drop, shell, "-c", f"echo {_MARK}; env -0"], limit, env=start, cwd="/").out)


def etc_environment(text: str) -> dict[str, str]:
    """The variables of /etc/environment, which pam_env gives to every session (man pam_env)."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        name = name[len("export ") :].strip() if name.startswith("export ") else name
        if equals and name.isidentifier() and "\0" not in value:
            found[name] = value.strip("\"'")
    return found
