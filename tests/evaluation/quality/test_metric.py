"""Quality of a model's own clips: a row says what was scored, against what, and by whom."""

import json

import pytest
import torch
from tone_plugin import LENGTH, Bands, Noise, Tones

from harness.contracts import MetricContext
from harness.evaluation.classifier.extractor import extractor_for
from harness.evaluation.clip_folder import ClipFolder
from harness.evaluation.quality import judging
from harness.evaluation.quality.metric import Quality

CLIPS = 40


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def own_cache(monkeypatch, tmp_path, bands):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bands(monkeypatch, shared_cache):
    """The classifier that every test's metric is given."""
    monkeypatch.setenv("HARNESS_CACHE", str(shared_cache))
    extractor = Bands()
    monkeypatch.setattr(judging, "extractor_for", lambda *_: extractor)
    return extractor


@pytest.fixture
def measure(tmp_path, bands):
    def measure(data=None, **options):
        data = data or Tones.Config()
        torch.manual_seed(0)
        context = MetricContext(
            model=Noise(Noise.Config()).eval(),
            dataset=Tones(data),
            device=torch.device("cpu"),
            config={"data": {"name": "tones", **vars(data)}},
            seed=5,
            folder=tmp_path / "trial",
        )
        settings = {"clips": CLIPS, "batch": CLIPS, "resamples": 20} | options
        return Quality(Quality.Config(**settings)).measure(context)

    return measure


@pytest.fixture
def samples(tmp_path):
    return lambda: ClipFolder(tmp_path / "trial" / "samples")


def test_a_row_holds_the_scores_and_the_protocol_behind_them(measure):
    row = measure()
    assert row.keys() <= Quality.columns.keys()
    expected = {
        "quality_samples": CLIPS,
        "quality_drawn": CLIPS,
        "quality_seed": 5,
        "quality_rejection": "none",
        "quality_lengths": "data",
        "quality_extractor": "bands bbbbbbbbbbbb",
        "quality_extractor_accuracy": 1.0,
        "quality_extractor_too_weak": False,
        "quality_test_clips": 24,
        "quality_note": "no ndb, which needs 50 different training clips; "
        "no fid_infinity_test_set, which needs 30 scored clips",
    }
    assert {name: row[name] for name in expected} == expected
    assert row["fid_low"] <= row["fid"] <= row["fid_high"]
    assert 1 <= row["inception_score"] <= 4


def test_the_recordings_stand_beside_the_clips_and_the_training_set_is_at_no_distance_to_itself(measure):
    row = measure()
    assert abs(row["fid_train_set"]) < 1e-6 and abs(row["mel_distance_train_set"]) < 1e-6
    assert row["fid_test_set"] < row["fid"] / 10 and row["mel_distance_test_set"] < row["mel_distance"] / 10
    assert row["inception_score"] < 3 < row["inception_score_test_set"] <= 4


def test_what_is_known_of_the_recordings_is_computed_once(measure, own_cache, bands):
    first = measure()
    heard = bands.heard
    assert measure() == first
    assert bands.heard - heard == CLIPS


def test_a_damaged_cache_is_computed_again(measure, own_cache):
    first = measure()
    for file in (own_cache / "quality").glob("*.[nj]*"):
        file.write_bytes(file.read_bytes()[:40])
    assert measure() == first


def test_clips_that_are_too_short_for_a_classifier_have_the_distance_without_one(measure, monkeypatch):
    monkeypatch.setattr(judging, "extractor_for", extractor_for)
    row = measure()
    assert row["mel_distance"] > 0 and "fid" not in row
    assert "clips of 640 samples at 8000 Hz are too short" in row["quality_note"]
    assert row["quality_note"].endswith(": mel_distance alone")


def test_clips_are_kept_and_labelled(measure, samples):
    measure()
    stamps = [path.stat().st_mtime_ns for path in sorted(samples().folder.glob("*.flac"))]
    measure()
    assert stamps == [path.stat().st_mtime_ns for path in sorted(samples().folder.glob("*.flac"))]
    assert all(clip.label in range(4) and 0.25 <= clip.confidence <= 1 for clip in samples().clips)
    assert json.loads((samples().folder / "quality.json").read_text())["quality_samples"] == CLIPS


def test_only_the_first_clips_are_scored_however_many_there_are(measure):
    few = measure(clips=16)
    measure(clips=CLIPS)
    assert measure(clips=16) == few


def test_the_published_rejection_keeps_55_per_cent(measure):
    row = measure(rejection="published")
    assert (row["quality_samples"], row["quality_drawn"]) == (22, 40)
    assert row["quality_rejection"] == "published"


def test_clips_end_where_training_clips_end_unless_they_are_to_be_scored_whole(measure, monkeypatch):
    seen = []
    embed = Bands.embed
    monkeypatch.setattr(
        Bands, "embed", lambda self, waves, rate: seen.append(waves) or embed(self, waves, rate)
    )
    short = {}
    for lengths in ("data", "full"):
        seen.clear()
        measure(lengths=lengths)
        clips = next(waves for waves in seen if len(waves) == CLIPS)
        short[lengths] = int((clips[:, LENGTH // 2 :] == 0).all(axis=1).sum())
    assert short["full"] == 0
    assert CLIPS / 4 < short["data"] < 3 * CLIPS / 4, "half of the training clips are short"


def test_without_labels_there_is_the_label_free_distance_alone_and_the_row_says_so(measure):
    row = measure(Tones.Config(labelled=False))
    assert row["mel_distance"] > 0 and "fid" not in row
    assert "no labels" in row["quality_note"]


def test_data_that_are_no_sound_are_drawn_and_not_scored(measure, samples):
    row = measure(Tones.Config(sample_rate=None))
    assert list(row) == ["quality_note"] and "no sound" in row["quality_note"]
    assert len(samples()) == CLIPS


def test_clips_too_short_for_a_spectrogram_cost_the_scores_and_not_the_trial(measure):
    assert measure(Tones.Config(length=100))["quality_note"].startswith("not scored: ")


def test_a_weak_classifier_is_named_in_the_row(measure, bands):
    bands.accuracy, bands.too_weak = 0.6, True
    row = measure()
    assert row["quality_extractor_too_weak"] is True
    assert "too weak (60.0% right of test)" in row["quality_note"]


def test_a_score_that_needs_more_clips_is_named_with_how_many(measure):
    row = measure(clips=29)
    assert "fid" in row and "fid_infinity" not in row
    assert row["quality_note"].startswith("no fid_infinity, which needs 30 scored clips; no ndb, ")
