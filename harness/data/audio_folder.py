"""Any folder of sound files. Sub-folders are labels, files are divided among the splits.

Which split a file falls into depends on its relative path alone: files are ranked by the sha256 of
it, and the first go to the test, the next to validation. All segments of a file share its split.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness.contracts import require
from harness.data import token_cache
from harness.data.audio import AudioConfig, AudioDataset, count_note, tokenise
from harness.data.audio_file import SUFFIXES, read_audio
from harness.data.contents import content_sha256, remembered_sha256
from harness.errors import DataError

SHORTEST_REST = 0.1
"""Of a clip's length: what is left over behind a file's last whole segment and is shorter, is dropped."""


class AudioFolder(AudioDataset):
    """Your own sound files (wav, flac, ogg, mp3), labels from sub-folders, split by file."""

    name = "audio_folder"
    licence = "that of the files"

    @dataclass(frozen=True, kw_only=True)
    class Config(AudioConfig):
        path: str = ""
        """The folder, relative to the working directory or absolute. Required."""
        validation_fraction: float = 0.1
        """Of the files; at least one."""
        test_fraction: float = 0.1
        """Of the files; at least one."""
        long: Literal["segments", "cut"] = "segments"
        """Files longer than a clip: consecutive segments, or only their beginning."""

        def __post_init__(self) -> None:
            super().__post_init__()
            require(self.path != "", "path", "is required: the folder that holds the sound files")
            for field in ("validation_fraction", "test_fraction"):
                value = getattr(self, field)
                require(0 < value < 1, field, f"must lie between 0 and 1, got {value}")
            require(
                self.validation_fraction + self.test_fraction < 1,
                "test_fraction",
                "leaves nothing for training, together with validation_fraction",
            )

    config: Config

    def __init__(self, config: Config) -> None:
        """Raises: DataError."""
        self.folder = Path(config.path).expanduser()
        self.files = find_files(self.folder)
        self.content = remembered_sha256(self.folder, self.files)
        self.files_sha256 = self.content
        self.label_names = label_names(self.files)[0]
        self.source = f"the {len(self.files)} sound files of the folder {self.folder.resolve().name}"
        super().__init__(config)

    @staticmethod
    def located(config: Any) -> str:
        return str(Path(config.path).expanduser())

    def verify_files(self) -> None:
        if content_sha256(self.folder, self.files) != self.content:
            raise DataError(f"the files in {self.folder} have changed since the tokens were made")

    def _files_in_words(self) -> list[str]:
        return [f"{self.folder}: {len(self.files):,} files, sha256 {self.content}"]

    def version(self) -> str:
        return f"sha256:{self.content[:16]}"

    def tokens_config(self) -> dict[str, Any]:
        """Without the path: the same files elsewhere give the same tokens."""
        return {key: value for key, value in super().tokens_config().items() if key != "path"}

    def identity(self) -> Mapping[str, Any]:
        return {"content": self.content}

    def write_clips(self, writer: token_cache.TokenWriter) -> Sequence[str]:
        splits = assign_splits(self.files, self.config.validation_fraction, self.config.test_fraction)
        labels, outside = label_names(self.files)
        cut = dropped = 0
        for file in self.files:
            waveform = read_audio(self.folder / file, self.config.sample_rate)
            label = labels.index(Path(file).parts[0]) if labels else None
            for segment in self._segments(waveform):
                clip = tokenise(segment, self.config)
                writer.add(splits[file], clip.tokens, clip.length, label)
                cut += clip.cut
            dropped += self.config.long == "segments" and 0 < self._rest(waveform) < len(waveform)
        names = ", ".join(f"{label} = {name}" for label, name in enumerate(labels))
        return [
            *([f"labels: {names}"] if labels else []),
            *count_note(outside, "files lie outside of the sub-folders, so there are no labels"),
            *count_note(cut, "files cut to length"),
            *count_note(dropped, f"files lost a last piece shorter than {SHORTEST_REST:g} of a clip"),
        ]

    def _segments(self, waveform: np.ndarray) -> Iterator[np.ndarray]:
        if self.config.long == "cut" or len(waveform) <= self.length:
            yield waveform
            return
        for start in range(0, len(waveform) - self._rest(waveform), self.length):
            yield waveform[start : start + self.length]

    def _rest(self, waveform: np.ndarray) -> int:
        """Samples at the end that are too few to be a segment."""
        rest = len(waveform) % self.length
        return rest if rest < SHORTEST_REST * self.length and len(waveform) > self.length else 0


def find_files(folder: Path) -> list[str]:
    """Sound files below `folder`, as sorted relative paths with forward slashes; hidden ones are not.

    Raises: DataError when it is missing, no folder, unreadable, or holds fewer than three.
    """
    if not folder.exists():
        raise DataError(f"there is no folder {folder}")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; name the folder that holds the sound files")
    files: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                files.append((Path(parent) / name).relative_to(folder).as_posix())
    kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
    if not files:
        raise DataError(f"the folder {folder} holds no sound files ({kinds})")
    if len(files) < 3:
        raise DataError(
            f"the folder {folder} holds {len(files)} sound files; training, validation and test need "
            "one each at least: cut a long recording into several files"
        )
    return sorted(files)


def assign_splits(files: Sequence[str], validation_fraction: float, test_fraction: float) -> dict[str, str]:
    """Relative path -> split. Raises: DataError when no file is left for training."""
    tests = max(1, round(len(files) * test_fraction))
    validations = max(1, round(len(files) * validation_fraction))
    if tests + validations >= len(files):
        raise DataError(
            f"of {len(files)} files, {tests} for test and {validations} for validation leave none"
        )
    ranked = sorted(files, key=lambda file: hashlib.sha256(file.encode()).digest())
    splits = dict.fromkeys(files, "train")
    splits |= dict.fromkeys(ranked[:tests], "test")
    splits |= dict.fromkeys(ranked[tests : tests + validations], "validation")
    return splits


def label_names(files: Sequence[str]) -> tuple[list[str], int]:
    """Sorted names of the first sub-folders when all files are in one, and how many files are not.

    Files lying beside sub-folders leave no labels at all; without sub-folders that is no remark.
    """
    folders = [Path(file).parts[0] for file in files if "/" in file]
    outside = len(files) - len(folders)
    return ([], outside if folders else 0) if outside else (sorted(set(folders)), 0)


def _refuse(error: OSError) -> None:
    raise DataError(f"cannot read {error.filename}: {error.strerror}")
