"""Unigram and Markov: counted right, smoothed right, and kept in a checkpoint."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines import markov
from baselines.markov import Markov, MarkovConfig
from baselines.unigram import Unigram, UnigramConfig
from harness.errors import ConfigError

VOCABULARY = 4
clips = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=9), min_size=1, max_size=5)


def batch(sequences, padding=0):
    length = max(map(len, sequences))
    rows = [[*sequence, *[padding] * (length - len(sequence))] for sequence in sequences]
    return torch.tensor(rows), torch.tensor([len(sequence) for sequence in sequences])


def counted(order=None, sequences=(), vocab_size=VOCABULARY):
    if order is None:
        model = Unigram(UnigramConfig(), vocab_size=vocab_size)
    else:
        model = Markov(MarkovConfig(order=order), vocab_size=vocab_size)
    if sequences:
        model.fit([batch(sequences)])
    return model


def witten_bell(sequences, order, context, token):
    """The formula, word for word, with dictionaries."""
    if order < 0:
        return 1 / VOCABULARY
    followers = Counter()
    for sequence in sequences:
        padded = ["start"] * order + sequence
        for t, following in enumerate(sequence):
            if padded[t : t + order] == context:
                followers[following] += 1
    kinds = len(followers)
    lower = witten_bell(sequences, order - 1, context[1:], token)
    if not kinds:
        return lower
    return (followers[token] + kinds * lower) / (followers.total() + kinds)


@pytest.mark.parametrize("order", [1, 2, 3])
@settings(max_examples=15, deadline=None)
@given(sequences=clips, asked=st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6))
def test_markov_is_the_interpolation_of_witten_and_bell(order, sequences, asked):
    probabilities = counted(order, sequences)(torch.tensor([asked])).exp()[0]
    for t in range(len(asked)):
        context = (["start"] * order + asked)[t : t + order]
        expected = [witten_bell(sequences, order, context, x) for x in range(VOCABULARY)]
        torch.testing.assert_close(probabilities[t], torch.tensor(expected))


@settings(max_examples=15, deadline=None)
@given(sequences=clips)
def test_unigram_adds_one_to_every_count(sequences):
    tokens = [token for sequence in sequences for token in sequence]
    expected = [(tokens.count(x) + 1) / (len(tokens) + VOCABULARY) for x in range(VOCABULARY)]
    probabilities = counted(None, sequences)(torch.zeros(1, 2, dtype=torch.long)).exp()
    torch.testing.assert_close(probabilities, torch.tensor([[expected] * 2]))


@pytest.mark.parametrize("order", [None, 1, 2, 3])
def test_before_it_is_fitted_every_token_is_as_likely(order):
    logits = counted(order)(torch.randint(VOCABULARY, (2, 5)))
    torch.testing.assert_close(logits, torch.full((2, 5, VOCABULARY), -math.log(VOCABULARY)))


@pytest.mark.parametrize("order", [1, 2, 3])
@settings(max_examples=15, deadline=None)
@given(sequences=clips)
def test_merging_often_counts_the_same(order, sequences):
    once, often = counted(order), counted(order)
    once.fit([batch(sequences)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(markov, "PENDING", 1)
        often.fit([batch([sequence]) for sequence in sequences])
    for name, value in once.state_dict().items():
        assert torch.equal(value, often.get_buffer(name))


@pytest.mark.parametrize("order", [None, 1, 3])
def test_its_counts_are_whole_numbers_in_a_checkpoint_that_an_unfitted_one_loads(order):
    fitted, other = counted(order, [[0, 1, 2, 1], [3, 3]]), counted(order)
    assert not list(fitted.parameters())
    assert {value.dtype for value in fitted.state_dict().values()} == {torch.int64}
    other.load_state_dict(fitted.state_dict())
    tokens = torch.randint(VOCABULARY, (3, 7))
    assert torch.equal(fitted(tokens), other(tokens))


@pytest.mark.parametrize("order", [None, 1])
def test_a_token_outside_the_vocabulary_is_refused_but_padding_may_be_anything(order):
    model = counted(order)
    with pytest.raises(ValueError, match="outside the vocabulary of 4"):
        model.fit([batch([[0, 1], [4]])])
    model.fit([batch([[0, 1], [3]], padding=99)])


@pytest.mark.parametrize("order", [None, 1, 2])
def test_on_the_meta_device_it_has_a_shape(order):
    tokens = torch.zeros(2, 6, dtype=torch.long, device="meta")
    assert counted(order, [[1, 2]]).to("meta")(tokens).shape == (2, 6, VOCABULARY)


def test_more_context_explains_more_where_there_is_more_to_explain():
    sequences = [[0, 0, 1, 1] * 20]  # the next token is known from the last two, not from one
    tokens = torch.tensor(sequences)
    losses = [
        torch.nn.functional.cross_entropy(counted(order, sequences)(tokens)[0], tokens[0]).item()
        for order in (None, 1, 2)
    ]
    assert losses[2] < 0.4 < losses[1] < losses[0]


def test_orders_and_vocabularies_without_numbers_are_refused():
    for order in (0, 4):
        with pytest.raises(ConfigError, match="order: must be 1, 2 or 3"):
            MarkovConfig(order=order)
    with pytest.raises(ConfigError, match="order: order 3 is too high for a vocabulary of 65536"):
        MarkovConfig(order=3).check_data(65536, 100)
    with pytest.raises(ConfigError, match="smoothing: must be above 0"):
        UnigramConfig(smoothing=0.0)
