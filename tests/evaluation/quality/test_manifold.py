"""Precision, recall, density and coverage: against their definitions, and what each of them sees."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from harness.evaluation.quality import pairwise
from harness.evaluation.quality.manifold import manifold_scores

RNG = np.random.default_rng(0)


def by_definition(drawn, real):
    """From the matrices of all distances."""

    def radii(x, k):
        return np.sort(cdist(x, x), axis=1)[:, k]

    between = cdist(drawn, real)
    in_real_3, in_real_5 = between <= radii(real, 3), between <= radii(real, 5)
    in_drawn_3 = between <= radii(drawn, 3)[:, None]
    return {
        "precision": in_real_3.any(axis=1).mean(),
        "recall": in_drawn_3.any(axis=0).mean(),
        "density": in_real_5.sum() / (5 * len(drawn)),
        "coverage": in_real_5.any(axis=0).mean(),
    }


@pytest.mark.parametrize("block", [pairwise.BLOCK, 61])
def test_they_are_their_definitions_whatever_the_blocks(block, monkeypatch):
    monkeypatch.setattr(pairwise, "BLOCK", block)
    rng = np.random.default_rng(1)
    drawn, real = rng.normal(size=(40, 3)) + 0.7, rng.normal(size=(55, 3))
    assert manifold_scores(drawn, real, RNG) == pytest.approx(by_definition(drawn, real))


def test_a_set_covers_itself():
    real = np.random.default_rng(2).normal(size=(60, 4))
    scores = manifold_scores(real, real, RNG)
    assert scores["precision"] == scores["recall"] == scores["coverage"] == 1


def test_a_lost_mode_costs_recall_and_coverage_and_leaves_precision():
    rng = np.random.default_rng(3)
    real = np.concatenate([rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 50])
    scores = manifold_scores(rng.normal(size=(100, 2)) * 0.7, real, RNG)
    assert scores["precision"] > 0.9
    assert scores["recall"] <= 0.5
    assert scores["coverage"] <= 0.5


def test_clips_far_from_all_others_have_none_of_it():
    rng = np.random.default_rng(4)
    scores = manifold_scores(rng.normal(size=(30, 2)) + 100, rng.normal(size=(30, 2)), RNG)
    assert set(scores.values()) == {0.0}


def test_constant_features_lie_in_each_others_balls():
    scores = manifold_scores(np.full((8, 3), 0.1), np.full((9, 3), 0.1), RNG)
    assert scores["precision"] == scores["recall"] == scores["coverage"] == 1


def test_clips_with_too_few_others_have_no_ball():
    rng = np.random.default_rng(5)
    scores = manifold_scores(rng.normal(size=(3, 2)), rng.normal(size=(5, 2)), RNG)
    assert np.isfinite(scores["precision"])
    assert np.isnan([scores["recall"], scores["density"], scores["coverage"]]).all()
