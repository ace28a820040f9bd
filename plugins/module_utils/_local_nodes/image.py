# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of the embedded nodes, built on this machine.

Where a registry answers, it is an ordinary build on a Debian base; elsewhere C(mmdebstrap) makes the
same from the machine's own package source, so that a mirror or a network without registry is enough.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shlex
import tempfile
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import (
    Host,
    LocalNodesError,
    find_tool,
    reason,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.engine import install_package
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.model import INIT
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.sources import (
    apt_sources,
    code_name,
    suite_of,
)

REPOSITORY = "trainmesh-node"
BASE = "debian:12"  # pulled where no base is asked for; without a registry that is this machine's own release
RECIPE_FILES = ("Dockerfile", "packages.txt", "packages_sshd.txt", "init.sh", "finish.sh")
PULL_LIMIT = 180.0
BUILD_LIMIT = 900.0
BUILD_PREFIX = "trainmesh-image-"  # the number of the building process follows
BUILD_ROOT = "/var/tmp"  # not /tmp, which may be small and in memory
# Nobody reads manuals on a node that lives for an hour: 80 MB and a third of the time less.
DPKG_OPTIONS = tuple(f"path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "info"))


def recipe_tag(recipe_dir: str, version: str, kind: str = "") -> str:
    """Return the image's name: it carries a hash of the recipe and the kind, so that another one is a new image."""
    digest = hashlib.sha256(version.encode() + (b"\0" + kind.encode() if kind else b""))
    for name in RECIPE_FILES:
        with open(os.path.join(recipe_dir, name), "rb") as stream:
            digest.update(name.encode() + b"\0" + stream.read())
    return f"{REPOSITORY}:{digest.hexdigest()[:12]}"


def packages_file(init: str) -> str:
    """Return the name of the list of packages of a node that starts with ``init``."""
    return f"packages_{init}.txt" if init else "packages.txt"


def ensure_image(host: Host, recipe_dir: str, kind: str = "", *, apply: bool) -> tuple[bool, str, str]:
    """Build the image of a kind of node unless it is there; returns (changed, its name, how it was made).

    A kind is a base, or a base, a plus and what starts instead of systemd.
    """
    base, _plus, init = kind.partition("+")
    tag, pulled = recipe_tag(recipe_dir, "1", kind), base or BASE
    if host.docker("image", "inspect", tag).ok:
        return False, tag, "present"
    if not apply:
        return True, tag, ""
    reasons = []
    outcome = host.docker("pull", "-q", pulled, limit=PULL_LIMIT)
    if outcome.ok:
        build = ["--build-arg", f"BASE={pulled}", "--build-arg", f"PACKAGES={packages_file(init)}", "-t", tag]
        outcome = host.docker("build", "-q", *build, recipe_dir, limit=BUILD_LIMIT)
        if outcome.ok:
            return True, tag, f"built on {pulled}"
        reasons.append(f"docker build failed ({reason(outcome, BUILD_LIMIT)})")
    else:
        reasons.append(f"no image registry answers ({reason(outcome, PULL_LIMIT)})")
    if not find_tool("apt-get"):
        raise LocalNodesError(f"could not make the node image: {reasons[0]}, and this machine has no apt-get")
    try:
        release = _build_with_mmdebstrap(host, recipe_dir, tag, kind)
    except LocalNodesError as error:
        raise LocalNodesError(f"could not make the node image: {reasons[0]}; {error}") from error
    return True, tag, f"made by mmdebstrap from this machine's own source of {release}, as {reasons[0]}"


def ensure_images(host: Host, recipe_dir: str, kinds: t.Sequence[str], *, apply: bool) -> list[tuple[bool, str, str]]:
    """Build what is missing, one after the other; returns for each kind what :func:`ensure_image` does."""
    return [ensure_image(host, recipe_dir, kind, apply=apply) for kind in kinds]


def _build_with_mmdebstrap(host: Host, recipe_dir: str, tag: str, kind: str) -> str:
    """Make the image from the machine's own package source and return the release's code name."""
    with open("/etc/os-release", encoding="utf-8") as stream:
        os_release = stream.read()
    base, _plus, init = kind.partition("+")
    try:
        suite = suite_of(base, os_release)
    except ValueError as error:
        raise LocalNodesError(str(error)) from error
    if not find_tool("mmdebstrap"):
        install_package(host, "mmdebstrap")
    for path in stale_builds():
        host.root("rm", "-rf", path, limit=120)
    work = tempfile.mkdtemp(prefix=f"{BUILD_PREFIX}{os.getpid()}-", dir=BUILD_ROOT)
    os.chmod(work, 0o755)  # apt reads its sources as a user of its own
    try:
        sources = _write_sources(work, code_name(os_release), suite)
        tar = os.path.join(work, "node.tar")
        argv = mmdebstrap_argv(recipe_dir, suite, tar, sources, packages_file(init))
        outcome = host.root(*argv, limit=BUILD_LIMIT, env={"TMPDIR": work})
        if not outcome.ok:
            raise LocalNodesError(f"mmdebstrap failed ({_error_line(outcome.text) or reason(outcome, BUILD_LIMIT)})")
        command = ["-c", f'CMD ["{INIT}"]', tar, tag]
        host.need("import the node image", "import", *command, limit=300)
        return suite
    finally:
        host.root("rm", "-rf", work, limit=120)


def _write_sources(work: str, release: str, suite: str) -> list[str]:
    """Write the machine's own package sources, turned to the suite of the nodes; returns the files written."""
    texts = {}
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*"))]:
        if os.path.isfile(path) and path.endswith((".list", ".sources")):
            with open(path, encoding="utf-8") as stream:
                texts[path] = stream.read()
    written = []
    for suffix, text in apt_sources(texts, release, suite).items():
        if text:
            written.append(os.path.join(work, f"node.{suffix}"))
            with open(written[-1], "w", encoding="utf-8") as stream:
                stream.write(text)
    if not written:
        raise LocalNodesError(f"no package source of '{release}' in /etc/apt/sources.list or sources.list.d")
    return written


def mmdebstrap_argv(
    recipe_dir: str, release: str, tar: str, sources: list[str], listed: str = "packages.txt"
) -> list[str]:
    """Return the command that makes the tree of a node as a tar file."""
    with open(os.path.join(recipe_dir, listed), encoding="utf-8") as stream:
        packages = [line.strip() for line in stream if line.strip()]
    argv = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}"]
    argv += ['--aptopt=Acquire::Languages "none"', *(f"--dpkgopt={option}" for option in DPKG_OPTIONS)]
    scripts = " ".join(shlex.quote(os.path.join(recipe_dir, name)) for name in ("init.sh", "finish.sh"))
    argv += ['--customize-hook=mkdir -p "$1/recipe"', f"--customize-hook=copy-in {scripts} /recipe"]
    argv += ['--customize-hook=chroot "$1" sh /recipe/finish.sh', '--customize-hook=rm -rf "$1/recipe"']
    return [*argv, release, tar, *sources]


def _error_line(text: str) -> str:
    """Return the first line in which apt or mmdebstrap names an error; the last ones only say that it failed."""
    return next((line.strip() for line in text.splitlines() if line.startswith("E:")), "")


def stale_builds() -> list[str]:
    """Return the directories of builds that were interrupted: the process that their names carry is gone."""
    found = []
    for path in glob.glob(f"{BUILD_ROOT}/{BUILD_PREFIX}*"):
        pid = os.path.basename(path)[len(BUILD_PREFIX) :].split("-")[0]
        if os.stat(path).st_uid == os.geteuid() and not os.path.exists(f"/proc/{pid}"):
            found.append(path)
    return found


def remove_images(host: Host, *, apply: bool) -> list[str]:
    """Remove every image of ours that no container uses, and what an interrupted build left; returns their names."""
    listed = host.need("list the images", "image", "ls", REPOSITORY, "--format", "{{.Repository}}:{{.Tag}}").split()
    if apply:
        for path in stale_builds():
            host.root("rm", "-rf", path, limit=120)
        return [name for name in listed if host.docker("image", "rm", name).ok]
    return listed
