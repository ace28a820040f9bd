# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on logins from node to node that do not come from a refused key.

Those on refused keys are in ``_rules_ssh_keys``, those on the port in ``_rules_ssh_ports``.
"""

from __future__ import annotations

import math
import re
import statistics
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import busy as diagnosis_busy
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    absent,
    limit,
    login_sources,
    node,
    shorten,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import (
    Attempt,
    Pair,
    by_pair,
    pair_results,
    ssh_results,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    Finding,
    Untested,
    dig,
    finding,
    once,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import ssh_values
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import _login_words as login_words
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import certificates, host_disks, host_limits
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._login_reasons import explain
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.ssh_keys import job_user
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.sshd_ports import sshd_not_on_planned_port

FAR_LATER = 4
_TRAILING = re.compile(r"^\s*[A-Za-z]+[\s=]+[^#\"]*[^#\"\s]\s+#")


def _logged_in(case: Case) -> bool:
    return any(item.ok for item in ssh_results(case))


@rule(
    About(
        "ssh-hostkey-unknown",
        layer="ssh",
        severity=FAIL,
        title="A node does not know another node's host key",
        symptom="`Host key verification failed.`, or a hang at the launch",
        source="field notes, pdsh sshcmd.c",
    ),
    needs=("mesh",),
)
def hostkey_unknown(case: Case) -> t.Iterable[Answer]:
    """A host key that the source has not pinned: the source has to be fixed."""
    managed = dig(case.plan, "managed", False)
    for (source, target), items in by_pair(ssh_results(case, "hostkey_unknown")).items():
        if certificates.explains(case, target, certificates.HOSTS):
            continue
        aliases = " ".join(item.what for item in items)
        port = dig(node(case, target), "ssh_port", 22)
        yield finding(
            "ssh-hostkey-unknown",
            FAIL,
            source,
            f"{target} as {aliases.replace(' ', ', ')}",
            "ssh does not know the peer's host key, and a launcher has no terminal to answer the question on.",
            "Run site.yml over all nodes."
            if managed
            else f"for name in {aliases}; do ssh -p {port} -o StrictHostKeyChecking=ask $name true; done; answer yes "
            f"to what ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub shows on {target}.",
        )


@rule(
    About(
        "ssh-hostkey-changed",
        layer="ssh",
        severity=FAIL,
        title="A node's host key differs from the pinned one",
        symptom="`REMOTE HOST IDENTIFICATION HAS CHANGED`",
        source="OpenSSH sshd(8) known_hosts",
    ),
    needs=("mesh",),
)
def hostkey_changed(case: Case) -> t.Iterable[Answer]:
    """A host key other than the pinned one: the target's when every node sees it, else the source's file is stale."""
    sources: dict[str, set[str]] = {}
    for item in ssh_results(case):
        sources.setdefault(item.target, set()).add(item.source)
    changed = by_pair(
        item for item in ssh_results(case, "hostkey_changed") if not sshd_not_on_planned_port(case, item.target)
    )
    for (source, target), items in changed.items():
        seen = {pair[0] for pair in changed if pair[1] == target}
        everywhere = seen == sources[target] and len(seen) > 1
        port = int(dig(node(case, target), "ssh_port", 22))
        address = str(dig(node(case, target), "address", items[0].what))
        known = address if port == 22 else f"[{address}]:{port}"
        file = " -f ~/.ssh/trainmesh/known_hosts" if dig(case.plan, "managed", False) else ""
        yield finding(
            "ssh-hostkey-changed",
            FAIL,
            target if everywhere else source,
            f"seen from {source}" if everywhere else f"{target} as {', '.join(item.what for item in items)}",
            "Its host key is not the one that the nodes have pinned."
            if everywhere
            else f"The host key that it has pinned for {target} is not the one that {target} shows.",
            f"If {target} was reinstalled or its keys were made anew, take the old key away (ssh-keygen -R "
            f"'{known}'{file}) and add the new one, or run site.yml over all nodes, which does both; else find out who "
            "answers there.",
        )


@rule(
    About(
        "ssh-config-inline-comment",
        layer="ssh",
        severity=WARN,
        also=(FAIL,),
        title="ssh configuration has a comment behind a value",
        symptom="`garbage at end of line`, or a bad port",
        source="field notes",
    ),
    About(
        "ssh-config-invalid",
        layer="ssh",
        severity=FAIL,
        title="ssh rejects the job user's configuration",
        symptom="`Bad configuration option`",
        source="OpenSSH ssh_config(5)",
    ),
    needs=("user",),
)
def client_config(case: Case) -> t.Iterable[Answer]:
    """A client configuration that ssh itself does not accept, or that older ones would not."""
    said: dict[str, list[tuple[str, str]]] = {}
    sources = login_sources(case)
    for name, facts in case.user.items():
        uses_ssh = name in sources and name not in absent(case)
        late = dig(facts, "ssh_client.untested")
        if late and uses_ssh:
            yield Untested("ssh-config-invalid", (name,), f"its ssh configuration was not tested: {late}")
        problem = dig(facts, "ssh_client.problem")
        if problem and uses_ssh:
            kind = str(dig(facts, "ssh_client.problem_kind", ""))
            said.setdefault(name, []).append((kind, " ".join(str(problem).split())[:200]))
        for file in dig(facts, "files", []):
            if dig(file, "kind") == "ssh_config":
                yield from _trailing(name, str(dig(file, "path", "")), str(dig(file, "text", "")))
                yield from _refused(name, str(dig(file, "path", "")), str(dig(file, "text", "")))
    for item in ssh_results(case, "config"):
        said.setdefault(item.source, []).append((item.config_error, f"ssh {item.what}: {item.evidence}"))
    for name, texts in said.items():
        kinds = {kind for kind, _text in texts}
        garbage = "trailing" in kinds
        if "permissions" in kinds:
            continue  # ssh-perms-too-open
        yield finding(
            "ssh-config-inline-comment" if garbage else "ssh-config-invalid",
            FAIL,
            name,
            shorten(text for _kind, text in texts),
            "A line of its ssh configuration has something behind the value, such as a comment."
            if garbage
            else "ssh does not accept its own configuration file.",
            "Put comments on lines of their own in ~/.ssh/config; ssh -G NAME shows whether ssh accepts it."
            if garbage
            else "Fix the line that the message names; ssh -G NAME shows whether ssh accepts the file.",
        )


def _refused(name: str, path: str, text: str) -> t.Iterator[Finding]:
    """Values of another type than ssh wants in an ssh configuration among the user files."""
    for line, seen, wanted in ssh_values.refused(text):
        yield finding(
            "ssh-config-invalid",
            FAIL,
            name,
            f"{path} line {line}: {seen[:80]}, in the place of {wanted}",
            "ssh stops at this line, whatever host it is asked for: `Bad configuration option`, `Bad number`.",
            f"ssh -F {path} -G HOST shows whether ssh accepts the file; the line has to have {wanted}.",
        )


def _trailing(name: str, path: str, text: str) -> t.Iterator[Finding]:
    """Comments behind a value in an ssh configuration that is a user file."""
    for number, line in enumerate(text.splitlines(), 1):
        if _TRAILING.match(line):
            yield finding(
                "ssh-config-inline-comment",
                WARN,
                name,
                f"{path} line {number}: {line.strip()[:80]}",
                "A comment stands behind a value; older ssh clients read it as a part of the value.",
                "Put the comment on a line of its own.",
            )


@rule(
    About(
        "ssh-login-noise",
        layer="ssh",
        severity=FAIL,
        title="A shell start-up file prints at login",
        symptom="text of `.bashrc` stands where an address should; scp fails",
        source="ACC#2249",
    ),
    needs=("mesh",),
    applies=_logged_in,
)
def noise(case: Case) -> t.Iterable[Answer]:
    """A shell start-up file that prints where no terminal is."""
    for item in ssh_results(case, "noise"):
        yield finding(
            "ssh-login-noise",
            FAIL,
            item.target,
            item.evidence,
            "A shell start-up file prints in logins without a terminal: scp and rsync fail, and DeepSpeed takes the "
            "first word for the master's address unless it is given --master_addr.",
            "Put [[ $- == *i* ]] || return at the top of the job user's ~/.bashrc there (look at ~/.profile, "
            "/etc/bash.bashrc and /etc/profile.d too); ssh HOST true must print nothing.",
        )


@rule(
    About(
        "ssh-login-slow",
        layer="ssh",
        severity=WARN,
        title="Logins between nodes are slow",
        symptom="seconds for each node at every launch",
        source="OpenSSH sshd_config(5) UseDNS, GSSAPIAuthentication",
    ),
    needs=("mesh",),
    applies=_logged_in,
)
def slow(case: Case) -> t.Iterable[Answer]:
    """Logins that work and take long."""
    at_most = limit(case, "ssh_slow_s")
    good = [item for item in ssh_results(case) if item.ok]
    usual = statistics.median([item.seconds for item in good]) if good else 0.0
    late = [item for item in good if item.seconds >= at_most and item.failure != "not_met"]
    busy: dict[Pair, list[str]] = {}
    for item in list(late):
        ends = diagnosis_busy.ends(case, item.pair, "mesh")
        # among busy nodes every login takes long: only one that takes much longer than theirs has its own reason
        if ends.at_all and (ends.slack == math.inf or item.seconds < FAR_LATER * usual):
            late.remove(item)
            busy.setdefault(item.pair, []).append(f"as {item.what} {item.seconds:.1f} s ({ends.words})")
    for pair, seen in busy.items():
        why = f"busy nodes: how long logins from {pair[0]} to {pair[1]} take was not tested: {shorten(seen)}"
        yield Untested("ssh-login-slow", pair, why)
    for item in late:
        towards = {other.source for other in good if other.target == item.target}
        late_towards = {other.source for other in late if other.target == item.target}
        late_from = {other.target for other in late if other.source == item.source}
        tried_from = {other.target for other in good if other.source == item.source}
        # where one node alone logs in, and late everywhere, no other one's word stands against a target
        at_source = len(towards) == 1 and len(late_from) == len(tried_from) > 1
        at_target = not at_source and (2 * len(late_towards) >= len(towards) or len(late_from) == 1)
        yield finding(
            "ssh-login-slow",
            WARN,
            item.target if at_target else item.source,
            f"{item.source} to {item.target} as {item.what}: {item.seconds:.1f} s",
            "Logins take so long that launchers with a time limit may give up.",
            "See what is slow with ssh -vvv: mostly a name server that does not answer (UseDNS no in sshd_config, "
            "GSSAPIAuthentication no), a home on a slow file system, or a slow ~/.bashrc.",
        )


@rule(
    About(
        "ssh-noninteractive-env",
        layer="ssh",
        severity=WARN,
        title="Launchers do not see the settings of .bashrc",
        symptom="python, nvcc or ninja are found by hand, not by the launcher",
        source="field notes, DS#1481, DS#3489, DS#3772, DS#5627",
    ),
    needs=("mesh",),
    applies=_logged_in,
)
def session(case: Case) -> t.Iterable[Answer]:
    """What a login without a terminal does not find; our own launch scripts do not rely on it."""
    if dig(case.plan, "managed", False):
        return
    remedy = (
        "Launchers start a shell that does not read the interactive part of ~/.bashrc: name programs by absolute "
        "paths, or set PATH at the top of ~/.bashrc or in ~/.ssh/environment, DeepSpeed: in ~/.deepspeed_env."
    )
    for _source, target, seen in pair_results(case, "session"):
        commands = {str(name): path for name, path in dig(seen, "commands", {}).items()}
        pythons = [path for name, path in commands.items() if name.startswith("python")]
        if pythons and not any(pythons):
            evidence = (
                f"no {' or '.join(name for name in commands if name.startswith('python'))} in PATH={dig(seen, 'path')}"
            )
            yield finding("ssh-noninteractive-env", WARN, target, evidence, "A login over ssh finds no Python.", remedy)
    for name, facts in case.stack.items():
        if dig(case.plan, "gpus", False) and dig(facts, "tools.ninja.on_path") is False and name not in absent(case):
            evidence = f"{dig(facts, 'tools.ninja.path')} is not on PATH"
            cause = "A login over ssh does not find ninja, with which DeepSpeed compiles its operations."
            yield finding("ssh-noninteractive-env", WARN, name, evidence, cause, remedy)


@rule(
    About(
        "ssh-login-failed",
        layer="ssh",
        severity=FAIL,
        title="A login between nodes failed",
        symptom="`Connection closed by`, or ssh ends with status 255",
        source="OpenSSH ssh(1), sshd_config(5) MaxStartups",
    ),
    About(
        "ssh-no-common-algorithm",
        layer="ssh",
        severity=FAIL,
        title="ssh and sshd of two nodes have no algorithm in common",
        symptom="`Unable to negotiate`, `no matching host key type found`",
        source="OpenSSH ssh_config(5), crypto-policies(7)",
    ),
    "sshd-refuses-user",
    "process-limit",
    "disk-full",
    needs=("mesh",),
)
def failed(case: Case) -> t.Iterable[Answer]:
    """Logins that failed in a way that no other rule knows."""
    yield from _not_met(case)
    for item in ssh_results(case, "closed", "other", "ssh_missing", "no_answer"):
        seen = f"{item.source} to {item.target} as {item.what}: {item.evidence}"
        busy = diagnosis_busy.ends(case, item.pair, "mesh")
        if item.failure == "no_answer" and busy.at_all:
            why = f"busy nodes ({busy.words}): the login was not tested: {seen}"
            yield Untested("ssh-login-failed", item.pair, why)
            continue
        if item.ok or dig(case.fabric.get(item.target), "sshd.binary_deleted") is True:
            continue
        user = job_user(case, item.target)
        if meant := login_words.meaning(case, item, user, login_words.BEFORE):
            yield _by_words(item, meant)
            continue
        reason = explain(case, item, user, item.failure)
        if reason:
            found = reason._replace(evidence=f"{reason.evidence}; {seen}")
            yield finding("sshd-refuses-user", FAIL, item.target, *found)
            continue
        if meant := login_words.meaning(case, item, user, login_words.AFTER):
            if meant.host not in _told_by_facts(case, meant.rule):
                yield _by_words(item, meant)
            continue
        if item.failure == "ssh_missing":
            cause, remedy = (
                "It has no ssh client.",
                "Install it: apt-get install openssh-client, on EL openssh-clients.",
            )
            yield finding("ssh-login-failed", FAIL, item.source, seen, cause, remedy)
        elif item.failure == "closed":
            cause = "Its sshd accepts connections and closes them before anybody can log in."
            starts = dig(case.user.get(item.target), "sshd.maxstartups", "unknown")
            for_one = str(dig(case.user.get(item.target), "sshd.persourcemaxstartups", "none"))
            starts = starts if for_one in ("none", "None") else f"{starts}; PerSourceMaxStartups {for_one}"
            systemd = dig(case.fabric.get(item.target), "sshd.systemd") is not False
            penalties = str(dig(case.user.get(item.target), "sshd.persourcepenalties", "no")) != "no"
            shut_out = (
                "PerSourcePenalties (who failed to log in is shut out for a while: set PerSourcePenaltyExemptList to "
                "the networks of the nodes), "
            )
            remedy = (
                f"Read {'journalctl -u ssh -u sshd' if systemd else 'the log of sshd'} there; usual reasons are "
                f"MaxStartups ({starts}), {shut_out if penalties else ''}/etc/hosts.deny, "
                "missing host keys (ssh-keygen -A), or an upgrade without a restart."
            )
            yield finding("ssh-login-failed", FAIL, item.target, seen, cause, remedy)
        elif item.failure == "no_answer":
            cause = "Its sshd accepts connections, and nobody is logged in in time."
            remedy = (
                "Log in by hand with ssh -vvv and see where it stops: mostly a home or a start-up file on storage that "
                "hangs, PAM, a name server that does not answer (UseDNS no), or an overloaded node (uptime)."
            )
            yield finding("ssh-login-failed", FAIL, item.target, seen, cause, remedy)
        else:
            cause, remedy = "The login failed.", f"Try it by hand: ssh -vv -o BatchMode=yes {item.target} true"
            yield finding("ssh-login-failed", FAIL, item.target, seen, cause, remedy)


_BY_FACTS = {"process-limit": host_limits.process_limit, "disk-full": host_disks.disk_full}


@once
def _told_by_facts(case: Case, identity: str) -> set[str]:
    """The nodes of which the facts say the same, and more, by a rule of their own."""
    rule_of = _BY_FACTS.get(identity)
    found = [told for told in rule_of(case) if isinstance(told, Finding)] if rule_of else []
    return {host for told in found for host in told.hosts}


def _by_words(item: Attempt, meant: login_words.Meaning) -> Finding:
    """What ssh, PAM or the shell said is the reason."""
    seen = f"{item.source} to {item.target} as {item.what}: {item.evidence}"
    return finding(meant.rule, FAIL, meant.host, seen, meant.cause, f"{meant.remedy}.")


def _not_met(case: Case) -> t.Iterator[Untested]:
    """Logins about which our own time limits leave open whether they work."""
    for pair, items in by_pair(ssh_results(case, "not_met")).items():
        bad = [item for item in items if not item.ok]
        if bad:
            seen = shorten(f"as {item.what}: {item.evidence}" for item in bad)
            yield Untested("ssh-login-failed", pair, f"the login from {pair[0]} to {pair[1]} was not tested: {seen}")
