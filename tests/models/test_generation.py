"""Drawing clips from Poolformer by its kernel: the same distribution as the forward pass."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.configuration import parse
from harness.evaluation.sampling import Sampler, StepByStep, sample
from models.generation.cuda_graph import PeriodDrawer
from models.generation.native import CannotTranslate, NativeDrawer
from models.poolformer import Poolformer, PoolformerConfig

few = settings(max_examples=30, deadline=None)
VOCABULARY = 30


def model(**options: Any) -> Poolformer:
    torch.manual_seed(0)
    return Poolformer(parse(PoolformerConfig, {"width": 8, "layers": 1, **options}), VOCABULARY).eval()


def uniforms(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, length, dtype=torch.float64, generator=generator)


mixers = st.sampled_from(
    [
        "rg_lru",
        "lru",
        {"name": "rg_lru", "complex": False, "hidden": 24, "blocks": 3},
        {"name": "rg_lru", "input_gate": False, "normalize_input": False},
        {"name": "rg_lru", "recurrence_gate": False, "blocks": 1},
    ]
)


@st.composite
def models(draw: st.DrawFn) -> Poolformer:
    pooling = draw(st.lists(st.integers(1, 4), max_size=3))
    learned = draw(st.booleans())
    return model(
        width=draw(st.sampled_from([4, 8, 20])),
        pooling=pooling,
        layers=[draw(st.integers(0 if level < len(pooling) else 1, 2)) for level in range(len(pooling) + 1)],
        down_layers=draw(st.sampled_from([None, 0, 1])),
        mixer=draw(mixers),
        pooling_kind="linear" if learned else draw(st.sampled_from(["average", "subsample"])),
        pool_groups=draw(st.sampled_from([None, 1, 2])) if learned else None,
        widening=draw(st.sampled_from([1, 2])) if learned else 1,
        skip=draw(st.sampled_from(["short", "long", "both", "none"])),
        gating=draw(st.booleans()),
        norm=draw(st.sampled_from(["layer", "rms", "none"])),
        embedding=draw(st.sampled_from(["sinusoidal", "table", "mlp"])),
        initialization=draw(st.sampled_from(["scaled", "constant"])),
    )


@given(built=models(), batch=st.integers(1, 9), length=st.integers(1, 60), data=st.data())
@few
@torch.no_grad()
def test_its_logits_are_those_of_the_forward_pass_however_the_clip_is_cut(
    built: Poolformer, batch: int, length: int, data: st.DataObject
) -> None:
    tokens = torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(length))
    cut = data.draw(st.integers(0, length))
    drawer = NativeDrawer(built, batch)
    logits = torch.cat((drawer.read(tokens[:, :cut]), drawer.read(tokens[:, cut:])), dim=1)
    rounded, expected = built(tokens), built.double()(tokens)
    scale = max(1.0, expected.abs().max().item())
    own = (rounded - expected).abs().max().item()  # where a LayerNorm divides by little, rounding grows
    assert (logits - expected).abs().max() <= 1e-5 * scale + 5 * own


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.7}, {"top_p": 0.6}, {"temperature": 2.0, "top_p": 0.9}]
)
@torch.no_grad()
def test_the_same_numbers_draw_the_same_tokens_as_step_by_step(options: dict[str, float]) -> None:
    """But for the rare number that lies within rounding of the border between two tokens."""
    built = model(pooling=[2, 3])
    settings = {"temperature": 1.0, "top_p": 1.0} | options
    tokens, likelihood = NativeDrawer(built, 4).draw(uniforms(4, 40), **settings)
    stepped, stepped_likelihood = StepByStep(built, 4).draw(uniforms(4, 40), **settings)
    assert torch.equal(tokens, stepped)
    torch.testing.assert_close(likelihood, stepped_likelihood, rtol=1e-6, atol=1e-5)


@torch.no_grad()
def test_tokens_come_as_often_as_the_model_says() -> None:
    built = model(pooling=[2])
    tokens, _ = NativeDrawer(built, 20_000).draw(uniforms(20_000, 1), temperature=1.0, top_p=1.0)
    expected = built(torch.zeros(1, 1, dtype=torch.long))[0, 0].double().softmax(-1)
    found = torch.bincount(tokens[:, 0], minlength=VOCABULARY) / 20_000
    deviation = (found - expected) / (expected * (1 - expected) / 20_000).sqrt()
    assert deviation.abs().max() < 5


def test_the_likelihood_of_a_clip_is_the_forward_passs_whatever_the_temperature() -> None:
    built = model(pooling=[2, 2])
    drawn = sample(built, 3, 50, generator=torch.Generator().manual_seed(0), temperature=1.5)
    with torch.no_grad():
        log_p = built(drawn.tokens).double().log_softmax(-1)
    expected = log_p.gather(-1, drawn.tokens[..., None]).sum((1, 2)) / math.log(2)
    torch.testing.assert_close(drawn.log_likelihood_bits, expected, rtol=1e-6, atol=0)


def test_threads_do_not_change_what_is_drawn() -> None:
    built, found = model(pooling=[3]), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            found.append(NativeDrawer(built, 5).draw(uniforms(5, 30), temperature=1.0, top_p=1.0)[0])
        finally:
            torch.set_num_threads(1)
    assert torch.equal(*found)


def test_a_clip_does_not_know_the_others_of_its_batch() -> None:
    built = model(pooling=[3])
    together, _ = NativeDrawer(built, 5).draw(uniforms(5, 30), temperature=1.0, top_p=1.0)
    alone, _ = NativeDrawer(built, 1).draw(uniforms(5, 30)[2:3], temperature=1.0, top_p=1.0)
    assert torch.equal(alone, together[2:3])


def test_the_sampler_takes_the_kernel_and_says_so() -> None:
    generator = torch.Generator().manual_seed(0)
    assert Sampler(model(), 2, generator=generator).backend == "native"
    assert Sampler(model().double(), 2, generator=generator).backend == "step"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"mixer": "attention"}, "no kernel steps through Attention"),
        ({"pooling": [2], "pooling_kind": "convolution"}, "no kernel steps through ConvolutionDownPool"),
    ],
)
def test_what_the_kernel_does_not_know_is_drawn_step_by_step_and_the_reason_given(
    options: dict[str, Any], reason: str
) -> None:
    built = model(**options)
    with pytest.raises(CannotTranslate, match=reason):
        NativeDrawer(built, 2)
    assert built.drawer(2) is None


def test_a_batch_of_another_size_than_the_states_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 2 clips, as the state is of, got 3"):
        NativeDrawer(model(), 2).read(torch.zeros(3, 1, dtype=torch.long))


# ------------------------------------------------------------------------------- whole periods


@given(cuts=st.lists(st.integers(1, 20), min_size=1, max_size=4), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_whole_periods_and_the_steps_around_them_draw_what_single_steps_draw(
    cuts: list[int], seed: int
) -> None:
    built = model(pooling=[2, 3], mixer=["rg_lru", "convolution", "lru"]).double()
    drawer, options = PeriodDrawer(built, 3), {"temperature": 0.8, "top_p": 0.9}
    numbers = uniforms(3, sum(cuts), seed)
    with torch.no_grad():
        expected, likelihood = StepByStep(built, 3).draw(numbers, **options)
    parts = [drawer.draw(part, **options) for part in numbers.split(cuts, dim=1)]
    assert torch.equal(torch.cat([tokens for tokens, _ in parts], dim=1), expected)
    torch.testing.assert_close(sum(nats for _, nats in parts), likelihood)


def test_a_state_that_grows_has_no_period_to_record() -> None:
    assert PeriodDrawer.fits(model(pooling=[2], mixer="convolution"))
    assert not PeriodDrawer.fits(model(pooling=[2], mixer={"name": "attention", "heads": 2}))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_recorded_period_draws_what_single_steps_draw() -> None:
    built = model(pooling=[2, 3]).cuda()
    numbers, options = uniforms(3, 26).cuda(), {"temperature": 1.0, "top_p": 1.0}
    with torch.no_grad():
        expected, _ = StepByStep(built, 3).draw(numbers, **options)
    assert torch.equal(PeriodDrawer(built, 3).draw(numbers, **options)[0], expected)
