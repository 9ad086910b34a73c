# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the modules' argument specs from their documentation, which is the one place where options are described.

Run it by script/generate after a change to a module's DOCUMENTATION; a unit test holds both equal.
"""

from __future__ import annotations

import ast
import pathlib
import typing as t

import yaml

TOP = pathlib.Path(__file__).resolve().parent.parent
TARGET = TOP / "plugins" / "module_utils" / "_argument_specs.py"
# What documentation cannot say: which values are secret, and which look like it and are not.
NO_LOG = {"user_data": True, "ssh_authorized_keys": False}
KEPT = ("type", "elements", "choices", "default", "required", "aliases")
HEADER = '''# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""The modules' options.  Made by script/generate from their documentation: change that, not this."""

from __future__ import annotations
'''


def constant(path: pathlib.Path, name: str) -> str:
    """Return the text of a string constant of a Python file, at its top level or in its class."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return str(ast.literal_eval(node.value))
    raise KeyError(f"{path} has no {name}")


def documented(path: pathlib.Path) -> dict[str, t.Any]:
    """Return the options of a module, those of its documentation fragments included."""
    doc = yaml.safe_load(constant(path, "DOCUMENTATION"))
    options = dict(doc.get("options") or {})
    for fragment in doc.get("extends_documentation_fragment") or []:
        _namespace, _collection, file, *section = fragment.split(".")
        text = constant(TOP / "plugins" / "doc_fragments" / f"{file}.py", section[0].upper() if section else "DOCUMENTATION")
        shared = yaml.safe_load(text).get("options") or {}
        options = {**shared, **options}
    return options


def spec(options: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return documented options as an argument spec."""
    result = {}
    for name, option in sorted(options.items()):
        entry = {key: option[key] for key in KEPT if key in option}
        if name in NO_LOG:
            entry["no_log"] = NO_LOG[name]
        if "suboptions" in option:
            entry["options"] = spec(option["suboptions"])
        result[name] = entry
    return result


def lines(options: dict[str, t.Any], indent: int) -> list[str]:
    """Return a spec as lines of Python, one for each option that has no options of its own."""
    margin = " " * indent
    found = []
    for name, entry in options.items():
        plain = ", ".join(f'"{key}": {quoted(value)}' for key, value in entry.items() if key != "options")
        if "options" not in entry:
            found.append(f'{margin}"{name}": {{{plain}}},')
            continue
        found += [f'{margin}"{name}": {{', f"{margin}    {plain},", f'{margin}    "options": {{']
        found += [*lines(entry["options"], indent + 8), f"{margin}    }},", f"{margin}}},"]
    return found


def quoted(value: t.Any) -> str:
    """Return a value as Python with double quotes."""
    return repr(value).replace("'", '"')


def render() -> str:
    """Return the text of the generated file."""
    parts = [HEADER]
    for path in sorted((TOP / "plugins" / "modules").glob("*.py")):
        parts += ["", f"{path.stem.upper()} = {{", *lines(spec(documented(path)), 4), "}", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
