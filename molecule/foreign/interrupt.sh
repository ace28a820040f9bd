#!/usr/bin/env bash
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Starts a playbook and presses Ctrl-C when the nodes listen and are being tried.
# Usage: interrupt.sh PLAYBOOK INVENTORY VARIABLES
set -uo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT
set -m # a process group of its own, in which SIGINT is not ignored
ansible-playbook "$1" -i "$2" -e "$3" >"$log" 2>&1 &
run=$!
for _second in {1..90}; do
    grep -q 'Test ssh and TCP to every node' "$log" && break
    kill -0 "$run" 2>/dev/null || break
    sleep 1
done
sleep 1
kill -INT -- "-$run"
wait "$run"
status=$?
tail -5 "$log"
echo "interrupted: exit status $status"
grep -q 'Test ssh and TCP to every node' "$log" && [ "$status" -ne 0 ] && ! grep -q 'PLAY RECAP' "$log"
