#!/usr/bin/python
# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host certificates of a node, and what it accepts of users no more."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sshd_certificates
short_description: Give sshd host certificates and a list of revoked keys, with rollback
version_added: "1.0.0"
author: [trainmesh.cluster contributors (@trainmesh)]
description:
  - Writes the certificates and the list below C(/etc/ssh/trainmesh), and a drop-in file that tells sshd of them.
  - A copy of the configuration is validated with C(sshd -t) before anything is written; then sshd is reloaded, sessions
    stay open, and the module waits until sshd shows the certificates. If it does not, the change is rolled back.
  - Then the controller logs in again. If it can't, the node rolls the change back by itself, two minutes after the
    change.
  - An sshd that reads no drop-in files, or has certificates or revoked keys of somebody else, is left alone, which
    RV(problem) tells. The other nodes then need the host keys themselves.
options:
  certificates:
    description: The host certificates, type and base64 each. Without any, what is there of ours is removed.
    type: list
    elements: str
    default: []
  revoked:
    description: The list of revoked keys, as C(ssh-keygen -k) makes it, in base64. Needed with O(certificates).
    type: str
    default: ""
  keep:
    description: Only say that a new login works, so that a change stays. The action plugin does so by itself.
    type: bool
    default: false
extends_documentation_fragment:
  - trainmesh.cluster.attributes
"""

EXAMPLES = r"""
- name: Give sshd a host certificate
  trainmesh.cluster.sshd_certificates:
    certificates: ["ssh-ed25519-cert-v01@openssh.com AAAA..."]
    revoked: U1NIS1JMCgAAAAA...

- name: Take it away again
  trainmesh.cluster.sshd_certificates:
"""

RETURN = r"""
problem:
  description: Why sshd can't be given the certificates; empty where it has them, or shall have none.
  returned: success
  type: str
  sample: its sshd_config does not include /etc/ssh/sshd_config.d/*.conf
waits:
  description: Whether a change comes undone unless a new login says that it works.
  returned: success
  type: bool
  sample: false
"""

import base64
import binascii
import contextlib
import os
import shutil
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import search_path, ssh_config, textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import certificates, sshd_return
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import sshd as config_sshd

LOOK = "look at: journalctl -u ssh -u sshd"
WAIT_S = 10.0


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "certificates": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "revoked": {"type": "str", "default": "", "no_log": False},
            "keep": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if module.params["keep"] and not module.check_mode:
        sshd_return.keep()
    if not module.params["certificates"] and not present():
        module.exit_json(changed=False, diff=[], problem="", waits=sshd_return.is_armed())
    sshd = search_path.required(module, "sshd")
    rc, out, err = module.run_command([sshd, "-T"])
    if rc != 0:
        module.fail_json(msg=f"sshd's own configuration can't be read, nothing was changed: {err.strip()}")
    settings = ssh_config.settings(out)
    lines, main_text = module.params["certificates"], textfile.read_text(config_sshd.MAIN)
    port = ssh_config.server_ports(settings)[0]
    problem = certificates.server_problem(settings, config_sshd.has_drop_ins(main_text)) if lines else ""
    if problem:
        answer: dict[str, t.Any] = {"changed": False, "diff": []}
    elif lines:
        answer, problem = give(module, main_text, port)
    else:
        answer = remove(module, main_text, port)
    if problem:
        module.warn(f"sshd shows no certificates, so that the other nodes need its host key: {problem}")
    module.exit_json(**answer, problem=problem, waits=sshd_return.is_armed())


def give(module: AnsibleModule, main_text: str, port: int) -> tuple[dict[str, t.Any], str]:
    """Write what differs, and wait until sshd shows it; the answer, and why it does not.

    The files come before what refers to them.
    """
    lines = module.params["certificates"]
    try:
        revoked = base64.b64decode(module.params["revoked"], validate=True).decode("utf-8", "surrogateescape")
    except binascii.Error as error:
        module.fail_json(msg=f"revoked: expected base64: {error}")
    if not module.check_mode and not (revoked and all(map(certificates.read, lines))):
        module.fail_json(msg="expected certificates of OpenSSH and a list of revoked keys; nothing was written")
    files = {certificates.host_file(line): f"{line}\n" for line in lines}
    drop_in = certificates.drop_in(list(files))
    shown = textfile.changes_of([(path, text, 0o644) for path, text in files.items()])
    changes = shown + textfile.changes_of([(certificates.REVOKED, revoked, 0o644)])
    told = textfile.changes_of([(certificates.DROP_IN, drop_in, 0o600)])
    diff = [change.diff for change in [*shown, *told]]
    if len(changes) > len(shown):  # it is no text that could be shown
        diff.append({"header": certificates.REVOKED, "before": "another list\n", "after": "the list of the plan\n"})
    answer: dict[str, t.Any] = {"changed": bool(changes or told), "diff": diff}
    if module.check_mode:
        return answer, ""
    os.makedirs(certificates.DIRECTORY, mode=0o755, exist_ok=True)
    if changes or told:
        with open(certificates.UNREAD, "w", encoding="utf-8"):
            pass
    for change in changes:
        textfile.write(module, change, backup=False)
    problem = ""
    if told:
        problem = config_sshd.apply(module, told[0], drop_in + main_text, port, backup=False)
    elif shown or not shows(module, port, lines, 0):
        answer["changed"] = True
        problem = config_sshd.reload(module)
    if not problem and not shows(module, port, lines, WAIT_S):
        problem = f"nothing shows the certificates on port {port}; {LOOK}"
        if told:
            sshd_return.keep()
            config_sshd.restore(module, told[0], bool(told[0].before))
    if not problem:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(certificates.UNREAD)
    return answer, problem


def remove(module: AnsibleModule, main_text: str, port: int) -> dict[str, t.Any]:
    """Take the drop-in away, and the files when nothing can bring it back: without the list sshd refuses all keys."""
    lines = [textfile.read_text(f"{certificates.DIRECTORY}/{name}") for name in certificate_files()]
    told = textfile.changes_of([(certificates.DROP_IN, "", None)]) if os.path.exists(certificates.DROP_IN) else []
    gone = present()
    diff = [{"header": path, "before": "present\n", "after": ""} for path in gone]
    answer = {"changed": True, "diff": diff}
    if module.check_mode:
        return answer
    if told or (lines and not shows(module, port, lines, 0, wanted=False)):  # a run may have been killed between
        if told:
            problem = config_sshd.apply(module, told[0], main_text, port, backup=False)
        else:
            problem = config_sshd.reload(module)
        if problem or not shows(module, port, lines, WAIT_S, wanted=False):
            module.fail_json(msg=f"sshd still has its certificates: {problem or LOOK}")
    if not sshd_return.is_armed():
        for path in gone:
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    return answer


def present() -> list[str]:
    """What there is of ours."""
    return [path for path in (certificates.DROP_IN, certificates.DIRECTORY) if os.path.exists(path)]


def certificate_files() -> list[str]:
    """The certificates of ours that there are."""
    names = os.listdir(certificates.DIRECTORY) if os.path.isdir(certificates.DIRECTORY) else []
    return sorted(name for name in names if name.endswith("-cert.pub"))


def shows(module: AnsibleModule, port: int, lines: t.Sequence[str], limit: float, wanted: bool = True) -> bool:
    """True as soon as sshd shows all of these certificates (``wanted``), or none of them."""
    keyscan = search_path.required(module, "ssh-keyscan")
    kinds = {line.split("-")[0] if line.startswith("ecdsa") else line.split("-")[1] for line in lines}
    deadline = time.monotonic() + limit
    while True:
        _rc, out, _err = module.run_command(
            [keyscan, "-c", "-T", "5", "-p", str(port), "-t", ",".join(sorted(kinds)), "127.0.0.1"]
        )
        found = {" ".join(row.split()[-2:]) for row in out.split("\n") if row and not row.startswith("#")}
        have = [" ".join(line.split()[:2]) in found for line in lines]
        if all(have) if wanted else not any(have):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)


if __name__ == "__main__":
    main()
