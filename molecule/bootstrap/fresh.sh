#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes a node as it is after an installation, with users who only have passwords. Runs inside the node.
# Usage: fresh.sh PYTHON BACK_ADDRESS <USER:PASSWORD...
#   PYTHON        keep or remove
#   BACK_ADDRESS  where the host is that only this one calls "back"
set -eu
python=$1 back=$2

while IFS=: read -r user password; do
    id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
    printf '%s:%s\n' "$user" "$password" | chpasswd
    case $user in
    alice | bob | carol | dave | full | rohome) usermod --append --groups sudo "$user" ;;
    locked) passwd --quiet --lock locked ;;
    expired) chage --expiredate 0 expired ;;
    mustchange) chage --lastday 0 mustchange ;;
    nologin) usermod --shell /usr/sbin/nologin nologin ;;
    esac
    case $user in
    full)
        mount -t tmpfs -o "size=4k,mode=755,uid=$(id -u full)" tmpfs /home/full
        dd if=/dev/zero of=/home/full/data bs=1k count=8 2>/dev/null || :
        ;;
    rohome) mount -t tmpfs -o ro tmpfs /home/rohome ;;
    carol) # sshd reads her keys elsewhere, and asks her by PAM's prompts only
        mkdir -p /etc/ssh/keys
        printf 'Match User carol\n  AuthorizedKeysFile /etc/ssh/keys/%%u\n  PasswordAuthentication no\n  %s\n' \
            'KbdInteractiveAuthentication yes' >>/etc/ssh/sshd_config
        ;;
    esac
done

printf '%s back\n' "$back" >>/etc/hosts
rm -f /root/.ssh/authorized_keys /home/trainer/.ssh/authorized_keys /etc/sudoers.d/90-account
systemctl reload ssh.service </dev/null
[ "$python" = keep ] || {
    # All that needs it goes along, as if it had never been there.
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y purge python3-minimal python3.11-minimal libpython3.11-minimal \
        </dev/null >/dev/null
    if command -v python3; then exit 1; fi
}
