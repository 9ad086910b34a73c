# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The FAT volume for cloud-init, read back by a reader that knows the format and nothing of our writer."""

from __future__ import annotations

import pathlib
import shutil
import struct
import subprocess
import typing as t

import pytest
from hypothesis import example, given, strategies as st

from ansible_collections.cocoonstack.cocoon.plugins.module_utils._errors import CocoonError
from ansible_collections.cocoonstack.cocoon.plugins.module_utils._guest.fat import volume

FILES = {"meta-data": b"{}\n", "user-data": b"#cloud-config\n" * 100, "network-config": b"\x00\xff" * 5000}


class Reader:
    """A FAT12 file system as its specification describes it."""

    def __init__(self, image: bytes) -> None:
        assert image[510:512] == b"\x55\xaa" and image[0] == 0xEB
        size, per_cluster, reserved, fats, entries, sectors = struct.unpack_from("<HBHBHH", image, 11)
        fat_sectors = struct.unpack_from("<H", image, 22)[0]
        assert sectors * size == len(image)
        self.image, self.cluster = image, size * per_cluster
        self.tables = [image[(reserved + number * fat_sectors) * size:][: fat_sectors * size] for number in range(fats)]
        root = (reserved + fats * fat_sectors) * size
        self.root = image[root:root + entries * 32]
        self.data = root + entries * 32
        self.clusters = (len(image) - self.data) // self.cluster
        assert self.clusters < 4085, "with more clusters it would be FAT16"

    def next(self, cluster: int) -> int:
        """The entry of a cluster in the table."""
        pair = struct.unpack_from("<H", self.tables[0], cluster + cluster // 2)[0]
        return pair >> 4 if cluster & 1 else pair & 0xFFF

    def chain(self, first: int) -> list[int]:
        """All clusters of a file."""
        found = []
        while 2 <= first < 0xFF8:
            assert first not in found and first < self.clusters + 2
            found.append(first)
            first = self.next(first)
        return found

    def read(self) -> tuple[str, dict[str, bytes]]:
        """The label and the files by their long names; each entry's checksum and order are held against the specification."""
        label, files, parts, used = "", {}, [], []
        for start in range(0, len(self.root), 32):
            entry = self.root[start:start + 32]
            if entry[0] == 0:
                break
            if entry[11] == 0x0F:
                parts.append(entry)
            elif entry[11] & 0x08:
                label = entry[:11].decode("ascii").rstrip()
            else:
                first, size = struct.unpack_from("<HI", entry, 26)
                chain = self.chain(first)
                used += chain
                assert len(chain) == -(-size // self.cluster)
                content = b"".join(self.image[self.data + (cluster - 2) * self.cluster:][: self.cluster] for cluster in chain)
                files[self.long(parts, entry[:11])] = content[:size]
                parts = []
        assert len(used) == len(set(used)), "two files have a cluster in common"
        return label, files

    @staticmethod
    def long(parts: list[bytes], short: bytes) -> str:
        """A long name from its entries, which stand last part first."""
        checksum = 0
        for byte in short:
            checksum = ((checksum >> 1 | (checksum & 1) << 7) + byte) & 0xFF
        assert [part[0] & 0x3F for part in parts] == list(range(len(parts), 0, -1)) and parts[0][0] & 0x40
        assert all(part[13] == checksum for part in parts)
        units = b"".join(part[1:11] + part[14:26] + part[28:32] for part in reversed(parts))
        return units.decode("utf-16-le").split("\0", maxsplit=1)[0].rstrip("\uffff")


def test_the_files_are_there() -> None:
    """Label, names, contents; both tables are the same."""
    image = volume("CIDATA", FILES)
    reader = Reader(image)
    assert reader.read() == ("CIDATA", FILES)
    assert len(set(reader.tables)) == 1 and len(image) == 2**20


def test_the_label_is_where_blkid_looks() -> None:
    """In the boot sector too."""
    image = volume("CIDATA", FILES)
    assert image[43:54] == b"CIDATA     " and image[54:62] == b"FAT12   "


@given(
    st.dictionaries(
        st.text("abcdefghijklmnopqrstuvwxyz-.", min_size=1, max_size=30).filter(lambda name: name.strip(".") == name),
        st.binary(max_size=3000),
        min_size=1,
        max_size=4,
    )
)
@example({"meta-data": b""})
@example({"a": b"x" * 511, "b": b"x" * 512, "c": b"x" * 513})
@example({"exactly-13-ch": b"x"})
def test_what_was_written_is_read(files: dict[str, bytes]) -> None:
    """Any few files."""
    assert Reader(volume("CIDATA", files)).read() == ("CIDATA", files)


def test_the_same_content_gives_the_same_bytes() -> None:
    """In whatever order it is given; other content gives others."""
    image = volume("CIDATA", FILES)
    assert image == volume("CIDATA", dict(reversed(FILES.items())))
    assert image != volume("CIDATA", {**FILES, "meta-data": b"{} "})


def test_what_does_not_fit() -> None:
    """The largest volume is full; one byte more is an error and not a broken volume."""
    room = 2027 * 512
    largest = {"user-data": b"x" * room}
    assert Reader(volume("CIDATA", largest)).read()[1] == largest
    for files in ({"user-data": b"x" * (room + 1)}, {"user-data": b"x" * room, "meta-data": b"x"}):
        with pytest.raises(CocoonError, match="larger than 1 MiB") as caught:
            volume("CIDATA", files)
        assert "user_data" in caught.value.remedy


def test_other_programs_read_it_too(tmp_path: pathlib.Path) -> None:
    """mtools and fsck, where they are installed; our own reader in every case."""
    path = tmp_path / "seed.img"
    path.write_bytes(volume("CIDATA", FILES))
    readers: dict[str, t.Callable[[], None]] = {
        "mtype": lambda: [_mtype(path, name) for name in FILES] and None,
        "fsck.vfat": lambda: subprocess.run(["fsck.vfat", "-n", str(path)], check=True, stdout=subprocess.DEVNULL) and None,
    }
    for program, read in readers.items():
        if shutil.which(program):
            read()
    assert Reader(path.read_bytes()).read()[1] == FILES


def _mtype(path: pathlib.Path, name: str) -> None:
    found = subprocess.run(["mtype", "-i", str(path), f"::{name}"], check=True, capture_output=True).stdout
    assert found == FILES[name]
