"""Isotropic stacks: they differ in their mixer alone, and have their papers' sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from baselines import isotropic
from baselines.isotropic import Isotropic
from harness import registry
from harness.configuration import parse
from harness.errors import ConfigError

STACKS = {
    name: registry.get("models", name)
    for name in registry.names("models")
    if registry.origin("models", name).startswith("baselines.isotropic:")
}
each = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())


def build(stack: Any, vocab_size: int = 16, **options: Any) -> Any:
    torch.manual_seed(0)
    return stack(parse(stack.Config, options), vocab_size)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_eight_mixers_have_a_stack() -> None:
    assert list(STACKS) == ["gated_delta_net", "gru", "lru", "lstm", "min_gru", "s4", "s4d", "s5"]
    assert all(issubclass(stack, Isotropic) for stack in STACKS.values())


@each
def test_everything_but_the_mixer_is_equal(stack: Any) -> None:
    def rest(model: nn.Module) -> dict[str, torch.Size]:
        return {name: p.shape for name, p in model.named_parameters() if ".mixer." not in name}

    assert rest(build(stack, width=8)) == rest(build(isotropic.GRU, width=8))


@each
def test_the_mixer_is_the_registered_one_with_the_options_of_its_own(stack: Any) -> None:
    name = next(name for name, known in STACKS.items() if known is stack)
    mixer = registry.get("mixers", name)
    model = build(stack, width=8, layers=2)
    assert all(type(block.mixer) is mixer for block in model.blocks)
    assert isinstance(model.config.mixer, mixer.Config)


@pytest.mark.parametrize("width", [6, 10, 37])
@each
def test_widths_are_free(stack: Any, width: int) -> None:
    model = build(stack, width=width, layers=1)
    assert model(torch.zeros(1, 3, dtype=torch.long)).shape == (1, 3, 16)


def test_without_an_mlp_a_block_is_a_mixer() -> None:
    with_mlp, without = (
        build(isotropic.LRU, width=8, layers=3),
        build(isotropic.LRU, width=8, layers=3, expand=0),
    )
    mlp = 8 * 16 + 16 + 16 * 8 + 8 + 2 * 8  # and its norm
    assert count(with_mlp) - count(without) == 3 * mlp


def test_the_first_prediction_is_after_silence() -> None:
    model, tokens = build(isotropic.MinGRU, width=8).double(), torch.tensor([[3, 9]])
    _, states = model.initial_state(1)
    after_silence, _ = model.resume(tokens, (torch.tensor([8]), states))
    torch.testing.assert_close(model(tokens), after_silence)


def test_a_state_of_step_is_not_resumed_as_it_lacks_a_token() -> None:
    model = build(isotropic.GRU, width=8)
    _, state = model.step(None, model.initial_state(1))
    with pytest.raises(ValueError, match="lacks the last token"):
        model.resume(torch.zeros(1, 3, dtype=torch.long), state)


@pytest.mark.parametrize(
    ("stack", "sizes"),
    [(isotropic.S4, [10]), (isotropic.S5, [8]), (isotropic.GatedDeltaNet, [4]), (isotropic.GRU, [])],
)
def test_what_a_mixer_wants_trained_differently_is(stack: Any, sizes: list[int]) -> None:
    """Dynamics at a rate of their own; neither they nor decay rates decay."""
    model = build(stack, width=8, layers=2, ssm_learning_rate_scale=0.5)
    groups = model.optimizer_groups()
    assert [len(group.parameters) for group in groups] == sizes
    scale = 1.0 if stack is isotropic.GatedDeltaNet else 0.5
    assert all((group.learning_rate_scale, group.weight_decay) == (scale, False) for group in groups)


def test_a_backend_of_scans_is_named_where_there_are_scans() -> None:
    assert build(isotropic.LRU, width=8, mixer={"scan": "chunked"}).scan_backend == "chunked"
    assert build(isotropic.MinGRU, width=8).scan_backend
    assert build(isotropic.GRU, width=8).scan_backend == ""


@pytest.mark.parametrize(("layers", "published"), [(4, 2_830_000), (8, 5_530_000)])
def test_isotropic_s4_has_both_counts_of_the_paper(layers: int, published: int) -> None:
    preset = isotropic.S4.presets["paper"]
    with torch.device("meta"):
        model = build(isotropic.S4, 256, **{**preset.config, "layers": layers})
    assert count(model) == pytest.approx(published, rel=0.002)


def test_s5_is_as_large_as_published_but_for_what_its_note_says() -> None:
    preset = isotropic.S5.presets["paper"]
    with torch.device("meta"):
        model = build(isotropic.S5, 256, **preset.config)
    ours = model.table.weight.numel() + count(model.head) + count(model.norm)
    theirs = (96 + 96) + (96 * 35 + 35)  # encoder and head
    second_direction = 6 * 96 * 64 * 2
    assert count(model) - ours + theirs + second_direction == pytest.approx(preset.parameters, rel=0.02)


@pytest.mark.parametrize(
    ("stack", "options", "path"),
    [
        (isotropic.GRU, {"width": 0}, ("width",)),
        (isotropic.GRU, {"layers": 0}, ("layers",)),
        (isotropic.GRU, {"expand": -1}, ("expand",)),
        (isotropic.GRU, {"dropout": 1.0}, ("dropout",)),
        (isotropic.S4, {"ssm_learning_rate_scale": -1.0}, ("ssm_learning_rate_scale",)),
        (isotropic.S4, {"mixer": {"state": 7}}, ("mixer", "state")),
        (isotropic.S4, {"width": 8, "mixer": {"systems": 3}}, ("mixer", "systems")),
        (isotropic.S4, {"mixer": {"stat": 8}}, ("mixer", "stat")),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_where_it_stands(
    stack: Any, options: dict[str, Any], path: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(stack, **options)
    assert refusal.value.path == path
