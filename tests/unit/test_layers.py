# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of shared code: what runs on hosts imports only from the layers below it, and only what every host has."""

from __future__ import annotations

import ast
import pathlib
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
PLUGINS = TOP / "plugins"
COLLECTION = ("ansible_collections", "cocoonstack", "cocoon", "plugins")
# Lowest first; a file imports from lower layers, and inside its own folder.
LAYERS = [
    {"_errors", "_error_catalogue", "_argument_specs"},
    {"_spec", "_store"},
    {"_command", "_process", "_plan"},
    {"_program", "_tart"},
    {"_guest", "_image", "_network"},
    {"_hypervisor"},
    {"_engine"},
    {"modules"},
]
FILES = sorted(path for folder in ("module_utils", "modules") for path in (PLUGINS / folder).rglob("*.py"))
IDS = [str(path.relative_to(PLUGINS)) for path in FILES]
# Processes are started by _command, which waits for them, and by _process, which detaches them.
FORBIDDEN_CALLS = {
    "os.system",
    "os.popen",
    "os.spawnl",
    "os.spawnv",
    "os.posix_spawn",
    "subprocess.run",
    "subprocess.Popen",
    "subprocess.call",
    "subprocess.check_output",
    "eval",
    "exec",
    "compile",
    "print",
    "input",
    "sys.exit",
    "exit",
    "quit",
    "pickle.loads",
    "marshal.loads",
}
ONLY_IN_PROCESS = {"os.fork", "os.execve", "os.execv", "os.execvp", "os.kill", "os.killpg", "os.setsid", "signal.pidfd_send_signal"}


def layer_of(words: tuple[str, ...]) -> tuple[int, str]:
    """The layer of a file or of what is imported, and the name in it."""
    name = "modules" if words[0] == "modules" else words[1]
    return next(number for number, names in enumerate(LAYERS) if name in names), name


def imports(path: pathlib.Path) -> list[tuple[str, ...]]:
    """All that a file imports, inside functions too: the words of absolute names."""
    here = (*COLLECTION, *path.relative_to(PLUGINS).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            module = (*base, *(node.module or "").split(".")) if node.module else base
            found += [(*module, alias.name) for alias in node.names]
    return found


def calls(path: pathlib.Path) -> set[str]:
    """The names of all that a file calls."""
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)}


def test_every_file_has_a_layer() -> None:
    """A new file is put into one here, or into a folder that has one."""
    for path in FILES:
        words = path.relative_to(PLUGINS).with_suffix("").parts
        layer_of(words)
    known = {path.relative_to(PLUGINS / "module_utils").with_suffix("").parts[0] for path in FILES if "module_utils" in path.parts}
    assert known | {"modules"} == set().union(*LAYERS)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_go_downwards(path: pathlib.Path) -> None:
    """Each layer knows only those below it; modules know nothing of each other."""
    mine = layer_of(path.relative_to(PLUGINS).with_suffix("").parts)
    for words in imports(path):
        if words[:4] != COLLECTION:
            continue
        assert words[4] == "module_utils", words
        theirs = layer_of(words[4:])
        assert theirs[0] < mine[0] or theirs == mine != (7, "modules"), f"{path.name} imports {'.'.join(words[5:])}"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_hosts_need_nothing_else(path: pathlib.Path) -> None:
    """Python's own library, Ansible's module_utils, and ourselves."""
    for words in imports(path):
        mine = words[:4] == COLLECTION
        assert mine or words[:2] == ("ansible", "module_utils") or words[0] in sys.stdlib_module_names, ".".join(words)
        assert words[0] not in ("subprocess", "multiprocessing", "asyncio", "http", "urllib"), words


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_only_modules_know_ansible(path: pathlib.Path) -> None:
    """The rest has never heard of AnsibleModule."""
    ansible = [words for words in imports(path) if words[0] == "ansible"]
    assert not ansible or path.parent.name == "modules"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_processes_are_started_in_two_places(path: pathlib.Path) -> None:
    """No shell, no subprocess; signals and forks only where identity is checked."""
    called = calls(path)
    assert not called & FORBIDDEN_CALLS
    assert path.name == "_process.py" or not called & ONLY_IN_PROCESS


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_no_statement_that_vanishes(path: pathlib.Path) -> None:
    """Checks are no asserts, and no error is swallowed unseen."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.Assert)
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None and ast.unparse(node.type) != "Exception", f"line {node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_functions_fit_a_screen(path: pathlib.Path) -> None:
    """40 lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 45, f"{node.name} has {(node.end_lineno or 0) - node.lineno + 1} lines"


def test_check_mode_is_decided_in_few_places() -> None:
    """Not around every change: where a module hands it on, and where the engine or a converge acts."""
    users = sorted(
        path.stem
        for path in FILES
        if "check_mode" in path.read_text(encoding="utf-8").partition("from ansible.module_utils")[2]
        or (path.parent.name != "modules" and "check_mode" in path.read_text(encoding="utf-8"))
    )
    assert users == [
        "_engine",
        "cocoon_image",
        "cocoon_image_info",
        "cocoon_net",
        "cocoon_net_info",
        "cocoon_vm",
        "cocoon_vm_info",
        "converge",
        "converge",
    ]
