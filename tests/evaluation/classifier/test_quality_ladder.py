"""`python -m benchmarks.quality_ladder`: sounds that get worse score worse."""

import numpy as np
import pandas as pd
import pytest
from tones import make_dataset
from typer.testing import CliRunner

from benchmarks import quality_ladder
from benchmarks.quality_ladder import app, requantised, with_noise

SMALL = "{name: small, width: 4, epochs: 10, batch_size: 12, learning_rate: 0.02}"


def test_the_ladder_of_three_tones_goes_up(cache, monkeypatch, tmp_path):
    monkeypatch.setattr(quality_ladder.configuration, "build", lambda kind, spec: make_dataset())
    path = tmp_path / "ladder.csv"
    arguments = ["--classifier", SMALL, "--resamples", "0", "--output", str(path)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0 and "tones each against its 36 training clips" in done.output
    rows = pd.read_csv(path).set_index("name")
    assert abs(rows.fid["training set"]) < 1e-6
    assert rows.clips["test set"] == rows.clips["white noise"] == 15
    assert rows.accuracy["test set"] == rows.extractor_accuracy.iloc[0] > 0.9
    for worse in ("test, noise 0 dB below", "one class", "one clip repeated", "white noise", "silence"):
        assert rows.fid[worse] > 2 * rows.fid["test set"], worse
    assert rows.inception_score["one clip repeated"] == pytest.approx(1)


def test_noise_has_the_power_it_says():
    draw = np.random.default_rng(0)
    clips = draw.standard_normal((3, 4000)).astype(np.float32)
    noise = with_noise(clips, 20, draw) - clips
    power = np.square(noise).mean(axis=1) / np.square(clips).mean(axis=1)
    np.testing.assert_allclose(power, 1e-2, rtol=0.1)


def test_fewer_bits_are_further_from_the_clip():
    clips = np.sin(np.linspace(0, 60, 2000, dtype=np.float32))[None]
    errors = [np.abs(requantised(clips, "mu_law", bits) - clips).mean() for bits in (8, 6, 4, 2)]
    assert errors == sorted(errors) and errors[0] < 0.02
