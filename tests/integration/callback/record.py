# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write every result of every task as a line of JSON to the file that COCOON_RESULTS names."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: record
type: notification
short_description: Record the results for tests
description:
  - Appends every result of every task to the file that the environment variable C(COCOON_RESULTS) names, one JSON object a line.
options: {}
"""


class CallbackModule(CallbackBase):
    """Each end of a task on a host is one line."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def _record(self, status: str, result: Any) -> None:
        data = result.result if hasattr(result, "result") else result._result
        task = result.task if hasattr(result, "task") else result._task
        host = result.host if hasattr(result, "host") else result._host
        line = {"host": host.get_name(), "task": task.get_name(), "status": status, "data": data}
        with open(os.environ["COCOON_RESULTS"], "a", encoding="utf-8") as record:
            record.write(json.dumps(line, default=str) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        """The task did what it should."""
        self._record("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """The task failed."""
        self._record("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """The host did not answer."""
        self._record("unreachable", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """The task's condition was false."""
        self._record("skipped", result)
