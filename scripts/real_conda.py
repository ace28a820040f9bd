# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make an installer with the real conda in it, and a channel with a Python, for the tests; no other channel is asked.

conda itself is on no package index: its source is a directory (TRAINMESH_CONDA_SOURCE) or the archive of a release.
What it needs comes from the index of pip. The Python is a copy of the one that runs this. The head of the installer has
the options and refusals of those that constructor makes, and like them it begins with an empty history.

usage: python scripts/real_conda.py DIRECTORY
Afterwards DIRECTORY has installer.sh and channel/; exit status 3 if the source can't be had.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import typing as t
import urllib.request

import tomllib

ARCHIVE = "https://github.com/conda/conda/archive/refs/tags/26.7.1.tar.gz"
UNREACHABLE = 3
# Shortcuts on desktops, which no package here has; it is on no index either.
WITHOUT = ("menuinst",)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "test", "idlelib", "config-*", "site-packages", "dist-packages")
HEAD = """#!/bin/sh
set -eu
batch=no prefix=
while getopts bp: option; do
    case "$option" in
        b) batch=yes ;;
        p) prefix=$OPTARG ;;
        *) exit 2 ;;
    esac
done
[ "$batch" = yes ] || { echo "would ask for the licence" >&2; exit 2; }
[ ! -e "$prefix" ] || { echo "ERROR: File or directory already exists: '$prefix'" >&2; exit 1; }
mkdir -p "$prefix/conda-meta"
touch "$prefix/conda-meta/history"
sed '1,/^PAYLOAD$/d' "$0" | tar -xzf - -C "$prefix"
sed -i "1s|.*|#!$prefix/bin/python|" "$prefix/bin/conda"
echo '==> made <==' >> "$prefix/conda-meta/history"
exit 0
PAYLOAD
"""
CONDA = '#!\nimport sys\n\nif __name__ == "__main__":\n    from conda.cli import main\n\n    sys.exit(main())\n'


def main() -> int:
    """Entry point."""
    target = pathlib.Path(sys.argv[1]).resolve()
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        place = pathlib.Path(scratch)
        source = conda_source(place)
        if source is None:
            return UNREACHABLE
        copy_python(place / "python")
        make_channel(target / "channel", place / "python")
        make_installer(target / "installer.sh", place / "python", source)
    return 0


def conda_source(scratch: pathlib.Path) -> pathlib.Path | None:
    """The directory of conda's source; None when it can't be had."""
    given = os.environ.get("TRAINMESH_CONDA_SOURCE")
    if given:
        return pathlib.Path(given)
    try:
        with urllib.request.urlopen(ARCHIVE, timeout=20) as answer:
            content = answer.read()
    except OSError as error:
        print(f"{ARCHIVE} can't be had ({error}): set TRAINMESH_CONDA_SOURCE to a checkout of conda", file=sys.stderr)
        return None
    with tarfile.open(fileobj=io.BytesIO(content)) as packed:
        packed.extractall(scratch / "source", filter="data")
    return next((scratch / "source").iterdir())


def copy_python(target: pathlib.Path) -> None:
    """Copy this Python without its packages."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    base = pathlib.Path(sys.base_prefix)
    (target / "bin").mkdir(parents=True)
    shutil.copy(base / f"bin/python{version}", target / "bin")
    for name in ("python", "python3"):
        (target / "bin" / name).symlink_to(f"python{version}")
    shutil.copytree(base / f"lib/python{version}", target / f"lib/python{version}", ignore=LEFT_OUT)
    for library in base.glob(f"lib/libpython{version}.so*"):
        shutil.copy(library, target / "lib")


def make_channel(target: pathlib.Path, python: pathlib.Path) -> None:
    """A channel with this Python, and pip, which conda adds to it, without content."""
    shutil.rmtree(target, ignore_errors=True)
    subdir = "linux-aarch64" if platform.machine() == "aarch64" else "linux-64"
    release = platform.python_version()
    rows = sorted(path for path in python.rglob("*") if not path.is_dir())
    put_package(target / subdir, {"name": "python", "version": release, "subdir": subdir}, python, rows)
    put_package(
        target / "noarch", {"name": "pip", "version": "1.0", "subdir": "noarch", "noarch": "generic"}, python, []
    )


def put_package(
    place: pathlib.Path, about: dict[str, t.Any], root: pathlib.Path, files: t.Sequence[pathlib.Path]
) -> None:
    """One package and the index of its directory."""
    place.mkdir(parents=True)
    index = {"build": "0", "build_number": 0, "depends": [], **about}
    path = place / f"{about['name']}-{about['version']}-0.tar.bz2"
    paths = [
        {
            "_path": str(file.relative_to(root)),
            "path_type": "softlink" if file.is_symlink() else "hardlink",
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "size_in_bytes": file.stat().st_size,
        }
        for file in files
    ]
    with tarfile.open(path, "w:bz2", compresslevel=1) as packed:
        for row, file in zip(paths, files, strict=True):
            packed.add(file, str(row["_path"]))
        put_text(packed, "info/index.json", json.dumps(index))
        put_text(packed, "info/files", "".join(f"{row['_path']}\n" for row in paths))
        put_text(packed, "info/paths.json", json.dumps({"paths": paths, "paths_version": 1}))
    content = path.read_bytes()
    hashes = {"md5": hashlib.md5(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest()}
    entry = {**index, **hashes, "size": len(content)}
    listing = {"info": {"subdir": about["subdir"]}, "packages": {path.name: entry}, "packages.conda": {}}
    (place / "repodata.json").write_text(json.dumps({**listing, "repodata_version": 1}))


def put_text(packed: tarfile.TarFile, name: str, text: str) -> None:
    """One file of an archive."""
    info = tarfile.TarInfo(name)
    info.size = len(text.encode())
    packed.addfile(info, io.BytesIO(text.encode()))


def make_installer(target: pathlib.Path, python: pathlib.Path, source: pathlib.Path) -> None:
    """The Python with conda and what it needs, behind the head of an installer."""
    ask = "import site; print(next(p for p in site.getsitepackages() if '/local/' not in p))"
    command = [str(python / "bin/python"), "-I", "-c", ask]
    site = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = [line for line in project["dependencies"] if not line.startswith((*WITHOUT, "pycosat", "setuptools"))]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary", ":all:"]
    subprocess.run([*pip, "--target", site, *needs, "conda-rattler-solver"], check=True)
    shutil.copytree(source / "conda", pathlib.Path(site) / "conda")
    (python / "bin/conda").write_text(CONDA)
    (python / "bin/conda").chmod(0o755)
    (python / ".condarc").write_text("solver: rattler\n")
    with open(target, "wb") as stream:
        stream.write(HEAD.encode())
        with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as packed:
            packed.add(python, ".")


if __name__ == "__main__":
    sys.exit(main())
