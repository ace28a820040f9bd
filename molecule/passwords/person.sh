#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes a user whom sudo asks for a password, and whose umask is 077. Runs inside the node.
# Usage: person.sh USER BACK_ADDRESS <PASSWORD
#   BACK_ADDRESS  where the host is that only this one calls "back"
set -eu
user=$1 back=$2
IFS= read -r password

id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --groups sudo "$user"
usermod --comment 'umask=077' "$user" # read by pam_umask
printf '%s:%s\n' "$user" "$password" | chpasswd
install -d -m 700 -o "$user" -g "$user" "/home/$user/.ssh"
install -m 600 -o "$user" -g "$user" /root/.ssh/authorized_keys "/home/$user/.ssh/authorized_keys"
printf '%s back\n' "$back" >>/etc/hosts

# Neither root nor a user without a password is a way around.
rm -f /root/.ssh/authorized_keys /home/trainer/.ssh/authorized_keys /etc/sudoers.d/90-account
