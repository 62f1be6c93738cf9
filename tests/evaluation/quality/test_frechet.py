"""The Fréchet distance: known values, laws, few clips, its derivative and its extrapolation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from harness.evaluation.quality.embedding import QualityError
from harness.evaluation.quality.frechet import Gaussian, extrapolated, frechet_distance, influences


def distance(a, b):
    return frechet_distance(Gaussian.of(a), Gaussian.of(b))


def with_moments(mean, root, clips, rng):
    """Clips whose sample mean is exactly `mean` and whose sample covariance is exactly rootᵀ root."""
    x = rng.normal(size=(clips, len(mean)))
    x -= x.mean(axis=0)
    white = x @ np.linalg.inv(np.linalg.qr(x, mode="r")) * np.sqrt(clips - 1)
    return mean + white @ root


def test_of_gaussians_with_one_covariance_it_is_the_squared_distance_of_the_means():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5))
    a = with_moments(np.zeros(5), root, 40, rng)
    b = with_moments(np.array([3.0, 4, 0, 0, 0]), root, 70, rng)
    assert distance(a, b) == pytest.approx(25.0, abs=1e-10)


def test_of_commuting_covariances_it_is_the_distance_of_their_roots():
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    deviations = np.array([1.0, 2, 3, 4]), np.array([2.0, 2, 0.5, 0])
    a, b = (with_moments(np.ones(4), d[:, None] * basis, 30, rng) for d in deviations)
    assert distance(a, b) == pytest.approx(1 + 0 + 2.5**2 + 16, abs=1e-10)


def test_of_any_gaussians_it_is_the_definition_with_a_matrix_root():
    rng = np.random.default_rng(2)
    roots = rng.normal(size=(2, 6, 6))
    means = rng.normal(size=(2, 6))
    a, b = (with_moments(mean, root, 50, rng) for mean, root in zip(means, roots, strict=True))
    s, t = (root.T @ root for root in roots)
    root_of_s = linalg.sqrtm(s)
    inner = linalg.sqrtm(root_of_s @ t @ root_of_s)
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(s + t - 2 * inner).real
    assert distance(a, b) == pytest.approx(expected, abs=1e-9)


@given(
    clips=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    features=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=30, deadline=None)
def test_it_is_a_symmetric_nonnegative_distance_whatever_the_numbers_of_clips_and_features(
    clips, features, seed
):
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(size=(n, features)) for n in clips)
    assert distance(a, b) >= 0
    assert distance(a, b) == pytest.approx(distance(b, a), abs=1e-9)
    assert distance(a, a[::-1]) == pytest.approx(0, abs=1e-9)
    rotation = np.linalg.qr(rng.normal(size=(features, features)))[0]
    assert distance(a @ rotation + 1, b @ rotation + 1) == pytest.approx(distance(a, b), abs=1e-9)
    assert distance(3 * a, 3 * b) == pytest.approx(9 * distance(a, b), abs=1e-8)


def test_a_set_has_no_distance_to_itself_though_most_features_never_fire():
    rng = np.random.default_rng(3)
    rectified = np.maximum(rng.normal(size=(80, 200)) - 2.5, 0) * 100
    assert distance(rectified, rectified) < 1e-6


def test_constant_features_differ_by_their_means_alone():
    assert distance(np.full((5, 3), 2.0), np.full((9, 3), 1.0)) == pytest.approx(3.0)


def test_one_clip_has_no_covariance():
    with pytest.raises(QualityError, match="at least 2 clips, got 1"):
        Gaussian.of(np.ones((1, 3)))


@pytest.mark.parametrize("clips", [8, 60])
def test_an_influence_is_the_derivative_by_a_clips_weight_for_fewer_and_for_more_clips_than_features(clips):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(clips, 20)) @ rng.normal(size=(20, 20)) + 0.3
    reference = Gaussian.of(rng.normal(size=(100, 20)))

    def weighted(weights):
        mean = weights @ x / clips
        factor = np.sqrt(weights[:, None] / (clips - 1)) * (x - mean)
        return frechet_distance(Gaussian(mean=mean, factor=factor), reference)

    direction = rng.normal(size=clips)
    direction -= direction.mean()
    numeric = (weighted(1 + 1e-5 * direction) - weighted(1 - 1e-5 * direction)) / 2e-5
    assert influences(x, reference) @ direction == pytest.approx(numeric, rel=1e-6)


def test_extrapolation_removes_most_of_the_bias_of_few_clips():
    rng = np.random.default_rng(5)
    features, clips = 24, 150
    root = np.eye(features) + 0.1 * rng.normal(size=(features, features))
    reference = Gaussian.of(rng.normal(size=(2000, features)))
    true = frechet_distance(Gaussian(mean=np.full(features, 0.1), factor=root), reference)
    draws = [0.1 + rng.normal(size=(clips, features)) @ root for _ in range(12)]
    plain = np.mean([frechet_distance(Gaussian.of(x), reference) for x in draws])
    better = np.mean([extrapolated(x, reference, rng) for x in draws])
    assert plain - true > 0.5
    assert abs(better - true) < 0.3 * (plain - true)


def test_too_few_clips_are_not_extrapolated():
    assert np.isnan(extrapolated(np.eye(29), Gaussian.of(np.eye(29)), np.random.default_rng(0)))
