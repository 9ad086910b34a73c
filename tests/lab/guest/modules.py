# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel modules: which ones the guest has, their dependencies, and the index files that busybox modprobe reads."""
from __future__ import annotations

import pathlib
import re
from dataclasses import dataclass

from .tree import Tree

# what has to be there before the root file system is
EARLY = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "erofs", "overlay")
# what the root file system has on top
LATE = ("virtio_balloon", "virtio-rng", "button", "evdev", "vfat", "nls_cp437", "nls_ascii", "nls_utf8", "nls_iso8859-1",
        "isofs", "virtio_scsi", "sd_mod", "sr_mod", "virtiofs", "loop", "crc32c-intel", "vmw_vsock_virtio_transport")
_SIGNATURE = b"~Module signature appended~\n"


@dataclass(frozen=True)
class Module:
    """One module file, as the guest gets it."""

    name: str
    path: str
    data: bytes
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


def release(root: pathlib.Path) -> str:
    """The kernel's release, from the one directory of modules."""
    return next((root / "lib/modules").iterdir()).name


def load(root: pathlib.Path, names: tuple[str, ...]) -> list[Module]:
    """The modules and what they need, dependencies first."""
    base = root / "lib/modules" / release(root)
    files = {_key(path.name): path for path in base.rglob("*.ko")}
    found: dict[str, Module] = {}

    def visit(name: str) -> None:
        if _key(name) in found:
            return
        module = _read(files[_key(name)], base)
        for need in module.depends:
            visit(need)
        found[_key(name)] = module

    for name in names:
        visit(name)
    return list(found.values())


def _key(name: str) -> str:
    return name.removesuffix(".ko").replace("-", "_")


def _read(path: pathlib.Path, base: pathlib.Path) -> Module:
    data = path.read_bytes()
    fields = re.findall(rb"\0(depends|alias)=([^\0]*)", data)
    depends = next((value.decode() for key, value in fields if key == b"depends"), "")
    aliases = tuple(value.decode() for key, value in fields if key == b"alias")
    needs = tuple(name for name in depends.split(",") if name)
    return Module(_key(path.name), str(path.relative_to(base)), _slim(data), needs, aliases)


def _slim(data: bytes) -> bytes:
    """Without the signature and with the type information hidden: the kernel checks and parses both at every load."""
    if data.endswith(_SIGNATURE):
        trailer = len(_SIGNATURE) + 12
        size = int.from_bytes(data[-trailer:][8:12], "big")
        data = data[:-trailer - size]
    return data.replace(b"\0.BTF\0", b"\0.xTF\0")


def install(tree: Tree, directory: str, modules: list[Module]) -> None:
    """The modules and their index files below ``directory`` (lib/modules/RELEASE)."""
    by_name = {module.name: module for module in modules}
    depends, aliases = [], []
    for module in modules:
        tree.file(f"{directory}/{module.path}", module.data)
        needs = " ".join(by_name[name].path for name in _closure(module, by_name))
        depends.append(f"{module.path}: {needs}".rstrip() + "\n")
        aliases.extend(f"alias {alias} {module.name}\n" for alias in module.aliases)
    tree.file(f"{directory}/modules.dep", "".join(depends))
    tree.file(f"{directory}/modules.alias", "".join(aliases))
    tree.file(f"{directory}/modules.symbols", "")


def _closure(module: Module, by_name: dict[str, Module]) -> list[str]:
    """Every module that has to be loaded before, nearest first."""
    order: list[str] = []
    for need in module.depends:
        for name in [_key(need), *_closure(by_name[_key(need)], by_name)]:
            if name in order:
                order.remove(name)
            order.append(name)
    return order
