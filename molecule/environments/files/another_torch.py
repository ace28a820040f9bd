# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another version of torch, for a test: the wheel of one with the number of another.

An index without ways to the outside has one build of torch for CPUs. What is in this wheel is that torch.

    another_torch.py FROM-DIRECTORY TO-DIRECTORY 2.13.0 2.14.0
"""

from __future__ import annotations

import base64
import hashlib
import os
import pathlib
import sys
import zipfile


def main() -> None:
    """Link all wheels of a directory into another one, and make the new torch there."""
    source, target, old, new = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), *sys.argv[3:5]
    target.mkdir(parents=True, exist_ok=True)
    for wheel in source.glob("*.whl"):
        if not (target / wheel.name).exists():
            os.link(wheel, target / wheel.name)
    wheel = next(source.glob(f"torch-{old}*.whl"))
    record: list[str] = []
    with zipfile.ZipFile(wheel) as inside, zipfile.ZipFile(target / wheel.name.replace(old, new), "w") as outside:
        for entry in inside.infolist():
            name = entry.filename.replace(f"torch-{old}", f"torch-{new}", 1)
            if name.endswith(".dist-info/RECORD"):
                where = name
                continue
            content = inside.read(entry)
            if name.endswith(".dist-info/METADATA") or name == "torch/version.py":
                content = content.replace(old.encode(), new.encode(), 1)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(content)}")
            entry.filename = name
            outside.writestr(entry, content, zipfile.ZIP_DEFLATED, compresslevel=1)
        # of no particular date: the same wheel each time, as the lock has its hash
        outside.writestr(zipfile.ZipInfo(where), "\n".join([*record, f"{where},,", ""]))


if __name__ == "__main__":
    main()
