#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# First process of an embedded node: makes a container look like a machine, then becomes systemd.
# Settings come from the container's environment:
#   TRAINMESH_NODE_BIND_MOUNTS=1  leave the three files below as the bind mounts that Docker makes
#   TRAINMESH_NODE_ISOLATED=1     take away the way out: no default route
set -u

# Docker bind-mounts these files, so nothing can be renamed over them: hostnamectl fails, and so does
# every tool that writes a file anew. A machine has plain files. They are filled on the first boot only:
# what the node's users write later stays.
if [ "${TRAINMESH_NODE_BIND_MOUNTS:-0}" != 1 ]; then
    for file in /etc/hosts /etc/hostname /etc/resolv.conf; do
        grep -q " $file " /proc/self/mountinfo || continue
        content=$(cat "$file")
        umount "$file" || continue
        if [ ! -s "$file" ] || [ ! -e /etc/trainmesh-node/booted ]; then
            printf '%s\n' "$content" >"$file"
        fi
    done
fi

if [ "${TRAINMESH_NODE_ISOLATED:-0}" = 1 ]; then
    for family in -4 -6; do
        while ip "$family" route del default 2>/dev/null; do :; done
    done
fi

# With cgroup v2 Docker mounts the tree read-only; systemd needs to write below its own group.
if [ "$(stat -f -c %T /sys/fs/cgroup 2>/dev/null)" = cgroup2fs ]; then
    mount -o remount,rw /sys/fs/cgroup 2>/dev/null || true
fi

# The image holds no host keys: each node makes its own, once.
ssh-keygen -A >/dev/null 2>&1
mkdir -p /etc/trainmesh-node
: >/etc/trainmesh-node/booted

exec /sbin/init
