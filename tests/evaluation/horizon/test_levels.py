"""The mixers of a model, by level: each can be found, called and cut alone."""

import pytest
import torch
from declared import declared
from known_memories import Delay, Repeater, build, clips, example, periodic

from harness.contracts import PlacedMixer
from harness.evaluation.horizon.cut import cut_bits, masked_bits
from harness.evaluation.horizon.decays import memories
from harness.evaluation.horizon.levels import (
    CannotIsolate,
    common_period,
    levels_of,
    placed_mixers,
    replaced,
)

WITHOUT_MEMORY = {"markov", "unigram"}


@pytest.mark.parametrize("name", sorted({*declared("models")} - WITHOUT_MEMORY))
def test_of_every_model_each_level_can_be_cut_alone(name):
    model, (tokens, lengths) = example(name), clips()
    mixers = placed_mixers(model)
    called = set()

    def run(placed, original, x):
        called.add(id(placed.layer))
        return original(x, None)

    with torch.no_grad():
        whole = masked_bits(model, tokens, lengths)
        with replaced(mixers, run):
            passed_on = masked_bits(model, tokens, lengths)
        changes = {
            level: cut_bits(model, tokens, lengths, mixers, levels={level}, every=1) - whole
            for level in levels_of(mixers)
        }
        torch.testing.assert_close(masked_bits(model, tokens, lengths), whole, rtol=0, atol=0)
    assert called == {id(placed.layer) for placed in mixers}
    torch.testing.assert_close(passed_on, whole, rtol=0, atol=1e-5)
    assert all(change.abs().max() > 1e-4 for change in changes.values())


def test_a_poolformer_lists_its_mixers_with_the_strides_of_their_levels(poolformer):
    assert levels_of(placed_mixers(poolformer)) == {0: 1, 1: 2, 2: 6}
    assert [placed.level for placed in placed_mixers(poolformer)] == [0, 0, 1, 1, 2]
    assert common_period(placed_mixers(poolformer)) == 6


def test_layers_of_a_model_that_lists_none_are_levels_in_their_order():
    found = placed_mixers(build("gru", width=4, layers=3))
    assert [(placed.level, placed.stride) for placed in found] == [(0, 1), (1, 1), (2, 1)]


def test_a_layer_that_the_model_does_not_call_is_an_error():
    model = Repeater(3)
    unused = PlacedMixer(layer=Delay(Delay.Config(), width=4), level=7)
    with pytest.raises(CannotIsolate, match="does not call its Delay of level 7"):
        memories(model, *periodic(3), [*placed_mixers(model), unused])
