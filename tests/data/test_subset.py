"""Subsets of a training split: nested, repeatable, and everything else as it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import configuration
from harness.data.subset import order
from harness.errors import ConfigError, DataError

OF = {"name": "synthetic_digits", "sample_rate": 8000, "seconds": 0.1, "speakers": 10}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def subset(clips, seed=0):
    return configuration.build("datasets", {"name": "subset", "of": OF, "clips": clips, "seed": seed})


def clips_of(data):
    return {row.tobytes() for row in data.splits["train"].tokens}


def test_a_smaller_subset_is_inside_a_larger_one_and_another_seed_draws_others():
    small, large, other = subset(12), subset(40), subset(12, seed=1)
    assert len(small.splits["train"]) == 12 and len(large.splits["train"]) == 40
    assert clips_of(small) < clips_of(large) <= clips_of(large.whole)
    assert clips_of(small) != clips_of(other)


def test_validation_test_and_what_clips_are_scored_against_stay_whole():
    data, whole = subset(5), configuration.build("datasets", OF)
    for name in ("validation", "test"):
        np.testing.assert_array_equal(data.splits[name].tokens, whole.splits[name].tokens)
    assert len(data.whole.splits["train"]) == len(whole.splits["train"])
    assert (data.length, data.sample_rate, data.vocab_size) == (800, 8000, 256)
    assert data.decode(data.splits["test"].tokens[:1]).shape == (1, 800)


def test_labels_and_lengths_go_with_their_clips_and_provenance_counts_them():
    data = subset(7)
    rows = {row.tobytes(): place for place, row in enumerate(data.whole.splits["train"].tokens)}
    for row, length, label in zip(*vars(data.splits["train"]).values(), strict=True):
        place = rows[row.tobytes()]
        assert length == data.whole.splits["train"].lengths[place]
        assert label == data.whole.splits["train"].labels[place]
    assert data.provenance.clips["train"] == 7
    assert data.provenance.sha256 != subset(7, seed=1).provenance.sha256
    assert "7 of 80 training clips, drawn by seed 0" in data.provenance.notes


def test_too_many_clips_or_a_wrong_data_set_are_refused():
    with pytest.raises(DataError, match="the training split has 80"):
        subset(81)
    with pytest.raises(ConfigError, match="clips"):
        subset(0)
    with pytest.raises(ConfigError, match="synthetic_digits"):
        configuration.build("datasets", {"name": "subset", "of": "syntetic_digits"})


@given(st.integers(1, 300), st.integers(0, 2**32))
def test_the_order_is_a_permutation_that_the_seed_alone_decides(count, seed):
    assert sorted(order(count, seed)) == list(range(count))
    assert np.array_equal(order(count, seed), order(count, seed))
