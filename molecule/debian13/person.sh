#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Installs sudo-rs and makes a user whom it, and sudo, asks for a password. Runs inside the node.
# Usage: person.sh USER <PASSWORD
set -eu
user=$1
IFS= read -r password

apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends sudo-rs >/dev/null
id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --groups sudo "$user"
printf '%s:%s\n' "$user" "$password" | chpasswd
install -d -m 700 -o "$user" -g "$user" "/home/$user/.ssh"
install -m 600 -o "$user" -g "$user" /root/.ssh/authorized_keys "/home/$user/.ssh/authorized_keys"

# Neither root nor a user without a password is a way around.
rm -f /root/.ssh/authorized_keys /home/trainer/.ssh/authorized_keys /etc/sudoers.d/90-account
