"""A few real clips in a trial's folder, so that drawn ones can be heard and seen beside them.

They are as the models see them: quantised, decoded, and cut to their true length.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from harness.contracts import Dataset
from harness.store.atomic import replacing, write_text

REAL = "real"
"""The folder, below a trial's."""

CLIPS = 3
FULL_SCALE = 2**15 - 1


def keep_real_clips(dataset: Dataset, trial_folder: Path, count: int = CLIPS) -> None:
    """Evenly spaced clips of the test split, with their labels in `samples.csv`.

    The same for every trial on the same data; none of data that are no sound.
    """
    import soundfile

    if dataset.sample_rate is None:
        return
    folder, split = trial_folder / REAL, dataset.splits["test"]
    places = np.linspace(0, len(split) - 1, min(count, len(split))).round().astype(int)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("file", "label"))
    for number, place in enumerate(places):
        tokens = np.asarray(split.tokens[place, : split.lengths[place]])
        wave = np.rint(np.asarray(dataset.decode(tokens), dtype=np.float64) * FULL_SCALE).astype(np.int16)
        name = f"{number:06d}.flac"
        with replacing(folder / name) as path:
            soundfile.write(path, wave, dataset.sample_rate, format="FLAC", subtype="PCM_16")
        rows.writerow((name, "" if split.labels is None else int(split.labels[place])))
    write_text(folder / "samples.csv", text.getvalue())
