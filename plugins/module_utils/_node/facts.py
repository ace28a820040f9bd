# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All facts of one node in one start of a module.

What is read as the job user, or may hang in a file system of the job user's, is read in processes of its own; GPUs and
fabric in threads, so that a slow nvidia-smi and a slow name server wait at the same time. Rights and the working
directory stay as they are in this process, on which the threads depend.
"""

from __future__ import annotations

import functools
import json
import os
import pwd
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import isolated, job_user
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.threads import in_threads
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import ssh_identity
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import facts as fabric_facts
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import shared_home
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import facts as gpu_facts
from ansible_collections.trainmesh.cluster.plugins.module_utils._node import present
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import facts as stack_facts
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import facts as user_facts

LIMITS = {
    "gpu": gpu_facts.TIMEOUT_S,
    "fabric": fabric_facts.TIMEOUT_S,
    "stack": stack_facts.TIMEOUT_S,
    "user": user_facts.TIMEOUT_S,
    "identity": 2 * ssh_identity.KEYGEN_S,
    "present": present.TIMEOUT_S,
}
"""Seconds for each part where the caller names none."""
PARTS = tuple(LIMITS)
READ_ONLY = ("gpu", "fabric", "stack", "user")
"""What is read where the caller names no part."""

# Bytes of a part, and more for each node that was asked about: far above what an honest node has to say.
LARGEST, LARGEST_A_PEER = 256 * 1024, 2048

Read = tuple[dict[str, t.Any], t.Optional[str]]


class Found(t.NamedTuple):
    """What was read: ``facts`` and ``errors`` (why a part has none) by part, and what to warn of."""

    facts: dict[str, dict[str, t.Any]]
    errors: dict[str, str]
    warnings: list[str]


def gather(options: t.Mapping[str, t.Any], environ: t.Mapping[str, str], check: bool = False) -> Found:
    """Read the parts that ``options["gather"]`` names, all at once; never raises, a part that fails loses no other.

    ``options`` are those of the module, ``environ`` its own environment; with ``check`` no key is made.
    """
    found = Found({}, {}, [])
    wanted = [part for part in PARTS if part in options["gather"]]
    limits = {part: options["timeout"] or LIMITS[part] for part in wanted}
    starters: dict[str, t.Callable[[], isolated.Process]] = {
        "stack": lambda: stack_facts.start(stack_facts.wish_of(options, limits["stack"]), environ),
        "user": lambda: isolated.start(functools.partial(_user, options, limits["user"])),
        "identity": lambda: _start_identity(options, check),
        "present": lambda: present.start(_present_wish(options)),
    }
    processes: dict[str, isolated.Process] = {}
    for part in (part for part in starters if part in wanted):  # all before the first thread
        try:
            processes[part] = starters[part]()
        except (ValueError, OSError) as error:
            found.errors[part] = str(error)
    jobs = {part: job for part, job in _threads(options, limits).items() if part in wanted}
    answers = in_threads(jobs, max((limits[part] for part in jobs), default=0.0) + isolated.GRACE_S)
    for part in jobs:
        _note(part, answers.get(part, "no answer in time: a file system there may be dead"), found)
    for part, process in processes.items():
        try:
            found.facts[part] = process.result(limits[part])
        except ValueError as error:
            found.errors[part] = str(error)
    for part in list(found.facts):
        _refuse_flood(part, found, LARGEST + LARGEST_A_PEER * len(options["peers"]))
    return found


def _user(options: t.Mapping[str, t.Any], limit: float) -> dict[str, t.Any]:
    """The facts of the job user, read by root, who gives its rights up for each part that asks for that."""
    same = {name: options[name] for name in user_facts.OPTIONS}
    wish = user_facts.Wish(
        **same, ssh_names=options["names"], paths=options["user_paths"], timeout=limit, addresses=options["addresses"]
    )
    return user_facts.gather(wish, Tree())


def _start_identity(options: t.Mapping[str, t.Any], check: bool) -> isolated.Process:
    wish = ssh_identity.Wish(options["key_comment"], options["create_key"], options["rotate_key"])
    account = job_user.account(options["user"]) if options["user"] else None
    return isolated.start(functools.partial(shared_home.identity, wish, check), account)


def _present_wish(options: t.Mapping[str, t.Any]) -> present.Wish:
    user = options["user"] or job_user.user_name(os.geteuid())
    return present.Wish(user=user, prefix=options["prefix"], **(options["present"] or {"key": ""}))


def _refuse_flood(part: str, found: Found, most: int) -> None:
    """Keep a part to ourselves that would cost the controller as much memory as somebody here likes."""
    sizes = {key: len(json.dumps(value, default=str)) for key, value in found.facts[part].items()}
    if sum(sizes.values()) > most:
        largest = max(sizes, key=sizes.__getitem__)
        del found.facts[part]
        size = f"{sum(sizes.values())} bytes, expected at most {most}"
        found.errors[part] = f"{size}; the largest of it is {largest} with {sizes[largest]} bytes"


def _threads(options: t.Mapping[str, t.Any], limits: t.Mapping[str, float]) -> dict[str, t.Callable[[], Read]]:
    """What is read as the user who runs the module, root as a rule."""
    wish = fabric_facts.Wish(
        options["peers"],
        options["names"],
        options["paths"],
        limits.get("fabric", LIMITS["fabric"]),
        _account(options["user"]),
        options["addresses"],
    )
    return {
        "gpu": functools.partial(gpu_facts.read, options["devices_root"] or "/", limits.get("gpu", LIMITS["gpu"])),
        "fabric": functools.partial(fabric_facts.read, wish, devices_root=options["devices_root"]),
    }


def _account(user: str | None) -> pwd.struct_passwd | None:
    try:
        return job_user.account(user) if user else None
    except ValueError:
        return None  # the part that can't do without the user says so


def _note(part: str, answer: Read | Exception | str, found: Found) -> None:
    """Put what a thread came to where it belongs."""
    if isinstance(answer, tuple):
        found.facts[part], warning = answer
        found.warnings.extend([warning] if warning else [])
    elif isinstance(answer, Exception):
        found.errors[part] = f"{type(answer).__name__}: {answer}"
    else:
        found.errors[part] = answer
