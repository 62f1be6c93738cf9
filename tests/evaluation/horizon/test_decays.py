"""Effective memory by the decays: against constants, and against how fast states come together."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from known_memories import few

from harness import configuration
from harness.evaluation.horizon.decays import effective_memory


@given(decay=st.floats(0.01, 0.999), stride=st.integers(1, 160))
@few
def test_a_constant_decay_remembers_one_over_its_logarithm(decay, stride):
    mixer = configuration.build("mixers", "diagonal_rnn", width=4, stride=stride).double()
    mixer.decay_logit.data.fill_(math.log(decay / (1 - decay)))
    steps = effective_memory(mixer.log_decays(torch.zeros(1, 5, 4)), 5, torch.tensor([5]))
    assert stride * steps.flatten()[0].item() == pytest.approx(-stride / math.log(decay), rel=1e-6)


def test_a_gated_decay_remembers_by_its_mean_logarithm_over_true_steps():
    log_decay = -torch.tensor([[[1.0], [3.0], [50.0]], [[2.0], [2.0], [2.0]]])
    found = effective_memory(log_decay, 3, torch.tensor([2, 3]))
    assert found.flatten().tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", ["rg_lru", "lru", "min_gru", "min_lstm", "s5", "s4d", "diagonal_rnn"])
def test_decays_are_those_by_which_a_state_shrinks_when_nothing_comes_in(name):
    """Two states that differ come together, each channel by its own factor."""
    torch.manual_seed(0)
    mixer = configuration.build("mixers", name, width=8).double()
    x = torch.randn(1, 1, 8).double()
    _, one = mixer.resume(x, mixer.initial_state(1).normal_())
    _, other = mixer.resume(x, mixer.initial_state(1))
    _, one_later = mixer.resume(x, one)
    _, other_later = mixer.resume(x, other)
    before, after = (one - other), (one_later - other_later)
    if name in {"rg_lru", "lru"}:  # real parts first, then imaginary ones
        before, after = (torch.complex(*each.chunk(2, dim=-1)) for each in (before, after))
    shrunk = (after.abs() / before.abs()).flatten()
    torch.testing.assert_close(mixer.log_decays(x).exp().flatten(), shrunk, rtol=1e-6, atol=1e-9)
