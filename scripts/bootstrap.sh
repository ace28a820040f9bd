#!/usr/bin/env bash
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes the environment of the controller from a lock file with hashes; does nothing when it is there already.
#
#   scripts/bootstrap.sh [controller]   what running the collection needs
#   scripts/bootstrap.sh dev            the same and what "make test" needs
#
# TRAINMESH_VENV names another directory than .venv, PYTHON another interpreter than the first that is new enough.
# The index and the proxy are those that pip is configured with.

set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

KIND=${1:-controller}
LOCK=requirements/$KIND.txt
VENV=${TRAINMESH_VENV:-$PWD/.venv}
LOG=$PWD/.cache/bootstrap.log
declare -A NEED_MIB=([controller]=300 [dev]=800) # measured: 116 and 400, and room for what is unpacked meanwhile

fail() {
    echo "bootstrap: $1" >&2
    exit 1
}

# Runs a command as root, or returns 1 where that is not permitted.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@" 2>/dev/null; fi
}

# install_package NAME: the distribution's package, where we may install one.
install_package() {
    command -v apt-get >/dev/null || return 1
    echo "bootstrap: installing the package $1"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 update >>"$LOG" 2>&1 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 install -y \
        --no-install-recommends "$1" >>"$LOG" 2>&1 </dev/null
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local name
    for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.14; do
        if command -v "$name" >/dev/null && new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    install_python && return
    name=$(python3 --version 2>/dev/null || echo "no python3")
    fail "Python 3.11 or newer is needed on this machine, found $name. Install one (Ubuntu 22.04: apt install python3.11 \
python3.11-venv; RHEL 9: dnf install python3.11), or name it with PYTHON=path (see .cache/bootstrap.log)."
}

# install_python: puts a newer Python beside an old one and prints its path: the distribution's where we may install it
# (Ubuntu 22.04 has 3.11 beside its 3.10), else the one that uv brings where its downloads can be reached. What failed
# takes a while to fail, and is not tried again for an hour.
install_python() {
    local name uv_home=$PWD/.cache/uv failed=$PWD/.cache/no-newer-python python
    if [ -n "$(find "$failed" -mmin -60 2>/dev/null)" ]; then
        echo "bootstrap: a newer Python could not be installed within the last hour; to try again: rm $failed" >&2
        return 1
    fi
    for name in python3.12 python3.11; do
        if install_package "$name" >&2 && command -v "$name" >/dev/null && new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    echo "bootstrap: no newer Python among the distribution's packages, trying one of uv's" >&2
    {
        python3 -m venv "$uv_home" && timeout 120 "$uv_home/bin/pip" install --quiet --disable-pip-version-check uv &&
            UV_HTTP_TIMEOUT=20 timeout 300 "$uv_home/bin/uv" python install 3.12
    } >>"$LOG" 2>&1 </dev/null &&
        python=$("$uv_home/bin/uv" python find --managed-python 3.12 2>>"$LOG") && new_enough "$python" &&
        echo "$python" && return
    : >"$failed"
    return 1
}

# ensure_venv_module PYTHON: Debian keeps the parts that venv needs in a package of their own.
ensure_venv_module() {
    local version
    "$1" -c 'import venv, ensurepip' 2>/dev/null && return
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    install_package "python$version-venv" && "$1" -c 'import venv, ensurepip' 2>/dev/null && return
    fail "Python's module venv is missing: install the package python$version-venv (see .cache/bootstrap.log)."
}

ensure_ssh() {
    command -v ssh >/dev/null && command -v ssh-keygen >/dev/null && return
    install_package openssh-client && return
    fail "the ssh client is missing: install the package openssh-client (see .cache/bootstrap.log)."
}

# For the tests that kill a program at each of its system calls: they are skipped where it can't be had.
offer_strace() {
    command -v strace >/dev/null || install_package strace ||
        echo "bootstrap: strace could not be installed: the tests that need it will be skipped"
}

check_disk() {
    local free
    free=$(df -Pm . | awk 'NR == 2 {print $4}')
    [ "$free" -ge "${NEED_MIB[$KIND]}" ] ||
        fail "too little disk: $PWD has $free MiB free, the environment needs ${NEED_MIB[$KIND]} MiB."
}

# What the environment was made from: the lock file and the interpreter.
fingerprint() {
    { cat "$LOCK" && "$1" -VV; } | sha256sum | cut -d' ' -f1
}

install_lock() {
    echo "bootstrap: installing $(grep -c '==' "$LOCK") packages into ${VENV#"$PWD"/}"
    # shellcheck disable=SC2094 # both only add to the log
    if ! "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --require-hashes \
        --progress-bar off -r "$LOCK" 2>>"$LOG" </dev/null | tee -a "$LOG" |
        sed -n -u -e 's/^Collecting \([^ ;]*\).*/    \1/p' -e 's/^Installing collected.*/    unpacking/p'; then
        if grep -qiE 'resolution|connection (refused|broken)|timed out|unreachable|proxy|NewConnectionError' "$LOG"; then
            fail "the package index that pip is configured with does not answer: check the network, proxy and mirror."
        fi
        fail "pip could not install $LOCK: $(grep -m1 ERROR "$LOG" || echo 'see .cache/bootstrap.log')"
    fi
}

main() {
    local python stamp
    [ -f "$LOCK" ] || fail "there is no lock file $LOCK."
    mkdir -p .cache
    python=$(find_python)
    stamp=$VENV/.trainmesh-$KIND
    if [ -x "$VENV/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(fingerprint "$python")" ]; then
        return
    fi
    : >"$LOG"
    ensure_ssh
    [ "$KIND" != dev ] || offer_strace
    check_disk
    if ! "$VENV/bin/python" -c 'import pip' 2>/dev/null ||
        [ "$("$VENV/bin/python" -VV)" != "$("$python" -VV)" ]; then
        ensure_venv_module "$python"
        echo "bootstrap: making ${VENV#"$PWD"/} with $("$python" --version)"
        "$python" -m venv --clear "$VENV" >>"$LOG" 2>&1 || fail "could not make $VENV: $(tail -n 1 "$LOG")"
    fi
    install_lock
    # Written last: an interrupted run is taken up again.
    fingerprint "$python" >"$stamp"
    # The larger set holds the smaller one.
    [ "$KIND" != dev ] || KIND=controller LOCK=requirements/controller.txt fingerprint "$python" \
        >"$VENV/.trainmesh-controller"
    echo "bootstrap: ready"
}

main
