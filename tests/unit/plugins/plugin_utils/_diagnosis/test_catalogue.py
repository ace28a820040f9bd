# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of faults is complete, true, and shown as it is in docs/rules.md."""

from __future__ import annotations

import collections
import pathlib
import subprocess
import sys

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat import tables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import catalogue, engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    ABOUT,
    LAYERS,
    SEVERITIES,
    About,
    rule,
)

ROOT = pathlib.Path(__file__).resolve().parents[5]

# The public ids that were promised; they stay for ever, whatever else is added.
PROMISED = """
ssh-key-missing-pair ssh-self-login-missing ssh-wrong-user-keydir ssh-perms-too-open ssh-hostkey-unknown
ssh-hostkey-changed ssh-port-mismatch ssh-config-inline-comment sshd-not-listening sshd-upgraded-not-restarted
ctr-sshd-port-clash ssh-login-noise ssh-noninteractive-env hostfile-user-at-ip pdsh-not-installed
pdsh-ssh-module-missing pdsh-default-rsh pdsh-module-path-insecure pdsh-ssh-args-lost pdsh-brackets-expanded
pdsh-exit-zero pdsh-tqdm-invisible pdsh-stdin-hang ds-abort-kills-other-jobs ds-orphan-workers hostfile-bad-line
hostfile-duplicate hostfile-silent-local hostfile-zero-slots hostfile-bom-or-range hostfile-slots-exceed-gpus
gpus-unused-by-slots gpu-lost-from-bus gpu-busy-by-other ds-include-no-slots ds-include-bad-slot ds-subset-hostfile
ds-num-gpus-overrides ds-unequal-slots-rank acc-unequal-nodes ds-cuda-visible-devices ds-master-addr-guessed
acc-main-ip-ignored ds-force-multi-missing ds-env-file-unparsable acc-env-file-stale acc-env-file-secrets
env-not-propagated path-differs code-out-of-sync model-only-on-launch-node shell-comment-after-backslash
master-port-random ds-no-ssh-env started-by-hand-order ds-slurm-include acc-default-config-leak acc-relative-paths
acc-port-is-ssh-port acc-port-in-use acc-unknown-key acc-version-differs acc-mixed-precision-differs
acc-num-processes-floor acc-machine-rank-duplicate acc-dsjson-conflict acc-same-network-cli acc-cpu-silent-single
acc-dynamo-multinode acc-rtx40-driver acc-slow-preprocess-timeout name-duplicate-hostname name-etc-hostname-format
name-loopback-127-0-1-1 name-hosts-typo name-fqdn-unresolvable master-addr-malformed rdzv-errno-113 rdzv-errno-111
rdzv-errno-110 rdzv-errno-98 rdzv-errno-13 rdzv-store-barrier rdzv-libuv rdzv-clock-skew rdzv-ipv6-warning
fw-disabled-entirely fw-wrong-tool fw-ephemeral-blocked net-public-private-mix net-different-subnets
net-ping-is-not-enough net-hostname-multi-ip net-mtu-mismatch ctr-bridge-network net-flaky-interface
nccl-ifname-absent-on-node nccl-ifname-auto-virtual nccl-internal-error-init nccl-system-error-first-collective
gloo-ifname-unset nccl-version-mismatch nccl-system-install-unneeded nccl-net-forced-ib ib-disabled-on-ib
nccl-p2p-disabled-kept ib-libibverbs-missing ib-port-not-active ib-memlock roce-gid-index ib-rails-not-connected
ib-container-devices ib-retry-exceeded gdr-unavailable p2p-acs-iommu shm-too-small nccl-cumem-host fd-limit
nccl-duplicate-gpu nccl-watchdog-timeout nccl-collective-mismatch nccl-mixed-gpu ver-python-torch-differs
ver-torch-silently-replaced ver-wheel-index-wrong ver-cuda-link-wrong ver-nvcc-torch-mismatch build-ops-other-torch
build-pip-wheel-cache build-ninja-missing build-cpu-adam build-aio-missing build-ext-cache-nfs build-ext-mixed-arch
env-ldpath-cuda-clash drv-too-old drv-nvml-mismatch drv-fabricmanager boot-curl-o boot-offline-index ver-python-eol
prec-bf16-unsupported prec-both-enabled gpu-mixed-memory ds-auto-unresolved ds-batch-mismatch app-world-size-hardcoded
ckpt-zero3-empty ckpt-local-disk data-uneven-batches mem-host-oom mem-gpu-oom perf-ethernet-bound perf-wrong-nic
app-data-processor
""".split()


def ids(home: str) -> list[str]:
    return [rule_id for rule_id, one in catalogue.entries().items() if one["home"] == home]


def registered() -> set[str]:
    return {rule_id for rule in engine.load() for rule_id in rule.ids}


def test_every_promised_id_is_there_and_none_twice():
    assert len(PROMISED) == len(set(PROMISED)) == 155
    assert not set(PROMISED) - set(catalogue.entries())
    table = [one["id"] for one in tables.table("rules", catalogue.DATA)["rules"]]
    assert [rule_id for rule_id, count in collections.Counter(table).items() if count > 1] == []


def test_what_the_catalogue_calls_a_rule_is_one():
    assert not set(ids(catalogue.RULE)) - registered()


def test_the_catalogue_repeats_what_stands_beside_the_rules():
    engine.load()
    assert (catalogue.DATA / "rules.json").read_text(encoding="utf-8") == catalogue.text()
    assert {*ABOUT} == {*ids(catalogue.RULE)}


def test_an_id_is_described_once():
    engine.load()
    with pytest.raises(ValueError, match="gpu-count is described twice"):
        rule(About("gpu-count", layer="gpu", severity="warn", title="t", symptom="s", source="s"))


@pytest.mark.parametrize(
    ("rule_id", "severity", "words"),
    [
        ("gpu-count", "warn", "nvidia-smi disagree"),
        ("ssh-login-failed", "fail", "Connection closed"),
        ("ssh-login-refused", "fail", "Permission denied"),
        ("ver-wheel-index-wrong", "warn", "without CUDA"),
        ("mem-gpu-oom", "fail", "memory"),
    ],
)
def test_what_is_told_is_what_the_rule_compares(rule_id, severity, words):
    one = catalogue.entries()[rule_id]
    assert one["severity"] == severity
    assert words in f"{one['title']} {one['symptom']}"


def test_every_rule_is_in_the_catalogue_as_one():
    assert not registered() - set(ids(catalogue.RULE))


@pytest.mark.parametrize("rule_id", ids(catalogue.PREVENTED))
def test_what_is_prevented_has_its_proof(rule_id):
    one = catalogue.entries()[rule_id]
    path, _colons, function = one["test"].partition("::")
    assert f"\ndef {function}(" in (ROOT / path).read_text(encoding="utf-8")
    names = one["where"].partition(":")[0].split(", ")
    places = (*ROOT.glob("roles/*"), *ROOT.glob("plugins/modules/*.py"))
    assert set(names) <= {place.stem for place in places}, "where begins with the roles or modules that prevent it"


@pytest.mark.parametrize("rule_id", ids(catalogue.SCOPE))
def test_what_is_out_of_scope_has_a_reason(rule_id):
    one = catalogue.entries()[rule_id]
    assert len(one["where"]) > 30 and "test" not in one


def test_the_entries_have_their_form():
    common = {"id", "layer", "title", "symptom", "severity", "source", "home"}
    more = {"rule": {"also"}, "scope": {"where"}, "prevented": {"where", "test"}}
    for one in catalogue.entries().values():
        assert set(one) == common | more[one["home"]], one["id"]
        assert all(value for key, value in one.items() if key != "also"), one["id"]
        severities = [one["severity"], *one.get("also", [])]
        assert one["layer"] in LAYERS and {*severities} <= {*SEVERITIES}, one["id"]
        assert len(severities) == len(set(severities)), one["id"]
        assert len(one["title"]) <= 60 and not one["title"].endswith("."), one["id"]


def test_an_entry_is_found_by_its_id():
    found = catalogue.entry("ssh-key-missing-pair")
    assert found is not None and found["layer"] == "ssh"
    assert catalogue.entry("no-such-rule") is None


def test_the_table_has_a_source_and_a_date():
    table = tables.table("rules", catalogue.DATA)
    assert table["source"] and table["date"].count("-") == 2


def test_the_documents_are_those_of_the_data():
    command = [sys.executable, str(ROOT / "scripts/render_docs.py"), "--check"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "docs/rules.md" not in outcome.stdout + outcome.stderr
    page = (ROOT / "docs/rules.md").read_text(encoding="utf-8")
    assert all(f"| `{rule_id}` |" in page for rule_id in catalogue.entries())
