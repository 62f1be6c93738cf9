"""Free Spoken Digit Dataset: 3000 recordings of ten digits by six speakers, 8 kHz, CC BY-SA 4.0.

It is looked for in the folder that the environment variable HARNESS_DATA names, else downloaded
once. Either way the recordings must be, byte for byte, those of the pinned commit: what counts is
a digest of their contents, since the archive that GitHub packs of a commit may change its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from harness.contracts import require
from harness.data import token_cache
from harness.data.archive import Limits
from harness.data.audio import AudioConfig, AudioDataset, count_note, tokenise
from harness.data.audio_file import read_audio
from harness.data.contents import content_sha256
from harness.data.digits import DIGITS
from harness.data.download import Source
from harness.data.obtain import Remote, obtain, obtained
from harness.data.places import find_folder
from harness.errors import DataError

COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
ARCHIVE = f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/{COMMIT}.zip"
CONTENT_SHA256 = "1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959"
"""sha256 over the lines "<sha256 of the file>  <name>" of all recordings, sorted by name."""

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TAKES = 50  # of each digit by each speaker
LARGEST = 2**20
"""Bytes that no recording exceeds: what an archive may make us write."""

Speaker = Literal["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]


class Recording(NamedTuple):
    digit: int
    speaker: str
    take: int

    @property
    def file_name(self) -> str:
        return f"{self.digit}_{self.speaker}_{self.take}.wav"


class FSDD(AudioDataset):
    """Free Spoken Digit Dataset: 3000 real recordings, official or held-out-speaker split."""

    name = "fsdd"
    source = "Free Spoken Digit Dataset, github.com/Jakobovski/free-spoken-digit-dataset"
    licence = "CC BY-SA 4.0"
    label_names = DIGITS

    @dataclass(frozen=True, kw_only=True)
    class Config(AudioConfig):
        split: Literal["official", "speakers"] = "official"
        """official: takes 0 to 4 of every speaker and digit are the test set, as published; takes 5
        to 9 of its training set serve for validation. speakers: nobody is in two splits."""
        test_speaker: Speaker = "theo"
        """Held out for the test with ``split: speakers``."""
        validation_speaker: Speaker = "yweweler"
        """Held out for validation with ``split: speakers``."""

        def __post_init__(self) -> None:
            super().__post_init__()
            require(
                self.test_speaker != self.validation_speaker,
                "validation_speaker",
                f"{self.validation_speaker!r} is the test speaker already; name another",
            )

    config: Config

    @staticmethod
    def located(config: Any) -> str:
        found = _folder_here()
        return str(found) if found else "not here; `harness data fetch fsdd` gets 16 MB"

    def verify_files(self) -> None:
        if folder := _folder_here():
            _verify(folder)

    def _files_in_words(self) -> list[str]:
        folder = _folder_here()
        return [f"{folder}: the recordings of commit {COMMIT[:12]}"] if folder else []

    def version(self) -> str:
        return COMMIT

    def identity(self) -> Mapping[str, Any]:
        return {"content": CONTENT_SHA256}

    def write_clips(self, writer: token_cache.TokenWriter) -> Sequence[str]:
        folder = find_recordings()
        cut = 0
        for recording in recordings():
            waveform = read_audio(folder / recording.file_name, self.config.sample_rate)
            clip = tokenise(waveform, self.config)
            writer.add(split_of(recording, self.config), clip.tokens, clip.length, recording.digit)
            cut += clip.cut
        return count_note(cut, "clips cut to length")


def recordings() -> Iterator[Recording]:
    """All 3000, in the order of the tokens."""
    for digit in range(10):
        for speaker in SPEAKERS:
            for take in range(TAKES):
                yield Recording(digit, speaker, take)


def split_of(recording: Recording, config: FSDD.Config) -> str:
    """The split a recording belongs to, see `FSDD.Config.split`."""
    if config.split == "speakers":
        held_out = {config.test_speaker: "test", config.validation_speaker: "validation"}
        return held_out.get(recording.speaker, "train")  # type: ignore[call-overload]
    if recording.take < 5:
        return "test"
    return "validation" if recording.take < 10 else "train"


def find_recordings() -> Path:
    """The folder of the verified recordings, downloaded when they are nowhere on this machine.

    Raises: DataError when they cannot be had, or are not those of the pinned commit.
    """
    named = _named_folder()
    if named is None:
        return obtain(_remote(), _verify)
    _verify(named)
    return named


def _folder_here() -> Path | None:
    """Where the recordings are, unverified; an open token cache does without them."""
    return _named_folder(quiet=True) or obtained(_remote())


def _named_folder(*, quiet: bool = False) -> Path | None:
    """HARNESS_DATA may name the recordings' folder, or one or two levels above."""
    layouts = ("fsdd/recordings", "recordings", ".")
    return find_folder("", layouts, _holds_recordings, "fsdd/recordings", quiet=quiet)


def _holds_recordings(folder: Path) -> bool:
    return any(re.fullmatch(r"\d_\w+\.wav", file.name) for file in folder.iterdir())


def _remote() -> Remote:
    return Remote(
        folder=f"fsdd-{COMMIT[:12]}",
        source=Source(
            addresses=(ARCHIVE,),
            what="the Free Spoken Digit Dataset",
            otherwise="Fetch it elsewhere, unpack it, and set HARNESS_DATA to the folder that holds "
            "fsdd/recordings or recordings",
        ),
        keep=_keep,
        limits=Limits(largest_file=LARGEST, largest_total=10 * TAKES * len(SPEAKERS) * LARGEST),
        same_bytes=False,  # which is why the contents are verified, see the head of this file
    )


def _keep(path: PurePosixPath) -> PurePosixPath | None:
    return PurePosixPath(path.name) if path.parent.name == "recordings" and path.suffix == ".wav" else None


def _verify(folder: Path) -> None:
    """Raises: DataError naming what is missing, too much or damaged."""
    expected = {recording.file_name for recording in recordings()}
    found = {file.name for file in folder.glob("*.wav") if not file.name.startswith(".")}
    if expected - found:
        raise DataError(f"{folder} lacks {_some(expected - found)} of the Free Spoken Digit Dataset")
    if found - expected:
        raise DataError(
            f"{folder} holds {_some(found - expected)}, which the Free Spoken Digit Dataset at "
            f"{COMMIT[:12]} does not; remove it, or use the data set `audio_folder`"
        )
    if content_sha256(folder, sorted(expected)) == CONTENT_SHA256:
        return
    for name in sorted(expected):
        read_audio(folder / name, 8000)  # names one that is damaged
    raise DataError(
        f"the recordings in {folder} differ from those of commit {COMMIT[:12]}; get them from {ARCHIVE}"
    )


def _some(names: set[str]) -> str:
    first = sorted(names)[0]
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"
