"""What a data set sounds like, to the eye: waveforms above their log-mel spectrograms.

One clip of each label, or some of each split where there are no labels, as a model meets them: decoded
from tokens, without padding. Loudness is relative to each clip's loudest point.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.analysis.style import COLOURS, TEXT_WIDTH, new_figure, note, paper
from harness.contracts import Dataset
from harness.data.description import label_names
from harness.errors import DataError
from harness.evaluation.mel import general, log_mel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COLUMNS = 5
MOST = 10
BINS = 400
"""Points across a waveform: a bar from the lowest to the highest sample of each."""
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000)


class Shown(NamedTuple):
    title: str
    waveform: np.ndarray  # Float32[T]


@paper()
def draw(dataset: Dataset, name: str) -> Figure:
    """Raises: DataError for a data set that is no sound."""
    rate = dataset.sample_rate
    if not rate:
        raise DataError(f"{name} has no sample rate: there are no waveforms to draw")
    clips = list(_chosen(dataset))
    columns = min(COLUMNS, len(clips))
    rows = -(-len(clips) // columns)
    figure = new_figure(TEXT_WIDTH, 0.3 + 1.8 * rows)
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[1, 1.6] * rows)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, clip in enumerate(clips):
        row, column = divmod(number, columns)
        above, below = grid[2 * row, column], grid[2 * row + 1, column]
        seconds = len(clip.waveform) / rate
        _draw_waveform(above, clip, seconds)
        image = _draw_mel(below, clip.waveform, rate, seconds)
        if column:
            above.tick_params(labelleft=False)
            below.tick_params(labelleft=False)
        else:
            above.set_ylabel("Amplitude")
            below.set_ylabel("kHz")
        if number + columns >= len(clips):
            below.set_xlabel("Time (s)")
    figure.colorbar(image, ax=grid[:, -1].tolist(), label="dB below the loudest", shrink=0.6)
    version = dataset.provenance.version
    version = version[:12] if len(version) == 40 else version  # a commit
    note(figure, f"{name}, {version}: decoded tokens, {rate} Hz, without padding")
    return figure


def _chosen(dataset: Dataset) -> Iterator[Shown]:
    """The first clip of each label in the training split, else clips of all three splits."""
    train = dataset.splits["train"]
    if train.labels is None:
        for split, count in (("train", 2), ("validation", 1), ("test", 2)):
            for number in range(min(count, len(dataset.splits[split]))):
                yield Shown(f"{split} {number}", _waveform(dataset, split, number))
        return
    for label, label_name in enumerate(label_names(dataset)[:MOST]):
        found = np.flatnonzero(train.labels == label)
        if len(found):
            yield Shown(f"{label_name} (train {found[0]})", _waveform(dataset, "train", int(found[0])))


def _waveform(dataset: Dataset, split: str, number: int) -> np.ndarray:
    clips = dataset.splits[split]
    return dataset.decode(np.asarray(clips.tokens[number, : clips.lengths[number]]))


def _draw_waveform(axes: Axes, clip: Shown, seconds: float) -> None:
    bins = min(BINS, len(clip.waveform))
    parts = np.array_split(clip.waveform, bins)
    times = (np.arange(bins) + 0.5) * seconds / bins
    lowest, highest = [part.min() for part in parts], [part.max() for part in parts]
    axes.set_axis_on()
    axes.fill_between(times, lowest, highest, color=COLOURS[0], linewidth=0.3)
    axes.set(xlim=(0, seconds), ylim=(-1.05, 1.05), yticks=(-1, 0, 1))
    axes.set_title(clip.title)
    axes.grid(False)
    axes.tick_params(labelbottom=False)


def _draw_mel(axes: Axes, waveform: np.ndarray, rate: int, seconds: float) -> AxesImage:
    settings = general(rate)
    mel = log_mel(waveform[None], rate, settings=settings)[0]
    low, high = (_mel_of(hertz) for hertz in (settings.lowest_hz, settings.highest_hz or rate / 2))
    axes.set_axis_on()
    image = axes.imshow(
        mel,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, low, high),
        vmin=-settings.decibels,
        vmax=0,
        cmap="magma",
        interpolation="nearest",
    )
    ticks = [hertz for hertz in TICKS_HZ if low < _mel_of(hertz) <= high]
    axes.set_yticks([_mel_of(hertz) for hertz in ticks], [f"{hertz / 1000:g}" for hertz in ticks])
    axes.grid(False)
    return image


def _mel_of(hertz: float) -> float:
    """Slaney's mel scale: linear to 1 kHz, 27 steps for a factor of 6.4 above."""
    if hertz < 1000:
        return 3 * hertz / 200
    return 15 + 27 * float(np.log(hertz / 1000) / np.log(6.4))
