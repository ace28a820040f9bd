#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: first_contact
short_description: Set up the first login to freshly installed hosts
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - >-
    Makes hosts ready for Ansible that only have a password, an unknown host key and perhaps no Python, all at once:
    records the host key, installs the controller's key, installs Python, and adds a sudo rule on request. Needs neither
    Python nor anything else than a POSIX shell on the host, and no sshpass on the controller.
  - >-
    A host key is recorded in the file that ssh reads for that host, after it was confirmed at the terminal, if its
    fingerprint is in C(trainmesh_host_key_fingerprints) of the host, or with O(accept_host_keys=new). The login then
    has to meet this very key. A changed host key is never accepted.
  - >-
    The key is that of C(ansible_ssh_private_key_file) or of the ssh configuration, else the first of
    C(~/.ssh/id_ed25519), C(id_ecdsa) and C(id_rsa). It is added to the file that sshd reads for the login user; other
    lines of it stay as they are.
  - >-
    Logs in as Ansible's own ssh connection would, according to the inventory, the command line, C(ansible.cfg) and the
    configuration of the ssh client, with its jump hosts. Hosts behind jump hosts are set up after the others.
  - >-
    Passwords of C(-k), C(-K) and the inventory go through the encrypted connection alone, that of sudo by standard
    input. They are in no command line, result or message.
  - At the end every host is tested with the key alone, as by M(trainmesh.cluster.reach_check).
options:
  hosts:
    description: Names of the hosts in the inventory.
    type: list
    elements: str
    required: true
  accept_host_keys:
    description: >-
      V(ask) asks at the terminal, and refuses the host where nobody is there; V(new) records unknown keys without
      asking.
    type: str
    choices: [ask, new]
    default: ask
  make_key:
    description: Make an ed25519 key without a passphrase on the controller if there is none.
    type: bool
    default: false
  sudo:
    description: >-
      V(nopasswd) adds C(/etc/sudoers.d/trainmesh_USER), by which the login user needs no password for sudo, unless it
      needs none anyway. The rule is checked by C(visudo) before it takes effect.
    type: str
    choices: [as_is, nopasswd]
    default: as_is
  timeout:
    description: >-
      Time limit of a login or a step on a host, in seconds; a slow login gets one more attempt with twice that.
    type: float
    default: 30
  install_timeout:
    description: Time limit of the installation of Python on a host, in seconds.
    type: float
    default: 900
  workers:
    description: Number of hosts to set up at the same time.
    type: int
    default: 64
attributes:
  check_mode:
    description: Logs in where the host key is known or would be accepted, and returns what would be done.
    support: full
  diff_mode:
    description: The table shows what was changed on which host.
    support: none
requirements:
  - paramiko on the controller
notes:
  - >-
    Runs on the controller only; use C(run_once), and C(delegate_to=localhost), because Ansible gives a task on a host
    the passwords of that host instead of those of C(-k) and C(-K).
  - A host that failed does not fail the task; RV(failed_hosts) and RV(hosts) tell it.
seealso:
  - module: trainmesh.cluster.reach_check
"""

EXAMPLES = r"""
- name: Set up the first login on all hosts at once
  trainmesh.cluster.first_contact:
    hosts: "{{ ansible_play_hosts_all }}"
  run_once: true
  delegate_to: localhost
  register: contact

- name: Set up hosts whose keys are not known yet, and let their users use sudo without a password
  trainmesh.cluster.first_contact:
    hosts: [node1, node2]
    accept_host_keys: new
    make_key: true
    sudo: nopasswd
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
hosts:
  description:
    - Results by inventory name.
    - >-
      C(ok) is true, false, or null for a host that was not tried: it is not reached by ssh, or in check mode an earlier
      step would be needed first.
    - >-
      C(host_key), C(key), C(python) and C(sudo) say what was found or done, C(-) where it did not come to that.
    - >-
      C(step) is where it failed, empty if nothing did: a step of M(trainmesh.cluster.reach_check),
      C(hostkey_unexpected) for another key than the inventory expects, C(key) for the controller's key, or C(later).
    - C(evidence) is the output, C(cause) and C(remedy) are a sentence each, and C(line) is all of it on one line.
  returned: success
  type: dict
  sample:
    node1:
      ok: true
      changed: true
      step: ""
      evidence: ""
      cause: ""
      remedy: ""
      address: 10.0.0.11
      port: 22
      user: alice
      host_key: recorded
      key: installed
      python: 3.11.2 installed
      sudo: password
      line: host key recorded, login key installed, python 3.11.2 installed, sudo password
failed_hosts:
  description: The hosts that are not ready.
  returned: success
  type: list
  elements: str
  sample: [node2]
"""
