"""The kernel distance: against its definition pair by pair, without bias, in blocks."""

import numpy as np
import pytest

from harness.evaluation.quality import pairwise
from harness.evaluation.quality.kernel_distance import kernel_distance

RNG = np.random.default_rng(0)


def by_pairs(x, y):
    def k(a, b):
        return (a @ b / len(a) + 1) ** 3

    def mean(a, b, same):
        return np.mean([k(p, q) for i, p in enumerate(a) for j, q in enumerate(b) if not (same and i == j)])

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def test_it_is_its_definition_pair_by_pair():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 4)), rng.normal(size=(11, 4)) + 0.5
    assert kernel_distance(x, y, RNG) == pytest.approx(by_pairs(x, y), abs=1e-12)


def test_blocks_of_rows_change_nothing(monkeypatch):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(20, 4)) + 0.5
    whole = kernel_distance(x, y, RNG)
    monkeypatch.setattr(pairwise, "BLOCK", 47)
    assert kernel_distance(x, y, RNG) == pytest.approx(whole, abs=1e-12)


def test_samples_of_one_distribution_have_no_distance_on_average_however_few():
    rng = np.random.default_rng(3)
    found = [kernel_distance(rng.normal(size=(8, 3)), rng.normal(size=(12, 3)), RNG) for _ in range(2000)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


def test_large_sets_are_thinned_and_the_distance_stays_about_the_same(monkeypatch):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(900, 3)), rng.normal(size=(900, 3)) + 1
    whole = kernel_distance(x, y, RNG)
    monkeypatch.setattr(pairwise, "CLIPS_AT_MOST", 600)
    assert kernel_distance(x, y, RNG) == pytest.approx(whole, rel=0.25)


def test_one_clip_has_no_pair():
    assert np.isnan(kernel_distance(np.ones((1, 3)), np.ones((5, 3)), RNG))
