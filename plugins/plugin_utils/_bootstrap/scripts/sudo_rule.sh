#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Lets a user become root without a password, by a file of our own in sudoers.d. Runs as root, and reads no input.
# One file that sudo refuses takes sudo from everybody: it is checked before it gets its name, and all files after it.
# Usage: sudo_rule.sh NAME USER
#   NAME  of the file, without a dot: sudo ignores those with one
set -u
PATH=$PATH:/usr/sbin:/sbin
umask 077

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

undo() {
    if [ -e "$new.old" ]; then mv -f -- "$new.old" "$file"; else rm -f -- "$file"; fi
}

main() {
    file=/etc/sudoers.d/$1
    [ "$(id -u)" = 0 ] || fail "this is not root: ansible_become_user must be root"
    command -v visudo >/dev/null 2>&1 || fail "visudo is not installed"
    # Others' files may have faults that sudo puts up with, such as a mode of 644: then only our own can be judged.
    visudo -c >/dev/null 2>&1 && sound=1 || sound=0
    new=$(mktemp /etc/sudoers.d/.trainmesh.XXXXXX) || fail "no file can be made in /etc/sudoers.d"
    trap 'rm -f -- "$new" "$new.old"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '# Written by trainmesh.cluster (playbooks/bootstrap.yml)\n%s ALL=(ALL) NOPASSWD: ALL\n' "$2" >"$new" ||
        fail "the rule could not be written"
    chmod 440 "$new"
    errors=$(visudo -c -f "$new" 2>&1) || fail "visudo refuses the rule: $errors"
    [ ! -e "$file" ] || cp -p -- "$file" "$new.old" || fail "$file could not be kept"
    mv -f -- "$new" "$file" || fail "$file could not be written"
    if [ "$sound" = 1 ] && ! errors=$(visudo -c 2>&1); then
        undo
        fail "with the rule visudo refuses all of them, and it was taken back: $errors"
    fi
    ! command -v restorecon >/dev/null 2>&1 || restorecon "$file" 2>/dev/null || :
    printf 'TRAINMESH added\n'
}

main "$@" </dev/null
