"""Laws of the mixers that are one recurrence; what each computes is tested beside the others of its kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixer_laws import (
    assert_chunks_equal_the_whole,
    assert_gradients_reach_everything,
    assert_steps_equal_the_whole,
    assert_the_past_stays,
    assert_the_state_is_wide,
    mixer,
    randn,
)
from torch.utils.flop_counter import FlopCounterMode

from harness.configuration import build
from harness.contracts import counting_flops

few = settings(max_examples=3, deadline=None)  # of each of many; every run of the suite draws others
SPECS: dict[str, dict[str, Any]] = {
    "min_gru": {"name": "min_gru"},
    "min_gru linear": {"name": "min_gru", "hidden": 5, "positive": False},
    "min_lstm": {"name": "min_lstm"},
    "min_lstm linear": {"name": "min_lstm", "hidden": 5, "positive": False},
    "gated_delta_net": {"name": "gated_delta_net"},
    "gated_delta_net small": {"name": "gated_delta_net", "heads": 1, "key": 3, "expand": 1, "kernel": 1},
    "gru": {"name": "gru"},
    "gru narrow": {"name": "gru", "hidden": 5},
    "lstm": {"name": "lstm"},
    "lstm narrow": {"name": "lstm", "hidden": 5},
    "mlstm": {"name": "mlstm"},
    "mlstm small": {"name": "mlstm", "heads": 2, "expand": 1, "kernel": 1, "block": 2},
    "slstm": {"name": "slstm"},
    "slstm without convolution": {"name": "slstm", "heads": 2, "kernel": 0},
    "rwkv7": {"name": "rwkv7"},
    "rwkv7 in heads": {"name": "rwkv7", "head": 4, "decay_rank": 3, "rate_rank": 2, "gate_rank": 5},
    "mamba": {"name": "mamba"},
    "mamba small": {"name": "mamba", "expand": 1, "state": 3, "kernel": 1, "rank": 2},
    "mamba biased": {"name": "mamba", "state": 4, "bias": True, "convolution_bias": False},
    "mamba2": {"name": "mamba2", "state": 8},
    "mamba2 in groups": {"name": "mamba2", "head": 4, "state": 3, "groups": 2, "kernel": 2},
    "mamba2 biased": {"name": "mamba2", "state": 5, "bias": True, "convolution_bias": False},
}
each = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
TORCHS_OWN = ("gru", "lstm")
"""Which round their state as torch does."""


@each
@given(length=st.integers(1, 90))
@few
def test_stepping_equals_the_whole_sequence_and_the_state_is_as_large_as_it_says(
    spec: dict[str, Any], length: int
) -> None:
    assert_steps_equal_the_whole(mixer(spec), randn(3, length, 8))


@each
@given(length=st.integers(2, 90), data=st.data())
@few
def test_chunks_equal_the_whole_with_gradients_through_the_state(
    spec: dict[str, Any], length: int, data: st.DataObject
) -> None:
    assert_chunks_equal_the_whole(mixer(spec), randn(2, length, 8), data.draw(st.integers(1, length - 1)))


@each
@given(length=st.integers(2, 90), data=st.data())
@few
def test_the_past_does_not_know_the_future_by_a_single_bit(
    spec: dict[str, Any], length: int, data: st.DataObject
) -> None:
    assert_the_past_stays(mixer(spec), randn(2, length, 8), data.draw(st.integers(1, length - 1)))


@each
def test_gradients_reach_every_parameter_and_the_input(spec: dict[str, Any]) -> None:
    assert_gradients_reach_everything(mixer(spec), randn(2, 12, 8))


@each
def test_bfloat16_keeps_the_state_in_float32(spec: dict[str, Any]) -> None:
    if spec["name"] not in TORCHS_OWN:
        assert_the_state_is_wide(mixer(spec), randn(2, 70, 8))


@pytest.mark.parametrize("name", TORCHS_OWN)
def test_torchs_own_recurrences_round_their_state_to_bfloat16(name: str) -> None:
    layer, x = mixer({"name": name, "hidden": 5}).bfloat16(), randn(2, 9, 8).bfloat16()
    y, state = layer.resume(x, layer.initial_state(2))
    parts = state if isinstance(state, tuple) else (state,)
    assert y.dtype == torch.bfloat16 and {part.dtype for part in parts} == {torch.bfloat16}
    assert layer.state_size(2, 9) == len(parts) * 2 * 5 * 2


@pytest.mark.parametrize("length", [1, 70])
@pytest.mark.parametrize("name", sorted({spec["name"] for spec in SPECS.values()}))
def test_the_work_is_counted_alike_where_there_are_only_shapes(name: str, length: int) -> None:
    counts = set()
    for device in ("cpu", "meta"):
        layer = build("mixers", name, width=16).to(device)
        with FlopCounterMode(display=False) as counter, counting_flops() as tally:
            layer(torch.zeros(1, length, 16, device=device))
        counts.add(counter.get_total_flops() + tally.count)
    assert len(counts) == 1
