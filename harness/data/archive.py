"""Unpacking what came from elsewhere: nothing outside its folder, no links, no bombs, all or nothing.

An archive is data that somebody else made. Every member's name and size is judged before anything
is written; what is really written is counted, since the sizes in an archive are claims.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from harness.data.progress import progress
from harness.errors import DataError

CHUNK = 2**20
_ENCRYPTED = 0x1

Keep = Callable[[PurePosixPath], PurePosixPath | None]
"""A member's path -> where it goes below the folder, or None for what is not wanted."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may make us write."""

    largest_file: int
    """Bytes that no wanted file exceeds."""
    largest_total: int
    """Bytes of all wanted files together."""


@dataclass(frozen=True)
class _Member:
    path: PurePosixPath
    target: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, keep: Keep, limits: Limits) -> int:
    """Write the wanted members of a zip or tar archive below `folder`, which is made; count them.

    Whoever calls it unpacks into a temporary folder and renames: on an error what was written so
    far is still there.
    Raises: DataError for an archive that is not whole, would write elsewhere or too much.
    """
    folder.mkdir(parents=True)
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                return _write(archive, _tar_members(archive, tar, keep), folder, limits)
        with zipfile.ZipFile(archive) as opened:
            return _write(archive, _zip_members(archive, opened, keep), folder, limits)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(f"{archive.name} is not a whole zip or tar archive: {error}") from None


def _write(archive: Path, members: Iterator[_Member], folder: Path, limits: Limits) -> int:
    wanted = list(members)
    _judge(archive, wanted, limits)
    total = sum(member.size for member in wanted)
    done = 0
    with progress(f"unpacking {archive.name}", total, "bytes") as advance:
        for member in wanted:
            target = folder.joinpath(*member.target.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            written = 0
            with member.open() as source, target.open("wb") as file:
                while chunk := source.read(CHUNK):
                    written += len(chunk)
                    if written > member.size:
                        raise DataError(
                            f"refused {archive.name}: {member.path} holds more than the {member.size} bytes "
                            "that it claims"
                        )
                    file.write(chunk)
            done += written
            advance(done)
    return len(wanted)


def _judge(archive: Path, members: list[_Member], limits: Limits) -> None:
    """Raises: DataError before anything is written."""
    targets: set[str] = set()
    for member in members:
        if member.size > limits.largest_file:
            raise DataError(
                f"refused {archive.name}: {member.path} has {member.size} bytes, at most "
                f"{limits.largest_file} were expected of a file"
            )
        name = str(member.target).casefold()  # as file systems that do not tell cases apart see it
        if name in targets:
            raise DataError(f"refused {archive.name}: it holds {member.target} twice")
        targets.add(name)
    total = sum(member.size for member in members)
    if total > limits.largest_total:
        raise DataError(
            f"refused {archive.name}: unpacked it would take {total} bytes, at most "
            f"{limits.largest_total} were expected"
        )


def _zip_members(archive: Path, file: zipfile.ZipFile, keep: Keep) -> Iterator[_Member]:
    for info in file.infolist():
        path = _inside(archive, info.filename)
        if info.is_dir() or (target := keep(path)) is None:
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(f"refused {archive.name}: {path} is a link")
        if info.flag_bits & _ENCRYPTED:
            raise DataError(f"refused {archive.name}: {path} is encrypted")

        def opened(info: zipfile.ZipInfo = info) -> IO[bytes]:
            return file.open(info)

        yield _Member(path, _inside(archive, str(target)), info.file_size, opened)


def _tar_members(archive: Path, tar: tarfile.TarFile, keep: Keep) -> Iterator[_Member]:
    for info in tar:
        path = _inside(archive, info.name)
        if info.isdir() or (target := keep(path)) is None:
            continue
        if not info.isreg():
            raise DataError(f"refused {archive.name}: {path} is a link or a device")

        def opened(info: tarfile.TarInfo = info) -> IO[bytes]:
            member = tar.extractfile(info)
            assert member is not None  # it is a regular file
            return member

        yield _Member(path, _inside(archive, str(target)), info.size, opened)


def _inside(archive: Path, name: str) -> PurePosixPath:
    """Raises: DataError for a name that could leave the folder on any operating system."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise DataError(f"refused {archive.name}: it would write outside its folder ({name!r})")
    return path
