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
# Ours, and its first line: a file of that name without it is another's.
KEEP_OURS = "keep_ours"
"""The value of ``trainmesh_cloud_init`` with which our drop-in is written."""
OURS = f"{DROP_INS}/99-trainmesh.cfg"
MARK = "# trainmesh.cluster: cloud-init leaves these to it"
_SETTING = re.compile(r"^(manage_etc_hosts|preserve_hostname)\s*:\s*[\"']?([\w-]+)")
# an entry of the list of modules: a name, old ones with dashes, or [name, how often], which is each boot by itself
_MODULE = re.compile(
    r"^\s*-\s*(?:\[\s*)?[\"']?(?:cc[_-])?update[_-]etc[_-]hosts[\"']?\s*(?:,\s*[\"']?([\w-]+)[\"']?\s*\])?"
)
_TRUE = ("true", "yes", "on", "1", "template")


def read(files: Tree) -> dict[str, t.Any] | None:
    """``writes_hosts`` and ``keeps_name``, each with the line that says so (``hosts_line``, ``name_line``).

    ``given`` says that the cloud's own data says so, above which no file goes, ``needs`` what a drop-in of ours has to
    say (drop_in_lines), ``foreign`` that its place is another's. None where cloud-init is not there or switched off.
    Sources: cloud-init's cc_update_etc_hosts, cc_update_hostname; ds-identify.
    """
    if not _is_on(files):
        return None
    paths = _paths(files)
    found = _settings(files, paths)
    hosts, keeps = (found.get(name, _UNSET) for name in ("manage_etc_hosts", "preserve_hostname"))
    return {
        "writes_hosts": hosts.value in _TRUE and _runs(files, paths),
        "hosts_line": hosts.line or None,
        "keeps_name": keeps.value in _TRUE,
        "name_line": keeps.line or None,
        "given": hosts.path in (VENDORS, GIVEN),
        "needs": drop_in_lines(files),
        "foreign": is_foreign(files),
    }


def drop_in_lines(files: Tree) -> list[str]:
    """The settings without which cloud-init, were there no drop-in of ours, would take the names back.

    None that something above our drop-in decides, where they would be of no use: what the cloud gave, and drop-ins
    whose names come after ours.
    """
    if not _is_on(files):
        return []
    paths = [path for path in _paths(files) if path != OURS or is_foreign(files)]
    found = _settings(files, paths)
    hosts, keeps = (found.get(name, _UNSET) for name in ("manage_etc_hosts", "preserve_hostname"))
    writes = hosts.value in _TRUE and _runs(files, paths) and not _is_above(hosts.path)
    renames = keeps.value not in _TRUE and not _is_above(keeps.path)
    return ["manage_etc_hosts: false"] * writes + ["preserve_hostname: true"] * renames


def drop_in(lines: t.Sequence[str]) -> str:
    """The text of our drop-in; empty where there is nothing to say."""
    return "".join(f"{line}\n" for line in (MARK, *lines)) if lines else ""


def is_foreign(files: Tree) -> bool:
    """Whether something that is not ours has the name of our drop-in."""
    return files.has(OURS) and not (files.text(OURS) or "").startswith(MARK)


def taken() -> str:
    """That the place of our drop-in is another's, and the ways out."""
    return (
        f"{OURS}: expected no file, or ours, found one without the line '{MARK}', which is left as it is: rename it, "
        "or add manage_etc_hosts: false and preserve_hostname: true to it, or set trainmesh_cloud_init: leave"
    )


def _is_above(path: str) -> bool:
    return path in (VENDORS, GIVEN) or (path.startswith(DROP_INS) and path > OURS)


def _is_on(files: Tree) -> bool:
    there = files.has(MAIN) and any(files.has(program) for program in PROGRAMS)
    off = files.has("/etc/cloud/cloud-init.disabled") or files.has("/run/cloud-init/disabled")
    return there and not off and "cloud-init=disabled" not in (files.text("/proc/cmdline", 4096) or "")


def _paths(files: Tree) -> list[str]:
    """Where settings stand, the last word last."""
    drop_ins = [f"{DROP_INS}/{name}" for name in files.names(DROP_INS) if name.endswith(".cfg")]
    return [MAIN, *sorted(drop_ins), VENDORS, GIVEN]


class _Setting(t.NamedTuple):
    """The value that counts, the file that has it, and place and text of the line."""

    value: str
    path: str
    line: str


_UNSET = _Setting("false", "", "")


def _settings(files: Tree, paths: t.Iterable[str]) -> dict[str, _Setting]:
    found = {}
    for path in paths:
        for number, line in enumerate((files.text(path) or "").splitlines(), 1):
            match = _SETTING.match(line)
            if match:
                place = f"{path} line {number}: {line.strip()[:120]}"
                found[match.group(1)] = _Setting(match.group(2).lower(), path, place)
    return found


def _runs(files: Tree, paths: t.Iterable[str]) -> bool:
    """Whether the module that writes the file runs at each boot; the last list of modules counts."""
    runs = False
    for path in paths:
        text = files.text(path) or ""
        if re.search(r"(?m)^cloud_init_modules\s*:", text):
            found = filter(None, map(_MODULE.match, text.splitlines()))
            runs = any((match.group(1) or "always") == "always" for match in found)
    return runs
