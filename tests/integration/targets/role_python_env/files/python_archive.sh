#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# python_archive.sh BASE VERSION DIRECTORY: the Python below BASE in an archive laid out as uv's are, named as uv names it
# in its cache, so that the controller takes it for one that was fetched.
set -eu
base=$1 version=$2 target=$3
mkdir -p "$target"
cd "$base"
set -- "bin/python$version" "lib/python$version"
for library in lib/libpython"$version".so*; do
    [ ! -e "$library" ] || set -- "$@" "$library"
done
tar -czf "$target/new" --transform 's,^,python/,' --exclude=test --exclude='config-*' --exclude=__pycache__ \
    --exclude=site-packages --exclude=dist-packages "$@"
digest=$(sha256sum "$target/new" | cut -c1-9)
mv "$target/new" "$target/$digest-cpython-$version.0-20260101-$(uname -m)-unknown-linux-gnu-install_only.tar.gz"
