#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reach_check
short_description: Run the preflight checks on all hosts of the inventory at once
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - >-
    Tests from the controller, on all hosts at the same time and before anything else, what Ansible requires of a host:
    its name, TCP, the banner of an ssh server, its host key, the login, Python there, and sudo.
  - Prints a table with cause and fix if something failed, within seconds instead of many lines of C(UNREACHABLE).
  - >-
    It does what Ansible's own ssh connection would do, according to C(ansible_host), C(ansible_port), C(ansible_user),
    C(ansible_ssh_private_key_file), C(ansible_password), C(ansible_ssh_common_args), C(ansible_ssh_extra_args), the
    command line and C(ansible.cfg), and by C(ssh -G) the configuration of the ssh client, its agent and jump hosts.
  - Host keys are only compared with the known_hosts files; none is ever added. Changes nothing on a host.
  - >-
    What can't be followed, such as other connections than ssh, security keys, host certificates or another way to root
    than sudo, is untested, neither passed nor failed. A sudo password of C(-K) or of the inventory is tried;
    it goes by the standard input alone.
options:
  group:
    description: Inventory group that holds the nodes.
    type: str
    default: all
  timeout:
    description:
      - Time limit per host in seconds; one that took the connection has half as much again.
      - A host that is still silent then gets one more attempt with more time where the others are slow, too.
    type: float
    default: 10
  workers:
    description: Number of hosts to test at the same time.
    type: int
    default: 64
  fail:
    description: Fail if a host is unusable. By default only the result says so.
    type: bool
    default: false
requirements:
  - paramiko on the controller; without it every host is untested
extends_documentation_fragment:
  - trainmesh.cluster.attributes.read
notes:
  - >-
    Runs on the controller only; use C(run_once), and C(delegate_to=localhost), because Ansible gives a task on a host
    the passwords of that host instead of those of C(-k) and C(-K); these are then given to no host.
"""

EXAMPLES = r"""
- name: Run the preflight checks
  trainmesh.cluster.reach_check:
  run_once: true
  register: reach

- name: Run the preflight checks on one group, and fail if a host is unusable
  trainmesh.cluster.reach_check:
    group: trainers
    timeout: 5
    fail: true
  run_once: true
"""

RETURN = r"""
hosts:
  description:
    - Results by inventory name.
    - C(ok) is true, false, or null when the host could not be tested.
    - >-
      C(step) is where it failed, empty if none did. C(config) the ssh client refuses its configuration, C(name)
      no address, C(tcp_refused), C(tcp_timeout) and C(no_route) no connection, C(banner) no ssh server,
      C(hostkey_unknown) and C(hostkey_changed) the host key, C(auth) no login, C(python) no command or no usable
      Python, C(tmp) nothing can be written in C(/tmp), C(sudo) no root, C(untested).
    - C(evidence) is the output, C(cause) and C(remedy) are a sentence each.
    - C(address), C(port) and C(user) are what ssh would use; C(seconds) is the time it took.
    - >-
      C(host_key_checked) is false where ssh takes any host key (C(host_key_checking = False) in C(ansible.cfg)), null
      where that is not known; C(password) says whether a password is sent to the host.
    - C(clock) is what the host's clock said, and the controller's times before and after, in seconds since 1970.
  returned: success
  type: dict
  sample:
    node1:
      ok: true
      step: ""
      evidence: ""
      cause: ""
      remedy: ""
      address: 10.0.0.11
      port: 22
      user: root
      host_key_checked: true
      password: false
      seconds: 0.21
      clock: {epoch: 1795262400.51, started: 1795262400.48, ended: 1795262400.69}
    node2:
      ok: false
      step: tcp_refused
      evidence: "10.0.0.12: Connection refused (ECONNREFUSED)"
      cause: "the host is up, but nothing listens on port 2222: sshd is stopped or uses another port"
      remedy: >-
        on its console: systemctl enable --now ssh (Debian, Ubuntu) or sshd (others), and ss -ltnp | grep sshd; or set
        ansible_port to the port of sshd
      address: 10.0.0.12
      port: 2222
      user: root
      host_key_checked: true
      password: false
      seconds: 0.01
      clock: null
failed_hosts:
  description: The hosts that can't be used.
  returned: success
  type: list
  elements: str
  sample: [node2]
dead:
  description:
    - Those among them whose ssh port took no connection, or took it and stayed silent, so that no login can begin
      there, however long and often it is tried.
  returned: success
  type: list
  elements: str
  sample: [node2]
"""
