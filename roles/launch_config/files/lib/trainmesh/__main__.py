# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run by ``bin/trainmesh`` and ``libexec/trainmesh-rank``, with a Python that reads nothing of the user's settings."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Carry out the command; a rank needs little of what the head needs, and starts once for each GPU."""
    library = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path.insert(0, library)
    prefix = os.path.dirname(library)
    if sys.argv[1:2] == ["rank"]:
        from trainmesh import rank
        from trainmesh.installation import Refused

        try:
            return rank.main(prefix, sys.argv[2:])
        except Refused as error:
            sys.stderr.write(f"trainmesh-rank: {rank.refused()}{error}\n")
            return rank.REFUSED
    if sys.argv[1:2] == ["sync-part"]:  # is started often as well, while somebody waits
        from trainmesh import sync_node
        from trainmesh.installation import Refused

        try:
            return sync_node.main(prefix, sys.argv[2:])
        except Refused as error:
            sys.stderr.write(f"trainmesh: {error}\n")
            return sync_node.REFUSED
    from trainmesh import cli

    os.umask(0o022)
    return cli.main(prefix, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
