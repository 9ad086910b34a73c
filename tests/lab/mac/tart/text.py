# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables, sizes and times for people (tart contract 2.1)."""
from __future__ import annotations

import time


def table(rows: list[dict]) -> str:
    """Left-aligned columns one space apart, no rule, the block trimmed; nothing but an empty line for no rows."""
    if not rows:
        return ""
    lines = [list(rows[0])] + [[str(value) for value in row.values()] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    block = "\n".join(" ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in lines)
    return block.strip()


def ago(moment: float) -> str:
    """How long since then, in Apple's relative English."""
    seconds = max(0, int(time.time() - moment))
    for unit, length in (("year", 31536000), ("month", 2592000), ("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return f"{seconds} second{'' if seconds == 1 else 's'} ago"


def byte_count(size: int) -> str:
    """Decimal units, as ByteCountFormatter writes them."""
    if size < 1000:
        return "Zero KB" if size == 0 else f"{size} byte{'' if size == 1 else 's'}"
    for unit, factor, digits in (("TB", 10**12, 2), ("GB", 10**9, 2), ("MB", 10**6, 1), ("KB", 10**3, 0)):
        if size >= factor:
            number = f"{size / factor:.{digits}f}"
            return (number.rstrip("0").rstrip(".") if digits else number) + " " + unit
    return str(size)
