# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution of the node, from os-release."""

from __future__ import annotations

import platform
import re
import typing as t

PATHS = ("/etc/os-release", "/usr/lib/os-release")
_LINE = re.compile(r"""(?m)^([A-Z_]+)=(?:"([^"\n]*)"|'([^'\n]*)'|(\S*))[ \t]*$""")
# Which rebuild what: packages of the one on the right fit.
_LIKE = {"rocky": "rhel", "almalinux": "rhel", "ol": "rhel", "centos": "rhel", "rhel": "rhel"}
OF_RPM = ("rhel", "fedora")


class System(t.NamedTuple):
    """``family`` is debian, ubuntu, rhel, fedora, or empty for none known here; ``arch`` is of the kernel."""

    family: str
    version: str
    codename: str
    name: str
    arch: str

    @property
    def major(self) -> int:
        """The number of the release, 0 where it has none."""
        found = re.match(r"\d+", self.version)
        return int(found.group()) if found else 0


def parse(text: str, arch: str) -> System:
    """The distribution that an os-release names."""
    values = {name: first or second or third for name, first, second, third in _LINE.findall(text)}
    name = values.get("ID", "").lower()
    family = name if name in ("debian", "ubuntu", "fedora") else _LIKE.get(name, "")
    shown = values.get("PRETTY_NAME") or name or "this distribution"
    return System(family, values.get("VERSION_ID", ""), values.get("VERSION_CODENAME", ""), shown, arch)


def read() -> System:
    """The distribution of this node."""
    for path in PATHS:
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                return parse(stream.read(), platform.machine())
        except OSError:
            continue
    return parse("", platform.machine())
