# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in the guest: the layers of its image and its initramfs."""
from __future__ import annotations

import pathlib
import subprocess

from . import modules
from .paths import FILES
from .tree import Entry, Tree

# SHA-512 crypt of "cocoon" and "admin": the published passwords of the lab's guests
_ROOT_HASH = "$6$cocoonlab$UKX1LKAmczchUT1ph3DstKtIndEh9xxCp.8Hek2NBXpzEQ1cXN605JFwlFk5dro3lJluI/R0v8PN8xAZN14dZ."
_ADMIN_HASH = "$6$adminlab$OOqsJ.N9E2fFgwDgE8M3rTTe6N931CrK6/SSC3ZMvBCJhwVmQ.15.WgBscgX8LyRHYbj2lRh9HUKOcGkNcl2i."
_LIBRARIES = ("ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libcrypt.so.1", "libz.so.1", "libgmp.so.10", "libreadline.so.8",
              "libtinfo.so.6", "libtomcrypt.so.1", "libtommath.so.1")
_LIBRARY_DIRECTORY = "usr/lib/x86_64-linux-gnu"
_PROGRAMS = {"usr/sbin/dropbear": "dropbear", "usr/bin/dropbearkey": "dropbearkey", "usr/bin/lua5.4": "lua"}
_SCRIPTS = ("ready", "sshd", "power", "power-off", "refuse-root", "shutdown", "udhcpc.script")
_INITRAMFS_APPLETS = ("sh", "cat", "findfs", "mkdir", "modprobe", "mount", "switch_root", "usleep")
_PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/:/usr/sbin/nologin
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
admin:x:501:20:Lab Admin:/home/admin:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUP = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nadm:x:4:\nstaff:x:20:\nsudo:x:27:admin\nusers:x:100:\nnogroup:x:65534:\n"
_OS_RELEASE = """PRETTY_NAME="cocoon lab guest"
NAME="cocoon lab guest"
ID=lab-guest
ID_LIKE=debian
"""


def _busybox(root: pathlib.Path) -> bytes:
    return (root / "bin/busybox").read_bytes()


def _applets(root: pathlib.Path) -> list[str]:
    done = subprocess.run([str(root / "bin/busybox"), "--list"], capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split() if name not in ("busybox", "init", "linuxrc", "dpkg", "dpkg-deb", "rpm")]


def _script(name: str) -> bytes:
    return (FILES / "rootfs" / name).read_bytes()


def base_layer(root: pathlib.Path) -> Tree:
    """The userland, and the files that the top layer removes."""
    tree = Tree()
    _directories(tree)
    _programs(tree, root)
    _settings(tree)
    _markers(tree)
    return tree


def _directories(tree: Tree) -> None:
    for path in ("dev", "etc", "etc/sudoers.d", "etc/dropbear", "home", "mnt", "proc", "run", "sys", "usr/bin", "usr/lib", "usr/lib64",
                 "var/empty", "var/lib/cloud/data", "var/log", "opt"):
        tree.directory(path)
    tree.directory("tmp", 0o1777)
    tree.directory("var/tmp", 0o1777)
    tree.directory("root", 0o700)
    tree.directory("home/admin", 0o755, 501, 20)
    for name in ("bin", "lib", "lib64"):
        tree.symlink(name, f"usr/{name}")
    tree.symlink("sbin", "usr/bin")
    tree.symlink("usr/sbin", "bin")
    tree.symlink("var/run", "/run")
    tree.symlink("etc/mtab", "/proc/self/mounts")


def _programs(tree: Tree, root: pathlib.Path) -> None:
    tree.file("usr/bin/busybox", _busybox(root), 0o755)
    for name in _applets(root):
        tree.symlink(f"usr/bin/{name}", "/usr/bin/busybox")
    for source, name in _PROGRAMS.items():
        tree.file(f"usr/bin/{name}", (root / source).read_bytes(), 0o755)
    tree.file("usr/lib/openssh/sftp-server", (root / "usr/lib/openssh/sftp-server").read_bytes(), 0o755)
    for name in _LIBRARIES:
        found = [path for path in (root / "lib/x86_64-linux-gnu" / name, root / _LIBRARY_DIRECTORY / name) if path.exists()]
        tree.file(f"{_LIBRARY_DIRECTORY}/{name}", found[0].read_bytes(), 0o755)
    tree.symlink("usr/lib64/ld-linux-x86-64.so.2", f"/{_LIBRARY_DIRECTORY}/ld-linux-x86-64.so.2")
    tree.file("usr/bin/init", _script("init"), 0o755)
    for name in ("bash", "cloud-init"):
        tree.file(f"usr/bin/{name}", _script(name), 0o755)
    for name in _SCRIPTS:
        tree.file(f"usr/lib/lab/{name}", _script(name), 0o755)
    tree.directory("usr/lib/lab/cow")
    for name in ("halt", "poweroff", "reboot"):
        tree.file(f"usr/bin/{name}", _script("power-command"), 0o755)
    for name in ("fstab", "fstab.late", "inittab"):
        tree.file(f"usr/lib/lab/{name}", _script(name))
    for path in sorted((FILES / "lua").glob("*.lua")):
        tree.file(f"usr/lib/lab/{path.name}", path.read_bytes())
    tree.file("etc/acpi/PWRF/00000080", _script("power-button"), 0o755)


def _settings(tree: Tree) -> None:
    tree.file("etc/passwd", _PASSWD)
    tree.file("etc/group", _GROUP)
    shadow = {"root": _ROOT_HASH, "daemon": "*", "sshd": "*", "admin": _ADMIN_HASH, "nobody": "*"}
    tree.file("etc/shadow", "".join(f"{name}:{secret}:19000:0:99999:7:::\n" for name, secret in shadow.items()), 0o600)
    tree.file("etc/shells", "/bin/sh\n/bin/ash\n/bin/bash\n/usr/bin/bash\n/usr/bin/sh\n")
    tree.file("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
    tree.file("etc/fstab", "# rows that user-data adds\n")
    tree.file("etc/profile", "export PATH=/usr/bin:/bin\nexport PS1='\\u@\\h:\\w\\$ '\n")
    tree.file("etc/issue", "cocoon lab guest \\n \\l\n\n")
    tree.file("etc/os-release", _OS_RELEASE)
    tree.file("etc/machine-id", "")


def _markers(tree: Tree) -> None:
    """Files that a conversion of the image may get wrong."""
    tree.file("etc/lab/deleted-file", "the top layer deletes this file\n")
    tree.file("etc/lab/deleted-directory/file", "the top layer deletes this directory\n")
    tree.file("etc/lab/opaque/old", "the top layer replaces this directory\n")
    tree.file("etc/lab/changed", "from the base layer\n")
    tree.file("etc/lab/owned", "owner 1234, group 5678\n", 0o640, 1234, 5678)
    tree.file("etc/lab/setuid", "mode 4755\n", 0o4755)
    tree.file("etc/lab/hard-a", "two names, one inode\n")
    tree.hardlink("etc/lab/hard-b", "etc/lab/hard-a")
    tree.symlink("etc/lab/absolute", "/etc/lab/owned")
    tree.file("etc/lab/name with spaces and ü", "a name that needs care\n")
    tree.file("etc/lab/" + "long-" * 30 + "name", "a path that needs an extended tar header\n")


def boot_layer(root: pathlib.Path, initrd: bytes) -> Tree:
    """Kernel, initramfs and the modules of the root file system, named as Debian names them."""
    tree = Tree()
    release = modules.release(root)
    tree.file(f"boot/vmlinuz-{release}", kernel(root), 0o644)
    tree.file(f"boot/initrd.img-{release}", initrd)
    tree.symlink("boot/vmlinuz.old", f"vmlinuz-{release}")
    modules.install(tree, f"usr/lib/modules/{release}", modules.load(root, (*modules.EARLY, *modules.LATE)))
    return tree


def top_layer(version: int) -> Tree:
    """The layer that deletes, replaces and adds."""
    tree = Tree()
    tree.file("etc/lab/.wh.deleted-file", b"")
    tree.file("etc/lab/.wh.deleted-directory", b"")
    tree.file("etc/lab/opaque/.wh..wh..opq", b"")
    tree.file("etc/lab/opaque/new", "the only file here\n")
    tree.file("etc/lab/changed", "from the top layer\n")
    tree.file("etc/lab/version", f"{version}\n")
    return tree


def kernel(root: pathlib.Path) -> bytes:
    """The kernel image."""
    return (root / "boot" / f"vmlinuz-{modules.release(root)}").read_bytes()


def initramfs(root: pathlib.Path) -> Tree:
    """The initramfs of both boot ways."""
    tree = Tree()
    for path in ("bin", "cow", "dev", *(f"l/{number}" for number in range(8)), "proc", "root", "sbin", "sys"):
        tree.directory(path)
    tree.add(Entry("dev/console", "char", 0o600, target="5:1"))
    tree.file("bin/busybox", _busybox(root), 0o755)
    for name in _INITRAMFS_APPLETS:
        tree.symlink(f"bin/{name}", "busybox")
    tree.symlink("sbin/modprobe", "/bin/busybox")
    tree.file("etc/fstab", (FILES / "initramfs" / "fstab").read_bytes())
    tree.file("init", (FILES / "initramfs" / "init").read_bytes(), 0o755)
    modules.install(tree, f"lib/modules/{modules.release(root)}", modules.load(root, modules.EARLY))
    return tree
