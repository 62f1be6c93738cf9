"""SC09 in small: a folder of the published layout, with counts of its own."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from harness.data.digits import DIGITS

COUNTS = {
    "v0.02": {"train": 40, "validation": 10, "test": 10},
    "v0.01": {"train": 20, "validation": 10, "test": 10},
}
LENGTHS = (200, 160, 200, 320, 240, 200)
"""Samples of the clips of each digit, the first two for validation and the test."""

SMALL = {"sample_rate": 16000, "seconds": 0.015}  # 240 samples


def lay_out(folder: Path, version: str = "v0.02") -> Path:
    """A miniature of the published layout."""
    for name, content in _files(version).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@cache
def _files(version: str) -> dict[str, bytes]:
    """Relative path -> content."""
    noise = np.random.default_rng(0)
    files = {}
    for digit in DIGITS:
        for number, length in enumerate(LENGTHS[: sum(COUNTS[version].values()) // 10]):
            wave = io.BytesIO()
            samples = noise.integers(-9000, 9000, length).astype(np.int16)
            soundfile.write(wave, samples, 16000, format="WAV")
            files[f"{digit}/{number:08x}_nohash_0.wav"] = wave.getvalue()
    others = ["bed/00000000_nohash_0.wav"]
    for number, name in enumerate(("validation_list.txt", "testing_list.txt")):
        lines = [f"{digit}/{number:08x}_nohash_0.wav" for digit in DIGITS]
        files[name] = "\n".join([*others, *lines, ""]).encode()
    return files
