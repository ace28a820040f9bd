#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Installs a package with the distribution's package manager. Runs as root, and reads no input.
# Usage: package.sh MANAGER PACKAGE
set -u
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

apt() {
    apt-get -q -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=1 -o Acquire::http::Timeout=20 \
        -o Acquire::https::Timeout=20 "$@" 2>&1
}

main() {
    case $1 in
    apt-get)
        # The lists of a fresh image are empty or old; where they are good, reading them anew takes a minute.
        apt install --no-install-recommends "$2" && return 0
        apt update # a source that does not answer makes it fail though another has the package: the install tells
        apt install --no-install-recommends "$2"
        ;;
    zypper) zypper --non-interactive --no-color install --no-recommends "$2" 2>&1 ;;
    apk) apk add "$2" 2>&1 || apk add --update-cache "$2" 2>&1 ;;
    *) "$1" -y install "$2" 2>&1 ;;
    esac
}

main "$@" </dev/null
