#!/usr/bin/env bash
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Removes what a checkout has made on this machine: nodes, networks, images, the Docker Engine's process if it was
# started here, environments, caches and the state of the embedded cluster. What others run in Docker stays.

set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

LABEL=io.trainmesh.local-nodes # the same as in plugins/module_utils/_local_nodes/nodes.py

has_nodes() {
    [ -e inventories/local/hosts.yml ] || [ -e /var/lib/trainmesh-local/engine.json ] ||
        [ -n "$(docker ps -aq --filter "label=$LABEL" 2>/dev/null)" ] ||
        [ -n "$(docker image ls -q trainmesh-node 2>/dev/null)" ]
}

if has_nodes; then
    scripts/bootstrap.sh controller
    ANSIBLE_CONFIG=$PWD/ansible.cfg "${TRAINMESH_VENV:-$PWD/.venv}/bin/ansible-playbook" \
        playbooks/local_cluster.yml -e state=down -e purge=true
fi
# Molecule remembers outside the checkout that its nodes were made.
if [ -x "${TRAINMESH_VENV:-$PWD/.venv}/bin/molecule" ]; then
    "${TRAINMESH_VENV:-$PWD/.venv}/bin/molecule" reset --scenario-name default >/dev/null 2>&1 || true
fi
rm -rf "${TRAINMESH_VENV:-$PWD/.venv}" .cache .ansible inventories/local \
    .pytest_cache .ruff_cache .mypy_cache .hypothesis tests/output
find . -path ./.git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
echo "clean: nothing is left of nodes, environments and caches"
