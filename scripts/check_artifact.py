# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artifact of ``ansible-galaxy collection build`` holds too much or too little: ``check_artifact.py FILE``.

It is to hold every file of the checkout that ``SHIPPED`` names, and nothing else: galaxy.yml only lists what stays out,
so whatever a test leaves behind, or a tool brings along, is shipped until somebody notices. Prints one line for each
fault and exits 1 if there is any.
"""

from __future__ import annotations

import sys
import tarfile

from check_layout import our_files

SHIPPED = {
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"),
    *("changelogs", "docs", "examples", "meta", "playbooks", "plugins", "roles"),
}
MADE_BY_BUILD = {"FILES.json", "MANIFEST.json"}


def faults(packed: set[str], ours: set[str]) -> list[str]:
    """What differs between the files of an artifact and those of the checkout."""
    wanted = {name for name in ours if name.split("/")[0] in SHIPPED} | MADE_BY_BUILD
    surplus = [f"{name}: is in the artifact; leave it out with build_ignore in galaxy.yml" for name in packed - wanted]
    return sorted([*surplus, *(f"{name}: is not in the artifact" for name in wanted - packed)])


def main(artifact: str) -> int:
    """Compare and print the faults."""
    with tarfile.open(artifact) as archive:
        packed = {member.name for member in archive if not member.isdir()}
    found = faults(packed, {path.as_posix() for path in our_files()})
    print("\n".join(found) or f"{len(packed)} files, and nothing else")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
