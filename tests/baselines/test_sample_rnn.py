"""SampleRNN: what a tier sees and when it runs, truncation of gradients alone, the published size."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines.sample_rnn import SampleRNN, SampleRNNConfig, Weight
from harness.configuration import parse
from harness.errors import ConfigError

few = settings(max_examples=12, deadline=None)


def sample_rnn(vocab_size: int = 32, **options: Any) -> SampleRNN:
    torch.manual_seed(0)
    options = {"width": 12, "frames": (4, 2, 2), "truncate": None, **options}
    model = SampleRNN(SampleRNNConfig(**options), vocab_size).double().eval()
    for tier in model.tiers:
        if tier.start is not None:
            torch.nn.init.normal_(tier.start)
    return model


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def filled(model: torch.nn.Module) -> torch.nn.Module:
    """With weights that anyone can write down again."""
    with torch.no_grad():
        for index, p in enumerate(model.parameters()):
            values = torch.arange(p.numel(), dtype=torch.float64) * (index + 1)
            p.copy_(values.cos().view_as(p) / p[0].numel() ** 0.5)
    return model


def spelled_out(model: SampleRNN, tokens: Tensor, t: int) -> Tensor:
    """The logits at t by the equations, each tier over all its frames up to the one around t."""
    highest = model.period
    known = F.pad(tokens, (highest, 0), value=model.start_token)
    value = known.double() / (model.vocab_size / 2) - 1
    value = 2 * value.sign() * ((model.vocab_size) ** value.abs() - 1) / (model.vocab_size - 1)

    def conditions(index: int, frame: int) -> Tensor:
        """What tier `index` gives the tier below, Float[B, f, D], after its frame of that number."""
        tier, h = model.tiers[index], model.tiers[index].first(len(tokens))
        for number in range(frame + 1):
            begin = number * tier.samples
            g = value[:, highest + begin - tier.samples : highest + begin] @ tier.input().T + tier.input_bias
            if index + 1 < len(model.tiers):
                parts = model.tiers[index + 1].parts
                g = g + conditions(index + 1, number // parts)[:, number % parts]
            _, h = tier.rnn(g.unsqueeze(1), h)
        return (h[-1] @ tier.output() + tier.output_bias).unflatten(1, (tier.parts, -1))

    taps, mlp = model.tiers[0].samples, model.perceptron
    e = mlp.embedding(known[:, highest + t - taps : highest + t])
    x = torch.einsum("bke,dek->bd", e, mlp.input()) + conditions(0, t // taps)[:, t % taps]
    x = torch.relu(torch.relu(x) @ mlp.hidden().T + mlp.hidden_bias)
    return x @ mlp.output().T + mlp.output_bias


@pytest.mark.parametrize("frames", [(4, 2, 2), (3,), (2, 3)])
def test_it_is_its_equations(frames: tuple[int, ...]) -> None:
    model, tokens = sample_rnn(frames=frames), torch.randint(32, (2, 21))
    with torch.no_grad():
        logits = model(tokens)
        for t in (0, 1, 3, 4, 15, 16, 20):
            close(logits[:, t], spelled_out(model, tokens, t))


def test_outputs_are_those_of_the_compared_code() -> None:
    """state-spaces/s4 @ e757cef, src/models/baselines/samplernn.py, in float64 with these weights."""
    sizes = {"width": 6, "layers": 2, "embedding": 3, "frames": (4, 2, 2)}
    model = filled(SampleRNN(SampleRNNConfig(**sizes), 256).double())
    tokens = (torch.arange(48) ** 2 * 5 % 256)[None]
    expected = [
        [1.6323759183797817, 0.9017367042476166, -1.7543226868582058],
        [1.3836531431643921, 0.96689016171958, -1.493005043504617],
        [1.2193637694363764, 1.0514098294629568, -1.3730080305684884],
    ]
    close(model(tokens)[0, [0, 9, 47]][:, [0, 100, 255]], torch.tensor(expected, dtype=torch.float64))


@given(periods=st.integers(1, 3), rest=st.integers(1, 20), layers=st.integers(1, 2))
@few
def test_a_clip_may_be_cut_after_whole_frames_and_continued_in_either_way(
    periods: int, rest: int, layers: int
) -> None:
    model, cut = sample_rnn(layers=layers), 16 * periods
    tokens = torch.randint(32, (2, cut + rest))
    with torch.no_grad():
        whole = model(tokens)
        head, state = model.resume(tokens[:, :cut], model.initial_state(2))
        tail, end = model.resume(tokens[:, cut:], state)
        close(torch.cat((head, tail), dim=1), whole)
        assert (end is None) == bool(rest % 16)
        for t in range(cut, cut + rest):
            logits, state = model.step(None if t == cut else tokens[:, t - 1], state)
            close(logits, whole[:, t])


def test_a_tier_runs_once_a_frame() -> None:
    model, ran = sample_rnn(), [0, 0, 0]
    for index, tier in enumerate(model.tiers):

        def count(*_: Any, index: int = index) -> None:
            ran[index] += 1

        tier.register_forward_hook(count)
    state = model.initial_state(1)
    with torch.no_grad():
        for _ in range(32):
            _, state = model.step(torch.tensor([3]), state)
    assert ran == [8, 4, 2]


def gradient_to_the_start(truncate: int | None, length: int, only_after: int) -> Tensor:
    model = sample_rnn(truncate=truncate)
    torch.manual_seed(1)
    logits = model(torch.randint(32, (1, length)))
    (gradient,) = torch.autograd.grad(logits[:, only_after:].square().sum(), model.tiers[2].start)
    return gradient


def test_truncation_cuts_gradients_and_leaves_values() -> None:
    tokens = torch.randint(32, (1, 70))
    close(sample_rnn(truncate=32)(tokens), sample_rnn()(tokens))
    assert gradient_to_the_start(None, 70, only_after=32).abs().sum() > 0
    assert gradient_to_the_start(32, 70, only_after=32).abs().sum() == 0
    close(gradient_to_the_start(32, 32, only_after=0), gradient_to_the_start(None, 32, only_after=0))


def test_a_normalised_weight_starts_as_drawn_and_has_the_norms_of_its_gains() -> None:
    weight = Weight((5, 3, 2), 1.0, normalised=True)
    torch.testing.assert_close(weight(), weight.direction)
    torch.nn.init.constant_(weight.gain, 2.0)
    torch.testing.assert_close(weight().flatten(1).norm(dim=1), torch.full((5,), 2.0))


def test_silence_is_amplitude_zero_and_the_ends_are_two() -> None:
    for quantization in ("mu_law", "linear"):
        model = sample_rnn(quantization=quantization)
        assert model._amplitudes(torch.tensor([16, 0])).tolist() == pytest.approx([0.0, -2.0])


def test_the_published_model_has_its_parameters() -> None:
    preset = SampleRNN.presets["paper"]
    config = parse(SampleRNNConfig, preset.config)
    assert config.tiers == (8, 16, 32)
    with torch.device("meta"):
        model = SampleRNN(config, preset.vocab_size)
    assert sum(p.numel() for p in model.parameters()) == 35_034_624
    assert preset.parameters == pytest.approx(35_034_624, rel=0.002)


def test_it_learns_to_copy_from_six_steps_back() -> None:
    torch.manual_seed(0)
    model = SampleRNN(SampleRNNConfig(width=48, frames=(4, 2), truncate=None), vocab_size=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(120):
        tokens = torch.randint(8, (16, 6)).repeat(1, 3)
        loss = F.cross_entropy(model(tokens)[:, 6:].flatten(0, 1), tokens[:, 6:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5 * math.log(8)


@pytest.mark.parametrize(
    ("options", "field"),
    [({"width": 0}, "width"), ({"frames": ()}, "frames"), ({"truncate": 100}, "truncate")],
)
def test_a_configuration_that_cannot_work_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        SampleRNNConfig(**options)
    assert refusal.value.path == (field,)
