# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate that the others do not accept is named with its node, and a healthy one is accused of nothing."""

from __future__ import annotations

import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import certificates
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.authority import HOSTS, USERS, Authority, Request
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import certificates as rules_certificates
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import ssh, ssh_keys
from ansible_collections.trainmesh.cluster.tests.unit.samples import checks
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import public_key
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import (
    HOME,
    NAMES,
    address,
    fail_logins,
    healthy_case,
)

RULES = checks.rules_of(rules_certificates, ssh, ssh_keys)
PRINCIPAL = "trainmesh-abcd1234-trainer"
YEAR = 52 * 7 * 86400


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    made = Authority(str(tmp_path_factory.mktemp("state")), "abcd1234")
    made.make()
    return made


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    made = Authority(str(tmp_path_factory.mktemp("foreign")), "abcd1234")
    made.make()
    return made


def user_line(authority, name, principal=PRINCIPAL, key=None):
    request = Request(key or public_key(name), (name,), (principal,), (address(name),))
    return authority.sign(USERS, request, 7, "52w")


def host_line(authority, name, names=None):
    return authority.sign(HOSTS, Request(public_key(f"host {name}"), (name,), names or (name, address(name))), 8, "52w")


@pytest.fixture
def case(authority):
    """A healthy cluster whose nodes know each other by certificates alone."""
    made = healthy_case()
    prints = {kind: certificates.fingerprint(authority.public(kind)) for kind in (USERS, HOSTS)}
    made.plan["ssh"] = {"trust": "ca", "authorities": prints, "principal": PRINCIPAL, "revoked_serials": []}
    trusted = {"fingerprint": prints[USERS], "options": f'cert-authority,principals="{PRINCIPAL}"', "file": "x"}
    for name in NAMES:
        made.plan["nodes"][name]["by_certificate"] = {USERS: True, HOSTS: True}
        own = {"path": f"{HOME}/.ssh/trainmesh/id_ed25519", "fingerprint": certificates.fingerprint(public_key(name))}
        made.user[name]["own_keys"] = [{**own, "mode": "0600", "certificate": user_line(authority, name)}]
        made.user[name]["authorized_keys"] = [dict(trusted)]
        made.user[name]["sshd"]["certificates"] = {"host": [host_line(authority, name)], "drop_in": True, "problem": ""}
        made.user[name]["time"] = int(time.time())
    return made


def found(case):
    return [(one.rule, one.hosts, one.evidence, one.remedy) for one in checks.answers(case, RULES)]


def one(case):
    (answer,) = found(case)
    return answer


def put(case, line, name="node2"):
    case.user[name]["own_keys"][0]["certificate"] = line


def test_healthy_certificates_are_accused_of_nothing(case):
    assert found(case) == []
    put(case, None)
    case.plan["nodes"]["node2"]["by_certificate"][USERS] = False
    assert found(case) == [], "the others have its key"


@pytest.mark.parametrize("part", ["own_keys", "sshd", "time", "authorized_keys"])
def test_what_is_not_known_is_not_judged(case, part):
    case.user["node2"][part] = None
    assert found(case) == []
    case.user["node2"] = {}
    assert found(case) == []


@pytest.mark.parametrize(("later", "words"), [(YEAR + 60, "expired on 20"), (-900, "is not valid before 20")])
def test_a_certificate_out_of_its_time(case, later, words):
    for name in NAMES:
        case.user[name]["time"] += later
    fail_logins(case, [("node1", "node3")], "permission")
    fail_logins(case, [("node3", "node1")], "hostkey_unknown")
    rule, hosts, evidence, remedy = one(case)
    assert (rule, hosts) == ("ssh-certificate-expired", NAMES)
    assert all(
        "the certificate of the job user's key (serial 7)" in text and words in text for text in evidence.values()
    )
    assert all("the certificate of sshd's host key (serial 8)" in text for text in evidence.values())
    assert "site.yml" in remedy and "trainmesh_ssh_validity" in remedy


def test_a_clock_that_is_wrong_makes_no_certificate_expired(case):
    case.user["node2"]["time"] = 86400
    rule, hosts, evidence, remedy = one(case)
    assert (rule, hosts) == ("ssh-certificate-expired", ("node2",))
    assert "its clock says 1970-01-02" in evidence["node2"] and "timedatectl" in remedy


def test_a_certificate_that_is_not_there(case):
    put(case, None)
    fail_logins(case, [("node2", "node1"), ("node2", "node3")], "permission")
    assert one(case)[:2] == ("ssh-certificate-missing", ("node2",))
    case.user["node2"]["sshd"]["certificates"]["host"] = []
    fail_logins(case, [("node1", "node2")], "hostkey_unknown")
    rule, hosts, evidence, _remedy = one(case)
    assert (rule, hosts) == ("ssh-certificate-missing", ("node2",))
    assert "job user's key is not there" in evidence["node2"] and "host key is not there" in evidence["node2"]


def test_a_certificate_of_another_cluster_user_or_key(case, authority, foreign):
    for line, words in (
        (user_line(foreign, "node2"), "signed by another authority"),
        (user_line(authority, "node2", "trainmesh-abcd1234-other"), f"expected {PRINCIPAL}"),
        (user_line(authority, "node2", key=public_key("old")), "for another key than the one beside it"),
    ):
        put(case, line)
        fail_logins(case, [("node2", "node1")], "permission")
        rule, hosts, evidence, _remedy = one(case)
        assert (rule, hosts) == ("ssh-certificate-foreign", ("node2",)) and words in evidence["node2"]


def test_a_host_certificate_for_other_names(case, authority):
    case.user["node2"]["sshd"]["certificates"]["host"] = [host_line(authority, "node2", ("elsewhere",))]
    fail_logins(case, [("node1", "node2")], "hostkey_unknown")
    rule, hosts, evidence, _remedy = one(case)
    assert (rule, hosts) == ("ssh-certificate-foreign", ("node2",)) and "is for elsewhere" in evidence["node2"]


def test_a_certificate_that_is_revoked(case):
    case.plan["ssh"]["revoked_serials"] = [7]
    case.plan["nodes"]["node1"]["by_certificate"] = case.plan["nodes"]["node3"]["by_certificate"] = {}
    rule, hosts, evidence, _remedy = one(case)
    assert (rule, hosts) == ("ssh-certificate-revoked", ("node2",)) and "(serial 7) is revoked" in evidence["node2"]


def test_a_target_without_the_authority_is_named_and_no_missing_key(case):
    case.user["node1"]["authorized_keys"] = []
    fail_logins(case, [("node2", "node1")], "permission")
    rule, hosts, evidence, _remedy = one(case)
    assert (rule, hosts) == ("ssh-key-missing-pair", ("node1",))
    assert "the line of the cluster's authority is not in" in evidence["node1"]


def test_a_refusal_that_nothing_explains_accuses_no_missing_key(case):
    fail_logins(case, [("node2", "node1")], "permission")
    assert one(case)[:2] == ("ssh-login-refused", ("node1",))


def test_in_a_star_the_workers_need_no_users_certificate(case):
    for name in NAMES[1:]:
        case.plan["nodes"][name]["logs_in"] = False
        put(case, None, name)
    assert found(case) == []


@pytest.mark.parametrize("said", [None, 7, "x", [None], [7], {"a": 1}])
def test_a_node_may_say_anything(case, said):
    case.user["node2"].update(own_keys=said, time=said)
    case.user["node1"]["sshd"]["certificates"] = said
    case.user["node3"]["sshd"]["certificates"] = {"host": said}
    fail_logins(case, [("node2", "node1")], "permission")
    found(case)
