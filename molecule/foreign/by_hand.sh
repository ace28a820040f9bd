#!/usr/bin/env bash
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes a training cluster out of containers the way a page of a wiki has it done by hand, with nothing of this
# collection: names, /etc/hosts, one key pair for all, known_hosts by ssh-keyscan, an environment, a hostfile.
# Usage: by_hand.sh DIRECTORY CONTAINER..., with lock/tools (uv) and wheelhouse (torch and numpy) in the directory
set -euo pipefail
state=$1
shift
names=(alpha beta gamma delta)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

address() { docker exec "$1" hostname -I | cut -d' ' -f1; }
as_trainer() { docker exec --interactive --user trainer --workdir /home/trainer --env HOME=/home/trainer "$@"; }

number=0
for node in "$@"; do
    printf '%s %s\n' "$(address "$node")" "${names[number]}" >>"$work/hosts"
    printf '%s slots=1\n' "${names[number]}" >>"$work/hostfile"
    number=$((number + 1))
done
ssh-keygen -q -t ed25519 -N '' -C 'trainer of the wiki' -f "$work/id_ed25519"
mkdir "$work/wheels"
cp "$state"/lock/tools/uv-*.whl "$work/wheels"
for package in torch numpy filelock typing_extensions sympy mpmath networkx jinja2 markupsafe fsspec setuptools; do
    cp "$state/wheelhouse/$package"-*.whl "$work/wheels"
done
cat >"$work/accelerate.yaml" <<END
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
num_machines: $#
num_processes: $#
main_process_ip: $(address "$1")
main_process_port: 29500
rdzv_backend: static
same_network: true
use_cpu: true
mixed_precision: 'no'
END
cat >"$work/launch.sh" <<'END'
#!/bin/bash
# the same on every node, with the number of the node as the argument
set -e
source /home/trainer/venv/bin/activate
export GLOO_SOCKET_IFNAME=eth0 ACCELERATE_USE_CPU=true
accelerate launch --config_file /home/trainer/accelerate.yaml --machine_rank "$1" \
    /home/trainer/train.py --epochs 3
END
echo 'print("trains")' >"$work/train.py"

prepare() {
    local node=$1 name=$2
    # Docker mounts /etc/hostname; where the node's first process could not undo that, systemd does at some time later
    docker exec "$node" sh -c 'umount --lazy /etc/hostname 2>/dev/null
        echo "$1" >/etc/hostname && hostname -F /etc/hostname' sh "$name"
    docker exec --interactive "$node" sh -c 'cat >>/etc/hosts' <"$work/hosts"
    as_trainer "$node" mkdir -p -m 700 .ssh
    as_trainer "$node" sh -c 'umask 077; cat >.ssh/id_ed25519' <"$work/id_ed25519"
    as_trainer "$node" sh -c 'cat >>.ssh/authorized_keys' <"$work/id_ed25519.pub"
    # shellcheck disable=SC2016 # expanded on the node; sshd drops logins at random when many come at once: until every key of every name is there
    as_trainer "$node" timeout 120 bash -c 'mapfile -t names < <(tr " " "\n")
        until sort -u .ssh/scanned 2>/dev/null | wc -l | grep -qx $((3 * ${#names[@]})); do
            ssh-keyscan -T 20 "${names[@]}" 2>/dev/null >>.ssh/scanned; done
        sort -u .ssh/scanned >.ssh/known_hosts; rm .ssh/scanned' <"$work/hosts"
    for file in hostfile accelerate.yaml train.py; do
        as_trainer "$node" sh -c "cat >$file" <"$work/$file"
    done
    as_trainer "$node" sh -c 'cat >launch.sh; chmod 755 launch.sh' <"$work/launch.sh"
}

# One environment, copied to the others at the same place.
install() {
    docker cp --quiet "$work/wheels" "$1:/srv/wheels"
    as_trainer "$1" bash -ec 'python3 -m venv --without-pip venv; python3 -m zipfile -e /srv/wheels/uv-*.whl uv
        chmod +x uv/*/scripts/uv
        uv/*/scripts/uv pip install --quiet --no-cache --offline --no-index --find-links /srv/wheels \
            --link-mode copy --python venv/bin/python torch numpy
        rm -r uv'
    docker exec "$1" rm -r /srv/wheels
    for node in "${@:2}"; do
        as_trainer "$1" tar -cf - venv | as_trainer "$node" tar -xf -
    done
}

number=0
for node in "$@"; do
    prepare "$node" "${names[number]}" &
    number=$((number + 1))
done
install "$@"
for _node in "$@"; do
    wait -n
done
