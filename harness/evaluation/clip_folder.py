"""Drawn clips on disk: one file each, and a table of them that is never ahead of the files.

    samples.json     what the clips depend on: weights, seed, temperature; clips of others are not continued
    samples.csv      a row a clip, in their order: file, seed, log_likelihood_bits, label, confidence, …
    000000.flac …    the waveforms in 16 bits, or 000000.npy: tokens of data that is no sound

A file appears whole or not at all, its row only after it, so that a kill loses what was being drawn
and nothing else. 16 bits are enough to tell all levels of the quantisers apart.

Shapes: N clips, L samples.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import DataError
from harness.store.atomic import replacing, write_text

ABOUT, TABLE, LOCK = "samples.json", "samples.csv", ".lock"
FULL_SCALE = 2**15


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What every clip of a folder depends on."""

    weights: str
    """sha256 of the model's weights."""
    seed: int
    """The trial's."""
    temperature: float
    top_p: float
    length: int
    sample_rate: int | None


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A row of the table."""

    file: str
    seed: int
    """Of the random numbers that decided this clip."""
    log_likelihood_bits: float
    """log2 of the clip's probability in the model itself, whatever the temperature."""
    label: int | None = None
    """The class that a classifier hears, and how sure it is."""
    confidence: float | None = None
    batch: int = 1
    """Clips drawn side by side, and how: arithmetic in other batches rounds differently."""
    backend: str = ""
    device: str = ""


class ClipFolder:
    """The clips of one drawing, as far as they are drawn.

    Raises: DataError for a table or a clip that is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.drawing = self._read_drawing()
        self.clips: Sequence[Clip] = self._read_table() if self.drawing else ()
        self.added = 0
        """Clips written through this object."""

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def log_likelihood_bits(self) -> np.ndarray:
        """Float64[N]"""
        return np.array([clip.log_likelihood_bits for clip in self.clips], dtype=np.float64)

    def start(self, drawing: Drawing) -> int:
        """Continue this drawing, or begin it; how many clips of another one were removed for that."""
        for leftover in self.folder.glob(".*.*.*"):  # of a write that was killed
            leftover.unlink()
        if drawing == self.drawing:
            return 0
        removed = len(self.clips)
        for path in (self.folder / TABLE, *self.folder.glob("[0-9]*.flac"), *self.folder.glob("[0-9]*.npy")):
            path.unlink(missing_ok=True)  # the table first: a kill leaves no row without its file
        self.drawing, self.clips = drawing, ()
        write_text(self.folder / ABOUT, json.dumps(asdict(drawing), indent=1) + "\n")
        return removed

    def append(self, contents: np.ndarray, clips: Sequence[Clip]) -> None:
        """Clips with their waveforms Float32[N, L], or tokens where there is no sample rate."""
        for content, clip in zip(contents, clips, strict=True):
            with replacing(self.folder / clip.file) as path:
                self._write(path, content)
        self._write_table([*self.clips, *clips])
        self.added += len(clips)

    def label(self, labels: Sequence[int], confidences: Sequence[float]) -> None:
        """Note what a classifier hears in the first clips."""
        rest = self.clips[len(labels) :]
        self._write_table(
            [
                replace(clip, label=int(label), confidence=float(confidence))
                for clip, label, confidence in zip(self.clips, labels, confidences, strict=False)
            ]
            + [replace(clip, label=None, confidence=None) for clip in rest]
        )

    def read(self, start: int, stop: int) -> np.ndarray:
        """Some of the clips as they were decoded, up to 16 bits: Float32[N, L]."""
        import soundfile

        assert self.drawing is not None and self.drawing.sample_rate is not None
        clips = self.clips[start:stop]
        found = np.empty((len(clips), self.drawing.length), dtype=np.float32)
        for row, clip in zip(found, clips, strict=True):
            path = self.folder / clip.file
            try:
                row[:] = soundfile.read(path, dtype="float32")[0]
            except (soundfile.SoundFileError, ValueError, OSError) as error:
                raise DataError(f"{path} is damaged ({error}); remove it and draw again") from None
        return found

    def file_name(self, number: int) -> str:
        suffix = ".npy" if self.drawing is None or self.drawing.sample_rate is None else ".flac"
        return f"{number:06d}{suffix}"

    def _write(self, path: Path, content: np.ndarray) -> None:
        assert self.drawing is not None
        if self.drawing.sample_rate is None:
            np.save(path, content)
            return
        import soundfile

        samples = np.rint(np.asarray(content, dtype=np.float64) * FULL_SCALE)
        integers = samples.clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
        soundfile.write(path, integers, self.drawing.sample_rate, format="FLAC", subtype="PCM_16")

    def _write_table(self, clips: Sequence[Clip]) -> None:
        text = io.StringIO()
        rows = csv.DictWriter(text, [field.name for field in fields(Clip)], lineterminator="\n")
        rows.writeheader()
        rows.writerows(asdict(clip) for clip in clips)
        write_text(self.folder / TABLE, text.getvalue())
        self.clips = tuple(clips)

    def _read_drawing(self) -> Drawing | None:
        path = self.folder / ABOUT
        try:
            return Drawing(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error}); remove the folder and draw again") from None

    def _read_table(self) -> Sequence[Clip]:
        """The rows up to the first whose file is gone: from there on, clips are drawn again."""
        path = self.folder / TABLE
        clips: list[Clip] = []
        try:
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    clip = _parsed(row)
                    if not (self.folder / clip.file).is_file():
                        break
                    clips.append(clip)
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} is damaged ({error}); remove the folder and draw again") from None
        return tuple(clips)


def _parsed(row: dict[str, Any]) -> Clip:
    return Clip(
        file=Path(row["file"]).name,
        seed=int(row["seed"]),
        log_likelihood_bits=float(row["log_likelihood_bits"]),
        label=int(row["label"]) if row["label"] else None,
        confidence=float(row["confidence"]) if row["confidence"] else None,
        batch=int(row["batch"]),
        backend=row["backend"],
        device=row["device"],
    )
