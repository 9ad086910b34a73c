# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's guest by itself: its image, its ways to boot, its NoCloud data, its manners. Boots QEMU; no lab host is needed."""
from __future__ import annotations

import gzip
import http.server
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from tests.lab.guest import Paths, build  # noqa: E402, pylint: disable=wrong-import-position
from tests.lab.guest import apple_lz4, tart, tart_push  # noqa: E402, pylint: disable=wrong-import-position
from tests.lab.guest.machine import Disk, Machine  # noqa: E402, pylint: disable=wrong-import-position
from tests.lab.guest.oci import digest  # noqa: E402, pylint: disable=wrong-import-position

MAC = "52:54:00:0a:0b:0c"
MAC_2 = "52:54:00:0a:0b:0d"


# ---------------------------------------------------------------- helpers


def blob(paths: Paths, name: str) -> bytes:
    """A blob of the OCI layout, by digest."""
    data = (paths.oci / "blobs" / "sha256" / name.removeprefix("sha256:")).read_bytes()
    assert digest(data) == name
    return data


def manifest(paths: Paths, name: str) -> dict[str, Any]:
    """The manifest of one image of the layout."""
    index = json.loads((paths.oci / "index.json").read_text(encoding="utf-8"))
    entry = next(entry for entry in index["manifests"] if entry["annotations"]["org.opencontainers.image.ref.name"] == name)
    return json.loads(blob(paths, entry["digest"]))


def extract(data: bytes, target: pathlib.Path) -> None:
    """A layer as overlayfs wants it: whiteouts as device nodes, opaque directories by attribute."""
    opaque = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            directory, name = os.path.split(member.name)
            if name == ".wh..wh..opq":
                opaque.append(target / directory)
            elif name.startswith(".wh."):
                os.mknod(target / directory / name[4:], 0o020600, os.makedev(0, 0))
            else:
                archive.extract(member, target, numeric_owner=True)
    for path in opaque:
        os.setxattr(path, "trusted.overlay.opaque", b"y")


def erofs(data: bytes, work: pathlib.Path, number: int) -> Disk:
    """A layer as cocoon attaches it (cocoon contract 2.2, 3), made with the erofs-utils of Debian 12."""
    source, image = work / f"layer{number}", work / f"layer{number}.erofs"
    source.mkdir()
    extract(data, source)
    subprocess.run(["mkfs.erofs", "-zlz4hc", "-C4096", "-T0", "-U", f"00000000-0000-4000-8000-{number:012d}", str(image), str(source)],
                   check=True, capture_output=True)
    shutil.rmtree(source)
    return Disk(image, serial=f"cocoon-layer{number}", readonly=True)


def fat_seed(paths: Paths, image: pathlib.Path, files: dict[str, str]) -> Disk:
    """A FAT12 volume with the label CIDATA."""
    tools = {"PATH": f"{paths.packages}/usr/bin:{paths.packages}/sbin:/usr/bin:/bin", "MTOOLS_SKIP_CHECK": "1"}
    image.write_bytes(b"")
    os.truncate(image, 1 << 20)
    subprocess.run(["mkfs.fat", "-F", "12", "-n", "CIDATA", str(image)], env=tools, check=True, capture_output=True)
    for name, text in files.items():
        subprocess.run(["mcopy", "-i", str(image), "-", f"::/{name}"], env=tools, input=text.encode(), check=True)
    return Disk(image, readonly=True)


def both(number: int, size: int) -> bytes:
    """A number as ISO 9660 has it: little-endian, then big-endian."""
    return number.to_bytes(size, "little") + number.to_bytes(size, "big")


def iso_record(name: bytes, sector: int, size: int, flags: int) -> bytes:
    """One directory record."""
    body = b"\0" + both(sector, 4) + both(size, 4) + bytes(7) + bytes([flags, 0, 0]) + both(1, 2) + bytes([len(name)]) + name
    body += b"\0" * ((len(body) + 1) % 2)
    return bytes([len(body) + 1]) + body


def iso_seed(image: pathlib.Path, files: dict[str, str]) -> Disk:
    """An ISO 9660 volume with the label cidata: descriptors in sectors 16 and 17, the root directory in 18, then the files."""
    root, data, sector = iso_record(b"\0", 18, 2048, 2) + iso_record(b"\1", 18, 2048, 2), b"", 19
    for name, text in sorted(files.items()):
        root += iso_record(name.encode() + b";1", sector, len(text.encode()), 0)
        padded = text.encode() + b"\0" * (-len(text.encode()) % 2048)
        data, sector = data + padded, sector + len(padded) // 2048
    head = b"\1CD001\1\0" + b" " * 32 + b"cidata".ljust(32) + bytes(8) + both(sector, 4) + bytes(32)
    head += both(1, 2) + both(1, 2) + both(2048, 2) + both(10, 4) + bytes(16) + iso_record(b"\0", 18, 2048, 2)
    image.write_bytes(bytes(16 * 2048) + head.ljust(2048, b"\0") + b"\xffCD001\1".ljust(2048, b"\0") + root.ljust(2048, b"\0") + data)
    return Disk(image, readonly=True)


# ---------------------------------------------------------------- machines, all started at once


@pytest.fixture(scope="module")
def paths() -> Paths:
    """The artefacts."""
    return build()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where disks and consoles lie."""
    return tmp_path_factory.mktemp("guest")


@pytest.fixture(scope="module")
def key(work: pathlib.Path) -> pathlib.Path:
    """An ed25519 key."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(work / "key")], check=True)
    return work / "key"


def public(key: pathlib.Path) -> str:
    """Its public half."""
    return key.with_suffix(".pub").read_text(encoding="utf-8").strip()


def private_copy(paths: Paths, image: pathlib.Path) -> Disk:
    """A writable copy of the guest's disk; no overlay, because another build may replace the file below it."""
    shutil.copyfile(paths.qcow2, image)
    return Disk(image, "qcow2")


def direct_machine(paths: Paths, work: pathlib.Path) -> Machine:
    """cocoon's direct boot (cloud-hypervisor contract 6.3): layers found by serial, whatever their order, and two interfaces."""
    layers = [erofs(blob(paths, layer["digest"]), work, number) for number, layer in enumerate(manifest(paths, "guest:1")["layers"])]
    cow = work / "cow.raw"
    cow.write_bytes(b"")
    os.truncate(cow, 1 << 30)
    subprocess.run(["mkfs.ext4", "-F", "-m0", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1,discard", str(cow)], check=True)
    serials = ",".join(layer.serial for layer in reversed(layers))
    append = (f"console=ttyS0 console=hvc0 loglevel=3 boot=cocoon-overlay cocoon.layers={serials} cocoon.cow=cocoon-cow "
              "clocksource=kvm-clock rw net.ifnames=0 cocoon.hostname=web-1 "
              "ip=10.0.2.15::10.0.2.2:255.255.255.0:web-1:eth0:off:10.0.2.3:1.1.1.1 ip=10.0.3.77:::255.255.255.0:web-1:eth1:off")
    disks = [Disk(cow, serial="cocoon-cow"), layers[1], layers[0], *layers[2:]]
    return Machine(work / "direct", disks, {"kernel": str(paths.vmlinuz), "initrd": str(paths.initrd), "append": append}, macs=(MAC, MAC_2))


def vfat_machine(paths: Paths, work: pathlib.Path, key: pathlib.Path) -> Machine:
    """JSON-style data as our product writes it, static addresses by MAC."""
    return Machine(work / "vfat", [private_copy(paths, work / "vfat.qcow2"), vfat_data(paths, work, key, "i-1")], macs=(MAC, MAC_2))


def vfat_data(paths: Paths, work: pathlib.Path, key: pathlib.Path, instance: str) -> Disk:
    """The NoCloud volume of one instance."""
    user = {"hostname": "json-1", "ssh_authorized_keys": [public(key)], "ssh_pwauth": True,
            "users": ["default", {"name": "bob", "ssh_authorized_keys": [public(key)], "sudo": "ALL=(ALL) NOPASSWD:ALL",
                                  "groups": ["staff", "lab"], "shell": "/bin/bash"},
                      {"name": "eve", "plain_text_passwd": "pässword \"x\"", "lock_passwd": False}],
            "chpasswd": {"expire": False, "list": ["admin:new-secret"]},
            "write_files": [{"path": "/etc/test/one", "content": "line\n", "permissions": "0600", "owner": "bob:lab", "defer": True},
                            {"path": "/etc/test/two", "content": "aGVsbG8K", "encoding": "b64"}],
            "runcmd": [f"echo {instance} >>/root/runcmd", ["sh", "-c", "echo \"$1\" >>/root/runcmd", "-", "it's a list"]]}
    network = {"version": 2, "ethernets": {
        "id0": {"match": {"macaddress": MAC.upper()}, "addresses": ["10.0.2.15/24"], "routes": [{"to": "default", "via": "10.0.2.2"}],
                "nameservers": {"addresses": ["10.0.2.3"], "search": ["lab.test"]}},
        "id1": {"match": {"macaddress": MAC_2}, "addresses": ["10.0.3.9/24"], "mtu": 1400}}}
    return fat_seed(paths, work / f"vfat-{instance}.img", {
        "meta-data": json.dumps({"instance-id": instance, "local-hostname": "from-meta"}),
        "user-data": "#cloud-config\n" + json.dumps(user), "network-config": json.dumps(network)})


def iso_machine(paths: Paths, work: pathlib.Path, key: pathlib.Path) -> Machine:
    """Block-style YAML in MIME parts, DHCP by MAC."""
    user = f"""Content-Type: multipart/mixed; boundary="==x=="
MIME-Version: 1.0

--==x==
Content-Type: text/cloud-config

#cloud-config
# a user's own file
fqdn: yaml-1.example.test
disable_root: true
users:
  - default
  - name: carol   # no password
    ssh_authorized_keys:
      - {public(key)}
ssh_authorized_keys:
- {public(key)}
runcmd:
- |
  echo one
  echo two >/root/runcmd

--==x==
Content-Type: text/cloud-config
Merge-Type: list(append)+dict(no_replace,recurse_list)+str()

#cloud-config
{{"runcmd": ["echo three >>/root/runcmd"], "fqdn": "later.example.test"}}

--==x==
Content-Type: text/x-shellscript

#!/bin/sh
echo script >/root/script
--==x==--
"""
    network = f"network:\n  version: 2\n  ethernets:\n    any:\n      match:\n        macaddress: '{MAC}'\n      dhcp4: true\n"
    meta = "instance-id: iid-7\nlocal-hostname: meta\n"
    seed = iso_seed(work / "seed.iso", {"meta-data": meta, "user-data": user, "network-config": network})
    return Machine(work / "iso", [private_copy(paths, work / "iso.qcow2"), seed], macs=(MAC,))


@pytest.fixture(scope="module")
def machines(paths: Paths, work: pathlib.Path, key: pathlib.Path) -> Iterator[dict[str, Machine]]:
    """All guests, started together and ready; a fleet of four is also what the lab does."""
    fleet = {"disk": Machine(work / "disk", [private_copy(paths, work / "disk.qcow2")]).start()}
    fleet["direct"] = direct_machine(paths, work).start()
    fleet["vfat"] = vfat_machine(paths, work, key).start()
    fleet["iso"] = iso_machine(paths, work, key).start()
    try:
        for name, machine in fleet.items():
            print(f"{name}: ready {machine.wait_ready():.1f} s after QEMU's start, beside {len(fleet) - 1} others")
        yield fleet
    finally:
        for machine in fleet.values():
            machine.kill()


# ---------------------------------------------------------------- tests without a machine


def lua(paths: Paths, text: str) -> Any:
    """What the guest's YAML reader makes of the text; None for an error."""
    root = paths.packages
    library = f"{root}/lib/x86_64-linux-gnu:{root}/usr/lib/x86_64-linux-gnu"
    scripts = pathlib.Path(__file__).resolve().parents[1] / "lab" / "guest" / "files" / "lua"
    command = [f"{root}/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "--library-path", library, f"{root}/usr/bin/lua5.4",
               str(scripts / "yaml2json.lua")]
    done = subprocess.run(command, input=text.encode(), env={"LUA_PATH": f"{scripts}/?.lua"}, capture_output=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


@pytest.mark.parametrize(("text", "value"), [
    ('{"a": [1, 2.5, null, true, "x\\u00e9\\n\\" #"], "b": {}, "c": []}', {"a": [1, 2.5, None, True, 'xé\n" #'], "b": {}, "c": []}),
    ("#cloud-config\na: b # c\nd:\n- e: f\n  g: 'it''s'\n- [h, {i: j}]\n-\n  - k\n",
     {"a": "b", "d": [{"e": "f", "g": "it's"}, ["h", {"i": "j"}], ["k"]]}),
    ("a: |\n  x\n   y\n\n  z\nb: >-\n  x\n  y\n\n  z\nc: \"x\n  y\"\n", {"a": "x\n y\n\nz\n", "b": "x y\nz", "c": "x y"}),
    ("mode: 0644\nport: 22:22\nmac: 52:54:00:12:34:56\nyes: no\n", {"mode": 420, "port": 1342, "mac": 41135085296, "true": False}),
    ("a: &x\n  b: 1\nc:\n  <<: *x\n  d: *x\n", {"a": {"b": 1}, "c": {"b": 1, "d": {"b": 1}}}),
    ("url: http://h/p?q#f\ncmd: echo a:b, c\n---\nsecond: document\n", {"url": "http://h/p?q#f", "cmd": "echo a:b, c"}),
    ("", None), ("a: b: c\n", None), ("a: [1, 2\n", None), ("a:\n  - b\n c: d\n", None), ('a: "x\n', None), ("\ta: b\n", None),
])
def test_yaml(paths: Paths, text: str, value: Any) -> None:
    """The reader agrees with YAML 1.1, and refuses what is none."""
    assert lua(paths, text) == value


def test_oci_image(paths: Paths) -> None:
    """The two images share all but the top layer; the boot files lie where cocoon looks (cocoon contract 2.2)."""
    first, second = manifest(paths, "guest:1"), manifest(paths, "guest:2")
    assert [layer["digest"] for layer in first["layers"][:-1]] == [layer["digest"] for layer in second["layers"][:-1]]
    assert first["layers"][-1] != second["layers"][-1]
    assert {layer["mediaType"] for layer in first["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    config = json.loads(blob(paths, first["config"]["digest"]))
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    layers = [gzip.decompress(blob(paths, layer["digest"])) for layer in first["layers"]]
    assert [digest(layer) for layer in layers] == config["rootfs"]["diff_ids"]
    with tarfile.open(fileobj=io.BytesIO(layers[1])) as archive:
        names = [name for name in archive.getnames() if name.startswith("boot/") and not name.endswith(".old")]
    assert [name.split("-")[0] for name in names] == ["boot/initrd.img", "boot/vmlinuz"]
    subprocess.run(["skopeo", "inspect", f"oci:{paths.oci}:guest:2"], check=True, capture_output=True)


def test_apple_lz4() -> None:
    """The framing holds every mix of runs and noise, reads real LZ4, and refuses what is damaged."""
    noise = os.urandom(100_000)
    for data in (b"", b"x", bytes(64), bytes(300_000), noise, bytes(70_000) + noise + b"\xff" * 65_536, b"ab" * 40_000):
        packed = apple_lz4.encode(data)
        assert apple_lz4.decode(packed) == data
    assert len(apple_lz4.encode(bytes(1 << 20))) < 8000
    compressed = b"bv41\x14\0\0\0\x0e\0\0\0" + b"\x3fabc\x03\x00\x00\x50vwxyz" + b"\x00\x00"
    with pytest.raises(apple_lz4.FramingError):
        apple_lz4.decode(compressed)
    block = b"\x36abc\x03\x00\x50vwxyz"  # "abc", ten bytes from three back, then the last literals
    stream = b"bv41" + (18).to_bytes(4, "little") + len(block).to_bytes(4, "little") + block + b"bv4$"
    assert apple_lz4.decode(stream) == b"abcabcabcabcavwxyz"
    for broken in (b"", packed[:-4], packed[:100], b"bv42" + packed[4:]):
        with pytest.raises(apple_lz4.FramingError):
            apple_lz4.decode(broken)


class FakeRegistry(http.server.BaseHTTPRequestHandler):
    """Just enough of the distribution API to take a push."""

    stored: dict[str, bytes] = {}

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def do_HEAD(self) -> None:  # pylint: disable=invalid-name
        """Is the blob there."""
        self._answer(200 if self.path in self.stored else 404)

    def do_POST(self) -> None:  # pylint: disable=invalid-name
        """An upload begins."""
        self._answer(202, Location=f"http://{self.headers['Host']}{self.path}42?state=a%3Db")

    def do_PUT(self) -> None:  # pylint: disable=invalid-name
        """An upload ends, or a manifest comes."""
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if "/uploads/" in self.path:
            base, name = self.path.split("/uploads/")[0], self.path.rsplit("digest=", 1)[1].replace("%3A", ":")
            assert digest(data) == name
            self.stored[f"{base}/{name}"] = data
        else:
            self.stored[self.path] = data
        self._answer(201)

    def log_message(self, format: str, *args: Any) -> None:  # pylint: disable=redefined-builtin
        """Silence."""


def test_tart_push(paths: Paths) -> None:
    """What is pushed can be put together again, with tart's media types and annotations (tart contract 8.5)."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeRegistry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        host = f"127.0.0.1:{server.server_port}"
        pushed = [tart_push.push(paths, f"{host}/lab/tart-guest:{version}", insecure=True, version=version) for version in (1, 2)]
    finally:
        server.shutdown()
        server.server_close()
    texts = [FakeRegistry.stored[f"/v2/lab/tart-guest/manifests/{version}"] for version in (1, 2)]
    assert [digest(text) for text in texts] == pushed and pushed[0] != pushed[1]
    layers = json.loads(texts[0])["layers"]
    kinds = [layer["mediaType"].split(".")[-2] for layer in layers]
    assert kinds[0] == "config" and kinds[-1] == "nvram" and set(kinds[1:-1]) == {"disk"} and len(kinds) == 6
    disk = b""
    for layer in layers[1:-1]:
        chunk = apple_lz4.decode(FakeRegistry.stored[f"/v2/lab/tart-guest/blobs/{layer['digest']}"])
        notes = {name.rsplit(".", 1)[1]: value for name, value in layer["annotations"].items()}
        assert notes == {"uncompressed-size": str(len(chunk)), "uncompressed-content-digest": digest(chunk)}
        disk += chunk
    assert disk == paths.raw.read_bytes()
    assert len((paths.tart / "nvram.bin").read_bytes()) == tart.NVRAM_SIZE


# ---------------------------------------------------------------- tests in the guests


def test_direct_boot_shows_the_image_as_it_is(machines: dict[str, Machine]) -> None:
    """Whiteouts, opaque directories, owners, modes, links and names survive the conversion."""
    script = """cd /etc/lab; ls -d deleted-* ; ls opaque; cat changed version; stat -c %a:%u:%g owned setuid; stat -c %h hard-a hard-b
[ $(stat -c %i hard-a) = $(stat -c %i hard-b) ] && echo same; readlink absolute; ls | grep -c "name with spaces"; ls | grep -c ^long-
ls /boot; ls -la /bin /sbin | head -2 | wc -l; cat /proc/mounts | grep ' / '"""
    out = machines["direct"].ssh(script, password="cocoon").stdout
    release = out.split("vmlinuz-")[1].split("\n", 1)[0]
    assert out.split("overlay ")[0].split("\n") == [
        "new", "from the top layer", "1", "640:1234:5678", "4755:0:0", "2", "2", "same", "/etc/lab/owned", "1", "1",
        f"initrd.img-{release}", f"vmlinuz-{release}", "vmlinuz.old", "2", ""]
    assert "index=on" in out and "metacopy=on" in out


def test_direct_boot_takes_names_and_addresses_from_the_kernel(machines: dict[str, Machine]) -> None:
    """cocoon's parameters: hostname, an address per interface, gateway, DNS; both consoles say ready."""
    machine = machines["direct"]
    out = machine.ssh("hostname; ip -4 -o addr; ip route; cat /etc/resolv.conf; ls /dev/disk/by-id", password="cocoon").stdout
    assert out.startswith("web-1\n") and "eth0    inet 10.0.2.15/24" in out and "eth1    inet 10.0.3.77/24" in out
    assert "default via 10.0.2.2 dev eth0" in out and "nameserver 10.0.2.3\nnameserver 1.1.1.1\n" in out and "virtio-cocoon-cow" in out
    for console in ("ttyS0", "hvc0"):
        assert "lab-guest: ready web-1 10.0.2.15" in machine.console(console)


def test_disk_boot(machines: dict[str, Machine]) -> None:
    """BIOS, DHCP, the published logins."""
    machine = machines["disk"]
    assert "lab-guest: ready guest 10.0.2.15" in machine.console("ttyS0") and "lab-guest: ready guest" in machine.console("hvc0")
    out = machine.ssh("id; ip -4 -o addr; cat /etc/resolv.conf /etc/lab/version; ls /etc/lab/opaque", user="admin", password="admin").stdout
    assert "uid=501(admin) gid=20(staff)" in out and "inet 10.0.2.15/24" in out and "10.0.2.3" in out and out.endswith("1\nnew\n")
    assert machine.ssh("true", password="wrong", check=False).returncode == 255


def test_nocloud_json_on_vfat(machines: dict[str, Machine], key: pathlib.Path) -> None:
    """Our own product's style: names, users, keys, passwords, files, commands, static addresses by MAC."""
    machine = machines["vfat"]
    script = """cloud-init status --wait; hostname; id bob; cat /root/runcmd; stat -c %a:%U:%G /etc/test/one; cat /etc/test/two
cat /etc/sudoers.d/90-cloud-init-bob; ip -4 -o addr; cat /sys/class/net/eth1/mtu; ip route; cat /etc/resolv.conf"""
    out = machine.ssh(script, key=key).stdout
    assert out.startswith("status: done\njson-1\nuid=1000(bob) gid=1000(bob) groups=1000(bob),20(staff),1001(lab)\ni-1\nit's a list\n")
    assert "600:bob:lab\nhello\nbob ALL=(ALL) NOPASSWD:ALL\n" in out
    assert "inet 10.0.2.15/24" in out and "inet 10.0.3.9/24" in out and "\n1400\ndefault via 10.0.2.2" in out
    assert out.endswith("search lab.test\nnameserver 10.0.2.3\n")
    assert machine.ssh("whoami", user="bob", key=key).stdout == "bob\n"
    assert machine.ssh("whoami", user="eve", password='pässword "x"').stdout == "eve\n"
    assert machine.ssh("whoami", user="admin", password="new-secret").stdout == "admin\n"
    assert machine.ssh("whoami", user="admin", password="admin", check=False).returncode == 255


def test_nocloud_yaml_mime_on_iso(machines: dict[str, Machine], key: pathlib.Path) -> None:
    """A user's own YAML in MIME parts, merged as cloud-init merges; root refused where the data says so."""
    machine = machines["iso"]
    out = machine.ssh("cloud-init status --wait; hostname; ip -4 -o addr; id", user="carol", key=key).stdout
    assert out.startswith("status: done\nyaml-1\n") and "inet 10.0.2.15/24" in out and "uid=1000(carol)" in out
    refused = machine.ssh("whoami", key=key, check=False)
    assert refused.returncode == 142 and 'Please login as the user "admin"' in refused.stdout
    assert machine.ssh("cat /root/runcmd /root/script", password="cocoon").stdout == "two\nthree\nscript\n"
    assert machine.ssh("whoami", user="admin", key=key).stdout == "admin\n"


# ---------------------------------------------------------------- tests over several boots, side by side


def direct_story(machine: Machine) -> None:
    """Reboot, look, power button."""
    before = machine.ssh("echo kept >/root/kept; rm -r /etc/lab/opaque; cat /etc/dropbear/*key | md5sum; reboot", password="cocoon").stdout
    machine.wait_ready(2)
    out = machine.ssh("cat /etc/dropbear/*key | md5sum; cat /root/kept; ls /etc/lab/opaque 2>&1; true", password="cocoon").stdout
    assert out.startswith(before + "kept\n") and "No such file" in out
    machine.qmp("system_powerdown")
    machine.wait_exit(20)
    assert "power button: poweroff" in machine.console("hvc0")
    state = subprocess.run(["dumpe2fs", "-h", str(machine.disks[0].path)], capture_output=True, text=True, check=True).stdout
    assert "needs_recovery" not in state


def disk_story(machine: Machine) -> None:
    """Power-off from within, another boot."""
    machine.ssh("echo kept >/root/kept; poweroff", password="cocoon")
    machine.wait_exit(20)
    machine.start().wait_ready()
    assert machine.ssh("cat /root/kept; stat -c %a /tmp", password="cocoon").stdout == "kept\n1777\n"


def vfat_story(machine: Machine, again: Disk, key: pathlib.Path) -> None:
    """The same instance, no volume, another instance."""
    machine.ssh("rm -r /home/bob/.ssh; reboot", key=key)
    machine.wait_ready(2)
    assert machine.ssh("cat /root/runcmd; ls -d /home/bob/.ssh; hostname", key=key, check=False).stdout == "i-1\nit's a list\njson-1\n"
    machine.qmp("system_powerdown")
    machine.wait_exit(20)
    disk = machine.disks[0]
    machine.disks = [disk]
    machine.start().wait_ready()
    out = machine.ssh("hostname; ip -4 -o addr; wc -l </root/runcmd; poweroff", key=key).stdout
    assert out.startswith("json-1\n") and "inet 10.0.3.9/24" in out and out.endswith("2\n")
    machine.wait_exit(20)
    machine.disks = [disk, again]
    machine.start().wait_ready()
    out = machine.ssh("cloud-init status --wait; cat /root/runcmd; ls -d /home/bob/.ssh", key=key).stdout
    assert out == "status: done\ni-1\nit's a list\ni-2\nit's a list\n/home/bob/.ssh\n"


@pytest.fixture(scope="module")
def stories(machines: dict[str, Machine], paths: Paths, work: pathlib.Path, key: pathlib.Path) -> Iterator[dict[str, Future[None]]]:
    """The stories, all begun when the first is asked for; each test takes the outcome of one."""
    with ThreadPoolExecutor(3) as pool:
        yield {"direct": pool.submit(direct_story, machines["direct"]), "disk": pool.submit(disk_story, machines["disk"]),
               "vfat": pool.submit(vfat_story, machines["vfat"], vfat_data(paths, work, key, "i-2"), key)}


def test_idle_guest_sleeps(machines: dict[str, Machine], stories: dict[str, Future[None]]) -> None:
    """An idle guest takes next to no processor time, or a dozen of them would fill the machine."""
    assert len(stories) == 3
    machine = machines["iso"]
    before = machine.cpu_seconds()
    time.sleep(4.0)
    used = (machine.cpu_seconds() - before) / 4.0
    print(f"idle: {used:.1%} of a processor")
    assert used < 0.04


def test_direct_boot_keeps_files_over_a_reboot(stories: dict[str, Future[None]]) -> None:
    """`reboot` works, the COW disk and the host key stay, the power button leaves the disk clean."""
    stories["direct"].result()


def test_disk_keeps_files_over_a_power_off(stories: dict[str, Future[None]]) -> None:
    """What is written to the disk's root stays."""
    stories["disk"].result()


def test_nocloud_runs_once_per_instance(stories: dict[str, Future[None]]) -> None:
    """The same instance-id changes nothing, no volume changes nothing, a new instance-id applies everything again."""
    stories["vfat"].result()


def test_boot_time(machines: dict[str, Machine], stories: dict[str, Future[None]]) -> None:
    """One guest alone is ready in seconds; the time is printed, the processor time is what counts on a busy machine."""
    for story in stories.values():
        story.exception()
    machine = machines["disk"]
    machine.kill()
    seconds = machine.start().wait_ready()
    used = machine.cpu_seconds()
    print(f"alone: ready {seconds:.1f} s after QEMU's start, {used:.1f} s of processor time")
    assert used < 12
