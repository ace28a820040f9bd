# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the Python that jobs are to use is there at all, and has PyTorch.

Where only some nodes lack the one or the other, the comparison of versions names them.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    About,
    Answer,
    Case,
    Finding,
    Untested,
    dig,
    rule,
)

NO_TORCH = "ver-torch-import-fails"
"""Without PyTorch no job can be started: what could not be tested under this id says why."""

_UNKNOWN = (
    NO_TORCH,
    "ver-python-torch-differs",
    "acc-version-differs",
    "nccl-version-mismatch",
    "ver-package-mismatch",
)


@rule(
    About(
        "ver-torch-import-fails",
        layer="versions",
        severity=FAIL,
        title="PyTorch cannot be imported",
        symptom="`ImportError` at the start",
        source="PyTorch",
    ),
    needs=("stack",),
)
def torch_is_there(case: Case) -> t.Iterator[Answer]:
    """No node has the Python of the jobs, or none has PyTorch in it.

    On a cluster that we did not set up the default path accuses nobody: the user's Python may be anywhere.
    """
    for host in case.order:
        late = dig(case.stack.get(host), "torch_import", {})
        if late and dig(late, "ok") is None:  # under this id, since no torch at all would keep the jobs from starting
            yield Untested("env-ldpath-cuda-clash", (host,), f"not tested: {dig(late, 'error', 'no answer in time')}")
    facts = {host: case.stack[host] for host in case.order if host in case.stack and "python" in case.stack[host]}
    working = [host for host in facts if dig(facts[host], "python.version") and not dig(facts[host], "python.problem")]
    path = next((str(dig(each, "python.path", "")) for each in facts.values()), "")
    managed = dig(case.plan, "managed") is True
    if not facts or any(dig(facts[host], "packages.torch") or dig(facts[host], "torch") for host in working):
        return
    if not managed and not working and path == f"{dig(case.plan, 'prefix', '')}/env/bin/python":
        why = f"no Python was named, and there is no {path}: name that of your jobs by trainmesh_verify_python"
        yield from (Untested(name, tuple(facts), why) for name in _UNKNOWN)
        return
    missing = f"there is no PyTorch in {path}" if working else f"{path} does not work on any node"
    remedy = by_site(case, "Run site.yml, which installs it.")
    seen = {host: str(dig(facts[host], "python.problem") or missing) for host in facts}
    yield Finding(NO_TORCH, FAIL, tuple(seen), seen, f"Jobs can't start: {missing}.", remedy)


ELSEWHERE = (
    "Install the same there as on the other nodes, at the same path, or name the Python of your jobs by "
    "trainmesh_verify_python; site.yml would make an environment of its own, equal on all nodes."
)


def by_site(case: Case, remedy: str) -> str:
    """A remedy by site.yml, which mends no environment of the user's own on a cluster that we did not set up."""
    return remedy if dig(case.plan, "managed") is True else ELSEWHERE
