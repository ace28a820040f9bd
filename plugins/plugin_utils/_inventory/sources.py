# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files behind an inventory: which they are, where in them a value stands, and what is wrong with all of it."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible import constants as C
from ansible.inventory.manager import IGNORED
from ansible.parsing.vault import VaultHelper

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import duplicates, hostfile
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.validate import HostVars, check
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.variables import PREFIX

VAULTED = b"$ANSIBLE_VAULT"
# What is read of a host besides our own variables.
OTHERS = ("ansible_host", "ansible_port", "ansible_user", "ansible_become", "ansible_python_interpreter")


def host(values: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A host's variables that are read: templating every variable of every host would cost seconds."""
    return {name: values[name] for name in values if name in OTHERS or name.startswith(PREFIX)}


def faults(variables: t.Mapping[str, t.Any], hosts: HostVars) -> list[str]:
    """Every fault of the inventory at once: of its sources, and of what ``hosts``, as host() gives them, say."""
    sources = variables.get("ansible_inventory_sources") or []
    absent = [source for source in sources if "," not in source and not os.path.exists(source)]
    misread: list[str] = []
    repeats: list[duplicates.Repeat] = []
    for path in inventory_files(sources):
        lines = hostfile.read(path)
        if lines is None:
            repeats += duplicates.repeats_in_file(path)
        else:
            misread += lines.faults or hostfile.unread(path, lines, variables["hostvars"], C.INVENTORY_ENABLED)
    # Where a hostfile was not read as one, what Ansible has of its hosts is not what the user wrote.
    found = misread or map(str, check(hosts, repeats, origin, is_secret))
    return [*(f"the inventory {source} does not exist" for source in absent), *found]


def without_effect(hostvars: t.Mapping[str, t.Any], names: t.Iterable[str]) -> str:
    """That a line of a hostfile in another kind of inventory gives no slots; empty where none stands there."""
    raw = {
        name: action.stored(hostvars, name) for name in names
    }  # a user's own variable of this name may be a template
    found = [name for name, one in raw.items() if str(one.get("slots")).isdigit() and f"{PREFIX}slots" not in one]
    if not found:
        return ""
    return f"{', '.join(found[:3])}{' and others' if len(found) > 3 else ''}: slots is not read, trainmesh_slots is"


def _place(value: t.Any) -> tuple[str, int | None]:
    """(file, line) where ansible-core read a value; empty where it does not tell."""
    try:
        from ansible._internal._datatag._tags import Origin
    except ImportError:
        return "", None
    tag = Origin.get_tag(value) if value is not None else None
    return str(getattr(tag, "path", None) or ""), getattr(tag, "line_num", None)


def origin(value: t.Any) -> str:
    """Where ansible-core read a value, as file:line; empty where it does not tell."""
    path, line = _place(value)
    return f"{path}:{line}" if path and line else path


def is_secret(value: t.Any) -> bool:
    """Whether a value, or a part of it, was encrypted with ansible-vault: by itself, or with its whole file."""
    if isinstance(value, t.Mapping):
        return any(is_secret(one) for one in value.values())
    if isinstance(value, (list, tuple)):
        return any(is_secret(one) for one in value)
    if VaultHelper.get_ciphertext(value, with_tags=False):
        return True
    with contextlib.suppress(OSError), open(_place(value)[0], "rb") as stream:
        return stream.read(len(VAULTED)) == VAULTED
    return False


def inventory_files(sources: t.Iterable[str]) -> list[str]:
    """The files behind the inventory sources: each file, and those directly in each directory."""
    files = []
    for source in sources:
        if os.path.isdir(source):
            names = [name for name in sorted(os.listdir(source)) if not IGNORED.search(os.fsencode(name))]
            files += [os.path.join(source, name) for name in names]
        else:
            files.append(source)
    return files


def state_dir(variables: t.Mapping[str, t.Any]) -> str:
    """Where lock and memory of this inventory live: beside the first inventory source that is a path."""
    for source in variables.get("ansible_inventory_sources") or []:
        if os.path.exists(source):
            place = source if os.path.isdir(source) else os.path.dirname(os.path.abspath(source))
            return os.path.join(os.path.abspath(place), ".trainmesh")
    return os.path.abspath(".trainmesh")
