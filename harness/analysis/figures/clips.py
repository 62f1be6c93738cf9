"""What the variants drew: the first clip of each as waveform and spectrogram, none chosen by ear.

The spectrogram is the power of a Hann window's Fourier transform, in decibels below the clip's
loudest point, down to -80.

Shapes: T samples, K frequencies, N frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.analysis import style
from harness.contracts import FigureData, NotEnoughData
from harness.evaluation.real_clips import REAL

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

DRAWN = "samples"
DECIBELS = 80.0
WINDOW_SECONDS = 0.032


class Clip(NamedTuple):
    variant: str
    seed: int | None
    waveform: NDArray[np.float64]
    sample_rate: int


class Clips:
    """The first clip that each variant drew, as waveform and spectrogram, beside a real one."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        number: int = 0
        """Which clip of each, from 0."""
        variants: int = 8
        """Rows at most, in the order of the suite."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def numbers(self, data: FigureData) -> pd.DataFrame:
        """One row a clip: variant, seed, seconds, root mean square, peak."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "variant": clip.variant,
                    "seed": clip.seed,
                    "seconds": len(clip.waveform) / clip.sample_rate,
                    "root_mean_square": float(np.sqrt(np.mean(clip.waveform**2))),
                    "peak": float(np.abs(clip.waveform).max()),
                }
                for clip in self._clips(data)
            ]
        )

    @style.paper()
    def draw(self, data: FigureData) -> Figure:
        clips = self._clips(data)
        looks = style.looks(data.variants, data.base)
        figure = style.new_figure(style.TEXT_WIDTH, 0.7 + 0.75 * len(clips))
        grid = figure.subplots(len(clips), 2, squeeze=False, sharex=True)
        longest = max(len(clip.waveform) / clip.sample_rate for clip in clips)
        for row, clip in zip(grid, clips, strict=True):
            colour = looks[clip.variant].colour if clip.variant in looks else style.GREY
            seconds = np.arange(len(clip.waveform)) / clip.sample_rate
            row[0].plot(seconds, clip.waveform, color=colour, linewidth=0.4)
            row[0].set_ylim(-1, 1)
            name = style.label(clip.variant) + ("" if clip.seed is None else f", seed {clip.seed}")
            row[0].set_title(name, loc="left")
            _draw_spectrogram(row[1], clip)
        for axes in grid[-1]:
            axes.set_xlim(0, longest)
            axes.set_xlabel("Time (s)")
        figure.supylabel("Amplitude, and frequency (kHz)", fontsize=8)
        style.note(
            figure,
            f"Clip number {self.config.number} of each variant's first seed that drew any. Spectrogram: "
            f"{WINDOW_SECONDS * 1000:g} ms Hann window, dark to light over {DECIBELS:g} dB.",
        )
        return figure

    def _clips(self, data: FigureData) -> list[Clip]:
        """A real one first, where a trial kept any."""
        found: list[Clip] = []
        real = None
        rows = data.table[data.table["status"] == "ok"]
        for variant in data.variants:
            own = rows[rows["variant"] == variant].sort_values("seed")
            for key, seed in zip(own["key"], own["seed"], strict=True):
                folder = data.folders.get(key)
                if folder is None:
                    continue
                real = real or _read(folder / REAL, self.config.number, REAL, None)
                clip = _read(folder / DRAWN, self.config.number, variant, int(seed))
                if clip is not None:
                    found.append(clip)
                    break
        if not found:
            raise NotEnoughData("no trial has drawn clips; `harness sample` or the metric `quality` does")
        return [*([real] if real else []), *found[: self.config.variants]]


def _read(folder: Path, number: int, variant: str, seed: int | None) -> Clip | None:
    import soundfile

    path = folder / f"{number:06d}.flac"
    try:
        waveform, rate = soundfile.read(path, dtype="float64")
    except (soundfile.SoundFileError, OSError):
        return None
    return Clip(variant, seed, waveform, rate) if waveform.ndim == 1 and len(waveform) > 1 else None


def _draw_spectrogram(axes: Axes, clip: Clip) -> None:
    levels, frequencies, times = spectrogram(clip.waveform, clip.sample_rate)
    axes.imshow(
        levels,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-DECIBELS,
        vmax=0.0,
        extent=(times[0], times[-1], frequencies[0] / 1000, frequencies[-1] / 1000),
    )
    axes.grid(visible=False)


def spectrogram(
    waveform: NDArray[np.float64], sample_rate: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Float64[T] -> decibels Float64[K, N], frequencies Float64[K] in Hz, times Float64[N] in seconds."""
    from scipy.signal import ShortTimeFFT
    from scipy.signal.windows import hann

    size = min(2 ** round(np.log2(WINDOW_SECONDS * sample_rate)), len(waveform))
    transform = ShortTimeFFT(hann(size, sym=False), hop=max(1, size // 4), fs=sample_rate)
    power = np.abs(transform.stft(waveform)) ** 2
    levels = 10 * np.log10(np.maximum(power, 1e-20) / max(float(power.max()), 1e-20))
    return np.maximum(levels, -DECIBELS), transform.f, transform.t(len(waveform))
