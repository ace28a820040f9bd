#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Tells what the first contact has to know of the host; changes nothing. Runs as the login user, and reads no input.
# Usage: survey.sh MANAGERS PYTHON...
#   MANAGERS  names of package managers, the first that is there is told
#   PYTHON    what Ansible would run as Python, such as "/usr/bin/env python3"
set -u

say() { printf 'TRAINMESH %s\n' "$*"; }

main() {
    say uid "$(id -u)"
    say home "$HOME"
    set -f
    # shellcheck disable=SC2086 # a list of words
    for manager in $1; do
        if command -v "$manager" >/dev/null 2>&1; then
            say manager "$manager"
            break
        fi
    done
    shift
    for python in "$@"; do
        # shellcheck disable=SC2086 # as Ansible runs it: a command and its arguments
        version=$($python -c 'import sys; print("@%d.%d.%d@%s@" % (sys.version_info[:3] + (sys.executable,)))' 2>&1) &&
            say python "$version" && break
    done
    say end
}

main "$@" </dev/null
