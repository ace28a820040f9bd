# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles take from elsewhere than the plan."""

from __future__ import annotations

import pathlib
import shlex
import typing as t

import yaml

ROLES = pathlib.Path(__file__).resolve().parents[3] / "roles"


def _variables(role: str, folder: str) -> dict[str, t.Any]:
    loaded: dict[str, t.Any] = yaml.safe_load((ROLES / role / folder / "main.yml").read_text(encoding="utf-8"))
    return loaded


def launch_scripts() -> list[dict[str, str]]:
    """The launch scripts as the role gives them to file_set."""
    scripts = _variables("launch_config", "vars")["__launch_config_scripts"]
    files = ROLES / "launch_config" / "files"
    return [{**script, "content": (files / script["path"]).read_bytes().decode()} for script in scripts]


def job_env(env: t.Mapping[str, t.Any]) -> list[dict[str, str]]:
    """The file of the jobs' environment variables as the role gives it to file_set."""
    lines = (f"{name}={shlex.quote(str(env[name]))}\n" for name in sorted(env))
    content = "".join(["# trainmesh_env of the inventory\n", *lines])
    return [{"path": "etc/job.env", "content": content, "mode": "0600"}]


def overridden(role: str, *scopes: t.Container[str]) -> list[str]:
    """The role's own variables that one of these scopes sets: what the role does then is not in the plan."""
    return [name for name in _variables(role, "defaults") if any(name in scope for scope in scopes)]
