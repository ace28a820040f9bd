# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh pip``: packages on every node or on none, between two runs of the playbooks.

One node resolves against what is installed and fetches or builds the wheels; all nodes get the same files and install
them without an index. Packages of the lock never change here: the inventory says what they are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import time
import typing as t

from trainmesh import fanout, node_packages, runs
from trainmesh.installation import Installation, Refused, find
from trainmesh.node_packages import normal
from trainmesh.words import encode

STATE_SECONDS, STEP_SECONDS, FETCH_SECONDS, COPY_SECONDS = 60.0, 1800.0, 6 * 3600.0, 3600.0
COPIES_AT_ONCE = 16
ABOUT = """Installs Python packages into the environment of every node, or of none: what fails on one is undone on all.

Nothing that is installed changes: the new packages are chosen to fit it. The wheels are fetched, or built, once, on the
head or the node of --on, with the index that pip is configured with there. To keep a package when the cluster is set up
anew or gets a new node, name it in trainmesh_extra_packages or in the file of trainmesh_requirements; the plan of
site.yml says what is not there yet.
"""
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
LOGIN = re.compile(r"(?<!ssh)://[^/\s@]+@")  # ssh://git@HOST names a user and no secret


def add_to(commands: t.Any, _prefix: str) -> None:
    """The command line of it."""
    parser = commands.add_parser("pip", help="install and remove packages on every node", allow_abbrev=False)
    actions = parser.add_subparsers(dest="pip_command", metavar="install|uninstall|list")
    add = actions.add_parser("install", description=ABOUT, allow_abbrev=False, help="install on every node",
                             formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add.add_argument("packages", nargs="*", metavar="PACKAGE", help="as pip takes it: wandb, 'wandb>=0.20', a "
                     "wheel, an address")  # fmt: skip
    add.add_argument("-r", "--requirement", metavar="FILE", action="append", default=[], help="a file of requirements")
    add.add_argument("-f", "--find-links", metavar="DIR", action="append", default=[], help="a place with wheels")
    add.add_argument("-i", "--index-url", metavar="URL", help="another index")
    add.add_argument("--extra-index-url", metavar="URL", action="append", default=[], help="one more index")
    add.add_argument("--no-index", action="store_true", help="only the places of --find-links")
    add.add_argument("--pre", action="store_true", help="also pre-releases")
    add.add_argument("--no-build-isolation", action="store_true", help="build with the environment's own packages, for "
                     "what compiles against torch (flash-attn)")  # fmt: skip
    add.add_argument("--on", metavar="NODE", help="fetch and build on this node, for example one with a compiler")
    add.set_defaults(pip_action=install)
    sub = actions.add_parser("uninstall", allow_abbrev=False, help="remove on every node what was added so",
                             description="Removes packages that trainmesh pip install has added, with what came along "
                             "and nothing else added needs.")  # fmt: skip
    sub.add_argument("packages", nargs="+", metavar="PACKAGE")
    sub.add_argument("-y", "--yes", action="store_true", help="accepted as pip has it; nothing is asked")
    sub.set_defaults(pip_action=uninstall)
    shown = actions.add_parser("list", allow_abbrev=False, help="what was added, and which nodes lack it")
    shown.set_defaults(pip_action=listing)
    parser.set_defaults(action=run, sub=parser)


def run(prefix: str, options: argparse.Namespace) -> int:
    """Carry out install, uninstall or list."""
    if options.pip_command is None:
        raise Refused("install, uninstall or list? (--help)")
    return int(options.pip_action(prefix, options))


class Cluster(t.NamedTuple):
    """All nodes, with what each has said."""

    installation: Installation
    states: t.Mapping[str, t.Mapping[str, t.Any]]
    own: str

    @property
    def head(self) -> t.Mapping[str, t.Any]:
        """The state of this node."""
        return self.states[self.own]

    @property
    def roots(self) -> set[str]:
        """The added packages that were asked for; the others came along."""
        return set(self.head["record"].get("roots", []))

    @property
    def added(self) -> dict[str, str]:
        """All added packages with their versions."""
        return dict(self.head["record"].get("packages", {}))

    @property
    def files(self) -> dict[str, str]:
        """Their wheels, each with its hash."""
        return dict(self.head["record"].get("files", {}))

    def needed(self, names: t.Iterable[str]) -> set[str]:
        """Packages with all that they need, by the metadata of what this node has."""
        return reachable(names, self.head["needs"])


def reachable(names: t.Iterable[str], needs: t.Mapping[str, t.Sequence[str]]) -> set[str]:
    """The names, and all to which their needs lead."""
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += needs.get(name, [])
    return seen


def step(
    installation: Installation, names: t.Sequence[str], words: t.Sequence[str], limit: float = STEP_SECONDS
) -> tuple[dict[str, t.Any], dict[str, str]]:
    """The same step on some nodes: (what each has said, why others have not)."""
    command = " ".join([f"{installation.prefix}/bin/trainmesh", "packages", *map(encode, words)])
    return fanout.understood(fanout.on(installation, names, command, limit))


def read(prefix: str) -> Cluster:
    """Ask every node; Refused where one does not answer. What an interrupted call has left is settled first."""
    installation = find(prefix)
    if not installation.is_head():
        head, name = installation.values.get("TRAINMESH_HEAD"), installation.values.get("TRAINMESH_NODE_NAME")
        raise Refused(f"run it on the head, {head} (this is {name})")
    cluster = _asked(installation)
    pending = {name: said["pending"]["step"] for name, said in cluster.states.items() if said["pending"]}
    if not pending:
        return cluster
    done = {said["record"].get("last"): said["record"] for said in cluster.states.values()}
    for name, number in pending.items():
        finish = ["commit", number, json.dumps(done[number])] if number in done else ["undo", number]
        _said, silent = step(installation, [name], finish)
        if silent:
            raise Refused(f"{name}: what an interrupted call has left there can't be taken back: {silent[name]}")
    sys.stderr.write(f"trainmesh pip: an interrupted call was settled on {', '.join(pending)}\n")
    return _asked(installation)


def _asked(installation: Installation) -> Cluster:
    names = [node.name for node in installation.nodes()]
    states, silent = step(installation, names, ["state"], STATE_SECONDS)
    if silent:
        raise Refused("nothing was changed: " + "; ".join(f"{name}: {why}" for name, why in silent.items()))
    return Cluster(installation, states, fanout.own_name(installation))


def only_equal(cluster: Cluster) -> None:
    """Refused where the nodes do not have the same Python and the same packages of the lock."""
    head = cluster.head
    if not head["locked"]:
        raise Refused("no packages of a lock are here yet: run the site playbook")
    for name, said in cluster.states.items():
        if said["unfinished"]:
            raise Refused(f"{name}: an installation of the site playbook did not end: run it again")
        if said.get("name", "") != head.get("name", ""):
            raise Refused(f"{name} and {cluster.own} have other environments in use: run the site playbook")
        other = [each for each in head["locked"] if said["packages"].get(each) != head["packages"].get(each)]
        if said["python"] != head["python"] or sorted(said["locked"]) != sorted(head["locked"]) or other:
            what = f" ({', '.join(other[:3])})" if other else ""
            raise Refused(f"{name} and {cluster.own} differ in the packages of the lock{what}: run the site playbook")


def install(prefix: str, options: argparse.Namespace) -> int:
    """Install on every node, or on none."""
    asked = [_whole(word) for word in options.packages]
    listed = [f"-r{os.path.abspath(path)}" for path in options.requirement]
    if not asked and not listed:
        raise Refused("which package? (--help)")
    wrong = [word for word in asked if word.startswith("-")]
    if wrong:
        raise Refused(f"{wrong[0]} is no package (--help lists the options)")
    only_public([*asked, *_pip_options(options)])
    cluster = read(prefix)
    only_equal(cluster)
    on = options.on or cluster.own
    if on not in cluster.states:
        raise Refused(f"--on: {on} is no node; there are {', '.join(cluster.states)}")
    strays = _strays(cluster, on, asked)
    words = [json.dumps([*asked, *listed]), json.dumps(_pip_options(options)), json.dumps(strays)]
    sys.stderr.write(f"trainmesh pip: choosing and fetching on {on}\n")
    found = _fetched(cluster.installation, on, words)
    names = {normal(match[0]) for word in asked if (match := NAME.match(word)) and not _is_place(word)}
    roots = {*found["requested"], *(name for name in names if name in found["packages"] or name in cluster.added)}
    again = cluster.needed(roots & set(cluster.added)) & set(cluster.added)
    pins = {**{name: cluster.added[name] for name in again}, **found["packages"]}
    _may_install(cluster, on, pins, found["files"])
    lacking = [name for name, said in cluster.states.items() if any(each not in said["packages"] for each in pins)]
    if not lacking and roots <= cluster.roots:
        sys.stdout.write(f"all nodes have {_versions(roots, pins) or 'them'} already\n")
        return 0
    _copied(cluster, on)
    files = {**cluster.files, **found["files"]}
    used = {name: value for name, value in files.items() if _package_of(name) in pins}
    record = {"roots": sorted(cluster.roots | roots), "packages": {**cluster.added, **pins}, "files": files}
    everywhere(cluster, ["install"], [json.dumps(pins), json.dumps(used)], record)
    sys.stdout.write(f"installed on {len(cluster.states)} nodes: {_versions(pins, pins)}\n")
    sys.stderr.write(f"trainmesh pip: new nodes get it with the lock: name {_versions(roots, pins)} in "
                     "trainmesh_extra_packages, or in the file of trainmesh_requirements\n")  # fmt: skip
    return 0


def _versions(names: t.Iterable[str], pins: t.Mapping[str, str]) -> str:
    return ", ".join(f"{name}=={pins[name]}" for name in sorted(names))


def _is_place(word: str) -> bool:
    return word.startswith("/") or "://" in word


def _whole(word: str) -> str:
    """A path as every node and directory understands it; an address, as ``NAME @ URL`` too, stays as it is."""
    if "://" in word:
        return word
    is_path = word.startswith((".", "/", "~")) or (os.path.exists(word) and "/" in word) or word.endswith(".whl")
    return os.path.abspath(os.path.expanduser(word)) if is_path else word


def only_public(words: t.Iterable[str]) -> None:
    """Refused for an address with a login: every user of a node sees it in the process list."""
    if any(LOGIN.search(word) for word in words):
        raise Refused("an address with a user name or a password in it could be read by every user of the nodes: put "
                      "the login into ~/.netrc, or the whole address into ~/.config/pip/pip.conf")  # fmt: skip


def _pip_options(options: argparse.Namespace) -> list[str]:
    """The options for pip."""
    words = ["--no-index"] if options.no_index else []
    words += ["--pre"] if options.pre else []
    words += ["--no-build-isolation"] if options.no_build_isolation else []
    words += [word for each in options.find_links for word in ("--find-links", _whole(each))]
    words += ["--index-url", options.index_url] if options.index_url else []
    return words + [word for each in options.extra_index_url for word in ("--extra-index-url", each)]


def _strays(cluster: Cluster, on: str, asked: t.Sequence[str]) -> list[str]:
    """What is asked for, or needed by it, and is there already, but not on all nodes: pip alone would leave it out."""
    have, needs = cluster.states[on]["packages"], cluster.states[on].get("needs", {})
    names = [normal(match[0]) for word in asked if (match := NAME.match(word)) and not _is_place(word)]
    seen = reachable((name for name in names if name in have), needs) & set(have)
    every = list(cluster.states.values())
    return sorted(f"{name}=={have[name]}" for name in seen if any(name not in said["packages"] for said in every))


def _fetched(installation: Installation, on: str, words: t.Sequence[str]) -> dict[str, t.Any]:
    """The packages to add, with the wheels that lie on this node now."""
    if on == fanout.own_name(installation):
        with node_packages.alone(installation):
            return node_packages.fetch(installation, *words)
    said, silent = step(installation, [on], ["fetch", *words], FETCH_SECONDS)
    if silent:
        raise Refused(f"{on}: {silent[on]}")
    return t.cast("dict[str, t.Any]", said[on])


def _may_install(cluster: Cluster, on: str, pins: t.Mapping[str, str], files: t.Mapping[str, str]) -> None:
    """Refused, before anything is changed, where a node can't take the packages."""
    for name, said in cluster.states.items():
        for package, version in pins.items():
            if said["packages"].get(package, version) != version:
                raise Refused(f"{name} has {package} {said['packages'][package]}, and {version} would be installed: "
                              f"remove it there (pip uninstall {package}), or name the version")  # fmt: skip
        natives = [each for each in files if re.search(r"-linux_\w+\.whl\Z", each)]
        if natives and _number(said["glibc"]) < _number(cluster.states[on]["glibc"]):
            raise Refused(f"{natives[0]} was built with glibc {cluster.states[on]['glibc']}, and {name} has the older "
                          f"{said['glibc']}: build it there with --on {name}")  # fmt: skip
    place = f"{node_packages.directory(cluster.installation)}/wheels"
    size = sum(os.path.getsize(f"{place}/{name}") for name in files if os.path.exists(f"{place}/{name}"))
    for name, said in cluster.states.items():
        if said["free"] < 5 * size:  # the wheels, and what is in them
            raise Refused(f"{name} has {said['free'] >> 20} MiB free, and {5 * size >> 20} MiB are needed")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _package_of(wheel: str) -> str:
    return normal(wheel.split("-", maxsplit=1)[0])


def _copied(cluster: Cluster, on: str) -> None:
    """Put the wheels on every node."""
    place = f"{node_packages.directory(cluster.installation)}/wheels/"
    if on != cluster.own:
        _rsync([(on, [f"{on}:{place}", place])])
    _rsync([(name, [place, f"{name}:{place}"]) for name in cluster.states if name != cluster.own])


def _rsync(copies: t.Sequence[tuple[str, t.Sequence[str]]]) -> None:
    """Copy at most a few at once; Refused where one fails."""
    remote = " ".join(fanout.SSH)
    failed = []
    for start in range(0, len(copies), COPIES_AT_ONCE):
        calls = [
            (name, subprocess.Popen(["rsync", "-a", "-e", remote, *places], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"))
            for name, places in copies[start : start + COPIES_AT_ONCE]
        ]  # fmt: skip
        try:
            for name, call in calls:
                _out, err = call.communicate(timeout=COPY_SECONDS)
                if call.returncode:
                    failed.append(f"{name}: {(err.strip().splitlines() or ['rsync failed'])[0]}")
        finally:
            for _name, call in calls:
                with contextlib.suppress(OSError):
                    call.kill()
    if failed:
        raise Refused(f"nothing was changed: the wheels could not be copied: {'; '.join(failed)}")


def everywhere(cluster: Cluster, first: t.Sequence[str], rest: t.Sequence[str], record: t.Mapping[str, t.Any]) -> None:
    """A step on every node and its record; where one fails it is taken back on all, and Refused says why."""
    installation, names = cluster.installation, list(cluster.states)
    number = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    try:
        said, silent = step(installation, names, [*first, number, *rest])
    except BaseException:
        _taken_back(installation, names, number)
        raise
    if silent:
        left = _taken_back(installation, names, number)
        why = "; ".join(f"{name}: {reason}" for name, reason in silent.items())
        rest_of = f"; not undone on {', '.join(left)}: run it again when they answer" if left else ""
        raise Refused(f"it failed and was undone on {len(said) + len(silent) - len(left)} nodes ({why}){rest_of}")
    _done, silent = step(installation, names, ["commit", number, json.dumps(record)])
    if silent:
        raise Refused(f"done, but {', '.join(silent)} could not note it: run trainmesh pip list when they answer")


def _taken_back(installation: Installation, names: t.Sequence[str], number: str) -> list[str]:
    """Undo a step on every node; those on which that failed."""
    return list(step(installation, names, ["undo", number])[1])


def uninstall(prefix: str, options: argparse.Namespace) -> int:
    """Remove on every node what was added, or on none."""
    cluster = read(prefix)
    names = [normal(word) for word in options.packages]
    locked = [name for name in names if name in cluster.head["locked"]]
    if locked:
        raise Refused(f"{locked[0]} is of the lock: change trainmesh_requirements or trainmesh_extra_packages, and run "
                      "the site playbook")  # fmt: skip
    for name in names:
        if name not in cluster.roots:
            owners = [root for root in cluster.roots if name in cluster.needed([root])]
            advice = (
                f"it came with {owners[0]}" if owners else "trainmesh exec 'python -m pip uninstall -y ...' removes it"
            )
            raise Refused(f"{name} was not added with trainmesh pip install: {advice}")
    busy = [record["run_id"] for record in runs.all_of(cluster.installation) if runs.goes_on(record)]
    if busy:
        raise Refused(f"the run {busy[0]} goes on, and may need it: wait for its end, or stop it first")
    kept = cluster.roots - set(names)
    needed = cluster.needed(kept) | set(cluster.head["locked"])
    gone = set(cluster.added) - needed
    packages = {name: version for name, version in cluster.added.items() if name not in gone}
    files = {name: value for name, value in cluster.files.items() if _package_of(name) not in gone}
    record = {"roots": sorted(kept), "packages": packages, "files": files}
    everywhere(cluster, ["remove"], [json.dumps(sorted(gone))], record)
    sys.stdout.write(f"removed on {len(cluster.states)} nodes: {' '.join(sorted(gone))}\n")
    return 0


def listing(prefix: str, _options: argparse.Namespace) -> int:
    """What was added, and which nodes lack it."""
    cluster = read(prefix)
    if not cluster.roots:
        sys.stdout.write("nothing was added with trainmesh pip install\n")
    lacking = False
    for name in sorted(cluster.roots):
        parts = cluster.needed([name]) & set(cluster.added)
        without = [node for node, said in cluster.states.items()
                   if any(said["packages"].get(each) != cluster.added[each] for each in parts)]  # fmt: skip
        taken = " (in the lock now)" if name in cluster.head["locked"] else ""
        more = ", ".join(sorted(parts - {name}))
        sys.stdout.write(f"{_versions([name], cluster.added)}{f' with {more}' if more else ''}{taken}\n")
        if without and not taken:
            lacking = True
            sys.stdout.write(f"  {', '.join(without)}: not there, or another version: trainmesh pip install {name}\n")
    return 1 if lacking else 0
