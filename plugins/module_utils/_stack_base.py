# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: what an environment can be made with on a node, before one is made."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils import _bounded, _python_env

Record = dict[str, t.Any]


def read(python: str | None, conda: str | None, run: t.Callable[..., _bounded.Outcome], limit: float) -> Record | None:
    """The facts ``base``: of the interpreter, of conda, or None when neither is asked for."""
    if not python and not conda:
        return None
    return {
        "interpreter": _interpreter(python, run, limit) if python else None,
        "pythons": _python_env.pythons(),
        "conda": is_conda(conda) if conda else None,
    }


def _interpreter(python: str, run: t.Callable[..., _bounded.Outcome], limit: float) -> Record:
    found = _python_env.look(python, run, limit)
    return {name: getattr(found, name) or None for name in ("path", "version", "problem")}


def is_conda(directory: str) -> bool:
    """Whether conda is there in full: its installer writes the history last."""
    return os.path.exists(f"{directory}/conda-meta/history")


__all__ = ("is_conda", "read")
