"""Which clips the published protocol keeps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.evaluation.quality.embedding import QualityError
from harness.evaluation.quality.rejection import kept


def test_of_5120_clips_2816_stay_in_increasing_order_of_likelihood():
    likelihood = np.random.default_rng(0).permutation(5120) - 9000.0
    found = kept(likelihood, "published")
    assert likelihood[found].tolist() == list(range(2048 - 9000, 4864 - 9000))


def test_without_rejection_all_clips_stay_in_their_order_even_those_of_unknown_likelihood():
    assert kept(np.array([3.0, np.nan, 1.0]), "none").tolist() == [0, 1, 2]


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=60))
def test_nothing_that_is_dropped_lies_between_what_is_kept(values):
    likelihood = np.array(values, dtype=float)
    found = kept(likelihood, "published")
    dropped = np.setdiff1d(np.arange(len(values)), found)
    assert len(found) == len(values) * 95 // 100 - len(values) * 40 // 100
    low, high = likelihood[found].min(), likelihood[found].max()
    assert not ((likelihood[dropped] > low) & (likelihood[dropped] < high)).any()


def test_an_unknown_likelihood_is_refused():
    with pytest.raises(QualityError, match="1 of 3 clips have no log-likelihood"):
        kept(np.array([3.0, np.nan, 1.0]), "published")


def test_too_few_clips_to_keep_any_are_refused():
    with pytest.raises(QualityError, match="leaves none of 1 clips; draw more"):
        kept(np.array([1.0]), "published")


def test_an_unknown_rule_is_a_defect():
    with pytest.raises(ValueError, match="known: none, published"):
        kept(np.array([1.0]), "tuned")  # type: ignore[arg-type]
