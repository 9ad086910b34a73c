# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write how long every task took on its host, from its start on the controller to its result, as a line of JSON to COCOON_TIMES."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: times
type: notification
short_description: Record how long tasks take, for the benchmark
description:
  - Appends the seconds, the status and the standard output of every task to the file that the environment variable
    C(COCOON_TIMES) names, one JSON object a line.
options: {}
"""


class CallbackModule(CallbackBase):
    """Only results count; a loop's items are inside of their task."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self._began = 0.0

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """The task goes to a worker."""
        self._began = time.perf_counter()

    def v2_runner_on_ok(self, result: Any) -> None:
        """The task did what it should."""
        self._record("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """The task failed."""
        self._record("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """The host did not answer."""
        self._record("unreachable", result)

    def _record(self, status: str, result: Any) -> None:
        seconds = time.perf_counter() - self._began
        data = result.result if hasattr(result, "result") else result._result
        task = result.task if hasattr(result, "task") else result._task
        line = {"task": task.get_name(), "seconds": seconds, "status": status, "changed": bool(data.get("changed")),
                "stdout": data.get("stdout", ""), "msg": str(data.get("msg", ""))}
        with open(os.environ["COCOON_TIMES"], "a", encoding="utf-8") as record:
            record.write(json.dumps(line) + "\n")
