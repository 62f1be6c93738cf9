"""Inception score as defined, the published script's, modified inception score and AM score."""

import math

import numpy as np
import pytest
from embeddings import CLASSES, softmax, sure
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.evaluation.quality.inception import (
    am_score,
    inception_score,
    inception_score_sashimi,
    modified_inception_score,
    resampled_inception_scores,
)

ONE_HOT = np.eye(CLASSES)


def test_sure_and_balanced_classes_have_an_inception_score_of_their_number():
    assert inception_score(np.tile(ONE_HOT, (20, 1))) == pytest.approx(CLASSES)


def test_unsure_probabilities_and_a_single_class_have_an_inception_score_of_one():
    assert inception_score(np.full((50, CLASSES), 1 / CLASSES)) == pytest.approx(1)
    assert inception_score(np.tile(ONE_HOT[:1], (50, 1))) == pytest.approx(1)


def test_seventy_per_cent_in_one_class_score_3_5_by_definition_and_19_by_the_published_script():
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(2000) < 0.7, 0, rng.integers(1, CLASSES, size=2000))
    p = sure(labels, 8.0, rng)
    assert inception_score(p) == pytest.approx(3.5, abs=0.1)
    assert inception_score_sashimi(p) == pytest.approx(19, abs=1)


def test_a_single_class_scores_1_01_by_definition_and_2_4_by_the_published_script():
    p = sure(np.zeros(2000, dtype=int), 8.0, np.random.default_rng(0))
    assert inception_score(p) == pytest.approx(1.01, abs=0.005)
    assert inception_score_sashimi(p) == pytest.approx(2.4, abs=0.1)


def test_the_two_inception_scores_agree_for_balanced_classes():
    p = sure(np.arange(4000) % CLASSES, 8.0, np.random.default_rng(1))
    assert inception_score_sashimi(p) == pytest.approx(inception_score(p), rel=0.02)


def test_the_published_script_has_no_score_where_a_class_is_empty():
    p = np.tile(ONE_HOT[:9], (20, 1))
    assert math.isnan(inception_score_sashimi(p))
    assert inception_score(p) == pytest.approx(9)


@given(seed=st.integers(0, 2**32 - 1), clips=st.integers(2, 40), classes=st.integers(2, 12))
@settings(max_examples=15, deadline=None)
def test_scores_stay_in_their_bounds_and_know_no_order_of_classes(seed, clips, classes):
    rng = np.random.default_rng(seed)
    p = softmax(6 * rng.normal(size=(clips, classes)))
    permuted = p[:, rng.permutation(classes)]
    assert 1 - 1e-12 <= inception_score(p) <= min(clips, classes) * (1 + 1e-12)
    assert modified_inception_score(p) >= 1 - 1e-12
    assert am_score(p, p[::-1]) >= -1e-12
    for metric in (inception_score, inception_score_sashimi, modified_inception_score):
        assert metric(permuted) == pytest.approx(metric(p))


def test_a_mean_over_all_pairs_is_a_difference_of_entropies():
    p = softmax(np.random.default_rng(2).normal(size=(30, 5)))
    pairs = np.stack(np.meshgrid(np.arange(30), np.arange(30)), axis=-1).reshape(-1, 2)
    expected = (p * np.log(p)).sum(axis=1).mean() - p.mean(axis=0) @ np.log(p).mean(axis=0)
    assert modified_inception_score(p, pairs) == pytest.approx(math.exp(expected))


def test_probabilities_that_underflow_leave_the_modified_score_finite():
    assert math.isfinite(modified_inception_score(np.tile(ONE_HOT, (5, 1))))


def test_the_am_score_of_a_sure_balanced_set_is_zero_and_of_a_lopsided_one_its_divergence():
    balanced = np.tile(ONE_HOT, (20, 1))
    assert am_score(balanced, balanced) == pytest.approx(0)
    halves = np.tile(ONE_HOT[:2], (20, 1))
    assert am_score(balanced, halves) == pytest.approx(math.log(5))  # the training set has two of ten classes


def test_a_resample_scores_as_the_clips_that_it_repeats():
    rng = np.random.default_rng(3)
    p = softmax(3 * rng.normal(size=(25, 6)))
    drawn = rng.integers(25, size=25)
    weights = np.bincount(drawn, minlength=25).astype(float)[None]
    assert resampled_inception_scores(p, weights)[0] == pytest.approx(inception_score(p[drawn]))
