# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For all tests of rules: no finding has a severity that its rule does not declare."""

from __future__ import annotations

import sys

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import ABOUT, Finding

_RULES = "ansible_collections.trainmesh.cluster.plugins.plugin_utils."


@pytest.fixture(autouse=True)
def declared_severities(monkeypatch):
    """What a rule yields and its About does not name fails the test that made it yield that."""
    engine.load()
    plain, undeclared = Finding.__init__, []

    def record(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        about, caller = ABOUT.get(self.rule), sys._getframe(1).f_globals["__name__"]
        # dataclasses.replace() is how the severities that a user wants are put in
        if about and caller.startswith(_RULES) and self.severity not in (about.severity, *about.also):
            undeclared.append((self.rule, self.severity))

    monkeypatch.setattr(Finding, "__init__", record)
    yield
    assert undeclared == [], "severities that the About of the rule does not name (severity, also)"
