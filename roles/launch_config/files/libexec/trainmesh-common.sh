# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# What the launch scripts share: their options, the job's payload, starting and stopping.
#
# A script turns "train.py --arguments" into one word, @BASE64, that holds the directory, the user's
# variables and the whole command line. The word passes unharmed through pdsh, ssh and every
# launcher, whatever blanks, quotes, $ or % the arguments have; libexec/trainmesh-rank unpacks it.
# trainmesh-run=ID travels beside it, so that all processes of one job can be found on every node.

# shellcheck disable=SC2034 # the scripts that source this file read what it sets
set -u
umask 022
tm_prefix=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd) || exit 70
tm_bin=$tm_prefix/env/bin
tm_path=$tm_prefix/libexec/path:$tm_bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
tm_rank=$tm_prefix/libexec/trainmesh-rank

tm_fail() {
    echo "${0##*/}: $*" >&2
    exit 64
}

# Runs, caches and logs are the job user's; root would leave files there that the user can't write any more.
if [ -e "$tm_prefix/var" ] && ! [ -O "$tm_prefix/var" ]; then
    tm_fail "jobs here are those of $(stat -c %U "$tm_prefix/var"): run it as that user (this is $(id -un))"
fi

for tm_file in cluster.env node.env; do
    [ -r "$tm_prefix/etc/$tm_file" ] || tm_fail "$tm_prefix/etc/$tm_file is missing or not readable: run the site playbook"
    # shellcheck disable=SC1090
    . "$tm_prefix/etc/$tm_file"
done

tm_help() { # WHAT [EXTRA OPTIONS]
    cat <<HELP
Usage: ${0##*/} [options] script.py [script arguments]
$1
Options:
  -m, --module          the next word is a Python module, not a file
      --no-python       the next word is a program to run as it is
      --env KEY=VALUE   set a variable for every rank (may be repeated; visible in the process list:
                        secrets belong in $tm_prefix/etc/job.env on every node)
      --master-port N   port of the rendezvous (default $TRAINMESH_MASTER_PORT); give a second job another one
      --launcher-arg A  hand one more argument to the launcher itself (may be repeated)
      --run-id ID       name of the run (default: date and process number)
${2:-}      --dry-run         print the command instead of running it
  -h, --help            this text
The script is started from the directory you are in, which must exist on every node ($tm_prefix/workspace does).
Ctrl-C stops the job on every node. The exit status is not 0 when any rank failed.
HELP
    exit 0
}

# Sets tm_* from the command line; $1 says what the launcher does, $2 whether it takes --config.
tm_parse() {
    local about=$1 takes_config=$2 extra=""
    shift 2
    tm_port=$TRAINMESH_MASTER_PORT tm_run="" tm_kind=script tm_config="" tm_dry="" tm_node_only="" tm_payload=""
    tm_env=() tm_extra=()
    [ -n "$takes_config" ] && extra="      --config NAME     a file of $tm_prefix/etc/accelerate or an absolute path (default $takes_config)
"
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help) tm_help "$about" "$extra" ;;
        -m | --module) tm_kind=module && shift && break ;;
        --no-python) tm_kind=program && shift && break ;;
        --dry-run) tm_dry=1 ;;
        --node-only) tm_node_only=1 ;;
        --env | --master-port | --launcher-arg | --run-id | --config | --payload)
            [ $# -ge 2 ] || tm_fail "$1 needs a value"
            tm_option "$1" "$2" "$takes_config"
            shift
            ;;
        --) shift && break ;;
        -*) tm_fail "unknown option $1 (options of the script come after the script; --help lists mine)" ;;
        *) break ;;
        esac
        shift
    done
    tm_config=${tm_config:-$takes_config}
    tm_check_port
    [ -x "$tm_bin/python" ] || tm_fail "$tm_bin/python is missing: run the site playbook"
    [ -n "$tm_payload" ] || tm_pack "$@"
    tm_run=${tm_run:-$(date +%Y%m%d-%H%M%S)-$$}
}

tm_option() { # NAME VALUE TAKES_CONFIG
    case $1 in
    --env)
        [[ $2 =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || tm_fail "--env wants KEY=VALUE, not $2"
        tm_env+=("$2")
        ;;
    --master-port) tm_port=$2 ;;
    --launcher-arg) tm_extra+=("$2") ;;
    --run-id)
        [[ $2 =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || tm_fail "--run-id wants letters, digits, dots and dashes, not $2"
        tm_run=$2
        ;;
    --config)
        [ -n "$3" ] || tm_fail "this launcher has no --config"
        tm_config=$2
        ;;
    --payload) tm_payload=$2 ;;
    esac
}

# True where net.ipv4.ip_local_reserved_ports (8080,9148-9150) keeps the kernel from giving the port away.
tm_is_reserved() {
    local part
    for part in $(tr , ' ' 2>/dev/null </proc/sys/net/ipv4/ip_local_reserved_ports); do
        [ "$tm_port" -lt "${part%-*}" ] || [ "$tm_port" -gt "${part#*-}" ] || return 0
    done
    return 1
}

tm_check_port() {
    local low high
    [[ $tm_port =~ ^[0-9]{1,5}$ ]] && [ "$tm_port" -ge 1024 ] && [ "$tm_port" -le 65535 ] ||
        tm_fail "--master-port wants a number from 1024 to 65535, not $tm_port"
    case ",$TRAINMESH_SSH_PORTS," in
    *",$tm_port,"*) tm_fail "port $tm_port is the sshd's: the rendezvous needs a port of its own" ;;
    esac
    if read -r low high </proc/sys/net/ipv4/ip_local_port_range && [ "$tm_port" -ge "$low" ] && [ "$tm_port" -le "$high" ] && ! tm_is_reserved; then
        echo "${0##*/}: warning: port $tm_port is in the ephemeral range $low-$high and may be taken at any time" >&2
    fi
}

tm_pack() { # PROGRAM [ARGUMENTS]
    [ $# -ge 1 ] || tm_fail "which script? (--help)"
    local program=$1
    shift
    if [ "$tm_kind" = script ]; then
        [ -f "$program" ] || tm_fail "there is no file $program here ($PWD)"
        [ "${program#/}" != "$program" ] || program=$PWD/$program
    elif [ "$tm_kind" = program ] && [ "${program#*/}" != "$program" ] && [ "${program#/}" = "$program" ]; then
        program=$PWD/$program
    fi
    local launcher=${0##*/trainmesh-}
    tm_env+=("TRAINMESH_LAUNCHER=${launcher//-/_}")
    tm_payload=@$(printf '%s\0' "$PWD" "$tm_kind" "${#tm_env[@]}" "${tm_env[@]}" "$program" "$@" | base64 -w0)
    # one argument of execve(2) may have 128 KiB
    [ "${#tm_payload}" -lt 100000 ] || tm_fail "the arguments are too long to be sent to the nodes: put them in a file"
}

tm_head_only() {
    [ "$TRAINMESH_NODE_RANK" = 0 ] || tm_fail "start it on the head, $TRAINMESH_HEAD (this is $TRAINMESH_NODE_NAME)"
}

# The launcher's own environment: nothing of the caller's shell but the names, and what every node must share.
tm_clean_env() {
    tm_clean=(env -i "HOME=${HOME:-/}" "USER=${USER:-$(id -un)}" "LOGNAME=${LOGNAME:-$(id -un)}" "PATH=$tm_path" LANG=C.UTF-8
        PYTHONUNBUFFERED=1 "TRAINMESH_RUN_ID=$tm_run" PDSH_RCMD_TYPE=ssh
        PDSH_SSH_ARGS_APPEND=-oBatchMode=yes)
    # torchrun's own files of a check, which would stay in /tmp when it is killed, go with the records of the check
    if [[ $tm_run == check-* ]] && mkdir -p "$tm_prefix/var/runs/$tm_run/tmp" 2>/dev/null; then
        tm_clean+=("TMPDIR=$tm_prefix/var/runs/$tm_run/tmp")
    fi
    local line
    while IFS= read -r line; do
        tm_clean+=("$line")
    done <"$tm_prefix/etc/deepspeed_env"
}

# Runs a command of the head in a session of its own, so that Ctrl-C reaches this script alone, which
# then ends the job on every node; a failure of one node ends it on the others too.
tm_run() { # COMMAND...
    if [ -n "$tm_dry" ]; then
        printf '%q ' "$@" && echo
        exit 0
    fi
    local status=0 signal=""
    tm_job=""
    trap 'signal=130; tm_wake' INT
    trap 'signal=143; tm_wake' TERM HUP
    setsid "$@" </dev/null &
    tm_job=$!
    wait "$tm_job" || status=$?
    trap '' INT TERM HUP
    if [ -n "$signal" ]; then
        echo "${0##*/}: stopping the run $tm_run on every node" >&2
        status=$signal
    fi
    if [ "$status" -ne 0 ]; then
        exec 3>&2 2>/dev/null # bash itself would say that the launcher was killed
        env -u TRAINMESH_RUN_ID "$tm_prefix/bin/trainmesh-stop" --quiet "$tm_run" </dev/null 2>&3
        wait "$tm_job"
    fi
    # what the script itself laid down for this run; a directory with records or a log in it stays
    rm -f "$tm_prefix/var/runs/$tm_run/deepspeed_env"
    rmdir "$tm_prefix/var/runs/$tm_run/tmp" "$tm_prefix/var/runs/$tm_run" 2>/dev/null
    exit "$status"
}

# wait returns by itself when a trapped signal comes: nothing to do
tm_wake() { :; }

# Starts this same script on every node at once, each with its own part.
tm_on_every_node() {
    local command="exec $tm_prefix/bin/${0##*/} --node-only --run-id $tm_run --master-port $tm_port --payload $tm_payload" word
    [ -z "$tm_config" ] || command+=" --config $(printf '%q' "$tm_config")"
    for word in ${tm_extra[@]+"${tm_extra[@]}"}; do
        command+=" --launcher-arg $(printf '%q' "$word")"
    done
    tm_run "${tm_clean[@]}" pdsh -S -R ssh -f 1024 -w "^$tm_prefix/etc/hosts" "${command//%/%%}"
}

# The file that --config means.
tm_config_file() {
    tm_config_file=$tm_config
    [ "${tm_config#/}" != "$tm_config" ] || tm_config_file=$tm_prefix/etc/accelerate/${tm_config%.yaml}.yaml
    [ -r "$tm_config_file" ] || tm_fail "there is no readable file $tm_config_file"
}
