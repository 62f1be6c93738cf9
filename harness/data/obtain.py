"""A data set's files from the network: downloaded, unpacked and checked once, then kept.

Below ``<cache>/downloads`` lies the folder of the files and beside it ``<folder>.json``: the address,
the digest of the archive and that of the contents. Where no published digest exists, the first
download is the one that later ones are held against.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cache import cache_root
from harness.data import download, token_cache
from harness.data.archive import Keep, Limits, unpack
from harness.data.contents import content_sha256
from harness.errors import DataError
from harness.store.atomic import write_text

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Remote:
    """An archive, and what of it is the data set."""

    folder: str
    """Name below the downloads."""
    source: download.Source
    keep: Keep
    limits: Limits
    same_bytes: bool = True
    """Whether the archive is always the same file; one that a server packs anew is not."""


def obtain(remote: Remote, check: Callable[[Path], object]) -> Path:
    """The folder of the files, downloaded when they are not there or damaged.

    `check` raises DataError for a folder that is not the data set; nothing that it refuses is used.
    Raises: DataError.
    """
    folder = cache_root() / "downloads" / remote.folder
    with token_cache.locked(folder):
        if folder.is_dir():
            try:
                check(folder)
                return folder
            except DataError as damage:
                log.warning("getting %s anew: %s", remote.source.what, damage)
                shutil.rmtree(folder)  # ours, and damaged
        _obtain(remote, folder, check)
    return folder


def obtained(remote: Remote) -> Path | None:
    """The folder of an earlier download, unchecked; None where there is none."""
    folder = cache_root() / "downloads" / remote.folder
    return folder if folder.is_dir() else None


def receipt(folder: Path) -> dict[str, Any]:
    """What was noted when the folder was downloaded: address, archive_sha256, content_sha256."""
    try:
        return json.loads(_receipt_file(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def verify_obtained(folder: Path) -> None:
    """Compare a downloaded folder with what was downloaded. Raises: DataError.

    A folder that did not come by download has no receipt, and nothing to be held against.
    """
    noted = receipt(folder).get("content_sha256")
    if noted is not None and noted != (found := content_sha256(folder, relative_files(folder))):
        raise DataError(
            f"the files in {folder} are no longer those that were downloaded (sha256 of all {found}, it was "
            f"{noted}); remove the folder to get them again. Trials that trained on them may be wrong"
        )


def relative_files(folder: Path) -> list[str]:
    """All files below the folder, sorted, with forward slashes."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _obtain(remote: Remote, folder: Path, check: Callable[[Path], object]) -> None:
    log.warning("downloading %s from %s", remote.source.what, remote.source.addresses[0])
    archive = folder.with_name(f"{folder.name}.archive")
    sha256 = download.fetch(remote.source, archive)
    earlier = receipt(folder).get("archive_sha256", sha256)
    if remote.same_bytes and earlier != sha256:
        archive.unlink()
        raise DataError(
            f"{remote.source.what} has changed: the archive's sha256 is {sha256}, at the first download it "
            f"was {earlier}. Results with the one and the other cannot be compared; to use the new one, "
            f"remove {_receipt_file(folder)}"
        )
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as temporary:
        unpacked = Path(temporary) / "files"
        try:
            unpack(archive, unpacked, remote.keep, remote.limits)
            check(unpacked)
        finally:
            archive.unlink()  # either it is unpacked or it is of no use
        about = {
            "address": remote.source.addresses[0],
            "archive_sha256": sha256,
            "content_sha256": content_sha256(unpacked, relative_files(unpacked)),
        }
        write_text(_receipt_file(folder), json.dumps(about, indent=1))
        unpacked.rename(folder)


def _receipt_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")
