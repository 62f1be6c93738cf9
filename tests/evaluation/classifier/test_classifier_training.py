"""Training a classifier: it learns, it is repeatable, it is trained once, and it says how good it is."""

import json
import logging

import numpy as np
import pytest
import torch
from tones import make_dataset, make_split

from harness.contracts import Provenance
from harness.errors import ConfigError, DataError
from harness.evaluation.classifier import cached
from harness.evaluation.classifier.cached import open_or_train
from harness.evaluation.classifier.extractor import extractor_for
from harness.evaluation.classifier.labelled import Labelled
from harness.evaluation.classifier.settings import PRESETS, settings_of
from harness.evaluation.classifier.training import silent, train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def entry(cache, quick):
    return open_or_train(make_dataset(), quick, CPU, silent)


def test_it_learns_and_says_how_well(entry):
    about = json.loads((entry.folder / "about.json").read_text())
    assert about["accuracy"]["test"] > 0.9 and about["accuracy"]["validation"] > 0.9
    confusion = np.array(about["confusion"]["test"])
    assert confusion.sum() == 15 and np.trace(confusion) == pytest.approx(15 * about["accuracy"]["test"])
    assert about["data"]["name"] == "tones" and about["data"]["classes"] == 3
    assert about["settings"]["width"] == 4 and about["best_epoch"] <= about["epochs"] == 10


def test_it_is_trained_once(entry, dataset, quick, monkeypatch):
    monkeypatch.setattr(cached, "train", None)
    again = open_or_train(dataset(), quick, CPU, silent)
    assert again.folder == entry.folder
    assert all(
        torch.equal(a, b) for a, b in zip(again.network.parameters(), entry.network.parameters(), strict=True)
    )


def test_damaged_weights_are_not_used_but_trained_again_to_the_same(entry, dataset, quick, caplog):
    weights = entry.folder / "weights.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with caplog.at_level(logging.WARNING):
        open_or_train(dataset(), quick, CPU, silent)
    assert "checksum" in caplog.text
    assert weights.read_bytes() == good, "the same seed gives the same weights"


@pytest.mark.parametrize(
    "difference",
    [
        {"sample_rate": 2000},
        {"provenance": Provenance(source="", version="", licence="", sha256="other", clips={})},
        {"decode": lambda tokens: np.asarray(tokens, dtype=np.float32) / 255},
    ],
    ids=["rate", "tokens", "sound"],
)
def test_other_data_is_another_classifier(dataset, difference):
    assert Labelled.of(dataset(**difference)).digest() != Labelled.of(dataset()).digest()


def test_training_leaves_the_random_numbers_and_threads_of_others_alone(dataset, quick):
    torch.manual_seed(3)
    expected, threads = torch.rand(2), torch.get_num_threads()
    torch.manual_seed(3)
    train(Labelled.of(dataset()), settings_of({"epochs": 1, "width": 4}), CPU, silent)
    assert torch.equal(torch.rand(2), expected) and torch.get_num_threads() == threads


def test_it_can_be_trained_where_nothing_else_is(dataset):
    with torch.inference_mode():
        trained = train(Labelled.of(dataset()), settings_of({"epochs": 1, "width": 4}), CPU, silent)
    assert trained.best_epoch == 1


def test_progress_runs_from_nothing_to_all_and_says_how_long_it_takes(dataset, quick):
    seen: list[tuple[float, str]] = []
    settings = settings_of({"epochs": 2, "width": 4, "batch_size": 12})
    train(Labelled.of(dataset()), settings, CPU, lambda *progress: seen.append(progress))
    fractions = [fraction for fraction, _ in seen]
    assert fractions[0] == 0 and fractions[-1] == 1 and fractions == sorted(fractions)
    assert "epoch 2 of 2, validation" in seen[-2][1] and "left" in seen[-2][1]


def test_labels_that_mean_nothing_make_a_weak_classifier(dataset, quick, cache):
    chance = np.random.default_rng(0)
    splits = {
        name: make_split(60, seed, labels=chance.integers(0, 3, 60))
        for seed, name in enumerate(("train", "validation", "test"))
    }
    provenance = Provenance(
        source="", version="", licence="", sha256="chance", clips=dict.fromkeys(splits, 60)
    )
    spec = {"name": "small", "width": 4, "epochs": 1}
    extractor = extractor_for(dataset(splits=splits, provenance=provenance), spec, CPU)
    assert extractor.accuracy < 0.6 and extractor.too_weak


def test_without_labels_another_metric_is_named(dataset):
    splits = {name: _unlabelled(split) for name, split in dataset().splits.items()}
    with pytest.raises(DataError, match=r"tones has no labels.*mel_distance"):
        open_or_train(dataset(splits=splits), PRESETS["small"], CPU, silent)


def _unlabelled(split):
    return type(split)(tokens=split.tokens, lengths=split.lengths)


def test_what_is_no_sound_is_refused(dataset):
    with pytest.raises(DataError, match="no sound"):
        Labelled.of(dataset(sample_rate=None))


def test_clips_that_are_too_short_are_refused(dataset, cache):
    with pytest.raises(DataError, match="too short"):
        open_or_train(dataset(length=100), settings_of("small"), CPU, silent)


def test_what_is_said_beside_a_name_wins():
    assert settings_of({"name": "resnext", "epochs": 3}).epochs == 3
    assert settings_of("resnext").optimizer == "sgd"
    with pytest.raises(ConfigError, match="did you mean 'resnext'"):
        settings_of("resnet")
    with pytest.raises(ConfigError, match="width"):
        settings_of({"widht": 3})


@pytest.mark.parametrize(("clips", "epochs"), [(2400, 20), (31158, 6), (60, 100)])
def test_sets_of_any_size_are_seen_about_as_often(clips, epochs):
    assert settings_of("small").epochs_for(clips) == epochs
