# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the job user may do that a job need not."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import live, rows, text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    INFO,
    About,
    Answer,
    Case,
    dig,
    finding,
    rule,
)


@rule(
    About(
        "user-is-root",
        layer="ssh",
        severity=INFO,
        title="The job user is root or has passwordless sudo",
        symptom="nothing is seen; a bad script or model file is root on every node",
        source="sudoers(5), NOPASSWD",
    ),
    needs=("user",),
)
def is_root(case: Case) -> t.Iterable[Answer]:
    """The job user is root, or becomes root without a password."""
    for host, facts in case.user.items():
        if dig(facts, "root_without_password") is True:
            name = dig(facts, "name", "")
            yield finding(
                "user-is-root",
                INFO,
                host,
                "jobs run as root" if dig(facts, "uid") == 0 else f"sudo asks {name} for no password",
                "Every training script, and whatever it loads, may be root on this node and those it logs in to.",
                "useradd -m trainer on every node, without a right to sudo, and trainmesh_user: trainer.",
            )


@rule(
    About(
        "home-shared",
        layer="ssh",
        severity=INFO,
        title="Several nodes have one home directory",
        symptom="keys made on one node appear, or vanish, on others",
        source="stackhpc/ansible-slurm-appliance#590, ansible/ansible#29693",
    ),
    needs=("user",),
)
def shared_home(case: Case) -> t.Iterable[Answer]:
    """One ~/.ssh for several nodes: the same inode and the same keys, and a network file system on one of them.

    What the plan knows of a home goes before it.
    """
    groups: dict[tuple[t.Any, ...], list[str]] = {}
    for host in live(case, "user"):
        facts = case.user[host]
        keys = tuple(sorted(text(key, "fingerprint") for key in rows(facts, "own_keys")))
        if dig(facts, "ssh_dir_inode") is not None:
            groups.setdefault((dig(facts, "ssh_dir_inode"), dig(facts, "home"), keys), []).append(host)
    for hosts in groups.values():
        shared = any(dig(case.user[host], "caches.home.local") is False for host in hosts)
        planned = any(dig(case.node(host), "ssh_home") for host in hosts)
        if len(hosts) < 2 or not (shared or planned):
            continue
        writer = (dig(case.node(hosts[0]), "ssh_home") or [""])[0]
        keys_said = (
            f"the ssh files are written once, by {writer}"
            if planned
            else "see that the key's from= names every one of these nodes"
        )
        for host in hosts:
            kind = dig(case.user[host], "caches.home.fs_type", "an unknown file system")
            yield finding(
                "home-shared",
                INFO,
                host,
                f"{dig(case.user[host], 'home')}/.ssh is inode {dig(case.user[host], 'ssh_dir_inode')} on {kind}",
                f"{', '.join(hosts)} have one home: one key, one authorized_keys and one known_hosts count for all of "
                "them, and so do the caches of compiled code.",
                f"Set TORCH_EXTENSIONS_DIR and TRITON_CACHE_DIR to a local directory in trainmesh_env; {keys_said}.",
            )
