"""SC09 in small: a folder of the published layout, with counts of its own."""

from __future__ import annotations

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
    noise = np.random.default_rng(0)
    clips = sum(COUNTS[version].values()) // 10
    for digit in DIGITS:
        (folder / digit).mkdir(parents=True)
        for number, length in enumerate(LENGTHS[:clips]):
            wave = noise.integers(-9000, 9000, length).astype(np.int16)
            soundfile.write(folder / digit / f"{number:08x}_nohash_0.wav", wave, 16000)
    others = ["bed/00000000_nohash_0.wav"]
    for number, name in enumerate(("validation_list.txt", "testing_list.txt")):
        lines = [f"{digit}/{number:08x}_nohash_0.wav" for digit in DIGITS]
        (folder / name).write_text("\n".join([*others, *lines, ""]))
    return folder
