# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPU, fabric and stack facts of one node in one start of a module.

The stack is read in a process of its own, because it is read as the job user; GPUs and fabric in
threads, so that a slow nvidia-smi and a slow name server wait at the same time. Rights and the
working directory stay as they are in this process, on which the threads depend.
"""

from __future__ import annotations

import functools
import json
import pwd
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import isolated, job_user
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.threads import in_threads
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import facts as fabric_facts
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import facts as gpu_facts
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import facts as stack_facts

PARTS = ("gpu", "fabric", "stack")
LIMITS = {"gpu": gpu_facts.TIMEOUT_S, "fabric": fabric_facts.TIMEOUT_S, "stack": stack_facts.TIMEOUT_S}
"""Seconds for each part where the caller names none."""

# Bytes of a part, and more for each node that was asked about: far above what an honest node has to say.
LARGEST, LARGEST_A_PEER = 256 * 1024, 2048

Read = tuple[dict[str, t.Any], t.Optional[str]]


class Found(t.NamedTuple):
    """What was read: ``facts`` and ``errors`` (why a part has none) by part, and what to warn of."""

    facts: dict[str, dict[str, t.Any]]
    errors: dict[str, str]
    warnings: list[str]


def gather(options: t.Mapping[str, t.Any], environ: t.Mapping[str, str]) -> Found:
    """Read the parts that ``options["gather"]`` names, all at once; never raises, a part that fails loses no other.

    ``options`` are those of the module, ``environ`` its own environment.
    """
    found = Found({}, {}, [])
    wanted = [part for part in PARTS if part in options["gather"]]
    limits = {part: options["timeout"] or LIMITS[part] for part in wanted}
    stack = _start_stack(options, limits["stack"], environ, found) if "stack" in wanted else None
    jobs = {part: job for part, job in _threads(options, limits).items() if part in wanted}
    answers = in_threads(jobs, max(limits.values(), default=0.0) + isolated.GRACE_S)
    for part in jobs:
        _note(part, answers.get(part, "no answer in time: a file system there may be dead"), found)
    if stack:
        try:
            found.facts["stack"] = stack.result(limits["stack"])
        except ValueError as error:
            found.errors["stack"] = str(error)
    for part in list(found.facts):
        _refuse_flood(part, found, LARGEST + LARGEST_A_PEER * len(options["peers"]))
    return found


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


def _start_stack(
    options: t.Mapping[str, t.Any], limit: float, environ: t.Mapping[str, str], found: Found
) -> isolated.Process | None:
    try:
        return stack_facts.start(stack_facts.wish_of(options, limit), environ)
    except (ValueError, OSError) as error:
        found.errors["stack"] = str(error)
        return None


def _note(part: str, answer: Read | Exception | str, found: Found) -> None:
    """Put what a thread came to where it belongs."""
    if isinstance(answer, tuple):
        found.facts[part], warning = answer
        found.warnings.extend([warning] if warning else [])
    elif isinstance(answer, Exception):
        found.errors[part] = f"{type(answer).__name__}: {answer}"
    else:
        found.errors[part] = answer
