# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""What the user wishes: options become typed, checked specs.  Pure: no input or output."""

from __future__ import annotations

import re
import typing as t

from ._errors import CocoonError, join

MEMORY_MINIMUM = 64 * 2**20
DISK_MINIMUM = 16 * 2**20
MAXIMUM = 32 * 2**40  # tart counts disks in 16 bits of gigabytes
SEED_LIMIT = 512 * 2**10

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_IPV4 = re.compile(r"((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\.(?!$)|$)){4}")  # no leading zeros: some read those as octal
_SIZE = re.compile(r"([0-9]{1,20})\s*([KMGT]?)(i?B)?", re.IGNORECASE | re.ASCII)
_USER_DATA = re.compile(r"#cloud-config|#!|#include|#cloud-boothook|#part-handler|## template: jinja|(?i:content-type:|mime-version:)")


class Nic(t.NamedTuple):
    """One network card that the user wishes: its network's name, and optionally its addresses."""

    name: str
    mac_address: str | None = None
    ip_address: str | None = None


class VmSpec(t.NamedTuple):
    """One VM as the user wishes it.  None means: leave as it is; sizes are bytes, times seconds."""

    name: str
    state: str = "present"
    image: str | None = None
    cpus: int | None = None
    memory: int | None = None
    disk_size: int | None = None
    networks: tuple[Nic, ...] | None = None
    hostname: str | None = None
    ssh_authorized_keys: tuple[str, ...] | None = None
    user_data: str | None = None
    labels: dict[str, str] | None = None
    restart: str = "never"
    recreate: str = "never"
    adopt: bool = False
    force: bool = False
    stop_timeout: float = 30
    wait_for: str = "process"
    wait_timeout: float = 120


def parse_size(value: str, option: str) -> int:
    """Return a size such as ``512M`` or ``20GiB`` in bytes; units are powers of 1024, a plain number is bytes."""
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise CocoonError(f"{option}: {value!r} is not a size.", "write a number and a unit, for example 512M, 2G or 20GiB")
    return int(match.group(1)) * 1024 ** " KMGT".index(match.group(2).upper() or " ")


def show_size(size: int) -> str:
    """Return bytes as people write them: ``2G``, ``512M``, or the plain number where no unit fits."""
    for power, unit in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{unit}"
    return str(size)


def is_ipv4(text: str) -> bool:
    """Tell whether a text is an IPv4 address."""
    return _IPV4.fullmatch(text) is not None


def check_name(value: str, what: str) -> str:
    """Return a name that is safe as a path and as an argument, or raise CocoonError."""
    if _NAME.fullmatch(value) is None:
        raise CocoonError(
            f"{what}: {value!r} is not a name.",
            "start with a letter or digit, then use letters, digits, dots, underscores and hyphens, 63 characters at most",
        )
    return value


def vm_specs(params: dict[str, t.Any]) -> list[VmSpec]:
    """Return the specs of a task: its ``vms``, each completed by the options given once, or the one ``name``.

    Raises one CocoonError that tells every mistake of the whole batch.
    """
    items = [dict(item) for item in params["vms"]] if params.get("vms") is not None else [{"name": params["name"]}]
    shared = {field: params.get(field) for field in VmSpec._fields if field != "name"}
    specs, mistakes = [], []
    for number, item in enumerate(items):
        where = f"vms[{number}]" if params.get("vms") is not None else ""
        merged = dict(shared, **{key: value for key, value in item.items() if value is not None})
        try:
            specs.append(_vm_spec(merged))
        except CocoonError as error:
            name = f" ({item['name']})" if where and _NAME.fullmatch(str(item.get("name"))) else ""
            mistakes.append(f"{where}{name}{': ' if where else ''}{error.sentence}")
    mistakes += _clashes(specs)
    if params.get("parallel") is not None and params["parallel"] < 1:
        mistakes.append(f"parallel: {params['parallel']} is too few; give at least 1.")
    if mistakes:
        raise CocoonError(join(mistakes), "correct the task; nothing was changed")
    return specs


def _vm_spec(merged: dict[str, t.Any]) -> VmSpec:
    values = {field: merged.get(field) for field in VmSpec._fields}
    values["name"] = check_name(str(merged["name"]), "name")
    values["memory"] = _at_least(merged.get("memory"), "memory", MEMORY_MINIMUM)
    values["disk_size"] = _at_least(merged.get("disk_size"), "disk_size", DISK_MINIMUM)
    if values["memory"] is not None and values["memory"] % 2**20:
        raise CocoonError(f"memory: {values['memory']} bytes are no whole number of MiB.", "give a multiple of 1M")
    if values["cpus"] is not None and values["cpus"] < 1:
        raise CocoonError(f"cpus: {values['cpus']} is too few.", "give at least 1")
    if values["hostname"] is not None and (len(values["hostname"]) > 253 or _HOSTNAME.fullmatch(values["hostname"]) is None):
        raise CocoonError(f"hostname: {values['hostname']!r} is not a host name.", "use letters, digits and hyphens, separated by dots")
    for option in ("stop_timeout", "wait_timeout"):
        if values[option] is not None and not values[option] >= 0:  # also what is no number
            raise CocoonError(f"{option}: {values[option]} is negative.", "give seconds, 0 or more")
    if merged.get("networks") is not None:
        values["networks"] = tuple(_nic(nic, number) for number, nic in enumerate(merged["networks"]))
    if merged.get("ssh_authorized_keys") is not None:
        values["ssh_authorized_keys"] = tuple(_key(key) for key in merged["ssh_authorized_keys"])
    if merged.get("labels") is not None:
        values["labels"] = {str(key): str(value) for key, value in merged["labels"].items()}
    if values["user_data"] is not None and len(values["user_data"].encode("utf-8")) > SEED_LIMIT:
        raise CocoonError("user_data: it is longer than 512 KiB.", "let it fetch the rest itself, by #include or a script")
    if values["user_data"] and _USER_DATA.match(values["user_data"]) is None:  # its text is a secret, so not even its beginning is shown
        raise CocoonError(
            "user_data: cloud-init does not know what this is.",
            "start it with #cloud-config, #! (a script), #include, #cloud-boothook, ## template: jinja, or as a MIME message",
        )
    return VmSpec(**{key: value for key, value in values.items() if value is not None})


def _at_least(value: str | None, option: str, minimum: int) -> int | None:
    if value is None:
        return None
    size = parse_size(value, option)
    if size < minimum:
        hint = f" Did you mean {value.strip()}M?" if str(value).strip().isdigit() else ""
        raise CocoonError(f"{option}: {value} is below the minimum of {show_size(minimum)}.{hint}", "give a size with a unit, for example 2G")
    if size > MAXIMUM:
        raise CocoonError(f"{option}: {value} is above the maximum of {show_size(MAXIMUM)}.", "give a smaller size")
    return size


def _nic(nic: dict[str, t.Any], number: int) -> Nic:
    where = f"networks[{number}]"
    name = check_name(nic["name"], f"{where}.name")
    mac = nic.get("mac_address")
    if mac is not None:
        mac = mac.lower().replace("-", ":")
        if _MAC.fullmatch(mac) is None or int(mac[:2], 16) & 1:
            raise CocoonError(f"{where}.mac_address: {nic['mac_address']!r} is no unicast MAC address.", "write it like 52:54:00:12:34:56")
    address = nic.get("ip_address")
    if address is not None and not is_ipv4(address):
        raise CocoonError(f"{where}.ip_address: {address!r} is no IPv4 address.", "write it like 10.88.0.10, without a prefix length")
    return Nic(name, mac, address)


def _key(key: str) -> str:
    key = key.strip()
    if "\n" in key or len(key.split()) < 2 or "PRIVATE" in key:
        raise CocoonError("ssh_authorized_keys: an entry is no public key.", "give the one line of a .pub file for each key")
    return key


def _clashes(specs: list[VmSpec]) -> list[str]:
    """Return what two VMs of one batch may not share: a name, a MAC, an address in one network."""
    mistakes = []
    seen: dict[tuple[str, ...], str] = {}
    for spec in specs:
        # Macs' file systems ignore case, so two names that differ in nothing else would be one VM there.
        keys: list[tuple[str, ...]] = [("the name", spec.name.lower())]
        for nic in spec.networks or ():
            keys += [("MAC address", nic.mac_address)] if nic.mac_address else []
            keys += [(f"in network {nic.name} the address", nic.ip_address)] if nic.ip_address else []
        for key in keys:
            if key in seen:
                mistakes.append(f"{spec.name} and {seen[key]} have {key[0]} {key[1]} in common; each VM needs its own.")
            seen.setdefault(key, spec.name)
    return mistakes
