import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import configuration
from harness.contracts import Split
from harness.errors import ConfigError
from harness.evaluation.nll import NegativeLogLikelihood, split_nll
from harness.evaluation.windows import cut, predictions, spread, window_batches

few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
clips = st.lists(st.integers(1, 13), min_size=1, max_size=8)


def nll(model, split, *, window=None, max_clips=None, batch_tokens=1000):
    return split_nll(
        model, split, window=window, max_clips=max_clips, batch_tokens=batch_tokens, device="cpu"
    )


@given(lengths=clips, window=st.none() | st.integers(2, 20), batch_tokens=st.integers(1, 60))
@few
def test_a_uniform_model_needs_exactly_eight_bits_a_sample(counted, split, lengths, window, batch_tokens):
    found = nll(counted, split(lengths, 13), window=window, batch_tokens=batch_tokens)
    assert found.bits == pytest.approx(8.0, abs=1e-6)
    assert found.tokens == sum(lengths)


@given(lengths=clips)
@few
def test_it_is_the_sum_over_all_true_tokens_divided_once(toy, split, lengths):
    model, data = toy().double(), split(lengths, 13)
    nats = 0.0
    for row, length in zip(data.tokens, lengths, strict=True):
        tokens = torch.from_numpy(row[:length]).long()
        with torch.no_grad():
            nats += F.cross_entropy(model(tokens[None])[0], tokens, reduction="sum").item()
    assert nll(model, data).bits == pytest.approx(nats / math.log(2) / sum(lengths), rel=1e-12)


@given(lengths=clips, window=st.none() | st.integers(2, 20), batch_tokens=st.integers(1, 60))
@few
def test_batching_does_not_matter(toy, split, lengths, window, batch_tokens):
    model, data = toy().double(), split(lengths, 13)
    expected = nll(model, data, window=window)
    found = nll(model, data, window=window, batch_tokens=batch_tokens)
    assert found.tokens == expected.tokens and found.bits == pytest.approx(expected.bits, rel=1e-12)


@given(
    lengths=clips, window=st.none() | st.integers(2, 20), extra=st.integers(0, 9), fill=st.integers(0, 255)
)
@few
def test_padding_does_not_matter(toy, split, lengths, window, extra, fill):
    model, data = toy().double(), split(lengths, 13)
    tokens = np.pad(data.tokens, ((0, 0), (0, extra)))
    for row, length in zip(tokens, lengths, strict=True):
        row[length:] = fill
    padded = Split(tokens=tokens, lengths=data.lengths)
    expected = nll(model, data, window=window, batch_tokens=40).bits
    assert nll(model, padded, window=window, batch_tokens=40).bits == pytest.approx(expected, rel=1e-12)


@given(lengths=clips, window=st.none() | st.integers(2, 20), seed=st.integers(0, 99))
@few
def test_the_order_of_clips_does_not_matter(toy, split, lengths, window, seed):
    model, data = toy().double(), split(lengths, 13)
    order = np.random.default_rng(seed).permutation(len(lengths))
    shuffled = Split(tokens=data.tokens[order], lengths=data.lengths[order])
    found = nll(model, shuffled, window=window, batch_tokens=40).bits
    assert found == pytest.approx(nll(model, data, window=window, batch_tokens=40).bits, rel=1e-12)


@given(lengths=clips, window=st.integers(1, 15))
@few
def test_a_window_is_scored_as_if_it_were_a_clip_of_its_own(toy, split, lengths, window):
    model, data = toy().double(), split(lengths, 13)
    pieces = [
        row[start : min(start + window, length)]
        for row, length in zip(data.tokens, lengths, strict=True)
        for start in range(0, length, window)
    ]
    alone = Split(
        tokens=np.stack([np.pad(piece, (0, window - len(piece))) for piece in pieces]),
        lengths=np.array([len(piece) for piece in pieces]),
    )
    assert nll(model, data, window=window).bits == pytest.approx(nll(model, alone).bits, rel=1e-12)


@pytest.fixture
def resuming():
    """A model that reads chunks whose lengths are multiples of its period, 6; it notes what it reads."""

    def build():
        torch.manual_seed(0)
        spec = {"name": "poolformer", "width": 4, "pooling": [2, 3], "layers": 1}
        model = configuration.build("models", spec, vocab_size=256).double()
        model.read = []
        resume = model.resume
        model.resume = lambda tokens, state: model.read.append(tuple(tokens.shape)) or resume(tokens, state)
        return model

    return build


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=4), batch_tokens=st.integers(6, 70))
@few
def test_windows_that_are_too_long_are_read_in_chunks(resuming, split, lengths, batch_tokens):
    model, data = resuming(), split(lengths, 60)
    expected = nll(model, data)
    assert not model.read
    found = nll(model, data, batch_tokens=batch_tokens)
    assert found.tokens == expected.tokens and found.bits == pytest.approx(expected.bits, rel=1e-12)
    assert bool(model.read) == (max(lengths) > batch_tokens)
    assert all(rows * length <= batch_tokens for rows, length in model.read)


def test_chunks_end_at_a_period_even_if_it_is_longer_than_a_batch(resuming, split):
    model = resuming()
    nll(model, split([20], 20), batch_tokens=15)
    nll(model, split([8], 8), batch_tokens=3)
    assert model.read == [(1, 12), (1, 8), (1, 6), (1, 2)]


def test_a_model_that_cannot_resume_reads_a_window_at_once(toy, resuming, split):
    data = split([13, 9], 13)
    assert [len(logits[0]) for _, logits in predictions(toy(), torch.zeros(1, 13, dtype=torch.long), 5)] == [
        13
    ]
    model = resuming()
    model.resume = None  # as one does that has a part which cannot
    assert nll(model, data, batch_tokens=5) == nll(model, data, batch_tokens=13)


@given(lengths=clips, window=st.none() | st.integers(1, 15), batch_tokens=st.integers(1, 60))
@few
def test_batches_cover_every_token_once_and_keep_to_their_size(split, lengths, window, batch_tokens):
    data = split(lengths, 13)
    data.tokens[:] = 7
    covered = 0
    for tokens, found in window_batches(
        data, window=window, max_clips=None, batch_tokens=batch_tokens, device="cpu"
    ):
        assert tokens.numel() <= batch_tokens or len(tokens) == 1
        assert tokens.shape[1] == found.max() <= (window or 13)
        covered += int((tokens == 7).sum())
        assert int((tokens == 7).sum()) == int(found.sum())  # zero where padded
    assert covered == sum(lengths)


def test_windows_are_sorted_by_length_so_that_little_is_padded(split):
    windows = cut(split([13, 4, 9], 13), window=5, max_clips=None)
    assert windows[:, 2].tolist() == [5, 5, 5, 4, 4, 3]
    assert windows.tolist()[0] == [0, 0, 5] and windows.tolist()[3] == [1, 0, 4]


@given(count=st.integers(1, 500), wanted=st.integers(1, 500))
@settings(max_examples=30, deadline=None)
def test_a_subset_is_evenly_spaced_and_without_repetition(count, wanted):
    found = spread(count, wanted)
    assert len(found) == min(count, wanted) and len(set(found.tolist())) == len(found)
    assert found.min() >= 0 and found.max() < count
    if wanted <= count:
        gaps = np.diff(found)
        assert not len(gaps) or gaps.max() - gaps.min() <= 1
    assert len(spread(count, None)) == count


def test_dropout_is_off_and_the_mode_of_the_model_is_left_as_it_was(toy, split):
    model, data = toy(dropout=0.5).train(), split([13, 9], 13)
    assert nll(model, data) == nll(model, data)
    assert model.training and model.dropout.training


def test_the_metric_fills_its_columns_at_the_training_context(toy, context):
    model = toy()
    columns = NegativeLogLikelihood(NegativeLogLikelihood.Config(train_clips=4)).measure(
        context(model, "evaluation_toy")
    )
    assert set(columns) == set(NegativeLogLikelihood.columns)
    assert columns["nll_context"] == 16
    splits = context(model, "evaluation_toy").dataset.splits
    assert columns["nll_bits_test"] == nll(model, splits["test"], window=16, batch_tokens=None).bits
    assert columns["nll_tokens_test"] == splits["test"].lengths.sum()
    assert columns["nll_tokens_train"] == splits["train"].lengths[spread(20, 4)].sum()
    gap = columns["nll_bits_test"] - columns["nll_bits_train"]
    assert columns["generalization_gap_bits"] == gap


def test_without_a_crop_the_context_is_the_whole_clip(toy, context):
    config = NegativeLogLikelihood.Config(splits=("test",))
    columns = NegativeLogLikelihood(config).measure(context(toy(), "evaluation_toy", {"crop": None}))
    assert set(columns) == {"nll_context", "train_split_clips", "nll_bits_test", "nll_tokens_test"}
    assert columns["nll_context"] == 40


@pytest.mark.parametrize("wrong", [{"splits": ("tset",)}, {"max_clips": 0}, {"batch_tokens": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError):
        NegativeLogLikelihood.Config(**wrong)
