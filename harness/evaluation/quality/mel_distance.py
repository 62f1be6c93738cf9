"""A distance between sets of recordings that needs no labels and no classifier, for music above all.

A clip's log-mel spectrogram S, in decibels below its own loudest point, is cut into windows of a second.
A window is described by four numbers of each mel band:

    level      mean_n S[m, n]                      which pitches and timbres there are
    variety    standard deviation of S[m, n]       how much they change within a second
    rises      √ mean_n max(0, S[m, n] - S[m, n-1])²       how suddenly sounds start
    falls      √ mean_n max(0, S[m, n-1] - S[m, n])²       and how suddenly they end

and the distance is the Fréchet distance of these descriptions (`frechet`), in decibels squared. It hears
spectrum and loudness contour, noise, hum, silence, loops, and music played backwards (rises and falls change
places); it knows nothing of words, melody or form. It is ours: no published number compares with it,
and it grows as windows get fewer, as every Fréchet distance does.

Shapes: N clips, T samples, W windows, m mel bands, n frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from harness.contracts import Column
from harness.evaluation.mel import general, log_mel
from harness.evaluation.quality.bootstrap import interval, resample_weights
from harness.evaluation.quality.embedding import QualityError
from harness.evaluation.quality.frechet import Gaussian, frechet_distance, influences

CLIPS_AT_A_TIME = 16
"""Described at once: bounds the memory, 16 clips of a minute are 60 MB."""

COLUMNS: Mapping[str, Column] = {
    "mel_distance": Column(
        description="Fréchet distance of log-mel statistics of one-second windows to the training set's; "
        "needs no labels",
        unit="dB²",
        better="lower",
    ),
    "mel_distance_low": Column(
        description="lower end of mel_distance's 95 % bootstrap interval over drawn clips", unit="dB²"
    ),
    "mel_distance_high": Column(
        description="upper end of mel_distance's 95 % bootstrap interval over drawn clips", unit="dB²"
    ),
}


def describe(
    waveforms: np.ndarray, sample_rate: int, progress: Callable[[float], None] = lambda fraction: None
) -> np.ndarray:
    """Float32[N, T] -> Float64[N, W, 4 m], the descriptions of each clip's windows.

    A clip of less than a second is one window; what is left over at the end of a longer one, less
    than a window, is not described. Clips may come a few at a time and be put together afterwards.
    Raises: QualityError for no clips, or for clips too short to have two frames.
    """
    clips, samples = waveforms.shape
    settings = general(sample_rate)
    if not clips:
        raise QualityError("there are no clips to describe by their spectrograms")
    if samples < settings.hop:
        raise QualityError(
            f"clips of {samples} samples at {sample_rate} Hz are too short to be described by their "
            f"spectrograms: at least {settings.hop} are needed"
        )
    described = []
    for start in range(0, clips, CLIPS_AT_A_TIME):
        decibels = log_mel(waveforms[start : start + CLIPS_AT_A_TIME], sample_rate, settings=settings)
        described.append(np.stack([statistics(w) for w in windows(decibels, sample_rate // settings.hop)], 1))
        progress(min(1.0, (start + CLIPS_AT_A_TIME) / clips))
    return np.concatenate(described)


def windows(decibels: np.ndarray, frames: int) -> list[np.ndarray]:
    """Cut after every so many frames; a rest is left out, unless it is all there is."""
    count = max(1, decibels.shape[-1] // frames)
    return [decibels[..., i * frames : (i + 1) * frames] for i in range(count)]


def statistics(decibels: np.ndarray) -> np.ndarray:
    """Float32[N, m, n] -> Float64[N, 4 m]: level, variety, rises, falls."""
    values = decibels.astype(np.float64)
    steps = np.diff(values, axis=-1)
    rises, falls = np.maximum(steps, 0.0), np.maximum(-steps, 0.0)
    parts = (
        values.mean(axis=-1),
        values.std(axis=-1),
        np.sqrt((rises**2).mean(axis=-1)),
        np.sqrt((falls**2).mean(axis=-1)),
    )
    return np.concatenate(parts, axis=-1)


def mel_scores(
    generated: np.ndarray, reference: np.ndarray, *, seed: int, resamples: int = 200
) -> dict[str, float]:
    """Values of `COLUMNS`, from two results of `describe`.

    Whole clips are resampled, for the windows of one clip are no independent draws.
    Raises: QualityError for fewer than two windows on either side.
    """
    if generated.shape[-1] != reference.shape[-1]:
        raise QualityError("the two sets were described at different sample rates; resample one of them")
    size = generated.shape[-1]
    flat = generated.reshape(-1, size)
    training = Gaussian.of(reference.reshape(-1, size))
    distance = frechet_distance(Gaussian.of(flat), training)
    by_clip = influences(flat, training).reshape(len(generated), -1).sum(axis=1)
    if len(generated) == 1:
        resamples = 0  # of a single clip nobody knows how it varies
    resampled = distance + (resample_weights(len(generated), resamples, seed) - 1) @ by_clip
    low, high = interval(distance, resampled, least=0.0)
    return {"mel_distance": distance, "mel_distance_low": low, "mel_distance_high": high}


def mel_distance(generated: np.ndarray, reference: np.ndarray, sample_rate: int) -> float:
    """The distance alone, from waveforms Float32[N, T] and Float32[M, T'] of one sample rate."""
    described = describe(generated, sample_rate), describe(reference, sample_rate)
    return mel_scores(*described, seed=0, resamples=0)["mel_distance"]
