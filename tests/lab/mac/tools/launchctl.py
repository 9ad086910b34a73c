# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""launchctl: print, bootstrap, bootout, kickstart, list and the older load and unload.

State is one JSON file; jobs are not started by launchd's rules: `bootstrap` with RunAtLoad and `kickstart` start the program once, in a
session of its own. A user's graphical domain exists as long as /etc/lab/mac.json does not say `"aqua": false`.
"""
from __future__ import annotations

import fcntl
import os
import signal
import sys

from . import common

STATE = os.environ.get("LAB_LAUNCHD", "/var/db/lab-launchd.json")
_NO_DOMAIN = 125
_NOT_FOUND = 113


class State:
    """The jobs of all domains, under a lock."""

    def __init__(self) -> None:
        self.descriptor = os.open(STATE, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        text = os.read(self.descriptor, 10**7).decode() or "{}"
        known = common.plainjson.loads(text)
        self.jobs: dict[str, dict] = known.get("jobs", {}) if known.get("boot") == common.boot_uuid() else {}

    def save(self) -> None:
        """A reboot forgets all of it."""
        data = common.plainjson.compact({"boot": common.boot_uuid(), "jobs": self.jobs}).encode()
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, data, 0)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _check_domain(domain: str) -> None:
    kind, _slash, uid = domain.partition("/")
    if kind == "gui" and common.switches().get("aqua", True) is False or kind not in ("gui", "user", "system", "login", "pid"):
        common.fail("Bootstrap failed: 125: Domain does not support specified action", _NO_DOMAIN)
    if kind == "system" and os.getuid():
        common.fail("Bootstrap failed: 5: Input/output error\nTry re-running the command as root for richer errors.", 5)
    if kind in ("gui", "user") and os.getuid() and uid and int(uid) != os.getuid():
        common.fail("Bootstrap failed: 125: Domain does not support specified action", _NO_DOMAIN)


def _plist(path: str) -> dict:
    import plistlib  # pylint: disable=import-outside-toplevel
    try:
        with open(path, "rb") as file:
            return plistlib.load(file)
    except (OSError, ValueError, plistlib.InvalidFileException):
        common.fail("Bootstrap failed: 5: Input/output error\nTry re-running the command as root for richer errors.", 5)
    return {}


def _start(job: dict) -> None:
    """The program in a session of its own; without a folder for its logs it does not start, and nobody hears of it."""
    plist = job["plist"]
    argv = plist.get("ProgramArguments") or [plist.get("Program", "/usr/bin/true")]
    pid = os.fork()
    if pid:
        job["pid"] = pid
        job["runs"] = job.get("runs", 0) + 1
        return
    try:
        os.setsid()
        _redirect(plist)
        os.chdir(plist.get("WorkingDirectory", "/"))
        environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": os.environ.get("HOME", "/"), "USER": os.environ.get("USER", "root")}
        environment.update({str(key): str(value) for key, value in plist.get("EnvironmentVariables", {}).items()})
        os.execve(argv[0], argv, environment)
    finally:
        os._exit(78)


def _redirect(plist: dict) -> None:
    for number, key in ((0, "StandardInPath"), (1, "StandardOutPath"), (2, "StandardErrorPath")):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(plist.get(key, "/dev/null"), flags, 0o644), number)


def _bootstrap(state: State, words: list[str]) -> int:
    domain, paths = words[0], words[1:]
    _check_domain(domain)
    for path in paths:
        plist = _plist(path)
        name = f"{domain}/{plist.get('Label', '')}"
        if name in state.jobs:
            common.fail("Bootstrap failed: 5: Input/output error\nTry re-running the command as root for richer errors.", 5)
        state.jobs[name] = {"plist": plist, "path": os.path.abspath(path), "pid": 0}
        if plist.get("RunAtLoad") or plist.get("KeepAlive") is True:
            _start(state.jobs[name])
    return 0


def _bootout(state: State, words: list[str]) -> int:
    name = words[0] if len(words) == 1 else f"{words[0]}/{_plist(words[1]).get('Label', '')}"
    job = state.jobs.pop(name, None)
    if job is None:
        common.fail("Boot-out failed: 3: No such process", 3)
    elif job["pid"] and _alive(job["pid"]):
        os.kill(job["pid"], signal.SIGTERM)
    return 0


def _kickstart(state: State, words: list[str]) -> int:
    options = "".join(word[1:] for word in words if word.startswith("-"))
    name = [word for word in words if not word.startswith("-")][0]
    if name.startswith("system/com.apple."):
        return 0
    job = state.jobs.get(name)
    if job is None:
        common.fail(f'Could not find service "{name.split("/")[-1]}" in domain for {name.rsplit("/", 1)[0]}', _NOT_FOUND)
        return _NOT_FOUND
    if job["pid"] and _alive(job["pid"]):
        if "k" not in options:
            return 0
        os.kill(job["pid"], signal.SIGKILL)
    _start(job)
    if "p" in options:
        print(job["pid"])
    return 0


def _print(state: State, words: list[str]) -> int:
    target = words[0]
    parts = target.split("/")
    if parts[0] in ("gui", "user") and len(parts) == 2:
        if parts[0] == "gui" and common.switches().get("aqua", True) is False:
            common.fail("Could not print domain: 125: Domain does not support specified action", _NO_DOMAIN)
        print(f"{target} = {{\n\ttype = login\n\thandle = 100013\n\tactive count = 412\n\tsession = Aqua\n\tsecurity context = {{\n"
              f"\t\tuid = {parts[1]}\n\t\tasid = 100013\n\t}}\n\n\tservices = {{")
        for name, job in sorted(state.jobs.items()):
            if name.startswith(target + "/"):
                print(f"\t\t{job['pid'] or '-':>8} {'-':>6} \t{name.split('/', 2)[2]}")
        print("\t}\n}")
        return 0
    if target == "system":
        print("system = {\n\ttype = system\n\thandle = 0\n\tsession = System\n}")
        return 0
    job = state.jobs.get(target)
    if job is None:
        common.fail(f'Bad request.\nCould not find service "{parts[-1]}" in domain for {"/".join(parts[:-1])}', _NOT_FOUND)
        return _NOT_FOUND
    running = bool(job["pid"]) and _alive(job["pid"])
    print(f"{target} = {{\n\tactive count = {int(running)}\n\tpath = {job['path']}\n\ttype = LaunchAgent\n\tstate = "
          f"{'running' if running else 'not running'}\n\n\tprogram = {(job['plist'].get('ProgramArguments') or ['?'])[0]}\n"
          f"\truns = {job.get('runs', 0)}" + (f"\n\tpid = {job['pid']}" if running else "") + "\n}")
    return 0


def _list(state: State, words: list[str]) -> int:
    own = [(name.split("/")[-1], job) for name, job in sorted(state.jobs.items()) if not name.startswith("system/") or os.getuid() == 0]
    if words:
        found = [job for label, job in own if label == words[0]]
        if not found:
            common.fail(f'Could not find service "{words[0]}" in domain for login', _NOT_FOUND)
        print(f'{{\n\t"Label" = "{words[0]}";\n\t"PID" = {found[0]["pid"]};\n}};')
        return 0
    print("PID\tStatus\tLabel")
    for label, job in own:
        print(f"{job['pid'] if job['pid'] and _alive(job['pid']) else '-'}\t0\t{label}")
    return 0


def _legacy(load: bool) -> object:
    def run(state: State, words: list[str]) -> int:
        domain = "system" if os.getuid() == 0 else f"gui/{os.getuid()}"
        for path in (word for word in words if not word.startswith("-")):
            (_bootstrap if load else _bootout)(state, [domain, path])
        return 0
    return run


_COMMANDS = {"bootstrap": _bootstrap, "bootout": _bootout, "kickstart": _kickstart, "print": _print, "list": _list,
             "load": _legacy(True), "unload": _legacy(False), "enable": lambda *_: 0, "disable": lambda *_: 0}


def main() -> None:
    """Unknown subcommands are refused."""
    words = sys.argv[1:]
    if words and words[0] not in ("print", "list"):
        common.record("launchctl", words)
    if not words or words[0] not in _COMMANDS:
        common.fail(f'Unrecognized subcommand: {words[0] if words else ""}\nUsage: launchctl <subcommand> ... | help [subcommand]', 64)
    state = State()
    code = _COMMANDS[words[0]](state, words[1:])  # type: ignore[operator]
    state.save()
    sys.stdout.flush()
    sys.exit(code)
