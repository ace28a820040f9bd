# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud-init will write anew at the next boot: /etc/hosts and the host name."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree

PROGRAMS = ("/usr/bin/cloud-init", "/usr/local/bin/cloud-init")
MAIN, DROP_INS = "/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d"
# What the cloud itself gave, which goes above the files.
GIVEN = "/var/lib/cloud/instance/cloud-config.txt"
_SETTING = re.compile(r"^(manage_etc_hosts|preserve_hostname)\s*:\s*[\"']?([\w-]+)")
_TRUE = ("true", "yes", "on", "1", "template")


def read(files: Tree) -> dict[str, t.Any] | None:
    """``writes_hosts`` and ``keeps_name``, each with the line that says so (``hosts_line``, ``name_line``).

    ``given`` says that the cloud's own data says so, above which no file goes. None where cloud-init is not there or
    switched off. Sources: cloud-init's cc_update_etc_hosts, cc_update_hostname; ds-identify.
    """
    there = files.has(MAIN) and any(files.has(program) for program in PROGRAMS)
    off = files.has("/etc/cloud/cloud-init.disabled") or files.has("/run/cloud-init/disabled")
    if not there or off or "cloud-init=disabled" in (files.text("/proc/cmdline", 4096) or ""):
        return None
    drop_ins = [f"{DROP_INS}/{name}" for name in files.names(DROP_INS) if name.endswith(".cfg")]
    found: dict[str, tuple[str, str]] = {}
    for path in (MAIN, *sorted(drop_ins), GIVEN):
        for number, line in enumerate((files.text(path) or "").splitlines(), 1):
            match = _SETTING.match(line)
            if match:
                found[match.group(1)] = (match.group(2).lower(), f"{path} line {number}: {line.strip()[:120]}")
    hosts, hosts_line = found.get("manage_etc_hosts", ("false", ""))
    keeps, name_line = found.get("preserve_hostname", ("false", ""))
    return {
        "writes_hosts": hosts in _TRUE and "update_etc_hosts" in _modules(files),
        "hosts_line": hosts_line or None,
        "keeps_name": keeps in _TRUE,
        "name_line": name_line or None,
        "given": hosts_line.startswith(GIVEN),
    }


def _modules(files: Tree) -> str:
    """The lines of the configuration that are no comments; the list of modules is among them."""
    return "\n".join(line for line in (files.text(MAIN) or "").splitlines() if not line.lstrip().startswith("#"))
