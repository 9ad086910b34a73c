# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`script/bench`: measure everything in one run and print one table."""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from tests.bench import images, libvirt, noop, processes, starts, table
from tests.bench.clock import Clock
from tests.bench.site import Bench, names
from tests.lab import Lab

Say = Callable[[str], None]
PARTS = ("start", "noop", "processes", "libvirt")


def main() -> int:
    """Exit code 1 when a limit is missed."""
    options = _options()
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {line}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        lab = Lab(say)
        ansible = Clock(lab.inventory, pathlib.Path(folder))
        try:
            rows = list(_measure(lab, ansible, options, say))
        finally:
            ansible.close()
    print(table.show(rows))
    over = [row.what for row in rows if row.verdict == "over"]
    print(f"\n{len(rows)} values in {time.monotonic() - began:.0f} s; " + (f"over the limit: {'; '.join(over)}" if over else "every limit is kept"))
    return 1 if over and not options.no_fail else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench", description="How fast the collection is, beside references, on the lab's hosts.")
    parser.add_argument("--no-fail", action="store_true", help="exit with 0 although a limit is missed")
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; can be given several times")
    parser.add_argument("--host", choices=("linux", "mac"), action="append", help="only this kind of host")
    parser.add_argument("--vms", type=int, default=100, help="how many VMs a host has (default: 100)")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is repeated; the median counts (default: 3)")
    parser.add_argument("--keep-lab", action="store_true", help="leave the hosts up")
    options = parser.parse_args()
    options.only = options.only or list(PARTS)
    options.host = options.host or ["linux", "mac"]
    return options


def _measure(lab: Lab, ansible: Clock, options: argparse.Namespace, say: Say) -> Iterator[table.Row]:
    """One host after the other, so that the VMs of one are not in the way of the other's."""
    lab.up("registry")
    images.push(ansible.scratch / "images")
    for kind in options.host:
        if kind == "mac" and not {"noop", "processes"} & set(options.only):
            continue
        bench = Bench(lab.up(f"{kind}-bench"), ansible)
        bench.prepare()
        if kind == "linux" and "start" in options.only:
            say("starting VMs")
            yield from starts.measure(bench, 2 * options.rounds + 1, say)
        yield from _many(bench, options, say)
        if not options.keep_lab:
            bench.host.down()


def _many(bench: Bench, options: argparse.Namespace, say: Say) -> Iterator[table.Row]:
    """What takes many VMs: stopped ones, then running ones."""
    for state, what in (("present", "making"), ("started", "starting")):
        if set(options.only) == {"start"}:
            return
        say(f"{what} {options.vms} VMs on {bench.host.name}")
        bench.bring(names(options.vms), state, say)
        if (bench.kind, state) == ("mac", "started"):
            bench.lease()
        if "noop" in options.only:
            yield noop.measure(bench, options.vms, state, options.rounds, say)
        if "processes" in options.only:
            yield processes.measure(bench, options.vms, state)
    if "libvirt" in options.only and bench.kind == "linux":
        say(f"{options.vms} VMs of libvirt's test driver, one after the other")
        yield libvirt.measure(bench, options.vms, 1, say)


if __name__ == "__main__":
    sys.exit(main())
