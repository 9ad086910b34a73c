# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured, as lines of a table."""

from __future__ import annotations

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement; without a limit it is for information. Values are in *unit*, s or ms or processes."""

    what: str
    measured: float
    reference: float | None
    unit: str = "ms"
    ratio_limit: float | None = None
    extra_limit: float | None = None  # how much more than the reference it may be
    note: str = ""

    @property
    def limit(self) -> str:
        """In words."""
        if self.ratio_limit is not None:
            return f"{self.ratio_limit:g}x"
        if self.extra_limit is not None:
            return f"+{self.extra_limit:g} {self.unit}" if self.extra_limit else "equal"
        return "-"

    @property
    def verdict(self) -> str:
        """Is the limit kept?"""
        if self.reference is None or (self.ratio_limit is None and self.extra_limit is None):
            return "info"
        if self.ratio_limit is not None:
            return "ok" if self.measured <= self.ratio_limit * self.reference else "over"
        return "ok" if self.measured - self.reference <= (self.extra_limit or 0) else "over"

    def cells(self) -> list[str]:
        """As text."""
        digits = {"ms": 0, "s": 2}.get(self.unit, 0)
        reference = "-" if self.reference is None else f"{self.reference:.{digits}f} {self.unit}"
        ratio = "-" if not self.reference else f"{self.measured / self.reference:.2f}"
        return [self.what, self.limit, f"{self.measured:.{digits}f} {self.unit}", reference, ratio, self.verdict, self.note]


def median(values: list[float]) -> float:
    """The middle one: what other work on the machine adds to some of them does not count."""
    return statistics.median(values)


def show(rows: list[Row]) -> str:
    """All rows, aligned."""
    cells = [["what", "limit", "measured", "reference", "ratio", "", "note"], *[row.cells() for row in rows]]
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    lines = ["  ".join([line[0].ljust(widths[0]), *[line[column].rjust(widths[column]) for column in range(1, 5)],
                        line[5].ljust(widths[5]), line[6]]).rstrip() for line in cells]
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines)
