"""What Beethoven and YouTubeMix share: numbered recordings, cut into segments, split by their order.

Published protocol (state-spaces/s4, `QuantizedAudioDataset`): files in natural order (9.wav before
10.wav), the first 88 % for training, the next 6 % for validation, the rest for the test. Each file is
cut into consecutive segments, a last one that is shorter is dropped, and each segment is stretched to
span all levels by itself: its scale depends on the crop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from harness.data import token_cache
from harness.data.archive import Limits
from harness.data.audio import AudioConfig, count_note, deviations, tokenise
from harness.data.audio_file import read_audio
from harness.data.hub import hub_source
from harness.data.obtain import Remote, obtain, obtained
from harness.data.places import find_folder
from harness.data.progress import progress
from harness.data.published_files import PublishedFiles
from harness.errors import DataError

TRAIN_SHARE = 0.88
LIMITS = Limits(largest_file=64 * 2**20, largest_total=4 * 2**30)


@dataclass(frozen=True, kw_only=True)
class MusicConfig(AudioConfig):
    """Fields of both sets."""

    sample_rate: int = 16000
    path: str = ""
    """The folder of the recordings, or one above. Empty: HARNESS_DATA, or a download."""
    rest: Literal["drop", "pad"] = "drop"
    """What is left of a recording behind its last whole segment: dropped, as published, or padded."""
    allow_partial: bool = False
    """Use a folder with another number of recordings; how many goes into the version."""


class Music(PublishedFiles):
    """Base of the data sets of piano music. A subclass says what and where its recordings are."""

    recordings: ClassVar[int]
    """How many there are."""
    file_name: ClassVar[str]
    """Regular expression of a recording's name."""
    example: ClassVar[str]
    layouts: ClassVar[tuple[str, ...]]
    """Folders below HARNESS_DATA where they may lie."""
    repository: ClassVar[str]
    archives: ClassVar[tuple[str, ...]]
    """Names under which the archive may be found in the repository."""
    Config: ClassVar[type[MusicConfig]]
    config: MusicConfig

    def __init__(self, config: MusicConfig) -> None:
        """Raises: DataError."""
        folder = self._find(config)
        if not config.allow_partial:
            self._check(folder)
        super().__init__(config, folder, self._listed(folder))
        # The split of a file follows from its place in the list.
        self.files_sha256 = self.content

    @classmethod
    def located(cls, config: Any) -> str:
        found = cls._named_folder(config, quiet=True) or obtained(cls._remote())
        return (
            str(found)
            if found
            else f"not here; `harness data fetch {cls.name}` gets it once you have accepted its terms"
        )

    def version(self) -> str:
        found = len(self.files)
        if found == self.recordings:
            return f"hub, {found:,} recordings"
        return f"part of the hub's: {found:,} of {self.recordings:,} recordings"

    def identity(self) -> Mapping[str, Any]:
        return {"content": self.content}

    def write_clips(self, writer: token_cache.TokenWriter) -> Sequence[str]:
        splits = split_by_order(len(self.files))
        dropped = without = 0
        with progress(f"making tokens of {self.name}", len(self.files), "recordings") as advance:
            for number, (file, split) in enumerate(zip(self.files, splits, strict=True), start=1):
                waveform = read_audio(self.folder / file, self.config.sample_rate)
                whole = len(waveform) // self.length * self.length
                end = whole if self.config.rest == "drop" else len(waveform)
                for start in range(0, end, self.length):
                    clip = tokenise(waveform[start : start + self.length], self.config)
                    writer.add(split, clip.tokens, clip.length)
                dropped += len(waveform) - end
                without += end == 0
                advance(number)
        complete = len(self.files) == self.recordings
        return [
            *([] if complete else [f"partial: {len(self.files)} of {self.recordings} recordings"]),
            *count_note(dropped, "samples dropped behind the last whole segments"),
            *count_note(without, "recordings are shorter than a segment and dropped"),
            *deviations(self.config, type(self).Config()),
        ]

    # ------------------------------------------------------------------------------------- files

    @classmethod
    def _find(cls, config: MusicConfig) -> Path:
        check = cls._listed if config.allow_partial else cls._check
        return cls._named_folder(config) or obtain(cls._remote(), check)

    @classmethod
    def _named_folder(cls, config: MusicConfig, *, quiet: bool = False) -> Path | None:
        what = f"recordings of {cls.name} ({cls.example})"
        return find_folder(config.path, (*cls.layouts, "."), cls._holds, what, quiet=quiet)

    @classmethod
    def _holds(cls, folder: Path) -> bool:
        return any(re.fullmatch(cls.file_name, file.name) for file in folder.iterdir())

    @classmethod
    def _listed(cls, folder: Path) -> list[str]:
        """Names of the recordings in natural order. Raises: DataError."""
        try:
            names = [file.name for file in folder.iterdir()]
        except OSError as error:
            raise DataError(f"cannot read {folder}: {error.strerror}") from None
        names = [name for name in names if name.endswith(".wav") and not name.startswith(".")]
        if strange := sorted(name for name in names if not re.fullmatch(cls.file_name, name)):
            raise DataError(
                f"{folder} holds {strange[0]}, which is no recording of {cls.name} (they are called "
                f"{cls.example}); remove it, or use the data set `audio_folder`"
            )
        return natural_order(names)

    @classmethod
    def _check(cls, folder: Path) -> None:
        """Raises: DataError when the number of recordings is not the published one."""
        found = len(cls._listed(folder))
        if found != cls.recordings:
            raise DataError(
                f"{folder} holds {found:,} recordings, {cls.name} has {cls.recordings:,} ({cls.example}); "
                "the splits go by their order, so all are needed: get it again, or set data.allow_partial to "
                "true to use what is there (it is recorded)"
            )

    @classmethod
    def _remote(cls) -> Remote:
        source = hub_source(
            cls.repository,
            cls.archives,
            what=f"the data set {cls.name}",
            otherwise="Or get the recordings elsewhere and set HARNESS_DATA to the folder that holds them as "
            f"{cls.layouts[0]}, or data.path to itself",
        )
        return Remote(folder=cls.name, source=source, keep=cls._keep, limits=LIMITS)

    @classmethod
    def _keep(cls, path: PurePosixPath) -> PurePosixPath | None:
        wanted = "__MACOSX" not in path.parts and re.fullmatch(cls.file_name, path.name)
        return PurePosixPath(path.name) if wanted else None


def natural_order(names: Sequence[str]) -> list[str]:
    """Numbers inside names count as numbers: 9.wav before 10.wav."""
    return sorted(
        names,
        key=lambda name: [
            (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)
        ],
    )


def split_by_order(count: int) -> list[str]:
    """The split of each of so many files: 88 %, 6 % and 6 %, rounded down as in the original.

    Raises: DataError when a split gets none.
    """
    trains = int(TRAIN_SHARE * count)
    seen = int((TRAIN_SHARE + (1 - TRAIN_SHARE) / 2) * count)
    sizes = {"train": trains, "validation": seen - trains, "test": count - seen}
    if empty := [split for split, size in sizes.items() if size == 0]:
        raise DataError(f"{count} recordings leave none for {' and '.join(empty)}; 9 are needed at least")
    return [split for split, size in sizes.items() for _ in range(size)]
