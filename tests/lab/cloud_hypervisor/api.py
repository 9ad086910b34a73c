# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoints of the API (contract 2.2 and 2.4)."""
from __future__ import annotations

import json
import os

from . import documents
from .errors import Failure

ROOT = "/api/v1/"
BAD_REQUEST = b'["Bad Request"]'
MISSING = ("VM is not created", "VM config is missing")
PENDING = "Still pending removed vCPU"
BAD_JSON = "Failed to deserialize JSON"

# path: (action of the VMM, structure of the body, second element of an error)
PLAIN = {
    "vm.boot": ("boot", None, "The VM could not boot"), "vm.delete": ("delete", None, "The VM could not be deleted"),
    "vm.shutdown": ("shutdown", None, "The VM could not shutdown"), "vm.reboot": ("reboot", None, "The VM could not reboot"),
    "vm.pause": ("pause", None, "The VM could not be paused"), "vm.resume": ("resume", None, "The VM could not resume"),
    "vm.power-button": ("power_button", None, "Error triggering power button"), "vm.nmi": ("nmi", None, "Error triggering NMI"),
    "vm.create": ("create", "vm", "The VM could not be created"), "vm.resize": ("resize", "resize", "The VM could not be resized"),
    "vm.resize-disk": ("resize_disk", "resize_disk", "The disk could not be resized"),
    "vm.resize-zone": ("resize_zone", "resize_zone", "The memory zone could not be resized"),
    "vm.remove-device": ("remove_device", "remove_device", "The device could not be removed from the VM"),
    "vm.snapshot": ("take_snapshot", "destination", "The VM could not be snapshotted"),
    "vm.restore": ("restore", "restore", "The VM could not be restored"),
}
ADD = {
    "vm.add-disk": ("disks", "The disk could not be added to the VM"),
    "vm.add-net": ("net", "The network device could not be added to the VM"),
    "vm.add-fs": ("fs", "The fs could not be added to the VM"),
    "vm.add-pmem": ("pmem", "The pmem device could not be added to the VM"),
    "vm.add-vdpa": ("vdpa", "The vDPA device could not be added to the VM"),
    "vm.add-vsock": ("vsock", "The vsock device could not be added to the VM"),
    "vm.add-device": ("devices", "The device could not be added to the VM"),
    "vm.add-user-device": ("user_devices", "The user device could not be added to the VM"),
    "vm.add-generic-vhost-user": ("generic_vhost_user", "The generic vhost-user device could not be added to the VM"),
}
GET = {"vmm.ping": "", "vm.info": "The VM info is not available", "vm.counters": "The VM info is not available"}
MIGRATION = {
    "vm.send-migration": ("destination", "Error dispatching the migration worker"),
    "vm.receive-migration": ("receiver", "Error receiving migration"),
}
ONE_VALUE = {"remove_device": "id", "destination": "destination_url"}
NO_MIGRATION = "the simulator of the lab does not migrate"


class _Unparsable(documents.Unfit):
    """JSON that is none; the position is its own."""


def _json(value) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class Api:
    """Answers requests by asking the VMM."""

    def __init__(self, vmm) -> None:
        self.vmm = vmm
        self.major = vmm.version.major

    def handle(self, request) -> tuple[int, bytes]:
        """Status and body of the response."""
        name = request.path[len(ROOT):] if request.path.startswith(ROOT) else ""
        if not self._known(name):
            return 404, b'["Not Found"]'
        if request.method not in ("GET", "PUT"):
            return 400, b""
        try:
            return self._call(name, request)
        except _Unparsable as error:
            return 400, _json([BAD_JSON, str(error)])
        except documents.Unfit as error:
            return 400, _json([BAD_JSON, f"{error} at line 1 column {len(request.body.rstrip()) - 1}"])
        except Failure as failure:
            return self._error(failure.under("Error from API", self._title(name)))

    def _known(self, name: str) -> bool:
        if name == "vm.add-generic-vhost-user" and self.major < 52:
            return False
        return name in GET or name in PLAIN or name in ADD or name in MIGRATION or name == "vmm.shutdown"

    @staticmethod
    def _title(name: str) -> str:
        if name in GET:
            return GET[name]
        if name in ADD or name in MIGRATION:
            return (ADD.get(name) or MIGRATION[name])[1]
        return PLAIN[name][2] if name in PLAIN else "The VMM could not shutdown"

    def _error(self, failure: Failure) -> tuple[int, bytes]:
        if PENDING in failure.chain:
            return 429, b'["Too Many Requests"]'
        self.vmm.log.write("INFO", "HTTP API error response: " + ": ".join(failure.chain), "http-server")
        missing = self.major >= 53 and len(failure.chain) > 2 and failure.chain[2] in MISSING
        return 404 if missing else 500, _json(failure.chain)

    def _call(self, name: str, request) -> tuple[int, bytes]:
        if (name in GET) != (request.method == "GET"):
            return 400, BAD_REQUEST
        if name in GET:
            return 200, _json(self._get(name))
        if name == "vmm.shutdown":
            self.vmm.end()
            return 200, b""
        shape = self._shape(name)
        if shape is None and request.body:
            return 400, BAD_REQUEST
        if shape is not None and not request.body:
            return 400, b"" if name == "vm.create" else BAD_REQUEST
        body = self._body(shape, request.body) if shape else None
        return self._put(name, shape, body, request.fds)

    def _get(self, name: str) -> dict:
        if name == "vm.info":
            return self.vmm.info()
        if name == "vm.counters":
            return self.vmm.counters()
        version = self.vmm.version
        return {"build_version": version.build, "version": version.cargo, "pid": os.getpid(), "features": ["io_uring", "kvm"]}

    @staticmethod
    def _shape(name: str) -> str | None:
        if name in ADD:
            return ADD[name][0]
        return MIGRATION[name][0] if name in MIGRATION else PLAIN[name][1]

    def _body(self, shape: str, body: bytes) -> dict:
        try:
            value = json.loads(body)
        except ValueError as error:
            line, column = getattr(error, "lineno", 1), min(getattr(error, "colno", 0), len(body))
            reason = "EOF while parsing a value" if getattr(error, "pos", 0) >= len(body) else "expected value"
            raise _Unparsable(f"{reason} at line {line} column {column}") from error
        found = documents.read(shape, value, self.major)
        for net in [found] if shape == "net" else found.get("net") or [] if shape == "vm" else []:
            net["fds"] = None if net["fds"] is None else [-1] * len(net["fds"])
        return found

    def _put(self, name: str, shape: str | None, body: dict | None, fds: list[int]) -> tuple[int, bytes]:
        if name in MIGRATION:
            raise Failure("Failed to send migratable component snapshot", NO_MIGRATION if self.vmm.vm else "VM is not running")
        if name in ADD:
            answer = self.vmm.add(shape, body, fds)
            return (204, b"") if answer is None else (200, _json(answer))
        action = getattr(self.vmm, PLAIN[name][0])
        if shape is None:
            action()
        else:
            action(body[ONE_VALUE[shape]] if shape in ONE_VALUE else body)
        return 204, b""
