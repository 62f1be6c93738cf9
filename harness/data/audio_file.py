"""Sound files as mono waveforms at one rate; whatever cannot be trusted is named and refused.

Shapes: L samples, C channels.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.data.torchaudio_import import torchaudio
from harness.errors import DataError

if TYPE_CHECKING:
    import torch
    from soundfile import SoundFile

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3"})
"""Files that count as sound when a folder is searched."""

_UNKNOWN_SIZE = 0x7FFF0000
"""Chunk sizes from here on are what a program writes that streams a wav and cannot go back."""


def read_audio(path: Path, sample_rate: int) -> np.ndarray:
    """Float32[L] in [-1, 1] at `sample_rate`: channels averaged, any depth, any rate resampled.

    Raises: DataError naming the file when it is missing, empty, cut short, damaged, not sound, or
        holds NaN or infinity.
    """
    import soundfile

    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    if size == 0:
        raise DataError(f"{path} is empty (0 bytes); replace or remove it")
    try:
        with soundfile.SoundFile(path) as file:
            channels = file.read(dtype="float32", always_2d=True)
            missing = _missing_part(path, file, len(channels))
            rate = file.samplerate
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        reason = str(error).removeprefix(f"Error opening {str(path)!r}: ")
        raise DataError(f"cannot read {path} as sound: {reason}") from None
    if missing:
        raise DataError(f"{path} is cut short: {missing}; replace or remove it")
    if not len(channels):
        raise DataError(f"{path} holds no samples; replace or remove it")
    if not np.isfinite(channels).all():
        raise DataError(f"{path} holds NaN or infinite samples; replace or remove it")
    return resample(channels.mean(axis=1), rate, sample_rate)


def resample(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Float32[L] at `rate` -> Float32[ceil(L new_rate / rate)], torchaudio's windowed sinc."""
    if rate == new_rate:
        return waveform
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # clips are short: more threads wait for each other on a busy machine
    try:
        with torch.inference_mode():
            return _resampler(rate, new_rate)(torch.from_numpy(waveform)).numpy()
    finally:
        torch.set_num_threads(threads)


@cache
def _resampler(rate: int, new_rate: int) -> torch.nn.Module:
    return torchaudio().transforms.Resample(rate, new_rate)  # computes its kernel once


def _missing_part(path: Path, file: SoundFile, frames_read: int) -> str:
    """What a reader that forgives does not say: how the file is shorter than it claims."""
    if file.format == "OGG":
        return "" if _has_last_page(path) else "its last page is missing"
    if file.format == "MPEG":
        # Without a Xing or Info header the number of frames is a guess.
        claimed = file.frames if _has_frame_count(path) else frames_read
        return "" if frames_read > 0.99 * claimed else f"{frames_read} of {claimed} samples"
    chunk = re.search(r"^ *(?:data|SSND) : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if chunk and int(chunk[2]) < int(chunk[1]) < _UNKNOWN_SIZE:
        return f"{chunk[2]} of {chunk[1]} bytes of sound"
    return "" if frames_read == file.frames else f"{frames_read} of {file.frames} samples"


def _has_last_page(path: Path) -> bool:
    """Whether the last Ogg page is whole and carries the end-of-stream flag (RFC 3533, section 6)."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65307))  # the largest possible page
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if not page.startswith(b"OggS") or len(page) < 27 or len(page) < 27 + page[26]:
        return False
    segments = page[27 : 27 + page[26]]
    return bool(page[5] & 4) and len(page) >= 27 + len(segments) + sum(segments)


def _has_frame_count(path: Path) -> bool:
    """Whether an mp3 starts with a frame that says how many follow, after any ID3v2 tag."""
    with path.open("rb") as file:
        head = file.read(10)
        tag = 0
        if head.startswith(b"ID3"):  # four bytes of seven bits
            tag = 10 + sum(
                (byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
            )
        file.seek(tag)
        first_frame = file.read(256)
    return b"Xing" in first_frame or b"Info" in first_frame
