"""Sliding windows: what they hide, chunks and steps exact across the ring, work linear in the length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines.decoder_stack import CACHE_BLOCK
from baselines.local_transformer import LocalTransformer, LocalTransformerConfig
from baselines.transformer import Transformer, TransformerConfig
from harness.configuration import parse
from harness.errors import ConfigError
from harness.evaluation.flop_counter import FlopCounter

few = settings(max_examples=12, deadline=None)


def local(vocab_size: int = 32, **options: Any) -> LocalTransformer:
    torch.manual_seed(0)
    options = {"width": 16, "layers": 2, "heads": 2, "window": 5, **options}
    return LocalTransformer(LocalTransformerConfig(**options), vocab_size).double().eval()


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


@given(length=st.integers(1, 40), window=st.integers(1, 12))
@few
def test_a_window_is_full_attention_with_the_rest_masked(length: int, window: int) -> None:
    attention = local(window=window).body.blocks[0].attention
    x = torch.randn(2, length, 16, dtype=torch.float64)
    angles = local().body._rotation(0, x)
    query, key, value = attention._project(x, angles)
    back = torch.arange(length)[:, None] - torch.arange(length)
    scores = query @ key.mT / 8**0.5
    scores = scores.masked_fill((back < 0) | (back >= window), -torch.inf)
    expected = attention.output((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
    close(attention(x, angles)[0], expected)


@given(length=st.integers(3, 40), window=st.integers(1, 12), data=st.data())
@few
def test_a_clip_may_be_cut_anywhere_and_continued_in_either_way(
    length: int, window: int, data: st.DataObject
) -> None:
    model, tokens = local(window=window), torch.randint(32, (2, length))
    cut = data.draw(st.integers(1, length - 1))
    second = data.draw(st.integers(cut, length - 1))
    with torch.no_grad():
        whole = model(tokens)
        state, parts = model.initial_state(2), []
        for chunk in (tokens[:, :cut], tokens[:, cut:second], tokens[:, second:]):
            if chunk.shape[1]:
                logits, state = model.resume(chunk, state)
                parts.append(logits)
        close(torch.cat(parts, dim=1), whole)
        _, state = model.resume(tokens[:, :cut], model.initial_state(2))
        for t in range(cut, length):
            logits, state = model.step(None if t == cut else tokens[:, t - 1], state)
            close(logits, whole[:, t])


@pytest.mark.parametrize("window", [None, 300, 1000])
def test_chunks_and_steps_are_exact_beyond_blocks_of_the_cache_and_of_queries(window: int | None) -> None:
    torch.manual_seed(0)
    sizes = {"width": 8, "layers": 1, "heads": 1}
    if window is None:
        model: Any = Transformer(TransformerConfig(**sizes), 32).double().eval()
    else:
        model = local(**sizes, window=window)
    tokens = torch.randint(32, (1, 2 * CACHE_BLOCK + 140))
    with torch.no_grad():
        whole = model(tokens)
        head, state = model.resume(tokens[:, :290], model.initial_state(1))
        tail, state = model.resume(tokens[:, 290:640], state)
        close(torch.cat((head, tail), dim=1), whole[:, :640])
        for t in range(640, tokens.shape[1]):
            logits, state = model.step(None if t == 640 else tokens[:, t - 1], state)
            close(logits, whole[:, t])
    cache, steps = state[1]
    assert steps == tokens.shape[1]
    assert cache.untyped_storage().nbytes() == model.state_size(1, steps)


def test_layers_see_a_window_each() -> None:
    model = local(layers=3, window=4)
    x = torch.randn(1, 20, 16, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(model.body(x)[0, 15].sum(), x)
    assert gradient[0].abs().sum(-1).nonzero().flatten().tolist() == list(range(15 - 3 * 3, 16))


def test_the_state_is_bounded_and_the_work_linear_in_the_length() -> None:
    model = local(window=40).float()
    assert model.state_size(1, 40) == model.state_size(1, 10**6) == 2 * 2 * 40 * 16 * 4

    def work(length: int) -> float:
        with FlopCounter() as counter, torch.no_grad():
            model.to("meta")(torch.zeros(1, length, dtype=torch.long, device="meta"))
        return counter.total

    assert work(8000) == pytest.approx(8 * work(1000), rel=0.05)


def test_gradients_pass_through_a_state() -> None:
    model, tokens = local(), torch.randint(32, (1, 12))
    weight = model.body.blocks[0].attention.input.weight
    (whole,) = torch.autograd.grad(model(tokens).square().sum(), weight)
    head, state = model.resume(tokens[:, :5], model.initial_state(1))
    tail, _ = model.resume(tokens[:, 5:], state)
    (cut,) = torch.autograd.grad(torch.cat((head, tail), dim=1).square().sum(), weight)
    close(cut, whole)


@pytest.mark.parametrize("cls", [Transformer, LocalTransformer])
def test_the_published_model_is_as_large_as_its_note_says(cls: Any) -> None:
    preset = cls.presets["paper"]
    with torch.device("meta"):
        model = cls(parse(cls.Config, preset.config), preset.vocab_size)
    millions = round(sum(p.numel() for p in model.parameters()) / 1e6)
    assert preset.note.startswith(f"{millions} M parameters")


def test_a_state_of_step_is_not_resumed_as_it_lacks_a_token() -> None:
    model = local()
    _, state = model.step(None, model.initial_state(1))
    with pytest.raises(ValueError, match="lacks the token"):
        model.resume(torch.zeros(1, 3, dtype=torch.long), state)


@pytest.mark.parametrize(("options", "field"), [({"window": 0}, "window"), ({"width": 30}, "heads")])
def test_a_configuration_that_cannot_work_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        LocalTransformerConfig(**options)
    assert refusal.value.path == (field,)
