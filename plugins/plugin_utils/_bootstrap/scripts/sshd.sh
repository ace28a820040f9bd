#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Tells where sshd looks for the keys of a user, and whether it takes keys at all. Runs as root, and reads no input.
# Usage: sshd.sh USER
set -u
PATH=$PATH:/usr/sbin:/sbin

main() {
    sshd -T -C "user=$1,host=localhost,addr=127.0.0.1" 2>/dev/null |
        sed -n -e 's/^authorizedkeysfile /TRAINMESH keys_file /p' -e 's/^pubkeyauthentication /TRAINMESH keys_taken /p'
}

main "$@" </dev/null
