"""The gradient by level: its parts make up the whole, and go through what remembers."""

import pytest
import torch
from known_memories import Repeater, clips, example, periodic

from harness.evaluation.horizon.gradient import boundary, part_gradients
from harness.evaluation.horizon.levels import common_period, placed_mixers


@pytest.mark.parametrize("name", ["poolformer", "sashimi", "mamba_unet", "hourglass", "transformer", "rwkv7"])
def test_the_levels_and_the_delays_make_up_the_whole_gradient(name):
    model, (tokens, _) = example(name), clips()
    mixers = placed_mixers(model)
    moment = boundary(48, mixers)
    parts = part_gradients(model, tokens, mixers, moment=moment, targets=torch.tensor([24, 25, 40]))
    whole = parts.pop("all")[:, :moment]
    assert whole.abs().max() > 0
    total = sum(part[:, :moment] for part in parts.values())
    torch.testing.assert_close(total, whole, rtol=1e-3, atol=1e-5 * float(whole.abs().max()))
    if common_period(mixers) == 1:
        assert not parts["delays"][:, :moment].any()


def test_all_gradient_goes_through_the_only_memory():
    model, (tokens, _) = Repeater(8), periodic(8, length=64)
    targets = torch.full((4,), 35)
    parts = part_gradients(model, tokens, placed_mixers(model), moment=32, targets=targets)
    position = 35 - 7  # embeds the token of eight ago
    assert parts["0"][:, position].abs().min() > 0
    assert not parts["0"][:, :position].any() and not parts["1"].any() and not parts["delays"][:, :32].any()
