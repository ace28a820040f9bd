# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the job user's ssh files the wanted ones."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import job_user, line_check, textfile
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import certificates, ssh_files
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import disk, shared_home
from ansible_collections.trainmesh.cluster.plugins.module_utils._install import remove

OPTIONS: dict[str, dict[str, t.Any]] = {
    "authorized_keys": {"type": "list", "elements": "str", "required": True, "no_log": False},
    "known_hosts": {"type": "list", "elements": "str", "required": True},
    "config": {"type": "str", "required": True},
    "certificate": {"type": "str", "default": "", "no_log": False},
    "backup": {"type": "bool", "default": True},
    "user": {"type": "str"},
}


def converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Compare, and write what differs, as the job user."""
    _refuse(module, given)
    with job_user.working_for(module, given["user"]):
        return _converge(module, given)


def _refuse(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> None:
    """Fail for a line that would be more than one, or open the account to more than it seems to.

    In check mode a key or certificate that the run is still to make has no line that could be looked at.
    """
    if module.check_mode:
        return
    keys, hosts = given["authorized_keys"], given["known_hosts"]
    problems = [(line, line_check.key_line_problem(line)) for line in keys]
    problems += [(line, line_check.known_host_problem(line)) for line in hosts]
    if given["certificate"] and not certificates.read(given["certificate"]):
        problems.append((given["certificate"], "expected a certificate of OpenSSH"))
    told = [f"{line[:120]!a}: {problem}" for line, problem in problems if problem]
    if told:
        module.fail_json(msg=f"nothing was written: {'; '.join(told)}")


def _converge(module: AnsibleModule, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    home = pwd.getpwuid(os.geteuid()).pw_dir
    texts = given["authorized_keys"], given["known_hosts"], given["config"]
    try:
        wishes = ssh_files.file_wishes(home, *texts, certificate=given["certificate"])
    except textfile.BlockError as error:
        module.fail_json(msg=str(error))
    if ssh_files.leaves(*texts):
        return _leave(module, home, textfile.changes_of(wishes), given["backup"])
    certificate = ssh_files.certificate_file(home)
    gone = [certificate] if not given["certificate"] and os.path.lexists(certificate) else []
    changes, closing = ssh_files.changes(home, wishes)
    diff = ssh_files.mode_diffs(closing) + [change.diff for change in changes]
    key = f"{home}/.ssh/{ssh_files.OURS}/{ssh_files.KEY_NAME}"
    new = ssh_files.awaits(key, given["authorized_keys"])
    if new:
        diff.append({"header": f"{key}.pub", "before": "the old key\n", "after": f"{new}\n"})
    diff += [{"header": path, "before": "present\n", "after": ""} for path in gone]
    if changes:
        _check_config(module, given["config"])
    if not module.check_mode:
        ssh_files.close(closing)
        for change in changes:
            textfile.write(module, change, given["backup"])
        if new:
            ssh_files.switch(key)
        for path in gone:
            os.unlink(path)
    files = [change.path for change in changes] + ([key] if new else []) + gone
    return {"changed": bool(changes or closing or new or gone), "files": files, "diff": diff}


def _check_config(module: AnsibleModule, config: str) -> None:
    """Fail, with ssh's own words, if the client configuration is not valid."""
    ssh = module.get_bin_path("ssh", required=True)
    # A file of its own instead of a pipe: ssh -F reads names only.
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as stream:
        stream.write(config)
        stream.flush()
        rc, _out, err = module.run_command([ssh, "-G", "-F", stream.name, "localhost"])
    if rc != 0:
        module.fail_json(msg=f"ssh refuses the client configuration, nothing was written: {err.strip()}")


def _leave(module: AnsibleModule, home: str, changes: list[textfile.Change], backup: bool) -> dict[str, t.Any]:
    """Take our blocks out, and remove our directory with the key in it."""
    kind = remove.shared_by(home, disk.mounts(Tree()))
    others = [] if kind else shared_home.others_in(home)
    if others:
        module.warn(f"the blocks in {home}/.ssh stay: {', '.join(others)} have this home")
        return {"changed": False, "files": [], "diff": []}
    if kind:
        module.warn(f"the blocks in {home}/.ssh stay: it lies on {kind}, which the other nodes may use as well")
        return {"changed": False, "files": [], "diff": []}
    directory = f"{home}/.ssh/{ssh_files.OURS}"
    gone = [directory] if os.path.isdir(directory) and not os.path.islink(directory) else []
    if not module.check_mode:
        for change in changes:
            textfile.write(module, change, backup)
        for path in gone:
            shutil.rmtree(path)
    diff = [change.diff for change in changes] + [{"header": path, "before": "present\n", "after": ""} for path in gone]
    return {"changed": bool(changes or gone), "files": [change.path for change in changes] + gone, "diff": diff}
