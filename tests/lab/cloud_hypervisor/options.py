# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Option values of the command line to the configuration that the API would take (contract 1.5)."""
from __future__ import annotations

from . import documents, grammar, schema
from .commandline import Arguments
from .errors import Failure

LIMITER_KEYS = tuple(f"{kind}_{key}" for kind in ("bw", "ops") for key in ("size", "one_time_burst", "refill_time"))
LIMITED = ("disks", "net", "rate_limit_groups")
NO_IOMMU_KEY = ("fs", "user_devices", "generic_vhost_user")
ALIASES = {"platform": ("serial_number", "uuid"), "memory": ("file",), "generic_vhost_user": ("virtio_id",)}
SIZE_DEFAULT = 512 << 20
MODES = ("off", "pty", "tty", "null", "file", "socket")
FS_TAG_LENGTH = 36

# structure: (option, mandatory keys with the text of their absence)
OPTION_OF = {
    "cpus": "cpus", "memory": "memory", "zone": "memory-zone", "rate_limit_groups": "rate-limit-group", "disks": "disk", "net": "net",
    "rng": "rng", "balloon": "balloon", "fs": "fs", "generic_vhost_user": "generic-vhost-user", "pmem": "pmem", "serial": "serial",
    "console": "console", "debug_console": "console", "devices": "device", "user_devices": "user-device", "vdpa": "vdpa",
    "vsock": "vsock", "rtc": "rtc", "numa": "numa", "pci_segments": "pci-segment", "platform": "platform", "tpm": "tpm",
    "landlock_rules": "landlock-rules", "restore": "restore",
}
MISSING = {
    ("fs", "tag"): "--fs: tag missing", ("fs", "socket"): "--fs: socket missing", ("pmem", "file"): "--pmem: file missing",
    ("vsock", "socket"): "--vsock: socket missing", ("vsock", "cid"): "--vsock: cid missing",
    ("zone", "id"): "--memory-zone: id missing", ("restore", "source_url"): "--restore: source_url missing",
    ("user_devices", "socket"): "--user-device: socket missing", ("vdpa", "path"): "--vdpa: path missing",
    ("tpm", "socket"): "--tpm: path missing", ("landlock_rules", "path"): "--landlock-rules: path/access field missing",
    ("landlock_rules", "access"): "--landlock-rules: path/access field missing",
    ("generic_vhost_user", "socket"): "--generic-vhost-user: socket missing",
    ("generic_vhost_user", "device_type"): "--generic-vhost-user: device_type missing",
    ("generic_vhost_user", "queue_sizes"): "--generic-vhost-user: queue size missing",
}


def _topology(text: str) -> dict:
    parts = text.split(":")
    if len(parts) != 4:
        raise grammar.Conversion(text)
    names = ("threads_per_core", "cores_per_die", "dies_per_package", "packages")
    return {name: grammar.integer(part, 16) for name, part in zip(names, parts)}


def _features(text: str) -> dict:
    for feature in grammar.strings(text):
        if feature != "amx":
            raise Failure(f"Invalid feature in --cpus features list: {feature}")
    return {"amx": True}


def _affinity(first: str):
    def convert(text: str) -> list[dict]:
        return [{first: grammar.integer(key, 32), "host_cpus": cpus} for key, cpus in grammar.pairs(text, grammar.integers)]
    return convert


def _distances(text: str) -> list[dict]:
    pairs = grammar.pairs(text, lambda rest: grammar.integer(rest, 64))
    return [{"destination": grammar.integer(key, 32), "distance": value & 0xFF} for key, value in pairs]


def _net_fds(text: str) -> list[dict]:
    return [{"id": key, "num_fds": len(fds), "fds": fds} for key, fds in grammar.pairs(text, grammar.integers)]


def _signed(text: str) -> int:
    return -grammar.integer(text[1:], 31) if text.startswith("-") else grammar.integer(text, 31)


STRUCTURED = {
    "topology": _topology, "features": _features, "cpu_affinity": _affinity("vcpu"), "queue_affinity": _affinity("queue_index"),
    "distance": _distances, "net_fds": _net_fds,
}
SIMPLE = {
    "bool": grammar.toggle, "size": grammar.size, "ints": grammar.integers, "strs": grammar.strings, "mac": grammar.mac,
    "ip": grammar.address, "str": grammar.dequote, "i32": _signed,
}


def _convert(kind, text: str):
    if isinstance(kind, schema.Struct):
        return STRUCTURED[kind.name](text)
    if isinstance(kind, schema.Enum):
        key = text if kind is schema.PROFILE else text.lower()
        spellings = {"Host": "Host"} if kind is schema.PROFILE else kind.from_cli
        if key not in spellings:
            raise grammar.Conversion(text)
        return spellings[key]
    return SIMPLE[kind](text) if kind in SIMPLE else grammar.integer(text, documents.BITS[kind])


def _keys(name: str, major: int) -> dict:
    keys = {field.cli: True for field in schema.fields_of(name, major) if field.cli}
    if name in LIMITED:
        keys.update(dict.fromkeys(LIMITER_KEYS, True))
    if name in NO_IOMMU_KEY:
        keys.pop("iommu", None)
    for alias in ALIASES.get(name, ()):
        keys[alias] = True
    if name in ("serial", "console", "debug_console"):
        keys.update({mode: mode in ("file", "socket") for mode in MODES})
    if name == "debug_console":
        del keys["socket"]
    if major < 53:
        for field in schema.fields_of(name, major):
            if field.before:
                keys.pop(field.cli, None)
        if name == "balloon":
            for key in schema.PCI_KEYS:
                keys.pop(key, None)
    return keys


def _limiter(raw: dict) -> dict | None:
    found = {}
    for prefix, name in (("bw", "bandwidth"), ("ops", "ops")):
        values = [_typed(raw, f"{prefix}_{key}", "u64") or 0 for key in ("size", "one_time_burst", "refill_time")]
        if values[0] and values[2]:
            found[name] = {"size": values[0], "one_time_burst": values[1], "refill_time": values[2]}
    return {"bandwidth": found.get("bandwidth"), "ops": found.get("ops")} if found else None


def _typed(raw: dict, key: str, kind):
    if not raw.get(key):
        return None
    try:
        return _convert(kind, raw[key])
    except grammar.Conversion as error:
        raise Failure(f"unable to convert {raw[key]} for {key}") from error


def _console_mode(raw: dict) -> str:
    for mode in MODES:
        if mode in raw:
            if mode in ("file", "socket") and not raw[mode]:
                raise Failure("Error validating configuration", f"Path missing when using {mode} console mode")
            return mode
    raise Failure("Error parsing --console: invalid console mode given")


def _port(text: str) -> int:
    try:
        if not text.startswith("0x"):
            raise ValueError(text)
        return int(text[2:], 16)
    except ValueError as error:
        message = f"The IO port was not properly provided in hex or a `0x` prefix is missing: {text}"
        raise Failure("Error validating configuration", message) from error


def _special(name: str, raw: dict, found: dict) -> None:
    """What the table does not say."""
    if name in LIMITED:
        found["rate_limiter_config"] = _limiter(raw)
    if name == "rate_limit_groups":
        found["id"] = found.get("id") or ""
        found["rate_limiter_config"] = found["rate_limiter_config"] or {"bandwidth": None, "ops": None}
    if name == "platform":
        found["system_serial_number"] = found.get("system_serial_number") or _typed(raw, "serial_number", "str")
        found["system_uuid"] = found.get("system_uuid") or _typed(raw, "uuid", "str")
        found["iommufd"] = found["iommufd"] if raw.get("iommufd") else found.get("iommufd_fd") is not None
    if name in ("memory", "zone") and found.get("size") is None:
        found["size"] = SIZE_DEFAULT
    if name == "balloon" and found.get("size") is None:
        found["size"] = 0
    if name == "cpus":
        found["boot_vcpus"] = 1 if found["boot_vcpus"] is None else found["boot_vcpus"]
        found["max_vcpus"] = found["boot_vcpus"] if found["max_vcpus"] is None else found["max_vcpus"]
    if name == "disks" and found.get("vhost_socket"):
        found["image_type"] = "Unknown"
    if name == "fs" and len(found.get("tag") or "") > FS_TAG_LENGTH:
        raise Failure(f"Error parsing --fs: max tag length is {FS_TAG_LENGTH}")


def _fields(name: str, raw: dict, major: int) -> dict:
    found = {}
    for field in schema.fields_of(name, major):
        if name == "debug_console" and field.name == "iobase":
            found["iobase"] = _port(raw["iobase"]) if raw.get("iobase") else None
            continue
        value = None
        if field.cli and not (field.cli in schema.PCI_KEYS and name in schema.PCI_STRUCTS):
            value = _typed(raw, field.cli, field.kind)
        if value is None and field.default is not schema.REQUIRED:
            value = documents.default_of(field, major)
        if value is None and (name, field.name) in MISSING:
            raise Failure("Error parsing " + MISSING[(name, field.name)])
        found[field.name] = value
    return found


def _common(raw: dict, found: dict, major: int) -> None:
    for field in schema.PCI:
        if field.since <= major and raw.get(field.cli):
            found[field.name] = _typed(raw, field.cli, field.kind)


def parse_option(name: str, text: str, major: int) -> dict:
    """Parse one option's value into the structure `name`."""
    title = f"Error parsing --{OPTION_OF[name]}"
    try:
        raw = grammar.parse(text, _keys(name, major))
    except Failure as failure:
        raise failure.under(title) from failure
    mode = _console_mode(raw) if name in ("serial", "console", "debug_console") else None
    try:
        found = _fields(name, raw, major)
        if mode:
            found.update(mode=schema.MODE.from_cli[mode])
            for key in ("file", "socket"):
                if key in found and key != mode:
                    found[key] = None
        _special(name, raw, found)
    except Failure as failure:
        whole = failure.chain[0].startswith(("Error ", "Invalid feature"))
        raise failure if whole else failure.under(title)
    if name in schema.PCI_STRUCTS:
        try:
            _common(raw, found, major)
        except Failure as failure:
            raise failure.under("Error parsing common PCI device config" if major >= 52 else title) from failure
    return found


def vm_config(args: Arguments, major: int) -> dict:
    """The whole configuration of a command line with a payload, not validated yet."""
    config = {field.name: documents.default_of(field, major) for field in schema.fields_of("vm", major)}
    config["payload"] = {key: args.get(key) for key in ("firmware", "kernel", "cmdline", "initramfs")}
    for name in ("cpus", "memory", "rng", "serial", "console", "debug_console"):
        config[name] = parse_option(name, args.get(OPTION_OF[name] if name != "debug_console" else "debug-console"), major)
    if args.has("memory-zone"):
        config["memory"]["zones"] = [parse_option("zone", text, major) for text in args.get("memory-zone")]
    many = ("rate_limit_groups", "disks", "net", "fs", "generic_vhost_user", "pmem", "devices", "user_devices", "vdpa", "numa",
            "pci_segments", "landlock_rules")
    for name in many + ("balloon", "vsock", "rtc", "platform", "tpm"):
        if not args.has(OPTION_OF[name]):
            continue
        value = args.get(OPTION_OF[name])
        config[name] = [parse_option(name, text, major) for text in value] if name in many else parse_option(name, value, major)
    for flag, option in (("watchdog", "watchdog"), ("pvpanic", "pvpanic"), ("landlock_enable", "landlock")):
        config[flag] = args.has(option)
    return config
