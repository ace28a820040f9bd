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
# What the cloud's vendor and its user gave, which goes above the files, the user's last.
VENDORS = "/var/lib/cloud/instance/vendor-cloud-config.txt"
GIVEN = "/var/lib/cloud/instance/cloud-config.txt"
_SETTING = re.compile(r"^(manage_etc_hosts|preserve_hostname)\s*:\s*[\"']?([\w-]+)")
# an entry of the list of modules: a name, old ones with dashes, or [name, how often], which is each boot by itself
_MODULE = re.compile(
    r"^\s*-\s*(?:\[\s*)?[\"']?(?:cc[_-])?update[_-]etc[_-]hosts[\"']?\s*(?:,\s*[\"']?([\w-]+)[\"']?\s*\])?"
)
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
    paths = (MAIN, *sorted(drop_ins), VENDORS, GIVEN)
    for path in paths:
        for number, line in enumerate((files.text(path) or "").splitlines(), 1):
            match = _SETTING.match(line)
            if match:
                found[match.group(1)] = (match.group(2).lower(), f"{path} line {number}: {line.strip()[:120]}")
    hosts, hosts_line = found.get("manage_etc_hosts", ("false", ""))
    keeps, name_line = found.get("preserve_hostname", ("false", ""))
    return {
        "writes_hosts": hosts in _TRUE and _runs(files, paths),
        "hosts_line": hosts_line or None,
        "keeps_name": keeps in _TRUE,
        "name_line": name_line or None,
        "given": hosts_line.startswith((VENDORS, GIVEN)),
    }


def _runs(files: Tree, paths: t.Iterable[str]) -> bool:
    """Whether the module that writes the file runs at each boot; the last list of modules counts."""
    runs = False
    for path in paths:
        text = files.text(path) or ""
        if re.search(r"(?m)^cloud_init_modules\s*:", text):
            found = filter(None, map(_MODULE.match, text.splitlines()))
            runs = any((match.group(1) or "always") == "always" for match in found)
    return runs
