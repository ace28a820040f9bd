#!/usr/bin/env bash
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# One case: types a command on the head as the job user, and does something to the nodes meanwhile.
#
#   case.sh TYPED [BEFORE [MEANWHILE [AFTERWARDS]]]
#
# NODES is how the containers' names begin. TYPED is a line for bash on the head; the others are for bash here, MEANWHILE
# once each of the three ranks has said "begun". Prints what was typed there has said, and has its exit status. At the
# end no node may have a process of a run; what is left is printed, with status 99.

set -u
typed=$1 before=${2:-} meanwhile=${3:-} afterwards=${4:-}
out=$(mktemp)
trap 'eval "$afterwards" >/dev/null 2>&1; rm -f "$out"' EXIT

head=(docker exec --user=trainer --workdir=/opt/trainmesh/workspace --env=HOME=/home/trainer "${NODES}1")

left() {
    local node
    for node in 1 2 3; do
        docker exec "$NODES$node" ps -u trainer -o pid=,args= |
            grep -E 'train\.py|trainmesh|torchrun|deepspeed|accelerate|mpirun|orted|pdsh' | sed "s/^/left on node$node: /"
    done
}

eval "$before" || exit 98
"${head[@]}" bash -c "( $typed ) 2>&1" >"$out" 2>&1 &
running=$!
if [ -n "$meanwhile" ]; then
    for ((i = 0; i < 400; i++)); do
        [ "$(grep -c ': \[rank[0-9]*\]: begun' "$out")" -lt 3 ] || break
        sleep 0.5
    done
    eval "$meanwhile" || exit 97
fi
wait "$running"
status=$?
cat "$out"
eval "$afterwards" >/dev/null 2>&1
for ((i = 0; i < 30; i++)); do
    remains=$(left)
    [ -n "$remains" ] || exit "$status"
    sleep 2
done
printf '%s\n' "$remains"
exit 99
