"""The figure of drawn clips: who is shown, and that a tone is where it belongs."""

import dataclasses

import numpy as np
import pytest

from harness.analysis.figures.clips import spectrogram
from harness.contracts import NotEnoughData
from tests.analysis.pages import draw
from tests.analysis.test_figures import build, texts


@pytest.fixture
def with_clips(data, tmp_path):
    """Clips of every variant's second seed but the transformer's, and real ones."""
    rows = data.table[(data.table["seed"] == 1) & (data.table["variant"] != "transformer")]
    folders = {key: tmp_path / key for key in rows["key"]}
    for folder in folders.values():
        draw(folder / "samples", 2)
    draw(tmp_path / rows["key"].iloc[0] / "real", 2)
    return dataclasses.replace(data, folders=folders)


def test_a_row_is_a_variant_with_the_first_seed_that_drew_after_a_real_clip(with_clips):
    numbers = build("clips").numbers(with_clips)
    assert numbers["variant"].tolist() == [
        "real",
        *[v for v in with_clips.variants if v != "transformer"][:8],
    ]
    assert numbers["seed"].tolist()[1:] == [1.0] * 8
    assert (numbers["seconds"] == 0.1).all() and (numbers["peak"] < 0.11).all()
    assert "base, seed 1" in texts(build("clips").draw(with_clips))


def test_without_clips_it_says_how_to_have_some(data):
    with pytest.raises(NotEnoughData, match="harness sample"):
        build("clips").draw(data)


def test_a_tone_is_loudest_at_its_frequency():
    tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    levels, frequencies, times = spectrogram(tone, 8000)
    inside = (times > 0.1) & (times < 0.9)
    loudest = frequencies[levels[:, inside].argmax(axis=0)]
    assert np.abs(loudest - 1000).max() <= frequencies[1] and levels.max() == 0 and levels.min() >= -80
