"""The distance without labels: what it hears, and what clips it takes."""

import numpy as np
import pytest

from harness.evaluation.quality.embedding import QualityError
from harness.evaluation.quality.mel_distance import COLUMNS, describe, mel_distance, mel_scores

RATE = 4000


def notes(clips, seed, *, pitch=220.0, seconds=2.0):
    """Plucked notes: a sharp attack and a slow decay twice a second."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    frequency = pitch * 2 ** (rng.integers(12, size=(clips, 1)) / 12)
    decay = np.exp(-6 * ((2 * t + rng.random((clips, 1))) % 1))
    return (np.sin(2 * np.pi * frequency * t) * decay).astype(np.float32)


@pytest.fixture(scope="module")
def training():
    return notes(60, seed=0)


def test_other_clips_of_one_kind_are_nearer_than_anything_that_is_changed(training):
    same = mel_distance(notes(40, seed=1), training, RATE)
    clips = notes(40, seed=1)
    t = np.arange(clips.shape[1]) / RATE
    noise = np.random.default_rng(2).normal(size=clips.shape).astype(np.float32)
    worse = {
        "played backwards": clips[:, ::-1].copy(),
        "an octave higher": notes(40, seed=1, pitch=440.0),
        "one clip again and again": np.repeat(clips[:1], 40, axis=0),
        "with hum": clips + 0.05 * np.sin(2 * np.pi * 100 * t).astype(np.float32),
        "noise": noise,
        "silence": np.zeros_like(clips),
    }
    distances = {name: mel_distance(changed, training, RATE) for name, changed in worse.items()}
    assert min(distances.values()) > 3 * same, (same, distances)
    assert distances["noise"] > distances["with hum"]


def test_a_set_has_no_distance_to_itself_and_an_interval_holds_the_distance(training):
    described = describe(training, RATE)
    assert mel_scores(described, described, seed=0)["mel_distance"] < 1e-6
    scores = mel_scores(describe(notes(20, seed=1), RATE), described, seed=0)
    assert scores.keys() == COLUMNS.keys()
    assert scores["mel_distance_low"] <= scores["mel_distance"] <= scores["mel_distance_high"]


def test_clips_are_cut_into_seconds_and_may_be_described_in_parts(training):
    whole = describe(training[:20], RATE)
    assert whole.shape[:2] == (20, 2)
    in_parts = np.concatenate([describe(training[:7], RATE), describe(training[7:20], RATE)])
    np.testing.assert_allclose(in_parts, whole, atol=1e-4)
    assert describe(training[:3, : RATE // 2], RATE).shape[1] == 1


def test_how_a_single_clip_varies_nobody_knows(training):
    scores = mel_scores(describe(training[:1], RATE), describe(training, RATE), seed=0)
    assert np.isfinite(scores["mel_distance"])
    assert np.isnan([scores["mel_distance_low"], scores["mel_distance_high"]]).all()


def test_clips_that_are_too_short_or_not_there_are_refused(training):
    with pytest.raises(QualityError, match="clips of 10 samples at 4000 Hz are too short"):
        describe(training[:, :10], RATE)
    with pytest.raises(QualityError, match="no clips"):
        describe(training[:0], RATE)


def test_descriptions_at_different_rates_are_not_compared(training):
    with pytest.raises(QualityError, match="different sample rates"):
        mel_scores(describe(training, RATE)[..., :8], describe(training, RATE), seed=0)
