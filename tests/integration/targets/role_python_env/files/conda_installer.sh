#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Stands in for a Miniconda installer, which is not downloaded in tests: the same options (-b, -p) and the same
# refusals, as the documentation of conda's installers and of "conda create" describes them.
set -eu
batch=no
prefix=
while getopts bp: option; do
    case "$option" in
        b) batch=yes ;;
        p) prefix=$OPTARG ;;
        *) exit 2 ;;
    esac
done
[ "$batch" = yes ] || { echo "would ask for the licence" >&2; exit 2; }
[ ! -e "$prefix" ] || { echo "ERROR: File or directory already exists: '$prefix'" >&2; exit 1; }
mkdir -p "$prefix/bin" "$prefix/conda-meta"
cat > "$prefix/bin/conda" <<'CONDA'
#!/bin/sh
set -eu
printf '%s\n' "$*" >> "$(dirname "$0")/calls"
[ "$1" = create ] || exit 0
shift
yes=no prefix= override=no channels=0 python=
while [ $# -gt 0 ]; do
    case "$1" in
        --yes) yes=yes ;;
        --quiet) ;;
        --prefix) prefix=$2; shift ;;
        --override-channels) override=yes ;;
        --channel) channels=$((channels + 1)); shift ;;
        python=*) python=${1#python=} ;;
        *) echo "conda create: error: unrecognized arguments: $1" >&2; exit 2 ;;
    esac
    shift
done
[ "$yes" = yes ] || { echo "would ask to proceed" >&2; exit 2; }
if [ "$override" = no ]; then
    echo "CondaToSNonInteractiveError: Terms of Service have not been accepted for the following channels." >&2
    exit 1
fi
[ "$channels" -gt 0 ] || { echo "error: argument --override-channels requires --channel" >&2; exit 2; }
"/usr/bin/python$python" -m venv --without-pip "$prefix"
rm "$prefix/pyvenv.cfg"
mkdir "$prefix/conda-meta"
echo "==> made <==" > "$prefix/conda-meta/history"
CONDA
chmod 755 "$prefix/bin/conda"
echo "==> made <==" > "$prefix/conda-meta/history"
