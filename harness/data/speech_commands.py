"""The ten digits of Speech Commands on disk: which clip is in which split, and which version it is.

Two versions of the set circulate, both called SC09: v0.01 (2017), which the published evaluation's
classifier was trained on, and v0.02 (2018), which the published models were. They differ in nothing
but their clips, so they are told apart by how many there are.

Layout, that of the hub's sc09.zip and of torchaudio's SPEECHCOMMANDS (other words beside the digits do
no harm):

    zero/….wav … nine/….wav
    validation_list.txt     a line "zero/….wav" for each clip of the split; also of other words
    testing_list.txt        whatever is in neither list is for training
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from harness.data.digits import DIGITS
from harness.errors import DataError

Version = Literal["v0.02", "v0.01"]

CLIPS: dict[Version, dict[str, int]] = {
    "v0.02": {"train": 31_158, "validation": 3_643, "test": 4_107},
    "v0.01": {"train": 18_620, "validation": 2_494, "test": 2_552},
}
"""Clips of the ten digits by split."""

LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}


class Clip(NamedTuple):
    file: str
    """Relative path with a forward slash: ``zero/0132a06d_nohash_0.wav``."""
    split: str
    label: int


@dataclass(frozen=True)
class Listing:
    """All clips of a folder, in the order of the tokens: by digit, then by name."""

    clips: tuple[Clip, ...]
    absent: tuple[str, ...]
    """What the lists name and the folder lacks."""

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(clip.split for clip in self.clips)
        return {split: found[split] for split in ("train", *LISTS)}

    @property
    def files(self) -> list[str]:
        return [clip.file for clip in self.clips]

    @property
    def sha256(self) -> str:
        """Over the lines "<split>  <relative path>"."""
        lines = "".join(f"{clip.split}  {clip.file}\n" for clip in self.clips)
        return hashlib.sha256(lines.encode()).hexdigest()


def holds_digits(folder: Path) -> bool:
    """Whether a folder looks like the set; an incomplete one does."""
    return any((folder / name).exists() for name in (*DIGITS, *LISTS.values()))


def wanted(path: PurePosixPath) -> PurePosixPath | None:
    """What of an archive is kept, and where: see `harness.data.archive.Keep`."""
    if "__MACOSX" in path.parts or path.name.startswith("."):
        return None
    if path.name in (*LISTS.values(), "LICENSE"):
        return PurePosixPath(path.name)
    is_clip = path.parent.name in DIGITS and path.suffix == ".wav"
    return PurePosixPath(path.parent.name, path.name) if is_clip else None


def read_listing(folder: Path) -> Listing:
    """Raises: DataError naming a folder or list that is missing, or a list that makes no sense."""
    if missing := [name for name in DIGITS if not (folder / name).is_dir()]:
        raise DataError(f"{folder} lacks the folder {missing[0]}; SC09 has ten, {DIGITS[0]} to {DIGITS[-1]}")
    listed = {split: _read_list(folder / name) for split, name in LISTS.items()}
    if both := listed["validation"] & listed["test"]:
        raise DataError(f"{min(both)} is in both {' and '.join(LISTS.values())} of {folder}")
    clips = []
    try:
        for label, word in enumerate(DIGITS):
            for name in sorted(path.name for path in (folder / word).iterdir()):
                if name.endswith(".wav") and not name.startswith("."):
                    file = f"{word}/{name}"
                    split = next((split for split in LISTS if file in listed[split]), "train")
                    clips.append(Clip(file, split, label))
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from None
    absent = (listed["validation"] | listed["test"]) - {clip.file for clip in clips}
    return Listing(tuple(clips), tuple(sorted(absent)))


def check_version(folder: Path, listing: Listing, version: Version, *, allow_partial: bool = False) -> None:
    """Raises: DataError when these are not all the clips of this version, saying which they are.

    `allow_partial` lets a part of them pass, but never all of another version.
    """
    if listing.counts == CLIPS[version] and not listing.absent:
        return
    if (other := version_of(listing.counts)) is not None and other != version:
        raise DataError(
            f"{folder} holds Speech Commands {other}, {version} was asked for; set data.version to {other}, "
            "and mind that results with the one and the other cannot be compared"
        )
    if allow_partial:
        return
    partial = "set data.allow_partial to true to use what is there (it is recorded)"
    if listing.absent:
        name = listing.absent[0]
        raise DataError(
            f"{folder} lacks {len(listing.absent):,} clips that its lists name, {name} first: it was not "
            f"copied or unpacked as a whole; get it again, or {partial}"
        )
    raise DataError(
        f"{folder} holds {in_words(listing.counts)} clips of digits, but Speech Commands "
        f"{' and '.join(f'{name} has {in_words(counts)}' for name, counts in CLIPS.items())}; get it again, "
        f"or {partial}"
    )


def version_of(counts: Mapping[str, int]) -> Version | None:
    return next((version for version, clips in CLIPS.items() if clips == counts), None)


def in_words(counts: Mapping[str, int]) -> str:
    """``31,158 + 3,643 + 4,107 (train, validation, test)``"""
    return f"{' + '.join(f'{count:,}' for count in counts.values())} ({', '.join(counts)})"


def _read_list(path: Path) -> frozenset[str]:
    """The digits' entries of a list. Raises: DataError."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise DataError(
            f"{path.parent} lacks {path.name}, which says what is for {path.stem.split('_')[0]}; it comes "
            "with the set (sc09.zip, or speech_commands_v0.0x.tar.gz), and there are no splits without it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    found = set()
    for number, line in enumerate(map(str.strip, lines), start=1):
        word, slash, name = line.partition("/")
        if line and not (slash and name.endswith(".wav") and "/" not in name):
            raise DataError(f"{path}:{number}: expected a line like zero/0132a06d_nohash_0.wav, got {line!r}")
        if word in DIGITS:
            found.add(line)
    if not found:
        raise DataError(f"{path} names no clip of a digit; it is not the list of Speech Commands")
    return frozenset(found)
