# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a command and kill it, and it alone, in the middle of a task.

``kill_at.py TASK SECONDS COMMAND...``: SIGKILL goes to the command's process, not to its children, so many seconds
after it printed the head of the task. The exit status is 1 when it ended by itself before.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import typing as t


def main(task: str, seconds: str, *command: str) -> int:
    # Where skipped hosts are not shown, the head of a task is only printed with its first result: too late.
    environment = {**os.environ, "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        output, printed = t.cast(t.IO[str], running.stdout), []
        for line in output:
            printed.append(line)
            if line.startswith("TASK [") and task in line:
                break
        else:
            print("".join(printed[-40:]))
            print(f"It ended by itself, before the task {task!r}.")
            return 1
        time.sleep(float(seconds))
        if running.poll() is not None:
            print(f"It ended by itself, {seconds} s after the task {task!r} began.")
            return 1
        running.kill()
        output.close()  # its workers may hold the other end for a while: they are not waited for
    print(f"killed {seconds} s after the task began: {task}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
