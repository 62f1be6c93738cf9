"""Cutting a level's state: where, and that a memory of known length is found at its length."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from known_memories import Repeater, clips, few, periodic

from harness import configuration
from harness.contracts import PlacedMixer
from harness.evaluation.horizon.cut import (
    RiseSums,
    cut_bits,
    distances,
    late,
    masked_bits,
    phase_of,
    restarted,
    segment_starts,
)
from harness.evaluation.horizon.levels import original_of, placed_mixers
from harness.evaluation.horizon.summary import half_distance


@given(
    steps=st.integers(1, 40), stride=st.integers(1, 7), every=st.integers(1, 300), phase=st.integers(0, 299)
)
@few
def test_segments_begin_at_the_first_step_after_a_cut(steps, stride, every, phase):
    phase %= every
    expected = {0} | {math.ceil(cut / stride) for cut in range(phase, steps * stride, every)}
    assert segment_starts(steps, stride=stride, every=every, phase=phase).tolist() == sorted(
        step for step in expected if step < steps
    )


@pytest.mark.parametrize("mixer", ["rg_lru", "attention", "convolution", "s4d", "gru", "mamba"])
def test_restarting_is_running_each_segment_by_itself(mixer):
    torch.manual_seed(0)
    layer = configuration.build("mixers", mixer, width=16)
    x = torch.randn(2, 23, 16)
    starts = torch.tensor([0, 3, 4, 15])
    with torch.no_grad():
        whole, _ = restarted(original_of(PlacedMixer(layer=layer, level=0)), x, starts)
        alone = [layer(part) for part in torch.tensor_split(x, starts[1:], dim=1)]
    torch.testing.assert_close(whole, torch.cat(alone, dim=1), rtol=1e-4, atol=1e-5)


@given(every=st.integers(48, 500))
@few
def test_cuts_further_apart_than_the_window_change_nothing(poolformer, every):
    (tokens, lengths), mixers = clips(), placed_mixers(poolformer)
    with torch.no_grad():
        whole = masked_bits(poolformer, tokens, lengths)
        cut = cut_bits(poolformer, tokens, lengths, mixers, levels={0, 1, 2}, every=every)
    assert torch.equal(cut, whole)


def test_a_level_cut_more_often_than_its_steps_is_cut_at_each_of_them(poolformer):
    (tokens, lengths), mixers = clips(), placed_mixers(poolformer)
    with torch.no_grad():
        each = cut_bits(poolformer, tokens, lengths, mixers, levels={2}, every=1)
        stride = cut_bits(poolformer, tokens, lengths, mixers, levels={2}, every=6, phase=5)
    assert torch.equal(each, stride)


def test_padding_costs_nothing(poolformer):
    tokens, lengths = clips()
    with torch.no_grad():
        bits = cut_bits(poolformer, tokens, lengths, placed_mixers(poolformer), levels={0}, every=4)
    assert (bits[1, -5:] == 0).all() and (bits[0, -5:] > 0).all()


@pytest.mark.parametrize("lag", [4, 16])
def test_a_memory_of_known_length_is_found_at_that_length(lag):
    model, (tokens, lengths) = Repeater(lag), periodic(lag)
    mixers = placed_mixers(model)

    def rises(level, every):
        sums = RiseSums()
        with torch.no_grad():
            whole = masked_bits(model, tokens, lengths)
            for phase in range(0, every, max(every // 8, 1)):
                bits = cut_bits(model, tokens, lengths, mixers, levels={level}, every=every, phase=phase)
                sums.add(bits - whole, lengths, every=every, phase=phase)
        return sums.means()

    curve = {every: rises(0, every) for every in distances(256)}
    assert curve[lag // 2].every == pytest.approx(curve[1].every, rel=0.1)  # every token is lost
    assert lag <= half_distance(curve) <= 3 * lag
    assert curve[128].every == pytest.approx(curve[1].every * lag / 128, rel=0.5)  # those after a cut
    assert curve[lag // 2].late == pytest.approx(curve[1].late, rel=0.1)
    assert abs(curve[2 * lag].late) < 1e-6  # late tokens know enough again
    for every in (1, lag, 64):  # the other mixer has no memory to lose
        assert rises(1, every) == pytest.approx((0, 0), abs=1e-6)


def test_cuts_fall_everywhere_alike():
    phases = np.array([phase_of(batch, 64, 0.3) for batch in range(64)])
    assert phases.min() >= 0 and phases.max() < 64
    assert np.histogram(phases, bins=8, range=(0, 64))[0].min() >= 6


def test_late_tokens_come_in_the_second_half_after_a_cut():
    assert late(8, every=4, phase=1).tolist() == [False, False, False, True, True, False, False, True]
    assert late(6, every=4).tolist() == [False] * 6  # the first cut is at 4, and 6 would be the first late
    assert late(3, every=1).tolist() == [False, True, True]


def test_distances_are_the_powers_of_two_below_a_window():
    assert distances(5) == [1, 2, 4] and distances(4) == [1, 2] and distances(1) == []
