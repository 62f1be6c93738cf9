"""Tokens on disk: made once, memory-mapped afterwards, rebuilt when damaged.

A cache entry is a folder named by the sha256 of all that its tokens depend on:

    <root>/tokens/<data set>-<16 hex digits>/
        manifest.json           what it was made from; shape, size and sha256 of each file; notes
        train.tokens            uint8 [N, L], raw
        train.lengths           int64 [N], little-endian, raw
        train.labels            int64 [N], where there are labels
        validation.tokens …     the same for the other splits

The root is the environment variable HARNESS_CACHE, or the user's cache folder. An entry appears by
one rename, made by whoever holds its lock, so that a reader sees all of it or none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from harness.cache import cache_root
from harness.contracts import Split
from harness.data.mapped import map_tokens
from harness.data.progress import progress
from harness.errors import DataError

FORMAT = 1
"""Part of every key. Raise it when the same configuration has to give other tokens or files."""

SPLITS = ("train", "validation", "test")

CHECKED_IN_FULL = 100 * 2**20
"""Bytes up to which an entry's checksums are compared on opening; beyond, sizes alone."""

_DTYPES: dict[str, np.dtype[Any]] = {
    "tokens": np.dtype("u1"),
    "lengths": np.dtype("<i8"),
    "labels": np.dtype("<i8"),
}

log = logging.getLogger(__name__)


class CachedTokens(NamedTuple):
    splits: Mapping[str, Split]
    notes: tuple[str, ...]
    sha256: str  # over the checksums of all files: over every token, length and label
    folder: Path


class TokenWriter:
    """Takes clips one by one and writes them as they come: no split has to fit in memory."""

    def __init__(self, folder: Path, length: int) -> None:
        self.length = length
        self._lengths: dict[str, list[int]] = {split: [] for split in SPLITS}
        self._labels: dict[str, list[int]] = {split: [] for split in SPLITS}
        self._folder = folder
        self._open = ExitStack()
        self._files: dict[str, BinaryIO] = {
            split: self._open.enter_context((folder / f"{split}.tokens").open("wb")) for split in SPLITS
        }

    def add(self, split: str, tokens: np.ndarray, length: int, label: int | None = None) -> None:
        """One clip: uint8[L], of which the first `length` are true. Labels for all clips or none."""
        if tokens.shape != (self.length,) or tokens.dtype != np.uint8 or not 1 <= length <= self.length:
            raise ValueError(f"not a clip of {self.length}: {tokens.dtype} {tokens.shape}, length {length}")
        self._files[split].write(tokens.tobytes())
        self._lengths[split].append(length)
        if label is not None:
            self._labels[split].append(label)

    def close(self) -> None:
        """Write what was held back. Raises: DataError when a split got no clip."""
        self._open.close()
        for split in SPLITS:
            if not self._lengths[split]:
                raise DataError(f"no clip is left for the {split} split; add files or change the fractions")
            self._write(split, "lengths", self._lengths[split])
            if self._labels[split]:
                if len(self._labels[split]) != len(self._lengths[split]):
                    raise ValueError(f"some clips of {split} have a label and some have none")
                self._write(split, "labels", self._labels[split])

    def abandon(self) -> None:
        self._open.close()

    def _write(self, split: str, part: str, values: list[int]) -> None:
        (self._folder / f"{split}.{part}").write_bytes(np.array(values, dtype=_DTYPES[part]).tobytes())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that belongs to `path`, waiting for whoever has it; released if we die.

    Raises: DataError when the cache cannot be written.
    """
    from filelock import FileLock

    lock = FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise DataError(
            f"cannot write the cache {path.parent}: {error.strerror or error}; "
            "set HARNESS_CACHE to a folder of yours"
        ) from None
    try:
        yield
    finally:
        lock.release()


def open_or_build(
    name: str,
    identity: Mapping[str, Any],
    length: int,
    build: Callable[[TokenWriter], Sequence[str]],
) -> CachedTokens:
    """The tokens that `identity` stands for, built when they are not there or damaged.

    `build` adds every clip to the writer and returns notes; it runs under the entry's lock, so
    once, however many processes ask.
    Raises: DataError, from `build` or when the cache cannot be written.
    """
    key = hashlib.sha256(_canonical({"format": FORMAT, "name": name, **identity})).hexdigest()
    entry = cache_root() / "tokens" / f"{name}-{key[:16]}"
    try:
        return _opened(entry, key)
    except FileNotFoundError:
        pass
    except _Damaged as damage:
        log.warning("rebuilding the token cache %s: %s", entry, damage)
    with locked(entry):
        try:
            return _opened(entry, key)  # somebody else was quicker
        except (FileNotFoundError, _Damaged):
            pass
        try:
            _build(entry, key, identity, length, build)
            return _opened(entry, key)
        except (OSError, _Damaged) as error:
            raise DataError(f"cannot make the token cache {entry}: {error}") from error


def verify(cached: CachedTokens) -> None:
    """Compare every byte with the checksums, of large entries too; a damaged one is removed.

    Raises: DataError, after which the next opening makes the tokens anew.
    """
    entry = cached.folder
    try:
        files = json.loads((entry / "manifest.json").read_text(encoding="utf-8"))["files"]
        total = sum(about["bytes"] for about in files.values())
        with progress(f"reading {entry.name}", total, "bytes") as advance:
            done = 0
            for name, about in files.items():
                if _file_sha256(entry / name) != about["sha256"]:
                    raise _Damaged(f"the checksum of {name} does not match")
                done += about["bytes"]
                advance(done)
    except (OSError, ValueError, KeyError, TypeError, _Damaged) as damage:
        with locked(entry):
            shutil.rmtree(entry, ignore_errors=True)
        raise DataError(
            f"the token cache {entry} was damaged ({damage}) and has been removed; it is made anew when the "
            "data set is next used. Trials that trained on it may be wrong"
        ) from None


class _Damaged(Exception):
    """A cache entry that is not what its manifest says."""


def _build(
    entry: Path,
    key: str,
    identity: Mapping[str, Any],
    length: int,
    build: Callable[[TokenWriter], Sequence[str]],
) -> None:
    """Called with the lock held: leftovers of a killed predecessor are ours to remove."""
    unfinished, damaged = (entry.with_name(f"{entry.name}.{state}") for state in ("building", "damaged"))
    for leftover in (unfinished, damaged):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished.mkdir()
    writer = TokenWriter(unfinished, length)
    try:
        notes = build(writer)
        writer.close()
        manifest = {
            "key": key,
            "identity": identity,
            "length": length,
            "notes": list(notes),
            "files": {
                file.name: {"bytes": file.stat().st_size, "sha256": _file_sha256(file)}
                for file in sorted(unfinished.iterdir())
            },
        }
        (unfinished / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if entry.exists():
            entry.rename(damaged)  # who has it mapped keeps its pages
        unfinished.rename(entry)
    finally:
        writer.abandon()
        for leftover in (unfinished, damaged):
            shutil.rmtree(leftover, ignore_errors=True)


def _opened(entry: Path, key: str) -> CachedTokens:
    """Raises: FileNotFoundError when there is no entry, _Damaged."""
    if not entry.is_dir():
        raise FileNotFoundError(entry)
    try:
        manifest = json.loads((entry / "manifest.json").read_text(encoding="utf-8"))
        files, length, notes = manifest["files"], manifest["length"], tuple(manifest["notes"])
        if manifest["key"] != key:
            raise _Damaged("its manifest belongs to other tokens")
        _check(entry, files)
        splits = {split: _mapped(entry, split, length, files) for split in SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _Damaged(f"{type(error).__name__}: {error}") from None
    checksums = {name: about["sha256"] for name, about in files.items()}
    return CachedTokens(splits, notes, hashlib.sha256(_canonical(checksums)).hexdigest(), entry)


def _check(entry: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    in_full = sum(about["bytes"] for about in files.values()) <= CHECKED_IN_FULL
    for name, about in files.items():
        status = (entry / name).stat()
        if status.st_size != about["bytes"]:
            raise _Damaged(f"{name} has {status.st_size} bytes instead of {about['bytes']}")
        if in_full and _checked_sha256(entry / name, status.st_size, status.st_mtime_ns) != about["sha256"]:
            raise _Damaged(f"the checksum of {name} does not match")


def _mapped(entry: Path, split: str, length: int, files: Mapping[str, Any]) -> Split:
    tokens = map_tokens(entry / f"{split}.tokens", _DTYPES["tokens"], length)
    lengths = np.fromfile(entry / f"{split}.lengths", dtype=_DTYPES["lengths"])
    labels = None
    if f"{split}.labels" in files:
        labels = np.fromfile(entry / f"{split}.labels", dtype=_DTYPES["labels"])
    if not len(tokens) == len(lengths) == len(lengths if labels is None else labels):
        raise _Damaged(f"the {split} split has {len(tokens)} clips but {len(lengths)} lengths")
    return Split(tokens=tokens, lengths=lengths, labels=labels)


@cache
def _checked_sha256(path: Path, size: int, modified: int) -> str:
    """Once a process: size and time of modification are there to tell one state of a file from another."""
    return _file_sha256(path)


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
