"""Log-mel spectrograms: librosa's numbers, and what holds whatever the sound."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ConfigError
from harness.evaluation.mel import PUBLISHED, MelSettings, general, log_mel

LIBROSA = json.loads((Path(__file__).parent / "librosa_mel.json").read_text())
"""Every so many mels and frames of power_to_db(melspectrogram(y, …), ref=np.max)."""

SOUNDS = ("chirp after silence", "noise that dies away", "silence")
CASES = {"published": (16000, PUBLISHED), "general": (8000, general(8000))}


def signals(rate: int) -> dict[str, np.ndarray]:
    """The sounds that librosa was given, a second each."""
    t = np.arange(rate) / rate
    decaying = np.random.default_rng(0).standard_normal(rate) * 0.1 * np.exp(-3 * t)
    chirp = np.sin(2 * np.pi * (100 * t + 0.1 * rate * t * t)) * (t > 0.3)
    return dict(zip(SOUNDS, (chirp, decaying, np.zeros(rate)), strict=True))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sound", SOUNDS)
def test_they_are_librosas(case, sound):
    rate, how = CASES[case]
    mels, frames = LIBROSA[case]["every"]
    expected = np.array(LIBROSA[case]["decibels"][sound])
    found = log_mel(signals(rate)[sound][None], rate, settings=how)[0, ::mels, ::frames]
    # The transforms round differently in single precision, which shows 70 decibels below the peak.
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_second_at_16_khz_is_32_by_32_in_the_published_setting():
    assert log_mel(np.zeros((2, 16000)), 16000).shape == (2, 32, 32)


@given(gain=st.floats(1e-2, 1e2), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_quieter_clip_has_the_same_spectrogram(gain, seed):
    clip = np.random.default_rng(seed).standard_normal((1, 2000)).astype(np.float32)
    how = general(8000)
    loud, quiet = (log_mel(c, 8000, settings=how) for c in (clip, np.float32(gain) * clip))
    np.testing.assert_allclose(loud, quiet, atol=1e-3)
    assert loud.max() == 0 and loud.min() >= -how.decibels


def test_clips_do_not_depend_on_each_other_nor_on_how_many_are_transformed_at_once():
    clips = np.random.default_rng(0).standard_normal((5, 1000)).astype(np.float32)
    together = log_mel(clips, 8000, settings=general(8000))
    apart = log_mel(clips, 8000, settings=general(8000), chunk=2)
    np.testing.assert_allclose(together, apart, atol=1e-3)


@pytest.mark.parametrize("rate", [1000, 4000, 8000, 16000, 22050, 44100, 48000])
def test_every_mel_of_the_general_setting_hears_something_at_any_rate(rate):
    noise = torch.randn(1, rate, generator=torch.Generator().manual_seed(0)).numpy()
    assert log_mel(noise, rate, settings=general(rate)).max(axis=(0, 2)).min() > -60


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"hop": 0}, "hop"),
        ({"decibels": 0.0}, "decibels"),
        ({"highest_hz": 10.0, "lowest_hz": 20.0}, "highest_hz"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong, field):
    with pytest.raises(ConfigError, match=field):
        MelSettings(**{"window": 256, "hop": 128, "mels": 40, **wrong})
