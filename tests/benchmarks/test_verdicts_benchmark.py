"""Suites of which the truth is known: small versions of what `benchmarks.verdicts` counts."""

import numpy as np
import pytest

from benchmarks.verdict_simulations import (
    NOISES,
    best_kept,
    bootstrap_coverage,
    coverage,
    false_verdicts,
    power,
)


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.mark.parametrize("noise", NOISES)
def test_whatever_the_noise_few_null_suites_have_a_false_verdict(noise, random):
    alone, corrected = false_verdicts(NOISES[noise], 3, 14, 1000, random)
    assert corrected <= 0.065 and alone > 3 * corrected


def test_the_interval_of_a_mean_holds_it_as_often_as_it_says(random):
    assert coverage(NOISES["normal"], 3, 4000, random) == pytest.approx(0.95, abs=0.02)


def test_the_bootstrap_of_few_seeds_is_too_narrow_to_be_shown(random):
    assert bootstrap_coverage(3, 150, random) < 0.88 < bootstrap_coverage(20, 150, random)


def test_the_truly_best_stays_among_the_possibly_best(random):
    assert best_kept(3, 6, 60, 0.0, random) >= 0.9


def test_what_is_said_to_be_seen_is_seen(random):
    assert power(3, 13, 2000, random) == pytest.approx(0.8, abs=0.04)
