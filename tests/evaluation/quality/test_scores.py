"""All scores together: the columns, the seed, the training set against itself, few and damaged clips."""

import numpy as np
import pytest
from embeddings import embedding

from harness.evaluation.quality.embedding import Embedding, QualityError
from harness.evaluation.quality.scores import COLUMNS, NEEDS, score, undefined


@pytest.fixture(scope="module")
def training():
    return embedding(300, seed=0)


def test_every_column_has_a_value_and_every_value_a_column(training):
    scores = score(embedding(120, seed=1, shift=0.2), training, seed=0)
    assert scores.keys() == COLUMNS.keys()
    assert all(isinstance(value, float) and np.isfinite(value) for value in scores.values())
    assert scores["fid_low"] < scores["fid"] < scores["fid_high"]
    assert scores["inception_score_low"] < scores["inception_score"] < scores["inception_score_high"]
    assert scores["fid_infinity"] < scores["fid"]


def test_the_training_set_scores_perfectly_against_itself(training):
    scores = score(training, training, seed=0)
    assert scores["fid"] < 1e-6
    assert scores["ndb"] == 0
    assert scores["precision"] == scores["recall"] == scores["coverage"] == 1


def test_the_seed_repeats_every_number_and_the_published_ones_do_not_depend_on_it(training):
    drawn = embedding(120, seed=1, shift=0.2)
    once, again, other = (score(drawn, training, seed=seed) for seed in (3, 3, 4))
    assert once == again
    assert once["fid_low"] != other["fid_low"]
    for name in ("fid", "kid", "inception_score_sashimi", "modified_inception_score", "am_score"):
        assert once[name] == other[name]


def test_worse_clips_score_worse(training):
    near, far = (score(embedding(120, seed=1, shift=shift), training, seed=0) for shift in (0.1, 1.0))
    for name in ("fid", "fid_infinity", "kid", "ndb"):
        assert near[name] < far[name]
    for name in ("precision", "density", "coverage"):
        assert near[name] > far[name]


def test_two_clips_have_what_two_clips_can_have(training):
    scores = score(embedding(2, seed=1), training, seed=0)
    assert np.isfinite([scores[name] for name in ("fid", "kid", "inception_score", "precision")]).all()
    assert np.isnan([scores[name] for name in ("fid_infinity", "recall")]).all()


@pytest.mark.parametrize(("drawn", "training"), [(30, 50), (29, 50), (4, 6), (3, 6), (4, 5), (4, 3)])
def test_a_score_is_a_number_with_as_many_clips_as_it_is_said_to_need(drawn, training):
    scores = score(embedding(drawn, seed=1), embedding(training, seed=0), seed=0)
    assert undefined(scores).keys() == {name for name, value in scores.items() if np.isnan(value)}
    for name, needed in NEEDS.items():
        count = drawn if needed.endswith("scored clips") else training
        assert np.isnan(scores[name]) == (count < int(needed.split()[0])), name


@pytest.mark.parametrize("clips", [0, 1])
def test_fewer_than_two_clips_are_refused(clips, training):
    with pytest.raises(QualityError, match=r"got shape \(0, 12\)|needs? at least 2 clips"):
        score(embedding(2, seed=1)[:clips], training, seed=0)


def test_embeddings_of_different_classifiers_are_refused(training):
    with pytest.raises(QualityError, match=r"different classifiers: 7 features .* against 12 features"):
        score(embedding(10, seed=1, features=7), training, seed=0)


def test_damaged_features_are_refused_by_the_number_of_the_clip():
    features = np.ones((5, 3))
    features[[2, 4]] = np.nan
    with pytest.raises(QualityError, match="features of 2 of 5 clips, the first of them number 2, are not"):
        Embedding(features=features, probabilities=np.full((5, 10), 0.1))


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (np.full((5, 10), 0.2), "must be at least 0 and sum to 1"),
        (np.full((4, 10), 0.1), "features of 5 clips but probabilities of 4"),
        (np.full(10, 0.1), r"must be a matrix with a row for each clip, got shape \(10,\)"),
    ],
)
def test_what_is_no_distribution_over_classes_is_refused(probabilities, message):
    with pytest.raises(QualityError, match=message):
        Embedding(features=np.ones((5, 3)), probabilities=probabilities)


def test_probabilities_in_half_precision_are_made_to_sum_to_one():
    rough = np.full((4, 3), 1 / 3, dtype=np.float16)
    found = Embedding(features=np.ones((4, 2)), probabilities=rough)
    assert found.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-15)
