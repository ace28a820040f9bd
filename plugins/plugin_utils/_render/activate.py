# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that a person sources on the head, so that the launchers' own commands train over all nodes.

What must reach the other nodes goes the launchers' own ways: DeepSpeed sends the variables of its environment file
(``DS_ENV_FILE``) and those that begin with ``PYTHON``; its pdsh runs on the head. Sources: DeepSpeed 0.19
``launcher/runner.py``, Accelerate 1.15 ``utils/launch.py``.
"""

from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render.env import plain_lines

# For sh, bash and zsh, which do not tell a sourced file its own name in the same way: the prefix is written into it.
_TEXT = """\
# shellcheck shell=sh
# For your shell:  . @PREFIX@/activate
# Then deepspeed, accelerate and torchrun are those of the environment, and train over all nodes. It sets nothing that
# belongs to one rank or one node alone: a MASTER_ADDR in a shell makes every single program wait for others.

_trainmesh_activate() {
    if [ ! -x @PREFIX@/env/bin/python ]; then
        echo "trainmesh: there is no environment @PREFIX@/env on this node: run the site playbook" >&2
        return 1
    fi
    if [ "$(stat -c %u @PREFIX@/var)" != "$(id -u)" ]; then
        echo "trainmesh: jobs here are those of $(stat -c %U @PREFIX@/var): log in as that user (you are $(id -un))" >&2
        return 1
    fi
    while IFS= read -r _trainmesh_line; do
        case $_trainmesh_line in TRAINMESH_*) export "${_trainmesh_line?}" ;; esac
    done <<LINES
$(cat @PREFIX@/etc/cluster.env @PREFIX@/etc/node.env)
LINES
    while IFS= read -r _trainmesh_line; do
        [ -z "$_trainmesh_line" ] || export "${_trainmesh_line?}"
    done <@PREFIX@/etc/deepspeed_env
    unset _trainmesh_line
    _trainmesh_bin=@PREFIX@/libexec/path:@PREFIX@/env/bin:@PREFIX@/bin
    case :$PATH: in *":$_trainmesh_bin:"*) ;; *) PATH=$_trainmesh_bin:$PATH ;; esac
    export PATH PDSH_RCMD_TYPE=ssh VIRTUAL_ENV=@PREFIX@/env
    export TRAINMESH_HOSTFILE=@PREFIX@/etc/hostfile
    export TRAINMESH_ACCELERATE_CONFIG=@PREFIX@/etc/accelerate/deepspeed_pdsh.yaml
    @PYTHONPATH@
    # The node's own libraries would go before those that torch brings.
    unset _trainmesh_bin LD_LIBRARY_PATH PYTHONHOME
    # A copy for this shell: Accelerate appends the whole environment of the head to it at each launch. Copies of shells
    # that have ended go.
    mkdir -p @PREFIX@/var/activate || return 1
    find @PREFIX@/var/activate -type f ! -exec sh -c 'kill -0 "${1##*/}" 2>/dev/null' sh {} \\; -delete
    export DS_ENV_FILE=@PREFIX@/var/activate/$$
    (
        umask 077 # what Accelerate appends may hold secrets
        rm -f "$DS_ENV_FILE"
        cat @PREFIX@/etc/deepspeed_env >"$DS_ENV_FILE"
        echo "PATH=@PREFIX@/env/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" >>"$DS_ENV_FILE"
    ) || return 1
    if [ "$TRAINMESH_NODE_RANK" != 0 ] && [ -t 1 ]; then
        echo "trainmesh: this is $TRAINMESH_NODE_NAME; deepspeed and accelerate start jobs on the head, $TRAINMESH_HEAD"
    fi
}

_trainmesh_activate
"""
# What share/cpu/sitecustomize.py repairs, jobs without GPUs need; DeepSpeed sends the variable to the other nodes.
_CPU = """case :${PYTHONPATH:-}: in
    *:@PREFIX@/share/cpu:*) ;;
    *) export PYTHONPATH=@PREFIX@/share/cpu${PYTHONPATH:+:$PYTHONPATH} ;;
    esac"""


def activate(cluster: Cluster) -> str:
    """The text for a shell. Raises ValueError for a prefix that sh would read otherwise."""
    plain_lines({"PREFIX": cluster.prefix})
    text = _TEXT.replace("    @PYTHONPATH@\n", "" if cluster.gpus else f"    {_CPU}\n")
    return text.replace("@PREFIX@", cluster.prefix)
