"""Archives from elsewhere: unpacked as a whole, or refused before anything is written."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from harness.data.archive import Limits, unpack
from harness.errors import DataError

LIMITS = Limits(largest_file=1000, largest_total=2500)


def keep_wavs(path):
    return path if path.suffix == ".wav" else None


@pytest.fixture(params=["zip", "tar.gz"])
def pack(request, tmp_path):
    """pack({name: content}) -> an archive of this kind."""

    def pack_zip(members: dict[str, bytes]) -> Path:
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path

    def pack_tar(members: dict[str, bytes]) -> Path:
        path = tmp_path / "set.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path

    return pack_zip if request.param == "zip" else pack_tar


def refused(archive: Path, reason: str, limits: Limits = LIMITS) -> None:
    folder = archive.parent / "unpacked"
    with pytest.raises(DataError, match=reason):
        unpack(archive, folder, keep_wavs, limits)
    assert not [path for path in archive.parent.rglob("*.wav") if folder not in path.parents]


def written(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.wav")}


def test_what_is_wanted_is_written_and_the_rest_is_not(pack, tmp_path):
    members = {"a/1.wav": b"one", "a/b/2.wav": b"", "readme.md": b"x" * 5000}
    assert unpack(pack(members), tmp_path / "unpacked", keep_wavs, LIMITS) == 2
    assert written(tmp_path / "unpacked") == {"a/1.wav": b"one", "a/b/2.wav": b""}


@pytest.mark.parametrize("name", ["../1.wav", "a/../../1.wav", "/tmp/1.wav", "..\\1.wav", "C:/1.wav"])
def test_a_member_that_would_land_elsewhere_spoils_the_archive(pack, name):
    refused(pack({"good.wav": b"fine", name: b"evil"}), "outside its folder")


def test_too_large_a_file_is_refused_before_anything_is_written(pack, tmp_path):
    refused(pack({"1.wav": b"a", "2.wav": bytes(1001)}), "2.wav has 1001 bytes, at most 1000")
    assert written(tmp_path / "unpacked") == {}


def test_a_bomb_of_many_files_is_refused_before_anything_is_written(pack, tmp_path):
    refused(pack({f"{number}.wav": bytes(900) for number in range(3)}), "2700 bytes, at most 2500")
    assert written(tmp_path / "unpacked") == {}


def test_names_that_some_file_systems_take_for_one_are_refused(pack):
    refused(pack({"a.wav": b"1", "A.wav": b"2"}), "A.wav twice")


def test_half_an_archive_is_refused(pack):
    archive = pack({f"{number}.wav": bytes([number]) * 700 for number in range(3)})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    refused(archive, "not a whole zip or tar archive")


def test_a_page_that_asks_to_sign_in_is_no_archive(tmp_path):
    page = tmp_path / "set.zip"
    page.write_text("<html>sign in</html>")
    refused(page, "not a whole zip or tar archive")


def test_a_changed_byte_is_noticed(tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("1.wav", b"x" * 500)
    content = bytearray(archive.read_bytes())
    content[200] ^= 1
    archive.write_bytes(content)
    refused(archive, "Bad CRC-32")


def test_a_zip_that_lies_about_a_size_is_caught_while_writing(tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("1.wav", bytes(100_000))
    content = bytearray(archive.read_bytes())
    for marker, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(marker) + place
        assert struct.unpack_from("<I", content, at) == (100_000,)
        struct.pack_into("<I", content, at, 10)
    archive.write_bytes(content)
    refused(archive, "more than the 10 bytes|not a whole|Bad CRC")
    (found,) = written(tmp_path / "unpacked").values()
    assert len(found) <= 10


def test_links_are_refused(tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        link = zipfile.ZipInfo("1.wav")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    refused(archive, "1.wav is a link")
    tar = tmp_path / "set.tar"
    with tarfile.open(tar, "w") as file:
        link = tarfile.TarInfo("1.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    (tmp_path / "unpacked").rmdir()
    refused(tar, "1.wav is a link")
