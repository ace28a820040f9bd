#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module user_facts: read what decides on a node whether a user can log in, launch and train there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: user_facts
short_description: Gather facts about the user who runs the training jobs on a node
version_added: "1.0.0"
description:
  - Reads the user's ssh keys and the modes that sshd looks at, the settings of sshd for this user, where ssh would go
    for each name, files that launchers take up silently, caches, processes that earlier jobs left, and the files and
    directories that the caller names.
  - Whether something can be read or written is found out as that user. As root the module gives its rights up in a
    child process for that; as an ordinary user it only checks for itself, and what only root may see is null.
  - Every reading of files has a time limit, so that a file server that is gone does not hold the module up.
  - No private key is read. Values of names that look secret are replaced by V(<hidden>) in all texts. Of a command
    line only the program, the script or module and the run are told.
options:
  ssh_names:
    description: Names and addresses of the nodes, for which C(ssh -G) is asked.
    type: list
    elements: str
    default: []
  paths:
    description: Files and directories to describe and to digest, such as scripts, code and models. V(~) is expanded.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds for everything together; digests get a quarter of them.
    type: float
    default: 20.0
  addresses:
    description:
      - Where each of O(ssh_names) should lead, in that order. If given, what is the same for all of them but their name
        and address is told once, in C(alike).
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - trainmesh.cluster.attributes.facts
  - trainmesh.cluster.node.user
notes:
  - A digest is C(sha256) of all bytes, or C(sha256-sampled) when files above 4 MiB were digested by size, start and
    end. Hidden files and byte code below a directory are passed over; above 10000 files there is no digest.
seealso:
  - module: trainmesh.cluster.stack_facts
  - module: trainmesh.cluster.fabric_facts
author:
  - trainmesh.cluster contributors (@trainmesh)
"""

EXAMPLES = r"""
- name: Gather facts about the job user as root
  trainmesh.cluster.user_facts:
    user: trainer
    ssh_names: [node1, node2]
    ports: [29500]
    paths: [/data/model, ~/code/train.py]
    files:
      - {kind: launch_script, path: ~/run.sh}
      - {kind: accelerate, path: ~/accelerate.yaml}
  become: true

- name: Gather facts about the current user
  trainmesh.cluster.user_facts:
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: always
  type: dict
  contains:
    trainmesh_facts_user:
      description: What is known of the user. Every key is always there.
      returned: always
      type: dict
      contains:
        name:
          description: The user.
          type: str
          sample: trainer
        time:
          description: The node's clock when this was read, in seconds since 1970.
          type: int
          sample: 1795996800
        uid:
          description: Number of the user.
          type: int
          sample: 1000
        home:
          description: Home directory.
          type: str
          sample: /home/trainer
        shell:
          description: Login shell.
          type: str
          sample: /bin/bash
        problem:
          description: Why something could not be read, in a sentence; null when all went well.
          type: str
          sample: "there is no user trainer here: create it, or set trainmesh_user to one that exists"
        paths:
          description:
            - Owner and mode of C(home), C(ssh_dir), C(authorized_keys), C(config) and C(identity) (the private key).
              C(exists) is null where even root cannot see it.
          type: dict
          sample:
            ssh_dir:
              path: /home/trainer/.ssh
              exists: true
              mode: "0700"
              owner: trainer
              group: trainer
              others_write: false
        authorized_keys:
          description: The keys that may log in as this user, from the files that sshd reads.
          type: list
          elements: dict
          sample:
            - type: ssh-ed25519
              fingerprint: SHA256:pT2mVgFvLqK1C4ZxkU0nRz1hB6wYd3aXo9sQeJfN7uI
              comment: trainer@node1
              options: ""
              file: /home/trainer/.ssh/authorized_keys
        own_keys:
          description:
            - The user's own key pairs. The private part is not read; C(mode) is its mode. C(certificate) is the one
              beside it, or null, C(bits) the length of an RSA key.
          type: list
          elements: dict
          sample:
            - path: /home/trainer/.ssh/id_ed25519
              type: ssh-ed25519
              fingerprint: SHA256:pT2mVgFvLqK1C4ZxkU0nRz1hB6wYd3aXo9sQeJfN7uI
              mode: "0600"
              comment: trainer@node1
              certificate: null
              bits: null
        known_hosts:
          description:
            - The files of known hosts that there are, without their content, and the fingerprints of those whose host
              certificates the cluster's own file accepts.
          type: dict
          sample: {files: [/home/trainer/.ssh/trainmesh/known_hosts], authorities: []}
        sshd:
          description:
            - The settings of sshd for this user. C(source) is V(sshd -T), V(config) (Match blocks are not judged
              then) or null; C(problem) says what kept sshd from telling. C(certificates) is null unless sshd told,
              else its host certificates, whether it has our drop-in for them, and why it can't have it.
            - C(refused_types) are usual types of keys that it does not accept, C(lines) says where the settings stand
              that may refuse a login.
          type: dict
          sample:
            source: sshd -T
            strictmodes: true
            pubkeyauthentication: true
            permitrootlogin: without-password
            authorizedkeysfile: .ssh/authorized_keys .ssh/authorized_keys2
            allowusers: []
            denyusers: []
            allowgroups: []
            denygroups: []
            maxstartups: 10:30:100
            persourcemaxstartups: none
            persourcepenalties: null
            ports: [22]
            usepam: true
            maxauthtries: 6
            maxsessions: 10
            requiredrsasize: 1024
            authenticationmethods: null
            forcecommand: null
            chrootdirectory: null
            revokedkeys: null
            revokedkeys_missing: false
            refused_types: []
            fips: false
            lines: {usepam: "/etc/ssh/sshd_config line 85: usepam yes"}
            problem: null
            certificates: {host: [], drop_in: false, problem: ""}
        ssh_dir_inode:
          description: The inode of C(~/.ssh), which is the same on all nodes that share a home.
          type: int
          sample: 1310725
        account:
          description:
            - What of the account, of PAM and of the TCP wrappers may refuse a login whose key is right; null is
              unknown, or nothing. Only root can read it.
            - C(password) is V(locked) (it begins with an exclamation mark), V(unusable), V(set) or V(none).
              C(hosts_access) and the rows of C(pam) are lines that refuse the user, from the addresses in C(peers),
              null for all. C(directory) is the option by which sssd asks a directory whether the user may. C(labels)
              are the SELinux types with which sshd may not read the keys, by path.
          type: dict
          sample:
            password: unusable
            expired: null
            password_expired: null
            shell_problem: null
            groups: [trainer]
            nologin: null
            hosts_access: null
            pam: []
            directory: null
            labels: null
        ssh_client:
          description:
            - Where C(ssh) would go for each of O(ssh_names), and in C(untested) what it did not answer in time.
            - C(problem) is its complaint about its configuration, C(problem_kind) one of V(permissions), V(trailing)
              (something stands behind a value) and V(syntax).
            - C(certificates) is whether it accepts ed25519 certificates, null when it did not tell. C(without_keys)
              is the option that keeps it from offering a key, by name.
          type: dict
          sample:
            problem: null
            problem_kind: null
            untested: null
            targets: {node2: {hostname: 10.0.0.12, port: 2222, user: trainer}}
            certificates: true
            without_keys: {}
        nccl_conf:
          description: NCCL's configuration files that there are.
          type: list
          elements: dict
          sample: [{path: /etc/nccl.conf, values: {NCCL_SOCKET_IFNAME: "=eth0"}}]
        accelerate_default:
          description: The configuration that C(accelerate launch) takes without being told; C(values) are flat.
          type: list
          elements: dict
          sample:
            - path: /home/trainer/.cache/huggingface/accelerate/default_config.yaml
              values: {distributed_type: DEEPSPEED, deepspeed_config.zero_stage: "3", num_machines: "2"}
        deepspeed_env:
          description: Environment files in the home directory and in the workspace, which DeepSpeed sends to all nodes.
          type: list
          elements: dict
          sample: [{path: ~/.deepspeed_env, text: "HF_TOKEN=<hidden>\nNCCL_DEBUG=INFO\n"}]
        processes:
          description:
            - Launchers and ranks that run, of any user. C(kind) is V(deepspeed), V(torchrun), V(accelerate),
              V(mpirun) or V(rank); C(ours) are those of this collection's scripts, with their C(run_id).
          type: list
          elements: dict
          sample:
            - pid: 4711
              user: trainer
              kind: torchrun
              run_id: null
              age_seconds: 86400
              ours: false
              command: /opt/conda/bin/python /opt/conda/bin/torchrun train.py
        port_owners:
          description:
            - Who listens on O(ports), by port; C(pid) is null when only root may know. C(check) is the id of the check
              run of this collection that it is of.
          type: dict
          sample: {"29500": {pid: 4711, user: trainer, command: "python train.py", check: null}}
        caches:
          description:
            - The user's C(home), C(tmp), C(hf), C(triton), C(torch_extensions) and C(pip). C(existing) is the nearest
              parent that is there and that was measured; C(writable) is whether this user may write there, C(noexec)
              whether nothing there may be run or loaded. C(locks) of C(torch_extensions) are those of builds, with
              their age.
          type: dict
          sample:
            triton:
              path: /home/trainer/.triton
              existing: /home/trainer
              exists: false
              writable: true
              fs_type: ext4
              local: true
              free_bytes: 82514124800
              total_bytes: 270553174016
              noexec: false
              readonly: false
              inodes_free: 15800000
              locks: []
              error: null
        shadows:
          description:
            - Files and packages in the home directory and in the workspace that have the name of a module which PyTorch
              or a launcher imports.
          type: list
          elements: str
          sample: [/home/trainer/random.py]
        asked:
          description:
            - What is at each of O(paths), for this user. C(denied) is true where a directory above is closed to it.
          type: dict
          sample:
            /data/model:
              exists: true
              kind: dir
              size: 13476831232
              digest: sha256-sampled:aa7ff5d6a11ba2ee1b8b4f9ccd59b6a1b1f4aaf1a6e6bd8d2ef9e0ec33b5d1c4
              readable: true
              writable: false
              mode: "0755"
              fs_type: nfs4
              local: false
              error: null
              denied: null
        managed:
          description: Whether this collection's files are below O(prefix), and their digests.
          type: dict
          sample:
            exists: true
            files:
              etc/hostfile: sha256:0d1c6c5ad0c3ef0f9ac8ac1cf8ee5b6c3f9ff7fb2d8c4a1b1c1c2ddc4f4d3a10
        files:
          description: The files that were named in O(files), without secrets.
          type: list
          elements: dict
          sample:
            - kind: hostfile
              path: ~/hostfile
              cluster: false
              exists: true
              text: "node1 slots=8\n"
              error: null
        root_without_password:
          description: Whether the user is root or may run everything as root without a password; null when not known.
          type: bool
          sample: false
        oom_kills:
          description:
            - The last times that the kernel ended a process for want of memory; null when its log cannot be read. In a
              container it is the log of the machine.
          type: list
          elements: dict
          sample:
            - time: "2026-11-20T08:15:30Z"
              line: "[86400.123456] Out of memory: Killed process 4711 (python) total-vm:98304000kB"
        kernel_events:
          description:
            - What else the kernel log says of the machine since boot, equal lines once; null when it cannot be read.
              Each has C(kind) (such as V(out_of_memory), V(crashed), V(task_hung), V(pcie_error), V(nic_failed),
              V(link_down), V(disk_error)), C(device), the driver that C(owner) names, C(count), C(time), the last
              C(line) and C(details).
          type: list
          elements: dict
          sample:
            - kind: out_of_memory
              host: ""
              device: null
              owner: null
              count: 1
              time: "2026-11-20T08:15:30Z"
              line: "[86400.12] Memory cgroup out of memory: Killed process 4711 (python) total-vm:98304000kB"
              details: {victim: python, pid: "4711", cgroup: /docker/0f3289, constraint: CONSTRAINT_MEMCG, uid: "1000"}
        alike:
          description:
            - What is not listed because it is as expected, empty without O(addresses) and O(keys). C(targets) has the
              common C(form) of the targets of RV(ansible_facts.trainmesh_facts_user.ssh_client) as JSON, with
              V(<name>) and V(<address>) for those of a node, and C(without), the names that have none.
            - C(authorized_keys) has the C(file) in which the keys stand, and C(at), how many keys stand before them.
          type: dict
          sample:
            targets: {form: '{"hostname": "<address>", "port": 22, "user": "trainer"}', without: []}
            authorized_keys: {file: /home/trainer/.ssh/authorized_keys, at: 0}
        login_shell_ok:
          description: Whether the login shell runs a command without a terminal.
          type: bool
          sample: true
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._user.facts import OPTIONS, TIMEOUT_S, Wish, gather


def main() -> None:
    """Read the options, gather, answer."""
    texts = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "ssh_names": texts,
            "paths": texts,
            "timeout": {"type": "float", "default": TIMEOUT_S},
            "addresses": texts,
        },
        supports_check_mode=True,
    )
    if module.params["timeout"] <= 0:
        module.fail_json(msg=f"timeout must be more than 0 seconds, not {module.params['timeout']}: nothing was read.")
    facts = gather(Wish(**module.params), Tree())
    module.exit_json(changed=False, ansible_facts={"trainmesh_facts_user": facts})


if __name__ == "__main__":
    main()
