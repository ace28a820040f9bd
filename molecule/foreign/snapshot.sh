#!/usr/bin/env bash
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# What a node holds, and what has come to it: files with mode, owner, size and time, temporary files, listeners,
# processes. What any login leaves is left out: logs, the session of systemd, the connection kept open by Ansible.
# Usage: snapshot.sh save DIRECTORY CONTAINER...      snapshot.sh compare BEFORE AFTER (fails and prints what differs)
set -euo pipefail

# runs on the node
look() {
    find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /dev -o -path /var/log \
        -o -path /var/lib/systemd \) -prune -o -printf 'file %p %y %m %U:%G %s %T@ %l\n'
    find /tmp /var/tmp /dev/shm -mindepth 1 -printf 'temporary %p\n'
    ss -H -lntu | awk '{ print "listener", $1, $5 }'
    # shellcheck disable=SC2009 # all processes but these
    ps -eo user:32=,args= | grep -Ev ' (sshd: |\(sd-pam\)|/lib/systemd/|ps -eo|grep -Ev|sed|sort|bash -s)' |
        sed 's/^/process /'
}

# Once logins have ended: sessions take a few seconds to go.
save() {
    local directory=$1
    mkdir -p "$directory"
    shift
    for container in "$@"; do
        { declare -f look && echo 'look | sort -u'; } | docker exec --interactive "$container" bash -s >"$directory/$container"
    done
}

compare() {
    local differs=0
    for path in "$1"/*; do
        # processes and listeners of the system may end by themselves; a file must not
        if diff "$path" "$2/${path##*/}" | grep -E '^(> |< file )' | sed "s|^|${path##*/} |"; then
            differs=1
        fi
    done
    return $differs
}

"$@"
