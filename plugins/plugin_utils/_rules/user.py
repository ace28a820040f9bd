# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the job user may do that a job need not."""

from __future__ import annotations

import typing as t

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
