# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package sources of the embedded nodes, out of those of this machine."""

from __future__ import annotations

import re

# What can be made from a machine's own source: one archive holds all releases of its distribution.
SUITES = {
    "debian:11": "bullseye",
    "debian:12": "bookworm",
    "debian:13": "trixie",
    "ubuntu:22.04": "jammy",
    "ubuntu:24.04": "noble",
}
# Keys of one release only; the whole keyring holds those of all of them.
ONE_RELEASE_KEY = re.compile(r"/usr/share/keyrings/debian-archive-[\w.-]+\.(?:gpg|pgp|asc)")
ALL_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def _os_values(os_release: str) -> dict[str, str]:
    """Return the fields of ``/etc/os-release``."""
    return dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', os_release, re.MULTILINE))


def code_name(os_release: str) -> str:
    """Return the code name of the release from the text of ``/etc/os-release``; that of the parent if it names one."""
    values = _os_values(os_release)
    return values.get("UBUNTU_CODENAME") or values.get("VERSION_CODENAME", "")


def suite_of(base: str, os_release: str) -> str:
    """Return the suite that a base stands for, this machine's own one for no base.

    Raises :class:`ValueError` where this machine's package source does not hold the base.
    """
    own = code_name(os_release)
    if not base or SUITES.get(base) == own:
        return own
    if base not in SUITES:
        raise ValueError(
            f"the base '{base}' can only be had from an image registry; without one, use one of {', '.join(SUITES)}"
        )
    values = _os_values(os_release)
    ubuntu = "UBUNTU_CODENAME" in values or values.get("ID") == "ubuntu"
    if ubuntu or base.startswith("ubuntu:"):
        raise ValueError(
            f"the base '{base}' cannot be made from this machine's package source of '{own}'; leave the base out, or"
            " let the Docker Engine reach an image registry"
        )
    return SUITES[base]


def apt_sources(texts: dict[str, str], release: str, suite: str = "") -> dict[str, str]:
    """Return the sources of a release by format ("list", "sources"), out of apt's files (path to text).

    Kept are the archive itself, its updates and security: foreign repositories have no "main" or
    other suites. With another ``suite`` the same archives are asked for that one.
    """
    wanted = suite or release
    ends = {"": "", "-updates": "-updates", "-security": "-security", "/updates": "-security"}
    suites = {release + own: wanted + (own if wanted == release else ours) for own, ours in ends.items()}
    lines, stanzas = [], []
    for path, text in texts.items():
        if path.endswith(".sources"):
            for stanza in re.split(r"\n\s*\n", text):
                stanzas += _own_stanza(stanza, suites)
        else:
            lines += [_own_line(line, suites) for line in text.splitlines()]
    found = {"list": "".join(f"{line}\n" for line in lines if line), "sources": "\n".join(stanzas)}
    if wanted == release:
        return found
    return {kind: ONE_RELEASE_KEY.sub(ALL_KEYS, text) for kind, text in found.items()}


def _own_line(line: str, suites: dict[str, str]) -> str:
    """Return a one-line entry of the distribution's own archive for the suite that is asked for, or nothing."""
    match = re.match(r"\s*(deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+)(\S+)(\s+(.*))", line)
    if not match or match[2].startswith("cdrom:") or match[3] not in suites or "main" not in match[5].split():
        return ""
    return (match[1] + suites[match[3]] + match[4]).strip()


def _own_stanza(stanza: str, suites: dict[str, str]) -> list[str]:
    """Return the stanza without its comments, narrowed and turned to the suites that are asked for, or nothing."""
    text = "\n".join(line for line in stanza.splitlines() if line.strip() and not line.startswith("#"))
    fields = {name.lower(): value for name, value in re.findall(r"^([\w-]+):[ \t]*(.*)$", text, re.MULTILINE)}
    ours = [suites[suite] for suite in fields.get("suites", "").split() if suite in suites]
    if not ours or "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
        return []
    if "main" not in fields.get("components", "").split():
        return []
    narrowed = re.sub(r"^Suites:.*$", f"Suites: {' '.join(ours)}", text, flags=re.MULTILINE | re.IGNORECASE)
    return [re.sub(r"^Types:.*$", "Types: deb", narrowed, flags=re.MULTILINE | re.IGNORECASE) + "\n"]
