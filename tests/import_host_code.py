# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compile and import every file beside it that runs on hosts; script/gates/python39 runs it with Python 3.9."""

from __future__ import annotations

import importlib
import pathlib
import sys
import warnings

HERE = pathlib.Path(__file__).resolve().parent
PLUGINS = HERE / "ansible_collections" / "cocoonstack" / "cocoon" / "plugins"


def main() -> int:
    """Import the files one by one and say how many; the first that does not import ends it."""
    if sys.version_info[:2] != (3, 9):
        print("this is Python %s, not 3.9" % sys.version.split()[0])
        return 1
    sys.path.insert(0, str(HERE))
    sys.dont_write_bytecode = True
    warnings.simplefilter("error", SyntaxWarning)
    files = sorted(PLUGINS.glob("*/**/*.py"))
    for path in files:
        compile(path.read_text(encoding="utf-8"), str(path), "exec", dont_inherit=True)
        importlib.import_module(".".join(path.relative_to(HERE).with_suffix("").parts))
    modules = [path for path in files if path.parent.name == "modules"]
    print("Python %s imports %d files, %d of them modules" % (sys.version.split()[0], len(files), len(modules)))
    return 0 if modules else 1


if __name__ == "__main__":
    sys.exit(main())
