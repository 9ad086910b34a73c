# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From exec to exit (contract 1.7 and 3.3). What the API socket does not need is imported after it is bound."""
from __future__ import annotations

import os
import socket
import sys

from . import commandline, grammar, identity, reporting, settings, versions
from .errors import Failure, Fatal, os_text

KVM = "/dev/kvm"
ENDING = (2, 15)  # SIGINT, SIGTERM


class ApiSocket:
    """The socket file, with the locking and unlinking of the release."""

    def __init__(self, path: str | None, fd: int | None, major: int) -> None:
        self.path = path
        self.major = major
        self.lock = -1
        if fd is not None:
            self.listener = socket.socket(fileno=fd)
            return
        if major >= 53:
            self._take_lock()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.listener.bind(path)
        except OSError as error:
            text = os_text(error) if error.errno else "path must be shorter than SUN_LEN"
            raise Failure("Error creation API server's socket", text) from error
        self.listener.listen(128)

    def _take_lock(self) -> None:
        from . import disks  # pylint: disable=import-outside-toplevel
        try:
            self.lock = os.open(self.path + ".lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            disks.lock(self.lock, True)
        except disks.Locked as error:
            raise Failure(f'API socket "{self.path}" is already in use by another running instance') from error
        except OSError as error:
            raise Failure("Error creation API server's socket", os_text(error)) from error
        try:
            os.unlink(self.path)
        except OSError:
            pass


class Program:
    """One run of the program."""

    def __init__(self, args: commandline.Arguments, version: versions.Version, wishes: dict) -> None:
        self.args = args
        self.version = version
        self.wishes = wishes
        self.log: reporting.Log | None = None
        self.events: reporting.Events | None = None
        self.vmm = None
        self.socket_path: str | None = None

    def _api_socket(self) -> tuple[str | None, int | None]:
        text = self.args.get("api-socket")
        if text is None:
            return None, None
        try:
            keys = grammar.parse(text, {"path": True, "fd": True})
        except Failure:
            keys = {}
        if keys.get("fd"):
            try:
                return None, int(keys["fd"])
            except ValueError as error:
                raise Failure("Error parsing --api-socket", "invalid digit found in string") from error
        return grammar.dequote(keys["path"]) if keys.get("path") else text, None

    def _open_kvm(self) -> None:
        title = "Failed to open hypervisor interface (is hypervisor interface available?)"
        path = self.wishes.get("kvm", KVM)
        if not os.path.exists(path):
            raise Failure(title, "Failed to create the hypervisor", "no supported hypervisor")
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise Failure(title, "Failed to create Vm", os_text(error)) from error

    def _open_events(self) -> None:
        self.events = reporting.Events(self.log)
        text = self.args.get("event-monitor")
        if text is None:
            return
        try:
            keys = grammar.parse(text, {"path": True, "fd": True})
            fd = grammar.integer(keys["fd"], 31) if "fd" in keys else None
        except grammar.Conversion as error:
            raise Failure("Error parsing --event-monitor", f"unable to convert {keys['fd']} for fd") from error
        except Failure as failure:
            raise failure.under("Error parsing --event-monitor")
        if fd is None and "path" not in keys:
            raise Failure("Error parsing --event-monitor: path or fd required")
        self.events.open(keys.get("path"), fd)

    def _faults(self) -> None:
        if self.wishes.get("die_at_start"):
            raise Failure(str(self.wishes["die_at_start"]))
        if self.wishes.get("die_after_ms"):
            import signal  # pylint: disable=import-outside-toplevel
            signal.setitimer(signal.ITIMER_REAL, self.wishes["die_after_ms"] / 1000)

    def prepare(self) -> ApiSocket | None:
        """Everything up to the bound socket."""
        path, fd = self._api_socket()
        self.log = reporting.Log(self.args.verbosity, self.args.get("log-file"))
        self.log.write("WARN", "this is a simulator of the lab: QEMU runs the guest, in software", "main")
        self._faults()
        self._open_kvm()
        self._open_events()
        self.events.emit("vmm", "starting")
        if path is None and fd is None:
            return None
        self.socket_path = path
        try:
            return ApiSocket(path, fd, self.version.major)
        except Failure as failure:
            raise failure.under("Failed to start the VMM thread")

    def serve(self, api_socket: ApiSocket | None) -> int:
        """Boot what the command line asks for, then answer until the end."""
        from .loop import Loop  # pylint: disable=import-outside-toplevel
        from .vmm import Vmm  # pylint: disable=import-outside-toplevel
        loop = Loop()
        loop.on_signals(list(ENDING), lambda number: self.vmm.end())
        self.vmm = Vmm(loop, self.log, self.events, self.wishes, self.version)
        self.vmm.no_shutdown = self.args.has("no-shutdown")
        if api_socket is not None:
            from .api import Api  # pylint: disable=import-outside-toplevel
            from .http import Server  # pylint: disable=import-outside-toplevel
            Server(loop, api_socket.listener, Api(self.vmm).handle, bool(self.wishes.get("hang_api")))
        try:
            self._boot()
            return loop.run()
        finally:
            self.vmm.delete()

    def _boot(self) -> None:
        from . import options, validation  # pylint: disable=import-outside-toplevel
        if self.args.has("kernel") or self.args.has("firmware"):
            try:
                config = options.vm_config(self.args, self.version.major)
            except Failure as failure:
                raise failure.under("Error parsing config")
            try:
                validation.check(config)
            except Failure as failure:
                raise failure.under("Error parsing config", "Error validating configuration")
            try:
                self.vmm.create(config)
            except Failure as failure:
                raise failure.under("Error creating VM", "The VM could not be created")
            try:
                self.vmm.boot(wait=False)
            except Failure as failure:
                raise failure.under("Error booting VM", "The VM could not boot")
        elif self.args.has("restore"):
            try:
                request = options.parse_option("restore", self.args.get("restore"), self.version.major)
            except Failure as failure:
                raise failure.under("Error parsing restore")
            try:
                self.vmm.restore(request)
            except Failure as failure:
                raise failure.under("Error restoring VM", "The VM could not be restored")

    def run(self) -> int:
        """Exit code."""
        try:
            code = self.serve(self.prepare())
        except (Failure, Fatal) as failure:
            reporting.error_block(failure.chain, self.log)
            code = 1
        if self.socket_path is not None and (code == 0 or self.version.major == 52):
            try:
                os.unlink(self.socket_path)
            except OSError:
                pass
        return code


def main(program: str) -> int:
    """The program; `program` is the path of the launcher."""
    os.umask(0o077)
    identity.assume(program)
    wishes = settings.load()
    version = versions.choose(wishes.get("version"))
    args = commandline.parse(sys.argv[1:], version.major)
    if args.has("version"):
        print("\n".join(version.lines(args.verbosity > 0)))
        return 0
    return Program(args, version, wishes).run()
