# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's command line: build it, push its tart form."""
from __future__ import annotations

import argparse
import sys

from .build import build
from .packages import PackageError
from .tart_push import PushError, push


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab.guest", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("build", help="make the artefacts that are missing or out of date")
    make.add_argument("--force", action="store_true", help="make them anew, with the newest Debian packages")
    send = commands.add_parser("push-tart", help="push the tart image to a registry")
    send.add_argument("reference", help="HOST[:PORT]/NAME:TAG; the tags 1 and 2 choose the content")
    send.add_argument("--insecure", action="store_true", help="plain HTTP")
    send.add_argument("--version", type=int, choices=(1, 2), help="content, where the tag does not say it")
    return parser.parse_args()


def main() -> int:
    """Run one command."""
    arguments = _arguments()
    try:
        if arguments.command == "build":
            paths = build(report=print, force=arguments.force)
            print(f"guest: ready in {paths.root}")
        else:
            version = arguments.version or (2 if arguments.reference.endswith(":2") else 1)
            print(push(build(), arguments.reference, arguments.insecure, version))
    except (PackageError, PushError) as error:
        print(f"guest: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
