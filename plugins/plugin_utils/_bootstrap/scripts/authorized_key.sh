#!/bin/sh
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Adds a public key to a file of authorized keys, unless it is there. Runs as the login user, or as root for a file that
# is outside of its home; reads no input. The file is the old one or the new one, whatever happens meanwhile.
# Usage: authorized_key.sh look|add FILE KEY LINE MODE
#   KEY   the part of the line by which it is found again, whatever options and comment it has
#   MODE  of a new file: 600, or 644 for one of root's, which sshd reads as the user
set -u

say() { printf 'TRAINMESH %s\n' "$*"; }

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

has_key() {
    [ -e "$file" ] || return 1
    [ -r "$file" ] || fail "$file: Permission denied"
    grep -v '^[[:space:]]*#' "$file" | grep -qF -- "$key"
}

# loose PATH: others than its owner may write to it, and sshd ignores it (StrictModes).
loose() { [ -n "$(find -H "$1" -prune \( -perm -020 -o -perm -002 \) 2>/dev/null)" ]; }

# What others have written since.
state() { [ ! -e "$target" ] || cksum <"$target"; }

# Makes the new file beside the old one, and puts it in its place unless that has changed meanwhile.
replace() {
    before=$(state)
    new=$(mktemp "$(dirname -- "$target")/.trainmesh.XXXXXX") || fail "no file can be made beside $target"
    trap 'rm -f -- "$new"' EXIT
    trap 'exit 1' HUP INT TERM
    if [ -e "$target" ]; then
        cp -p -- "$target" "$new" || fail "$target could not be copied"
        [ -z "$(tail -c 1 "$target")" ] || echo >>"$new" || fail "$target could not be copied"
    else
        chmod "$mode" "$new"
    fi
    # cat says what is wrong with the disk, which not every printf does
    printf '%s\n' "$line" | cat >>"$new" || fail "the key could not be written"
    grep -qxF -- "$line" "$new" || fail "the key could not be written"
    chmod go-w "$new"
    [ "$(state)" = "$before" ] || return 1
    mv -f -- "$new" "$target" || fail "$target could not be replaced"
    trap - EXIT HUP INT TERM
}

add() {
    umask 077
    if [ ! -d "$directory" ]; then
        mkdir -p -- "$directory" || fail "$directory could not be made"
        [ "$mode" = 600 ] || chmod 755 "$directory"
    fi
    target=$file
    if [ -L "$file" ]; then # a link stays one
        target=$(readlink -f -- "$file") && [ -n "$target" ] || fail "$file is a link that leads nowhere"
    fi
    # Two runs at once: the second one waits, then finds the key. Nothing is left behind by the lock.
    if command -v flock >/dev/null 2>&1; then
        exec 9<"$directory"
        flock -w 20 9
        [ $? != 1 ] || fail "another program has locked $directory for more than 20 s"
    fi
    ! has_key || return 0
    tries=3
    until replace; do
        rm -f -- "$new"
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "another program writes to $file all the time"
    done
    ! command -v restorecon >/dev/null 2>&1 || restorecon "$directory" "$target" 2>/dev/null || :
    say added
}

# Only looks; what can't be written is told as the writing would.
could_add() {
    place=$directory
    until [ -d "$place" ]; do place=$(dirname -- "$place"); done
    [ -w "$place" ] || fail "$place is not writable: $(touch -- "$place/." 2>&1)"
}

main() {
    what=$1 file=$2 key=$3 line=$4 mode=$5
    directory=$(dirname -- "$file")
    ! has_key || say present
    if ! has_key; then
        if [ "$what" = add ]; then add; else could_add; fi
    fi
    for path in "$directory" "$file"; do
        if [ ! -e "$path" ] || ! loose "$path"; then
            continue
        fi
        [ "$what" = look ] || chmod go-w -- "$path" || fail "others may write to $path, and sshd ignores it"
        say loose "$path"
    done
    ! loose "$HOME" || say loose_home "$HOME"
    say end
}

main "$@" </dev/null
