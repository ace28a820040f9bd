# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of packages that contradict each other, in uv's words."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import index

CONFLICT = """error: No solution found when resolving dependencies
  cause: Because deepspeed==0.19.3 depends on pydantic>=2.0.0 and you require deepspeed==0.19.3, we can conclude that
         you require pydantic>=2.0.0.
         And because you require pydantic<2, we can conclude that your requirements are unsatisfiable.
"""
OLDER = """  × No solution found when resolving dependencies:
  ╰─▶ Because you require numpy>=3.0 and numpy==1.26.4, we can conclude that your requirements are unsatisfiable.
"""
ABSENT = """error: No solution found when resolving dependencies
  cause: Because there is no version of numpy==99.1 and you require numpy==99.1, we can conclude that your requirements
         are unsatisfiable.

hint: `numpy` was found on https://example.org/simple, but not at the requested version (numpy==99.1).
"""
UNKNOWN = """  cause: Because x was not found in the package registry and you require x==1, we can conclude that your
  requirements are unsatisfiable."""


BUILD = """error: Failed to build `flash-attn==2.8.3`
  cause: The build backend returned an error
         Traceback (most recent call last):
           File "<string>", line 22, in <module>
         ModuleNotFoundError: No module named 'torch'

hint: This error likely indicates that `flash-attn@2.8.3` depends on `torch`, but doesn't declare it.
"""


@pytest.mark.parametrize(
    ("answer", "is_one"), [(CONFLICT, True), (OLDER, True), (ABSENT, False), (UNKNOWN, False), ("dns error", False)]
)
def test_a_conflict_is_told_from_what_cannot_be_had(answer, is_one):
    assert index.is_conflict(answer) is is_one


def test_a_conflict_names_the_line_of_the_user():
    text = index.conflict(CONFLICT, {"pydantic": "/x/requirements.txt:3", "pydantic-core": "/x/requirements.txt:4"})
    assert text == (
        "The packages asked for contradict each other. uv says: Because deepspeed==0.19.3 depends on pydantic>=2.0.0 "
        "and you require deepspeed==0.19.3, we can conclude that you require pydantic>=2.0.0. And because you require "
        "pydantic<2. pydantic stands in /x/requirements.txt:3: change that."
    )
    assert index.conflict(OLDER, {}).endswith("numpy==1.26.4. Change one of them in the inventory.")


def test_what_the_controller_cannot_build_is_built_on_a_node():
    text = index.build_failure(BUILD)
    assert text.startswith(
        "flash-attn has no wheel, and the controller can't build it: ModuleNotFoundError: No module "
    )
    assert "trainmesh pip install --no-build-isolation --on NODE flash-attn" in text
    assert index.is_final(BUILD) and index.is_final(CONFLICT) and not index.is_final(ABSENT)
    assert "nvcc was not found" in index.build_failure("Failed to build `x==1`\n  /bin/sh: nvcc was not found\n")
    assert index.build_failure(CONFLICT) == ""
