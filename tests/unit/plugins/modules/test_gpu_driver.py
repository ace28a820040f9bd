# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import driver
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_apply import Result
from ansible_collections.trainmesh.cluster.plugins.modules import gpu_driver
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules


def test_the_answer_is_what_was_done(monkeypatch, capsys):
    asked = []

    def converge(wish, check):
        asked.append((wish.branch, wish.source, wish.key, check))
        return Result(True, "570.1.1", "open", ["libcuda1"], ["libcuda1"], "nouveau has the GPUs", ["a note"])

    told = []
    monkeypatch.setattr(driver, "converge", converge)
    monkeypatch.setattr(gpu_driver.AnsibleModule, "warn", lambda _module, text: told.append(text))
    answer = modules.run(gpu_driver, capsys, check=True, branch="570", source="vendor", key="-----BEGIN PGP x")
    assert asked == [("570", "vendor", b"-----BEGIN PGP x", True)]
    assert (answer["changed"], answer["reboot_needed"], answer["version"]) == (True, True, "570.1.1")
    assert "notes" not in answer and told == ["a note"]


def test_a_failure_says_that_nothing_was_changed(monkeypatch, capsys):
    def converge(_wish, _check):
        raise Fault("no room")

    monkeypatch.setattr(driver, "converge", converge)
    answer = modules.run(gpu_driver, capsys, branch="570")
    assert answer["failed"] and answer["msg"] == "The driver is as it was: no room"


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("", b""),
        (base64.b64encode(b"\x99\x01").decode(), b"\x99\x01"),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----", b"-----BEGIN PGP PUBLIC KEY BLOCK-----"),
        ("no key!", b"no key!"),
    ],
)
def test_a_key_as_text_or_in_base64(text, content):
    assert gpu_driver.key_of(text) == content


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(gpu_driver, monkeypatch)
