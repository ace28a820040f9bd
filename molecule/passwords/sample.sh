#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Writes down what everybody sees in the lists of processes, here and in the nodes: each word of a command line once.
# Usage: sample.sh STOP OUTPUT CONTAINER...
#   STOP  it ends when this file is there
set -u
stop=$1 output=$2
shift 2
while [ ! -e "$stop" ]; do
    cat /proc/[0-9]*/cmdline
    for container in "$@"; do
        docker exec "$container" sh -c 'cat /proc/[0-9]*/cmdline'
    done
    sleep 0.2
done 2>/dev/null | tr '\0' '\n' | awk '!seen[$0]++' >"$output"
