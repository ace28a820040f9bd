# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the attributes that the collection's modules and actions share."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes: one block for modules that change a node, one for those that only read."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and return the changes without making them.
    support: full
  diff_mode:
    description: Returns what it changed, or would change, as before and after.
    support: full
"""

    FACTS = r"""
options: {}
attributes:
  check_mode:
    description: Only reads; does the same in check mode.
    support: full
  diff_mode:
    description: Nothing is changed, so there is no difference to show.
    support: N/A
  facts:
    description: Returns C(ansible_facts), so that it can be run by M(ansible.builtin.gather_facts).
    support: full
"""

    READ = r"""
options: {}
attributes:
  check_mode:
    description: Only reads; does the same in check mode.
    support: full
  diff_mode:
    description: Nothing is changed, so there is no difference to show.
    support: N/A
"""
