"""Somebody's clips: any folder of sound files, read at a data set's rate and length, and what that took.

Shapes: N files, L samples of a clip.
"""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.data.audio_file import SUFFIXES, read_audio
from harness.errors import DataError

LIKELIHOODS = ("log_likelihood_bits", "log_likelihood")
"""Columns that a table of likelihoods may have: only their order counts, so any unit will do."""


class SoundFolder:
    """The sound files below a folder in the order of their paths, hidden ones left out.

    Raises: DataError for a folder that is missing, is none, cannot be read or holds no sound files.
    """

    def __init__(self, folder: Path, *, sample_rate: int, length: int) -> None:
        self.folder, self.sample_rate, self.length = folder, sample_rate, length
        self.files: Sequence[str] = _sound_files(folder)
        self._seen: dict[str, _About] = {}

    def __len__(self) -> int:
        return len(self.files)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Some of the files, mono at `sample_rate`, cut or padded with silence: Float32[N, L].

        Raises: DataError naming a file that is no sound, damaged or empty.
        """
        files = self.files[start:stop]
        clips = np.zeros((len(files), self.length), dtype=np.float32)
        for clip, file in zip(clips, files, strict=True):
            path = self.folder / file
            waveform = read_audio(path, self.sample_rate)
            self._seen[file] = _about(path, len(waveform))
            clip[: len(waveform)] = waveform[: self.length]
        return clips

    def notes(self) -> list[str]:
        """What had to be done to the files that were read, a sentence each."""
        seen, seconds = self._seen.values(), f"{self.length / self.sample_rate:g} s"
        rates = Counter(about.rate for about in seen if about.rate != self.sample_rate)
        channels = Counter(about.channels for about in seen if about.channels > 1)
        words = {f"resampled from {rate} Hz to {self.sample_rate} Hz": rates[rate] for rate in sorted(rates)}
        words |= {f"of {number} channels mixed down to one": channels[number] for number in sorted(channels)}
        words[f"longer than {seconds} cut to it"] = sum(about.length > self.length for about in seen)
        words[f"shorter than {seconds} padded with silence"] = sum(
            about.length < self.length for about in seen
        )
        return [f"{_of(number, len(seen))} {what}" for what, number in words.items() if number]


class _About(NamedTuple):
    """A file as it was, and its length at the rate asked for."""

    rate: int
    channels: int
    length: int


def _about(path: Path, length: int) -> _About:
    import soundfile

    found = soundfile.info(path)
    return _About(found.samplerate, found.channels, length)


def read_likelihoods(table: Path, files: Sequence[str]) -> np.ndarray:
    """Float64[N] from a CSV with the columns `file` and `log_likelihood`, in any order.

    A file is named by its path below the folder, or by its name alone.
    Raises: DataError naming what is missing or wrong.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.DictReader(opened)
            columns = rows.fieldnames or ()
            column = next((name for name in LIKELIHOODS if name in columns), None)
            if "file" not in columns or column is None:
                raise DataError(
                    f"{table}: needs the columns `file` and `{LIKELIHOODS[1]}`, has: {', '.join(columns)}"
                )
            found = {row["file"]: _number(table, rows.line_num, row[column]) for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the likelihoods {table}: {error}") from None
    values = [found.get(file, found.get(Path(file).name)) for file in files]
    lacking = [file for file, value in zip(files, values, strict=True) if value is None]
    if lacking:
        raise DataError(f"{table}: has no row for {lacking[0]} and {len(lacking) - 1} other files")
    return np.array(values, dtype=np.float64)


def _number(table: Path, line: int, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise DataError(f"{table}, line {line}: {text!r} is no log-likelihood")
    return value


def _sound_files(folder: Path) -> list[str]:
    if not folder.exists():
        raise DataError(f"there is no folder {folder}")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; name the folder that holds the sound files")
    sounds: list[str] = []
    others: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(parent, name)
            (sounds if path.suffix.lower() in SUFFIXES else others).append(
                path.relative_to(folder).as_posix()
            )
    if not sounds:
        kinds = ", ".join(sorted(SUFFIXES))
        what = "nothing: no"
        if len(others) == 1:
            what = f"only {others[0]}, which is no"
        elif others:
            what = f"{len(others)} files, {others[0]} among them, and none is a"
        raise DataError(f"{folder} holds {what} sound file ({kinds})")
    return sorted(sounds)


def _refuse(error: OSError) -> None:
    raise DataError(f"cannot read {error.filename}: {error.strerror}")


def _of(number: int, count: int) -> str:
    return f"all {count} files" if number == count else f"{number} of {count} files"
