# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CUDA toolkits side by side, and which of them a command over ssh finds first.

Only PATH says which is first: LD_LIBRARY_PATH, or a line of the dynamic linker's, would put the toolkit's libcublas in
front of the one that PyTorch brings (undefined symbol, version libcublas.so.11 not defined).
"""

from __future__ import annotations

import json
import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command, textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.nvcc import nvcc_version
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault

Runner = t.Callable[..., command.Outcome]

PLACE = "/usr/local/cuda-{}"
DISTRIBUTIONS = "/usr/bin/nvcc"
OF_DISTRIBUTION = "nvidia-cuda-toolkit"
ENVIRONMENT = "/etc/environment"
PROFILE = "/etc/profile.d/trainmesh-cuda.sh"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ASK_SECONDS = 20.0
VERSION = re.compile(r"(\d{1,2}\.\d{1,2})(?:\.\d{1,3})?\Z")
_PATH_LINE = re.compile(r"(?m)^[ \t]*(?:export[ \t]+)?PATH=[\"']?([^\"'\n]*)")


class Toolkit(t.NamedTuple):
    """A toolkit that is there: its directory, its version as far as it is known, and the directory of its nvcc."""

    path: str
    version: str
    bin: str


def release_of(version: str) -> str:
    """Major and minor of a version: 12.6 of 12.6.3. Raises Fault."""
    match = VERSION.match(version)
    if not match:
        raise Fault(f"expected a version of the CUDA toolkit such as 12.6 or 12.6.3, found {version}")
    return match.group(1)


def marker_of(path: str) -> str:
    """The file that stands beside a toolkit while it is installed."""
    return f"{os.path.dirname(path)}/.trainmesh-{os.path.basename(path)}.unfinished"


def at(path: str, tree: Tree, run: Runner = command.run) -> Toolkit | None:
    """The toolkit in a directory, where its compiler runs."""
    found = nvcc_version(run([f"{path}/bin/nvcc", "--version"], ASK_SECONDS).text)
    if not found:
        return None
    try:
        said = json.loads(tree.text(f"{path}/version.json") or "")["cuda"]["version"]
    except (ValueError, KeyError, TypeError):
        said = found[0]
    return Toolkit(path, str(said), f"{path}/bin")


def present(version: str, tree: Tree, run: Runner = command.run) -> Toolkit | None:
    """The toolkit of a release, in the directory of its own or as the distribution has it."""
    release = release_of(version)
    own = PLACE.format(release)
    for found in (at(own, tree, run), _distributions(run)):
        if found and release_of(".".join(found.version.split(".")[:3])) == release:
            return found
    return None


def _distributions(run: Runner) -> Toolkit | None:
    found = nvcc_version(run([DISTRIBUTIONS, "--version"], ASK_SECONDS).text)
    return Toolkit("/usr", found[0], os.path.dirname(DISTRIBUTIONS)) if found else None


def is_wanted(found: Toolkit, version: str) -> bool:
    """Whether a toolkit is of the version asked for; one that does not tell its patch is."""
    return found.version == version or version == release_of(version) or found.version == release_of(version)


def packages_of(version: str, source: str) -> list[tuple[str, str]]:
    """The packages that may bring a toolkit, with the version that each needs; the vendor's before the distribution's.

    The vendor's has the release in its name; the distribution's has the compiler's own patch in its version.
    """
    release = release_of(version)
    vendors = (f"cuda-toolkit-{release.replace('.', '-')}", version if version != release else "")
    distributions = (OF_DISTRIBUTION, release)
    return {"vendor": [vendors], "distribution": [distributions]}.get(source, [vendors, distributions])


def path_changes(bin_directory: str) -> list[textfile.Change]:
    """What puts a directory in front of PATH for commands over ssh (pam_env) and for login shells. Raises Fault."""
    try:
        have = textfile.read_text(ENVIRONMENT)
        lines = [] if bin_directory in ("", "/usr/bin") else [f'PATH="{bin_directory}:{_path_of(have)}"']
        wishes: list[tuple[str, str, int | None]] = [(ENVIRONMENT, textfile.with_block(have, lines), None)]
    except textfile.BlockError as error:
        raise Fault(f"{ENVIRONMENT}: {error}") from None
    # /etc/profile sets PATH anew
    text = f'# Written by trainmesh.cluster.\nPATH="{bin_directory}:$PATH"\nexport PATH\n' if lines else ""
    return textfile.changes_of([*wishes, (PROFILE, text, 0o644 if text else None)])


def _path_of(text: str) -> str:
    """PATH as the lines outside of our block set it, else what is usual."""
    found = _PATH_LINE.findall("".join(textfile.without_block(text)))
    return found[-1].strip() if found and found[-1].strip() else PATH
