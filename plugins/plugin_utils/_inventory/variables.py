# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables that an inventory may set, and how each is read.

The single list of the public interface: validation, the plan and docs/variables.md follow it.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.host_names import HOST_NAME
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import options, thresholds
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.parsers import (
    FILE_KINDS,
    LAUNCHERS,
    USER_NAME,
    address,
    auto_or_boolean,
    boolean,
    checksum,
    choice,
    companions,
    cuda_toolkits,
    directory,
    driver_branch,
    environment,
    environments,
    files,
    fingerprints,
    launchers,
    node_base,
    number,
    paths,
    pattern,
    python,
    repository,
    requirements,
    syncs,
    text,
    texts,
)

PREFIX = "trainmesh_"


@dataclasses.dataclass(frozen=True)
class Variable:
    """One variable: its scope (``host`` or ``cluster``), default, meaning and reader.

    ``read`` turns a value into the one the model uses, or raises ValueError with what was expected.
    """

    scope: str
    default: t.Any
    meaning: str
    read: t.Callable[[t.Any], t.Any]


OF_AN_ENVIRONMENT = ("torch", "deepspeed", "accelerate", "torch_companions", "extra_packages")
_PORT = number(1, 65535, "a TCP port")
_VERSION = pattern(re.compile(r"\d+(\.\d+)+([a-z]+\d+|\.post\d+)?\Z"), "an exact version such as 2.13.0")
_NAME = pattern(HOST_NAME, "a host name of letters, digits, dots and dashes")
_LIBRARY = pattern(re.compile(r"(any|\d{1,2}(\.\d{1,5}){1,3})\Z"), "any, or a version in quotes such as 2.27.5")
_KEY_FINGERPRINT = pattern(re.compile(r"[0-9A-Fa-f]{40}\Z"), "the 40 digits of a key's fingerprint, without blanks")

VARIABLES: dict[str, Variable] = {
    "address": Variable(
        "host", None, "The data address; default: the source address of the route to the other nodes.", address
    ),
    "slots": Variable(
        "host",
        None,
        "Ranks on the node; default: its usable GPUs, or 1 without GPUs.",
        number(1, 1024, "a number of ranks"),
    ),
    "interface": Variable(
        "host", None, "Network interface of the jobs; default: the one that holds the data address.", text
    ),
    "ssh_port": Variable("host", None, "Additional port for the node's sshd; its current ports are kept.", _PORT),
    "hostname": Variable(
        "host",
        None,
        "Host name of the node; default: the inventory name up to the first dot, C(node-10-0-0-1) for an address.",
        _NAME,
    ),
    "state": Variable(
        "host",
        "present",
        "C(absent) removes the node from the cluster and our files from the node; delete its line afterwards.",
        choice("present", "absent"),
    ),
    "fqdn": Variable("host", None, "Fully qualified name; default: host name and C(trainmesh_domain).", _NAME),
    "host_key_fingerprints": Variable(
        "host",
        [],
        "Fingerprints that the host key may have at the first contact (bootstrap.yml), such as C(SHA256:...).",
        fingerprints,
    ),
    "driver": Variable(
        "host",
        None,
        "Branch of the NVIDIA driver to install, such as C(570), unless the node has it or a newer one; C(absent) "
        "removes what was installed so; default: the driver is left alone.",
        driver_branch,
    ),
    "driver_source": Variable(
        "host",
        "distribution",
        "Where the driver's packages come from: the C(distribution), or the repository of the C(vendor), "
        "which the RHEL family and Fedora need.",
        choice("distribution", "vendor"),
    ),
    "driver_module": Variable(
        "host",
        "auto",
        "Kind of the kernel module; auto: open where all GPUs of the node work with it.",
        choice("auto", "open", "proprietary"),
    ),
    "driver_repository": Variable("host", "", "URL of a mirror of the vendor's repository.", repository),
    "driver_key": Variable(
        "host", "", "Key that signs this mirror, a URL or a path on the controller; default: the vendor's.", text
    ),
    "driver_key_fingerprint": Variable(
        "host", None, "Fingerprint that the key must have; default: that of the vendor's.", _KEY_FINGERPRINT
    ),
    "reboot": Variable(
        "host",
        "never",
        "Whether site.yml may reboot the node where a new driver needs that, one node after the other.",
        choice("never", "allowed"),
    ),
    "node_base": Variable(
        "host",
        [],
        "What to install where it is missing: C(compilers), C(ninja), C(libaio) and C(python_headers), with which "
        "DeepSpeed compiles its operations, C(chrony) where nothing keeps the clock, and C(limits): open files and "
        "locked memory of logins over ssh.",
        node_base,
    ),
    "cuda_toolkits": Variable(
        "host",
        [],
        "CUDA toolkits to install side by side, the one that comes first on PATH first. Each has a C(version), and a "
        "C(source) out of the node's repositories (C(any), C(vendor) or C(distribution)), or a C(runfile) (URL or "
        "controller path) with its C(checksum).",
        cuda_toolkits,
    ),
    "cudnn": Variable(
        "host",
        None,
        "Version of cuDNN to install as packages of the system, such as C(9.10), or C(any); the same on all nodes. "
        "PyTorch needs none.",
        _LIBRARY,
    ),
    "nccl": Variable(
        "host",
        None,
        "Version of NCCL to install as packages of the system, such as C(2.27.5), or C(any); the same on all nodes. "
        "PyTorch needs none.",
        _LIBRARY,
    ),
    "user_uid": Variable(
        "cluster",
        None,
        "Number of the job user (C(trainmesh_user)) and its group, the same on every node; the user is created where "
        "there is none.",
        number(1000, 59999, "the number of a user"),
    ),
    "teardown": Variable(
        "cluster", False, "Confirms that teardown.yml may remove the cluster from every node.", boolean
    ),
    "confirm": Variable("cluster", False, "Ask before site.yml changes a node.", boolean),
    "group": Variable("cluster", "all", "Inventory group that holds the nodes of this cluster.", text),
    "head": Variable(
        "cluster",
        None,
        "Inventory name of the node of rank 0; default: the first host, also when hosts are added later.",
        text,
    ),
    "user": Variable(
        "cluster", None, "User that runs the jobs; default: the login user.", pattern(USER_NAME, "a user name")
    ),
    "prefix": Variable("cluster", "/opt/trainmesh", "Installation directory, the same on every node.", directory),
    "domain": Variable("cluster", "trainmesh.internal", "Domain of the fully qualified names.", _NAME),
    "master_port": Variable(
        "cluster", 29500, "Rendezvous port on the head.", number(1024, 65535, "an unprivileged TCP port")
    ),
    "firewall": Variable(
        "cluster",
        "auto",
        "Firewall in which to allow traffic from the nodes.",
        choice("auto", "none", "firewalld", "ufw"),
    ),
    "cloud_init": Variable(
        "cluster",
        "leave",
        "C(keep_ours) writes a drop-in by which cloud-init leaves C(/etc/hosts) and the host name alone at a boot, "
        "on nodes where it would not; C(leave) removes it.",
        choice("leave", "keep_ours"),
    ),
    "ssh_topology": Variable(
        "cluster",
        "mesh",
        "Which nodes log in to the others: all (C(mesh)), or the head alone (C(head)), which is what launchers need.",
        choice("mesh", "head"),
    ),
    "ssh_trust": Variable(
        "cluster",
        "keys",
        "How nodes know each other: by the keys of all (C(keys)), or by certificates of an authority that stays on the "
        "controller (C(ca)).",
        choice("keys", "ca"),
    ),
    "ssh_validity": Variable(
        "cluster",
        "52w",
        "How long certificates are valid, in hours (C(h)), days (C(d)) or weeks (C(w)); a run renews those of which "
        "less than a third is left.",
        pattern(re.compile(r"[1-9]\d{0,3}[hdw]\Z"), "hours, days or weeks such as 36h, 90d or 52w"),
    ),
    "python_env": Variable("cluster", "venv", "Kind of Python environment.", choice("venv", "conda")),
    "python": Variable(
        "cluster",
        None,
        "Interpreter of the venv or a version such as C(3.11); default: /usr/bin/python3, or one that all nodes have.",
        python,
    ),
    "python_install": Variable(
        "cluster",
        False,
        "Install a Python below the prefix on nodes that lack it: a build of uv's, or conda where that can't be had.",
        boolean,
    ),
    "python_mirror": Variable(
        "cluster",
        "",
        "URL, or directory on the controller, from which uv gets Pythons; default: its own.",
        text,
    ),
    "backup": Variable(
        "cluster",
        True,
        "Keep the original of a shared file before its first change, with the suffix C(.before-trainmesh).",
        boolean,
    ),
    "torch": Variable("cluster", None, "Version of torch; default: the tested set.", _VERSION),
    "torch_build": Variable(
        "cluster",
        "auto",
        "Build of torch; auto: chosen for the oldest GPU and the oldest driver.",
        pattern(re.compile(r"(auto|cpu|cu\d{3})\Z"), "auto, cpu or a CUDA build such as cu126"),
    ),
    "torch_companions": Variable(
        "cluster", [], "torchvision and torchaudio, in the versions that match torch.", companions
    ),
    "deepspeed": Variable("cluster", None, "Version of deepspeed; default: the tested set.", _VERSION),
    "accelerate": Variable("cluster", None, "Version of accelerate; default: the tested set.", _VERSION),
    "extra_packages": Variable("cluster", [], "Additional requirement lines for the environment.", requirements),
    "requirements": Variable(
        "cluster",
        "",
        "Your own C(requirements.txt), C(pyproject.toml), C(uv.lock) or C(pylock.toml), which joins the lock; a path "
        "on the controller, a relative one begins beside the inventory.",
        text,
    ),
    "wheelhouse": Variable(
        "cluster",
        "",
        "Empty: nodes install from the index; C(auto) or a directory on the controller: from files copied to them.",
        text,
    ),
    "index_url": Variable(
        "cluster", "", "Package index or mirror; default: the one that pip on the controller uses.", text
    ),
    "torch_index_url": Variable(
        "cluster",
        "",
        "Mirror of PyTorch's own index (C(https://download.pytorch.org/whl)) for builds of torch that are only there.",
        text,
    ),
    "index_insecure": Variable(
        "cluster",
        False,
        "Accept plain http and pip's C(trusted-host), and use the best version of several indexes.",
        boolean,
    ),
    "lock_update": Variable(
        "cluster",
        False,
        "Recreate the lock and accept the current hashes, for one run: C(-e trainmesh_lock_update=true).",
        boolean,
    ),
    "environments": Variable(
        "cluster",
        [],
        "More environments, for C(trainmesh run --environment NAME): each has a C(name) and its own C(torch), "
        "C(deepspeed), C(accelerate), C(torch_companions) and C(extra_packages), as the variables of these names.",
        lambda value: environments(value, {name: VARIABLES[name].read for name in OF_AN_ENVIRONMENT}),
    ),
    "conda_installer": Variable(
        "cluster", "", "URL or controller path of an installer of conda; default: the newest Miniforge.", text
    ),
    "conda_installer_checksum": Variable(
        "cluster", "", "Checksum of the installer such as C(sha256:...); needed for a URL.", checksum
    ),
    "conda_channels": Variable("cluster", [], "Channels, URLs or directories, instead of the installer's own.", texts),
    "conda_lock": Variable(
        "cluster",
        "",
        "Controller path of an explicit list of packages (C(conda list --explicit)) to make the environment from.",
        text,
    ),
    "conda_init": Variable("cluster", False, "Let conda change the job user's shell start-up files.", boolean),
    "precision": Variable(
        "cluster",
        "auto",
        "Precision of the jobs; auto: bf16 only if every GPU supports it.",
        choice("auto", "bf16", "fp16", "fp32"),
    ),
    "zero_stage": Variable(
        "cluster", 2, "ZeRO stage that the launch scripts use by default.", number(0, 3, "a ZeRO stage")
    ),
    "launchers": Variable("cluster", list(LAUNCHERS[:4]), "Launchers to set up and verify.", launchers),
    "env": Variable("cluster", {}, "Environment variables for the jobs.", environment),
    "sync": Variable(
        "cluster",
        [],
        "What sync.yml brings to every node: paths of the head, or C({src, dest}) with C(src) on the controller.",
        syncs,
    ),
    "packages_install": Variable("cluster", True, "Install missing distribution packages (pdsh, rsync).", boolean),
    "rotate_keys": Variable(
        "cluster", False, "Rotate the ssh keys of all nodes in this run; set it on the command line.", boolean
    ),
    "takeover": Variable("cluster", False, "Take over nodes of another cluster, which loses them.", boolean),
    "accept_host_keys": Variable(
        "cluster",
        "ask",
        "Unknown host keys in bootstrap.yml: C(ask) for confirmation, or accept C(new) ones, never changed ones.",
        choice("ask", "new"),
    ),
    "make_key": Variable(
        "cluster", False, "Let bootstrap.yml make a key for the controller's user if there is none.", boolean
    ),
    "sudo": Variable(
        "cluster",
        "as_is",
        "C(nopasswd) lets bootstrap.yml add a rule by which the login user needs no password for sudo.",
        choice("as_is", "nopasswd"),
    ),
    "state_dir": Variable(
        "cluster",
        None,
        "Directory on the controller for lock and state file; default: C(.trainmesh) beside the inventory.",
        text,
    ),
    "verify_python": Variable(
        "cluster",
        "",
        "Path of the Python that the jobs use, on a cluster that this collection did not set up.",
        text,
    ),
    "verify_import": Variable(
        "cluster",
        False,
        "Import PyTorch on every node as a rank does, to detect a broken installation or LD_LIBRARY_PATH.",
        boolean,
    ),
    "verify_jobs": Variable("cluster", True, "Run a real job through each launcher at the end.", boolean),
    "verify_speed": Variable(
        "cluster",
        "auto",
        "Measure the speed of each GPU, for some seconds: C(auto) where all GPUs are idle, C(true) also the "
        "processors of a cluster without GPUs, or C(false).",
        auto_or_boolean,
    ),
    "job_timeout": Variable(
        "cluster", 300, "Time limit of one verification job, in seconds.", number(10, 86400, "seconds")
    ),
    "reach_timeout": Variable(
        "cluster",
        10,
        "Time limit of the preflight login to a host, in seconds; twice that for a slow host.",
        number(1, 600, "seconds"),
    ),
    "bandwidth": Variable(
        "cluster",
        True,
        "Measure the bandwidth of the links between nodes; false: only test whether they work.",
        boolean,
    ),
    "files": Variable(
        "cluster",
        [],
        "User files on the nodes to check, a list of C({kind: ..., path: ...}); the kinds are "
        f"{', '.join(f'C({kind})' for kind in FILE_KINDS)}. C(cluster: true) says of a launch script that it starts "
        "the job of the whole cluster.",
        files,
    ),
    "paths": Variable("cluster", [], "Absolute paths that every node needs: models, data, code, scripts.", paths),
    "rules": Variable(
        "cluster",
        {},
        "Checks to silence or to change in severity, such as C({gpu-persistence: 'off', drv-differs: fail}); the "
        "levels are C(off), C(info), C(warn) and C(fail).",
        options.read_levels,
    ),
    "extra_rules": Variable(
        "cluster",
        [],
        "Your own checks: a list of C({id, severity, expression, scope, cause, remedy, title, null_is_untested}), "
        "with a JMESPath expression over the facts of a node, or of all (scope C(cluster)).",
        options.read_extra_rules,
    ),
    "thresholds": Variable(
        "cluster", {}, "Limits that checks compare with, such as C({clock_skew_warn_s: 0.5}).", thresholds.check
    ),
    "report_dir": Variable(
        "cluster",
        None,
        "Directory on the controller for the reports of the verification; default: C(report) in the state directory.",
        text,
    ),
    "export_dir": Variable(
        "cluster",
        "trainmesh-export",
        "Directory on the controller for what C(export.yml) writes, relative to the current one.",
        text,
    ),
    "report_mask_addresses": Variable(
        "cluster", False, "Replace addresses and host names in C(report.md), for publication.", boolean
    ),
}


def read(values: t.Mapping[str, t.Any], scope: str) -> dict[str, t.Any]:
    """The variables of one scope with defaults filled in, by short name; raises ValueError on a bad one."""
    result = {}
    for name, variable in VARIABLES.items():
        if variable.scope == scope:
            value = values.get(PREFIX + name)
            result[name] = variable.default if value is None else variable.read(value)
    return result
