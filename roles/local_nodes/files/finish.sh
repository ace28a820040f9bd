#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs inside the image after the packages are installed, whichever way the image is built.
set -eu

install -m 755 /recipe/init.sh /usr/local/sbin/trainmesh-node-init

# Which firewall a node runs is decided when the node is made.
systemctl disable firewalld.service ufw.service >/dev/null 2>&1 || true

# Every node has its own keys and its own identity.
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
: >/etc/machine-id
