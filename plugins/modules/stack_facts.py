#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module stack_facts: read the CUDA, NCCL, Python and tool versions that a training job gets on a node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_facts
short_description: Gather facts about the training software of a node
version_added: "1.0.0"
description:
  - Reads which CUDA toolkits, cuDNN and NCCL libraries, Python packages, compilers and tools a training job finds on
    a node, and the environment that a launcher's non-interactive ssh session has there.
  - Nothing is imported and no library of cuDNN is loaded unless O(import) is set. The interpreter O(python) is
    started once to say where it looks; versions come from file names and files.
  - Every NCCL library is loaded in a child process of its own and asked for its version, because the metadata of a
    package and C(torch.cuda.nccl.version) may both name another one than the file that is used.
  - Every command has a time limit. A value that is not known is null. Nothing is guessed.
  - Run it as the user who starts the training, or as root with O(user), so that the session, C(PATH) and packages
    are that user's.
options:
  timeout:
    description:
      - Seconds that all commands together may take, the import included. No other command gets more than 10 of them.
    type: float
    default: 120.0
extends_documentation_fragment:
  - trainmesh.cluster.attributes.facts
  - trainmesh.cluster.node.stack
notes:
  - The login environment is the module's own when Ansible came by ssh as the very user. After C(sudo), C(su) or the
    like, with another O(user), and on a local connection, the user's login shell is started without a terminal, as
    C(sshd) would, and asked.
    Variables set by the C(environment) keyword of a task belong to the module's own and are reported as such.
  - Values of variables that look like secrets are never returned, and logins in URLs are masked.
seealso:
  - module: trainmesh.cluster.node_facts
  - module: trainmesh.cluster.gpu_facts
  - module: trainmesh.cluster.fabric_facts
author:
  - trainmesh.cluster contributors (@trainmesh)
"""

EXAMPLES = r"""
- name: Gather the facts of the training software
  trainmesh.cluster.stack_facts:

- name: Gather facts about another environment, and import PyTorch from it
  trainmesh.cluster.stack_facts:
    python: /home/alice/miniconda3/envs/train/bin/python
    import: true

- name: Gather software facts as the job user
  trainmesh.cluster.stack_facts:
    user: trainer
  become: true

- name: Stop where the import fails
  ansible.builtin.assert:
    that: ansible_facts.trainmesh_facts_stack.torch_import.ok
    fail_msg: "{{ ansible_facts.trainmesh_facts_stack.torch_import.error }}"
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: always
  type: dict
  contains:
    trainmesh_facts_stack:
      description: What is known of the node's training software.
      returned: always
      type: dict
      contains:
        login_environment:
          description:
            - What a non-interactive ssh session gets. C(source) is V(session) for the module's own environment,
              V(shell) when the login shell was asked, V(unknown) when that shell gave no answer.
            - C(variables) are those that change where a job finds its software or how it talks (C(PATH),
              C(LD_LIBRARY_PATH), C(PYTHONPATH), C(CUDA_*), C(NCCL_*), C(GLOO_*), proxies and the like), without
              secrets. C(hidden) names the ones among them that were withheld.
          returned: always
          type: dict
          sample:
            source: shell
            shell: /bin/bash
            variables:
              NCCL_SOCKET_IFNAME: eth0
              PATH: /usr/local/cuda-12.6/bin:/usr/local/bin:/usr/bin:/bin:/usr/games
              https_proxy: http://***@proxy.example.com:3128
            hidden: [HF_TOKEN]
        cuda:
          description:
            - C(toolkits), each once; links to it are its C(aliases).
            - C(nvcc), the first on the session's C(PATH); null when there is none.
            - C(build_home), the toolkit that PyTorch compiles extensions with; null when there is none.
          returned: always
          type: dict
          sample:
            toolkits:
              - path: /usr/local/cuda-12.6
                aliases: [/usr/local/cuda]
                version: 12.6.85
                nvcc: /usr/local/cuda-12.6/bin/nvcc
                nvcc_version: 12.6.85
                nvcc_release: "12.6"
            nvcc:
              path: /usr/local/cuda-12.6/bin/nvcc
              release: "12.6"
              version: 12.6.85
            build_home:
              path: /usr/local/cuda-12.6
              nvcc:
                path: /usr/local/cuda-12.6/bin/nvcc
                release: "12.6"
                version: 12.6.85
        cudnn:
          description:
            - Every cuDNN, by its header (C(source) is V(wheel) or V(header)) or else by its file's name (V(library)).
          returned: always
          type: list
          elements: dict
          sample:
            - version: 9.24.0
              path: /opt/trainmesh/env/lib/python3.11/site-packages/nvidia/cudnn/include/cudnn_version.h
              source: wheel
        nccl:
          description:
            - Every NCCL library. C(place) is V(wheel), V(torch), V(library_path) (in C(LD_LIBRARY_PATH)),
              V(environment) or V(system).
            - C(source) of the version is V(library) (it said so itself), V(file) (its banner, found in the file),
              V(header) (C(nccl.h) beside it), or null.
          returned: always
          type: list
          elements: dict
          sample:
            - path: /lib/x86_64-linux-gnu/libnccl.so.2
              place: system
              version: 2.21.5
              source: library
        python:
          description:
            - The interpreter O(python). C(kind) is V(venv), V(conda) or V(system); C(sites) is where it looks for
              packages; C(headers) tells whether C(Python.h) is there, which compiling needs.
            - C(problem) is null, or a sentence that says why the interpreter did not answer.
          returned: always
          type: dict
          sample:
            path: /opt/trainmesh/env/bin/python
            version: 3.11.2
            prefix: /opt/trainmesh/env
            kind: venv
            sites:
              - /usr/lib/python311.zip
              - /usr/lib/python3.11
              - /usr/lib/python3.11/lib-dynload
              - /opt/trainmesh/env/lib/python3.11/site-packages
            headers: false
            problem: null
        packages:
          description: Version of each package that training needs, with the build if its files name it; null if
            absent.
          returned: always
          type: dict
          sample:
            torch: 2.13.0+cpu
            torchvision: null
            torchaudio: null
            triton: null
            deepspeed: 0.19.8
            accelerate: 1.15.0
            transformers: 5.23.0
            ninja: 1.13.2
            mpi4py: null
            numpy: 2.4.6
        package_names:
          description: The names of all packages that the interpreter finds, with blanks between them.
          returned: always
          type: str
          sample: accelerate deepspeed numpy torch
        code_versions:
          description:
            - The packages whose code says another version than their metadata, each with the C(version) and the C(path)
              of the file that says it.
          returned: always
          type: list
          elements: dict
          sample: [{name: accelerate, version: 0.30.1, path: /env/lib/python3.11/site-packages/accelerate/__init__.py}]
        other_copies:
          description:
            - Further copies of those packages on the search path, hidden by the first ones, as C(name), C(version)
              and C(path).
          returned: always
          type: list
          elements: dict
          sample: []
        torch:
          description:
            - The installed PyTorch, null when there is none. C(version) names the build, C(dist_version) is that of
              the package; C(cuda), C(hip) and C(arch_list) are those it was built for.
            - C(nccl) is what its NCCL library says of itself, C(nccl_package) what the package says; C(cudnn) is
              that of the package.
          returned: always
          type: dict
          sample:
            version: 2.13.0+cpu
            dist_version: 2.13.0+cpu
            path: /opt/trainmesh/env/lib/python3.11/site-packages/torch
            cuda: null
            hip: null
            git_version: cf30153c4c131c8164ee7798e5022d810682e2cb
            cudnn: null
            nccl: null
            nccl_package: null
            arch_list: null
            other_copies: []
        deepspeed:
          description:
            - The installed DeepSpeed, null when there is none. C(built_torch), C(built_cuda) and C(built_nccl) are
              what it was built against (null when built without PyTorch or CUDA); that matters only for the
              operations in C(installed_ops), which were compiled then.
          returned: always
          type: dict
          sample:
            version: 0.19.8
            path: /opt/trainmesh/env/lib/python3.11/site-packages/deepspeed
            git_hash: unknown
            git_branch: unknown
            installed_ops: []
            built_torch: null
            built_cuda: null
            built_nccl: null
        torch_import:
          description:
            - What PyTorch says when it is imported; null unless O(import) is set and PyTorch is installed.
            - C(ok) is null when it was not done in time.
            - When C(ok) is false, C(error) is the end of what it printed, and C(without_ld_library_path) has C(ok)
              and C(error) of the second attempt (null if there was none).
          returned: always
          type: dict
          sample:
            ok: true
            error: null
            seconds: 1.61
            version: 2.13.0+cpu
            cuda: null
            cuda_available: false
            device_count: 0
            compute_capabilities: []
            bf16: null
            arch_list: []
            cudnn: null
            nccl: null
            nccl_available: false
            cuda_error: null
            without_ld_library_path: null
        compilers:
          description: C(gcc), C(g++) and C(c++) on the session's C(PATH), each null or with C(path) and C(version).
          returned: always
          type: dict
          sample:
            gcc: {path: /usr/bin/gcc, version: 12.2.0}
            g++: {path: /usr/bin/g++, version: 12.2.0}
            c++: {path: /usr/bin/c++, version: 12.2.0}
        library_path_cuda:
          description:
            - The CUDA libraries in the session's C(LD_LIBRARY_PATH), which may go before those that PyTorch brings.
              C(library) is V(libcudart), V(libcublas) or V(libcublasLt); C(version) is that in the file's name, of
              C(libcudart) the version of the toolkit.
          returned: always
          type: list
          elements: dict
          sample: [{library: libcudart, path: /usr/local/cuda-11.4/lib64/libcudart.so.11.0, version: 11.4.148}]
        libaio:
          description: Path of the library and of the header; both are needed to compile DeepSpeed's C(async_io).
          returned: always
          type: dict
          sample: {library: null, header: null}
        launchers:
          description:
            - Those of torchrun, deepspeed, accelerate and ninja that a login finds, each with its C(path) and the
              C(interpreter) that its first line names, null where it names none.
          returned: always
          type: list
          elements: dict
          sample: [{name: torchrun, path: /home/trainer/.local/bin/torchrun, interpreter: /usr/bin/python3.10}]
        tools:
          description:
            - C(pdsh), C(mpirun), C(ninja), C(git) and C(rsync), each null or with its C(path).
            - C(ssh) of C(pdsh) tells whether it has the ssh module, C(problem) what it complains of, else null,
              C(insecure) whether it is that others may write to its modules, C(distrusted) which paths it names;
              C(open_mpi) of C(mpirun) is null for another MPI;
              C(on_path) of C(ninja) is false for one that only the environment has.
          returned: always
          type: dict
          sample:
            git: null
            rsync: {path: /usr/bin/rsync}
            pdsh:
              path: /usr/bin/pdsh
              version: "2.34"
              rcmd_modules: [ssh, rsh, exec]
              default_rcmd: rsh
              ssh: true
              problem: null
              insecure: false
              distrusted: []
            mpirun: {path: /usr/bin/mpirun, open_mpi: 4.1.4}
            ninja: {path: /opt/trainmesh/env/bin/ninja, on_path: false}
        base:
          description:
            - What an environment can be made with; null unless O(base_python), O(base_conda) or
              O(base_prefix) is given.
            - C(interpreter) is O(base_python), null without it. Its C(problem) says why no environment can be made with
              it, such as that it is not there; a C(version) of null without a problem means that it gave no answer
              in time.
            - C(pythons) are the interpreters that can make environments, by version, of the usual search path and of
              those that this collection has brought below O(base_prefix).
            - C(conda) is whether O(base_conda) is a whole installation of conda, null without that option.
            - C(prefix_problem) says why the user can't make an environment in O(base_prefix), such as that another one
              is in its place; null where nothing is wrong or known.
            - C(missing_commands) are those of C(rsync), C(pdsh) and C(mpirun) that are in no usual directory.
          returned: always
          type: dict
          sample:
            interpreter: {path: /usr/bin/python3.11, version: "3.11", problem: null}
            pythons: {"3.11": /usr/bin/python3.11}
            conda: null
            prefix_problem: null
            missing_commands: [mpirun]
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import facts as stack_facts


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**stack_facts.OPTIONS, "timeout": {"type": "float", "default": stack_facts.TIMEOUT_S}},
        supports_check_mode=True,
    )
    given = module.params
    if given["timeout"] <= 0:
        module.fail_json(msg=f"timeout must be more than 0 seconds, not {given['timeout']}: nothing was read.")
    try:
        facts = stack_facts.read(stack_facts.wish_of(given, given["timeout"]), dict(os.environ))
    except ValueError as error:
        module.fail_json(msg=f"{error}.")
    module.exit_json(changed=False, ansible_facts={"trainmesh_facts_stack": facts})


if __name__ == "__main__":
    main()
