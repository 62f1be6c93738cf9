"""Real clips beside drawn ones."""

import csv

import numpy as np
import pytest
import soundfile

from harness import configuration
from harness.evaluation.real_clips import keep_real_clips


@pytest.fixture(scope="module")
def folder_of_sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(12):
        (folder / str(number % 2)).mkdir(exist_ok=True)
        wave = np.sin(np.arange(400 + 10 * number) * 0.1 * (1 + number % 2)) * 0.5
        soundfile.write(folder / str(number % 2) / f"{number}.wav", wave, 8000)
    return folder


def test_they_are_test_clips_as_models_see_them_with_their_labels(folder_of_sounds, tmp_path):
    spec = {"name": "audio_folder", "path": str(folder_of_sounds), "sample_rate": 8000, "seconds": 0.05}
    dataset = configuration.build("datasets", {**spec, "test_fraction": 0.4})
    keep_real_clips(dataset, tmp_path)
    with (tmp_path / "real" / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    test = dataset.splits["test"]
    places = np.linspace(0, len(test) - 1, 3).round().astype(int)
    assert [int(row["label"]) for row in rows] == test.labels[places].tolist()
    wave, rate = soundfile.read(tmp_path / "real" / rows[1]["file"])
    expected = dataset.decode(test.tokens[places[1], : test.lengths[places[1]]])
    assert rate == 8000 and np.abs(wave - expected).max() < 2e-4
