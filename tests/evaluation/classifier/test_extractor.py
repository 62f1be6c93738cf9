"""What a classifier says of clips: for each alone, at any rate, of any length."""

import numpy as np
import pytest
import torch
from tones import make_dataset, tones

from harness.data.audio_file import resample
from harness.errors import ConfigError
from harness.evaluation.classifier.extractor import FLOOR, extractor_for

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def extractor(cache):
    spec = {"name": "small", "width": 4, "epochs": 10, "batch_size": 12, "learning_rate": 0.02}
    return extractor_for(make_dataset(), spec, CPU)


@pytest.fixture(scope="module")
def clips():
    return tones(np.array([0, 1, 2, 0, 1]), seed=7)


def test_it_says_what_it_is_and_how_good(extractor):
    assert extractor.name == "small" and len(extractor.sha256) == 64
    assert extractor.accuracy >= FLOOR and not extractor.too_weak
    assert extractor.held_out == "15 clips of the test split of tones"
    assert extractor.sample_rate == 4000


def test_it_hears_the_labels(extractor, clips):
    embedding = extractor.embed(clips, 4000)
    assert embedding.features.shape == (5, 16) and embedding.features.dtype == np.float64
    assert embedding.probabilities.argmax(axis=1).tolist() == [0, 1, 2, 0, 1]


def test_a_clip_is_judged_alone(extractor, clips):
    together = extractor.embed(clips, 4000)
    alone = extractor.embed(clips[2:3], 4000)
    np.testing.assert_allclose(together.features[2], alone.features[0], rtol=1e-4, atol=1e-5)


def test_another_rate_is_resampled(extractor, clips):
    twice = np.stack([resample(clip, 4000, 8000) for clip in clips])
    found = extractor.embed(twice, 8000)
    assert found.probabilities.argmax(axis=1).tolist() == [0, 1, 2, 0, 1]


def test_longer_clips_are_cut_and_shorter_ones_get_silence(extractor, clips):
    longer = np.concatenate([clips, clips], axis=1)
    np.testing.assert_allclose(
        extractor.embed(longer, 4000).features, extractor.embed(clips, 4000).features, rtol=1e-5
    )
    padded = np.pad(clips[:, :600], ((0, 0), (0, 400)))
    np.testing.assert_allclose(
        extractor.embed(clips[:, :600], 4000).features, extractor.embed(padded, 4000).features, rtol=1e-5
    )


def test_progress_is_reported(extractor, clips):
    seen = []
    extractor.embed(clips, 4000, lambda fraction, text: seen.append((fraction, text)))
    assert seen == [(0.0, "classified 0 of 5 clips")]


def test_a_name_that_is_neither_a_classifier_nor_a_file_is_refused(dataset):
    with pytest.raises(ConfigError, match="neither small nor resnext nor a file"):
        extractor_for(dataset(), "smal", CPU)
