"""A store at a URL (`s3://`, `gs://`, whatever fsspec has a driver for): its files, and what fails.

Only the few operations that every object store has: list, read, write a whole object, create one that must
not be there, remove. There is no lock and no rename; what is built on this has to do without.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, did_you_mean

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""Protocol -> the extra of this package that brings its driver."""

WHOLE_OBJECTS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "obs", "cos"}
"""Stores where an object appears when all of it is there. Elsewhere it is written aside and renamed."""

TAGS = (
    *("ETag", "etag", "md5Hash", "content_md5", "generation", "sha", "mtime", "LastModified"),
    *("last_modified", "modified", "last_write_time", "modificationTime", "created"),
)
"""What drivers call the thing that changes when a file does, best first."""

LOCAL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Of the disk here, while a file comes: not the store's fault."""

PART = ".part-"


class RemoteError(HarnessError):
    """A store at a URL that cannot be reached, or does not let this be done."""


@dataclass(frozen=True)
class Entry:
    """A file in the store: bytes, and a text that changes when the file does."""

    size: int
    tag: str


def is_url(place: str | Path) -> bool:
    """Whether a place is a URL rather than a folder or ``REV:FOLDER``.

    Raises: HarnessError for a URL that was made a `Path`, in which ``//`` is lost.
    """
    if isinstance(place, Path):
        if re.match(r"(?!file:)[a-z][a-z0-9+.-]+:/(?!/)", str(place)):
            raise HarnessError(f"{place}: give a URL as text, not as a Path, which drops a slash")
        return False
    return "://" in place


class Remote:
    """The files below a URL; all paths are relative to it, with ``/`` between their parts.

    Raises: HarnessError for a URL of no known kind or without its driver; its methods, RemoteError.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.protocol = url.partition("://")[0]
        self._fs, root = _file_system(url)
        self._root = root.rstrip("/")
        if not self._root.strip("/"):
            raise HarnessError(f"{url}: names no folder; write e.g. {self.protocol}://bucket/path")

    def entries(self) -> dict[str, Entry]:
        """All files; none where there is nothing yet. A bucket that is not there is an error."""
        with self._told("listing it"):
            self._fs.invalidate_cache()
            found = self._fs.find(self._root, detail=True)
        return {
            name.removeprefix(self._root).lstrip("/"): self._entry(about)
            for name, about in found.items()
            if about["type"] == "file" and name.startswith(self._root)
        }

    def entry(self, path: str) -> Entry:
        with self._told(f"looking at {path}"):
            self._fs.invalidate_cache()
            return self._entry(self._fs.info(self._at(path)))

    def read(self, path: str) -> bytes | None:
        """None where there is no such file."""
        with self._told(f"reading {path}"):
            try:
                return self._fs.cat_file(self._at(path))
            except FileNotFoundError:
                return None

    def write(self, path: str, data: bytes) -> None:
        with self._told(f"writing {path}"):
            self._make_folder(path)
            self._fs.pipe_file(self._at(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Write a file that is not there yet; False where it is. Some stores cannot tell, and overwrite."""
        with self._told(f"writing {path}"):
            self._make_folder(path)
            try:
                self._fs.pipe_file(self._at(path), data, mode="create")
            except FileExistsError:
                return False
            return True

    def download(self, path: str, target: Path) -> bool:
        """False where it has gone since it was listed."""
        with self._told(f"fetching {path}"):
            try:
                self._fs.get_file(self._at(path), str(target))
            except FileNotFoundError:
                return False
            return True

    def upload(self, source: Path, path: str) -> None:
        """Put a file in its place; who reads meanwhile reads the old one or the new one."""
        with self._told(f"sending {path}"):
            self._make_folder(path)
            if self.protocol in WHOLE_OBJECTS:
                self._fs.put_file(str(source), self._at(path))
                return
            folder, _, name = self._at(path).rpartition("/")
            aside = f"{folder}/{PART}{name}"
            self._fs.put_file(str(source), aside)
            self._fs.mv(aside, self._at(path))

    def remove(self, path: str) -> None:
        """Nothing happens where it is not there."""
        with self._told(f"removing {path}"):
            try:
                self._fs.rm_file(self._at(path))
            except FileNotFoundError:
                return

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _make_folder(self, path: str) -> None:
        """Where folders are things of their own; making one in an object store would make a bucket."""
        if self.protocol not in WHOLE_OBJECTS:
            self._fs.makedirs(self._at(path).rpartition("/")[0], exist_ok=True)

    def _entry(self, about: Mapping[str, Any]) -> Entry:
        for name in TAGS:
            value = about.get(name)
            if value is not None:
                text = value.timestamp() if isinstance(value, datetime) else value
                return Entry(int(about["size"]), f"{name} {text}")
        raise HarnessError(
            f"{self.url}: its driver ({type(self._fs).__name__}) does not say when a file has changed; "
            "use another kind of store"
        )

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        """What fails in a driver, in words. Drivers share no class of errors: whatever it is, is told."""
        try:
            yield
        except HarnessError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in LOCAL_ERRORS:
                raise
            words = " ".join(str(error).split()) or type(error).__name__
            raise RemoteError(f"{self.url}: {doing} failed: {words}; {_hint(error)}") from error


def _file_system(url: str) -> tuple[Any, str]:
    import fsspec
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0]
    try:
        return url_to_fs(url)
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        cure = str(error) if extra is None else f"pip install 'longseq-harness[{extra}]'"
        raise HarnessError(f"{url}: {protocol}:// needs a driver that is not installed: {cure}") from None
    except ValueError as error:
        if protocol not in fsspec.available_protocols():
            near = did_you_mean(protocol, ["s3", "gs", "memory", "file"])
            raise HarnessError(f"{url}: nothing is known of stores at {protocol}://; {near}") from None
        raise HarnessError(f"{url}: cannot be used: {error}") from None


def _hint(error: Exception) -> str:
    name = type(error).__name__
    if isinstance(error, PermissionError) or "Credential" in name or "Auth" in name:
        return "has this machine credentials that may do so? They are the driver's own (docs/stores.md)"
    if isinstance(error, FileNotFoundError):
        return "is there such a bucket? None is made here"
    return "can it be reached from here? (docs/stores.md)"


ENDPOINTS = (
    *("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "FSSPEC_S3_ENDPOINT_URL"),
    *("STORAGE_EMULATOR_HOST", "FSSPEC_GCS_ENDPOINT_URL"),
)


def identity(url: str) -> str:
    """What tells one store from another of the same URL: the server that answers for it."""
    return "\n".join([url.rstrip("/"), *(f"{n}={os.environ[n]}" for n in ENDPOINTS if os.environ.get(n))])
