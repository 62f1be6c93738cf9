"""Long sequences in chunks, and gradients whose activations are computed again."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from poolformers import VOCABULARY, models, tokens
from torch import Tensor, nn

from harness import registry
from harness.errors import ConfigError
from harness.evaluation.memory import SavedForBackward
from models.mixers.convolution import Convolution
from models.poolformer import Poolformer, PoolformerConfig
from models.recompute import recomputed
from models.state import map_tensors, tensors_of

few = settings(max_examples=15, deadline=None)


def in_chunks(model: Poolformer, x: Tensor, cuts: list[int]) -> tuple[Tensor, Any]:
    state, logits = model.initial_state(len(x)), []
    for first, last in zip([0, *cuts], [*cuts, x.shape[1]], strict=True):
        out, state = model.resume(x[:, first:last], state)
        logits.append(out)
    return torch.cat(logits, dim=1), state


# ------------------------------------------------------------------------------------ chunks


@given(model=models(), length=st.integers(1, 2000), data=st.data())
@few
@torch.no_grad()
def test_chunks_cut_anywhere_give_the_logits_of_the_whole(
    model: Poolformer, length: int, data: st.DataObject
) -> None:
    x = tokens(2, length)
    places = st.lists(st.integers(1, max(1, length - 1)), max_size=4, unique=True)
    cuts = [cut for cut in sorted(data.draw(places)) if cut < length]
    logits, _ = in_chunks(model, x, cuts)
    torch.testing.assert_close(logits, model(x), rtol=1e-10, atol=1e-11)


@given(model=models(), length=st.integers(2, 40), data=st.data())
@few
@torch.no_grad()
def test_what_was_read_in_chunks_is_continued_step_by_step(
    model: Poolformer, length: int, data: st.DataObject
) -> None:
    x = tokens(2, length)
    read = data.draw(st.integers(1, length - 1))
    head, state = model.resume(x[:, :read], model.initial_state(2))
    first, _ = model.step(None, state)  # the state knows the last token that it has read
    logits = []
    for t in range(read, length):
        out, state = model.step(x[:, t - 1], state)
        logits.append(out)
    assert torch.equal(logits[0], first)
    found = torch.cat((head, torch.stack(logits, dim=1)), dim=1)
    torch.testing.assert_close(found, model(x), rtol=1e-10, atol=1e-11)


@given(model=models(), length=st.integers(2, 60))
@few
@torch.no_grad()
def test_a_state_after_a_chunk_is_as_large_as_one_after_steps_but_for_the_last_token(
    model: Poolformer, length: int
) -> None:
    _, state = model.resume(tokens(2, length), model.initial_state(2))
    held = sum(t.numel() * t.element_size() for t in tensors_of(state["levels"]))
    assert held == model.state_size(2, length)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors_of(state)}
    assert sum(storages.values()) <= held + 2 * torch.long.itemsize


def test_a_state_of_step_is_not_resumed_because_it_lacks_the_last_token() -> None:
    model = Poolformer(PoolformerConfig(width=8, pooling=(2,), layers=1), VOCABULARY)
    _, state = model.step(None, model.initial_state(1))
    with pytest.raises(ValueError, match="lacks the last token"):
        model.resume(tokens(1, 3), state)


def test_the_period_is_the_product_of_the_factors() -> None:
    assert Poolformer(PoolformerConfig(width=8, pooling=(2, 3), layers=1), VOCABULARY).period == 6
    assert Poolformer(PoolformerConfig(width=8, pooling=(), layers=1), VOCABULARY).period == 1


@registry.register("mixers", "no_resume_of_its_own")
class WithoutResume(Convolution):
    """A stranger's mixer with what its contract asks for and no more."""

    resume = None  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        return Convolution.resume(self, x, None)[0]

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = Convolution.resume(self, x.unsqueeze(1), state)
        return y.squeeze(1), state


@pytest.mark.parametrize("front", [None, "convolution"])
def test_a_mixer_without_resume_works_but_not_in_chunks(front: str | None) -> None:
    options: dict[str, Any] = {"width": 8, "pooling": (2,), "layers": 1, "mixer": "no_resume_of_its_own"}
    options["temporal_convolution"] = front
    model = Poolformer(PoolformerConfig(**options), VOCABULARY).eval()
    assert model.resume is None and model(tokens(1, 5)).shape == (1, 5, VOCABULARY)
    with pytest.raises(ConfigError, match=r"recompute_chunk: needs mixers that can `resume`; .* cannot"):
        Poolformer(PoolformerConfig(**options, recompute_chunk=8), VOCABULARY)


# ------------------------------------------------------------------------- computing again


def with_settings(model: Poolformer, **settings: Any) -> Poolformer:
    """The same model, weights included, with other settings."""
    other = Poolformer(replace(model.config, **settings), VOCABULARY).double()
    other.load_state_dict(model.state_dict())
    return other


def gradients(model: Poolformer, x: Tensor, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    model.train().zero_grad()
    logits = model(x)
    (logits * torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits)).sum().backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}


@given(model=models(), length=st.integers(1, 50), dropout=st.sampled_from([0.0, 0.3]), data=st.data())
@few
def test_levels_that_compute_again_have_the_same_gradients_to_the_bit(
    model: Poolformer, length: int, dropout: float, data: st.DataObject
) -> None:
    model, x = with_settings(model, dropout=dropout), tokens(2, length)
    other = with_settings(model, recompute=data.draw(st.integers(1, model.config.levels)))
    expected = gradients(model, x)
    for name, found in gradients(other, x).items():
        assert torch.equal(found, expected[name]), name


@given(model=models(), length=st.integers(1, 50), chunk=st.integers(1, 30), data=st.data())
@few
def test_chunks_that_compute_again_have_the_gradients_of_the_whole_sequence(
    model: Poolformer, length: int, chunk: int, data: st.DataObject
) -> None:
    x, levels = tokens(2, length), data.draw(st.integers(0, model.config.levels))
    expected = gradients(model, x)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, found in gradients(with_settings(model, recompute_chunk=chunk, recompute=levels), x).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-9, atol=1e-11 * largest, msg=name)


@pytest.mark.parametrize("mixer", sorted({*registry.names("mixers")} - {"no_resume_of_its_own"}))
def test_every_mixer_can_compute_again_in_levels_and_in_chunks(mixer: str) -> None:
    torch.manual_seed(0)
    config = PoolformerConfig(width=16, pooling=(2,), layers=1, mixer=mixer, dropout=0.0)
    model, x = Poolformer(config, VOCABULARY).double(), tokens(2, 50)
    expected = gradients(model, x)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, found in gradients(with_settings(model, recompute=1, recompute_chunk=15), x).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-8, atol=1e-10 * largest, msg=name)


def test_with_dropout_what_is_computed_again_draws_the_same_numbers() -> None:
    """The gradient along a direction is that of the values, with the masks of one seed."""
    torch.manual_seed(0)
    config = PoolformerConfig(width=8, pooling=(2,), layers=1, dropout=0.4, recompute_chunk=6, recompute=1)
    model, x = Poolformer(config, VOCABULARY).double(), tokens(2, 20)
    moved = copy.deepcopy(model)
    direction = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    slope = sum((gradient * direction[name]).sum() for name, gradient in gradients(model, x).items())

    def value(step: float) -> Tensor:
        with torch.no_grad():
            for (name, p), start in zip(moved.named_parameters(), model.parameters(), strict=True):
                p.copy_(start + step * direction[name])
        torch.manual_seed(0)
        logits = moved.train()(x)
        return (logits * torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits)).sum()

    difference = (value(1e-6) - value(-1e-6)) / 2e-6
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-6)


def saved(length: int, **settings: Any) -> int:
    """Bytes kept for the backward pass, less those of the head, which computes nothing again."""
    torch.manual_seed(0)
    model = Poolformer(PoolformerConfig(width=16, pooling=(2, 2), layers=2, **settings), VOCABULARY)
    model.norm, model.head = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    counter = SavedForBackward(model)
    with counter:
        model(tokens(1, length))
    return counter.bytes


def test_levels_that_compute_again_keep_less() -> None:
    kept = [saved(256, recompute=levels) for levels in range(4)]
    assert kept == sorted(kept, reverse=True)
    assert kept[3] < kept[0] / 5


def test_chunks_keep_their_states_alone() -> None:
    state = Poolformer(PoolformerConfig(width=16, pooling=(2, 2), layers=2), VOCABULARY).state_size(1, 64)
    for chunks in (4, 16):
        tokens_themselves = 64 * chunks * torch.long.itemsize
        found = saved(64 * chunks, recompute_chunk=64)
        assert found <= chunks * state + tokens_themselves
    assert saved(64 * 16, recompute_chunk=64) < saved(64 * 16) / 50


def test_without_gradients_nothing_is_computed_twice() -> None:
    calls = []
    with torch.no_grad():
        assert recomputed(lambda x: calls.append(1) or x + 1, torch.zeros(2)).sum() == 2
    assert calls == [1]


def test_a_state_is_mapped_whatever_holds_its_tensors() -> None:
    state = {"a": (torch.zeros(1), [torch.ones(2)]), "b": (3, None)}
    doubled = map_tensors(lambda tensor: 2 * tensor + 1, state)
    assert [tensor.tolist() for tensor in tensors_of(doubled)] == [[1], [3, 3]]
    assert doubled["b"] == (3, None)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"recompute": -1}, "recompute"),
        ({"recompute": 6}, "recompute"),
        ({"recompute_chunk": 0}, "recompute_chunk"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PoolformerConfig(**options)
    assert caught.value.path == (field,)
