# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of the embedded nodes, built on this machine.

Where a registry answers, it is an ordinary build on a base of the Debian or RHEL family; elsewhere C(mmdebstrap) makes
that of Debian from the machine's own package source, so that a mirror or a network without registry is enough.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shlex
import tempfile

from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import (
    Host,
    LocalNodesError,
    find_tool,
    install_package,
    reason,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.nodes import INIT

REPOSITORY = "trainmesh-node"
BASE = "debian:12"  # pulled where no base is asked for; without a registry that is this machine's own release
RECIPE_FILES = ("Dockerfile", "packages.txt", "packages_sshd.txt", "init.sh", "finish.sh")
RECIPE_FILES_OF_RPM = ("Dockerfile.rpm", "packages_rpm.txt", "init.sh", "finish.sh")
RPM_BASE = re.compile(r"(?:^|/)(?:rockylinux|almalinux|oraclelinux|centos|fedora)(?:[:/@]|\Z)")
PULL_LIMIT = 180.0
BUILD_LIMIT = 900.0
BUILD_PREFIX = "trainmesh-image-"  # the number of the building process follows
BUILD_ROOT = "/var/tmp"  # not /tmp, which may be small and in memory
# Nobody reads manuals on a node that lives for an hour: 80 MB and a third of the time less.
DPKG_OPTIONS = tuple(f"path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "info"))
# What can be made from a machine's own source: one archive holds all releases of its distribution.
SUITES = {
    "debian:11": "bullseye",
    "debian:12": "bookworm",
    "debian:13": "trixie",
    "ubuntu:22.04": "jammy",
    "ubuntu:24.04": "noble",
}
# Keys of one release only; the whole keyring holds those of all of them.
ONE_RELEASE_KEY = re.compile(r"/usr/share/keyrings/debian-archive-[\w.-]+\.(?:gpg|pgp|asc)")
ALL_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def recipe_tag(recipe_dir: str, kind: str = "") -> str:
    """The image's name: it carries a hash of the recipe and the kind, so that another one is a new image."""
    digest = hashlib.sha256(f"1\0{kind}".encode() if kind else b"1")
    for name in RECIPE_FILES_OF_RPM if RPM_BASE.search(kind) else RECIPE_FILES:
        with open(os.path.join(recipe_dir, name), "rb") as stream:
            digest.update(name.encode() + b"\0" + stream.read())
    return f"{REPOSITORY}:{digest.hexdigest()[:12]}"


def ensure_image(host: Host, recipe_dir: str, kind: str, *, apply: bool) -> tuple[bool, str, str]:
    """Build the image of a kind of node unless it is there; returns (changed, its name, how it was made).

    A kind is a base, or a base, a plus and what starts instead of systemd.
    """
    tag = recipe_tag(recipe_dir, kind)
    if host.docker("image", "inspect", tag).ok:
        return False, tag, "present"
    if not apply:
        return True, tag, ""
    base, _plus, init = kind.partition("+")
    packages = packages_file(init)
    pulled = base or BASE
    outcome = host.docker("pull", "-q", pulled, limit=PULL_LIMIT)
    if outcome.ok:
        arguments = ["--build-arg", f"BASE={pulled}"]
        if RPM_BASE.search(pulled):
            arguments += ["-f", os.path.join(recipe_dir, "Dockerfile.rpm")]
        else:
            arguments += ["--build-arg", f"PACKAGES={packages}"]
        outcome = host.docker("build", "-q", *arguments, "-t", tag, recipe_dir, limit=BUILD_LIMIT)
        if outcome.ok:
            return True, tag, f"built on {pulled}"
        why = f"docker build failed ({reason(outcome, BUILD_LIMIT)})"
    else:
        why = f"no image registry answers ({reason(outcome, PULL_LIMIT)})"
    if not find_tool("apt-get"):
        raise LocalNodesError(f"could not make the node image: {why}, and this machine has no apt-get")
    try:
        suite = _build_with_mmdebstrap(host, recipe_dir, tag, base, packages)
    except LocalNodesError as error:
        raise LocalNodesError(f"could not make the node image: {why}; {error}") from error
    return True, tag, f"made by mmdebstrap from this machine's own source of {suite}, as {why}"


def packages_file(init: str) -> str:
    """The name of the list of packages of a node that starts with ``init``."""
    return f"packages_{init}.txt" if init else "packages.txt"


def _build_with_mmdebstrap(host: Host, recipe_dir: str, tag: str, base: str, packages: str) -> str:
    """Make the image from the machine's own package source and return the release's code name."""
    with open("/etc/os-release", encoding="utf-8") as stream:
        release, suite = suites_of(base, stream.read())
    if not find_tool("mmdebstrap"):
        install_package(host, "mmdebstrap")
    _remove_stale_builds(host)
    work = tempfile.mkdtemp(prefix=f"{BUILD_PREFIX}{os.getpid()}-", dir=BUILD_ROOT)
    os.chmod(work, 0o755)  # apt reads its sources as a user of its own
    try:
        tar = os.path.join(work, "node.tar")
        argv = mmdebstrap_argv(recipe_dir, suite, tar, _write_sources(work, release, suite), packages)
        outcome = host.root(*argv, limit=BUILD_LIMIT, env={"TMPDIR": work})
        if not outcome.ok:
            # The first line that names an error: the last ones only say that it failed.
            named = next((line.strip() for line in outcome.text.splitlines() if line.startswith("E:")), "")
            raise LocalNodesError(f"mmdebstrap failed ({named or reason(outcome, BUILD_LIMIT)})")
        host.need("import the node image", "import", "-c", f'CMD ["{INIT}"]', tar, tag, limit=300)
        return suite
    finally:
        host.root("rm", "-rf", work, limit=120)


def suites_of(base: str, os_release: str) -> tuple[str, str]:
    """The code names of this machine's release, or of its parent if it names one, and of the release of a base.

    Raises :class:`LocalNodesError` where this machine's package source does not hold the base.
    """
    values = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    own = values.get("UBUNTU_CODENAME") or values.get("VERSION_CODENAME", "")
    if not base or SUITES.get(base) == own:
        return own, own
    if base not in SUITES:
        raise LocalNodesError(
            f"the base '{base}' can only be had from an image registry; without one, use one of {', '.join(SUITES)}"
        )
    if base.startswith("ubuntu:") or "UBUNTU_CODENAME" in values or values.get("ID") == "ubuntu":
        raise LocalNodesError(
            f"the base '{base}' cannot be made from this machine's package source of '{own}'; leave the base out, or"
            " let the Docker Engine reach an image registry"
        )
    return own, SUITES[base]


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


def apt_sources(texts: dict[str, str], release: str, suite: str) -> dict[str, str]:
    """The sources of a suite by format ("list", "sources"), out of apt's files (path to text).

    Kept are the archive of the machine's own ``release``, its updates and security: foreign repositories have no
    "main" or other suites. With another ``suite`` the same archives are asked for that one.
    """
    ends = {"": "", "-updates": "-updates", "-security": "-security", "/updates": "-security"}
    suites = {release + own: suite + (own if suite == release else ours) for own, ours in ends.items()}
    found = {"list": "", "sources": ""}
    for path, text in texts.items():
        if path.endswith(".sources"):
            stanzas = [_own_stanza(stanza, suites) for stanza in re.split(r"\n\s*\n", text)]
            found["sources"] = "\n".join(filter(None, [found["sources"], *stanzas]))
        else:
            found["list"] += "".join(_own_line(line, suites) for line in text.splitlines())
    return found if suite == release else {kind: ONE_RELEASE_KEY.sub(ALL_KEYS, text) for kind, text in found.items()}


def _own_line(line: str, suites: dict[str, str]) -> str:
    """A one-line entry of the distribution's own archive for the suite that is asked for, or nothing."""
    match = re.match(r"\s*(deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+)(\S+)(\s+(.*))", line)
    if not match or match[2].startswith("cdrom:") or match[3] not in suites or "main" not in match[5].split():
        return ""
    return (match[1] + suites[match[3]] + match[4]).strip() + "\n"


def _own_stanza(stanza: str, suites: dict[str, str]) -> str:
    """The stanza without its comments, narrowed and turned to the suites that are asked for, or nothing."""
    text = "\n".join(line for line in stanza.splitlines() if line.strip() and not line.startswith("#"))
    fields = {name.lower(): value for name, value in re.findall(r"^([\w-]+):[ \t]*(.*)$", text, re.MULTILINE)}
    ours = [suites[suite] for suite in fields.get("suites", "").split() if suite in suites]
    if not ours or "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
        return ""
    if "main" not in fields.get("components", "").split():
        return ""
    for field, value in (("Suites", " ".join(ours)), ("Types", "deb")):
        text = re.sub(rf"^{field}:.*$", f"{field}: {value}", text, flags=re.MULTILINE | re.IGNORECASE)
    return text + "\n"


def mmdebstrap_argv(recipe_dir: str, suite: str, tar: str, sources: list[str], packages: str) -> list[str]:
    """The command that makes the tree of a node as a tar file."""
    with open(os.path.join(recipe_dir, packages), encoding="utf-8") as stream:
        included = ",".join(stream.read().split())
    argv = ["mmdebstrap", "--variant=minbase", f"--include={included}"]
    argv += ['--aptopt=Acquire::Languages "none"', *(f"--dpkgopt={option}" for option in DPKG_OPTIONS)]
    scripts = " ".join(shlex.quote(os.path.join(recipe_dir, name)) for name in ("init.sh", "finish.sh"))
    argv += ['--customize-hook=mkdir -p "$1/recipe"', f"--customize-hook=copy-in {scripts} /recipe"]
    argv += ['--customize-hook=chroot "$1" sh /recipe/finish.sh', '--customize-hook=rm -rf "$1/recipe"']
    return [*argv, suite, tar, *sources]


def _remove_stale_builds(host: Host) -> None:
    """Remove the directories of builds that were interrupted: the process that their names carry is gone."""
    for path in glob.glob(f"{BUILD_ROOT}/{BUILD_PREFIX}*"):
        pid = os.path.basename(path)[len(BUILD_PREFIX) :].split("-")[0]
        if os.stat(path).st_uid == os.geteuid() and not os.path.exists(f"/proc/{pid}"):
            host.root("rm", "-rf", path, limit=120)


def remove_images(host: Host, *, apply: bool) -> list[str]:
    """Remove every image of ours that no container uses, and what an interrupted build left; returns their names."""
    listed = host.need("list the images", "image", "ls", REPOSITORY, "--format", "{{.Repository}}:{{.Tag}}").split()
    if not apply:
        return listed
    _remove_stale_builds(host)
    return [name for name in listed if host.docker("image", "rm", name).ok]
