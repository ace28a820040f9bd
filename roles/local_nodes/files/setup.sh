#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes a booted node as bad as machines are found. Runs inside the node, once; a second run does no harm.
# Usage: setup.sh SSH_PORT FIREWALL ACCOUNT PUBLIC_KEY INIT
#   SSH_PORT    where sshd listens
#   FIREWALL    none, firewalld or ufw: which one is active, with nothing allowed but ssh
#   ACCOUNT     user with sudo and without a password
#   PUBLIC_KEY  one line, allowed to log in as root and as ACCOUNT
#   INIT        systemd, or sshd: a container that only has root, and the /etc/hosts that Docker mounted
set -eu
ssh_port=$1 firewall=$2 account=$3 public_key=$4 init=$5

fail() {
    echo "$1" >&2
    exit 1
}

# let_in USER: the public key may log in as USER.
let_in() {
    home=$(getent passwd "$1" | cut -d: -f6)
    install -d -m 700 -o "$1" -g "$1" "$home/.ssh"
    keys=$home/.ssh/authorized_keys
    if ! grep -qxF "$public_key" "$keys" 2>/dev/null; then
        printf '%s\n' "$public_key" >>"$keys"
    fi
    chown "$1:$1" "$keys"
    chmod 600 "$keys"
}

if [ "$init" = sshd ]; then
    # Its command makes the host keys, then this directory, then starts sshd.
    tries=90
    until [ -d /run/sshd ] && [ "$(pgrep -xc sshd)" -gt 0 ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "sshd has not started after 90 s"
        sleep 1
    done
    let_in root
    mkdir -p /etc/trainmesh-node
    : >/etc/trainmesh-node/ready
    exit 0
fi

# "offline" is what systemctl says before systemd listens.
tries=90
while state=$(systemctl is-system-running </dev/null || true) && [ "$tries" -gt 0 ]; do
    case $state in
    running | degraded) break ;;
    esac
    tries=$((tries - 1))
    sleep 1
done
case $state in
running | degraded) ;;
*) fail "systemd did not come up within 90 s, its state is '$state'" ;;
esac

id "$account" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$account"
printf '%s ALL=(ALL) NOPASSWD: ALL\n' "$account" >/etc/sudoers.d/90-account
chmod 440 /etc/sudoers.d/90-account
visudo -qcf /etc/sudoers.d/90-account </dev/null

let_in root
let_in "$account"

# A controller with a new key only needs to be let in: what happened on the node since stays.
[ ! -e /etc/trainmesh-node/ready ] || exit 0

# The name of all freshly installed machines, at an address that is of no use to the others.
printf '%s\n' '127.0.0.1 localhost' '::1 localhost ip6-localhost ip6-loopback' \
    '127.0.1.1 localhost.localdomain localhost' >/etc/hosts

if [ "$ssh_port" != 22 ]; then
    printf 'Port %s\n' "$ssh_port" >/etc/ssh/sshd_config.d/10-port.conf
    mkdir -p /run/sshd
    sshd -t </dev/null
    systemctl daemon-reload </dev/null
    # Newer releases listen through a socket unit, older ones in the service itself.
    if systemctl is-active -q ssh.socket </dev/null; then
        systemctl restart ssh.socket </dev/null
    elif systemctl cat ssh.service >/dev/null 2>&1 </dev/null; then
        systemctl restart ssh.service </dev/null
    else # the RHEL family
        systemctl restart sshd.service </dev/null
    fi
fi

case $firewall in
none) ;;
firewalld)
    systemctl enable -q --now firewalld.service </dev/null
    if [ "$ssh_port" != 22 ]; then
        firewall-cmd -q --permanent --add-port="$ssh_port/tcp" </dev/null
        firewall-cmd -q --reload </dev/null
    fi
    firewall-cmd -q --state </dev/null || fail "firewalld does not run"
    ;;
ufw)
    ufw allow "$ssh_port/tcp" >/dev/null </dev/null
    ufw --force enable >/dev/null </dev/null
    systemctl enable -q --now ufw.service </dev/null
    ufw status </dev/null | grep -q '^Status: active' || fail "ufw does not run"
    ;;
*) fail "unknown firewall '$firewall'" ;;
esac

: >/etc/trainmesh-node/ready
