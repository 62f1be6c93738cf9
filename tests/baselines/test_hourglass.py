"""Hourglass: its algorithm spelled out, attention between rates, exact chunks and steps, linear work."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines.hourglass import Hourglass, HourglassConfig
from baselines.resampling import RateAttention
from harness.configuration import parse
from harness.errors import ConfigError
from harness.evaluation.flop_counter import FlopCounter

few = settings(max_examples=12, deadline=None)
kinds = st.sampled_from(["plain", "linear", "attention"])


def hourglass(vocab_size: int = 32, **options: Any) -> Hourglass:
    torch.manual_seed(0)
    options = {"width": 8, "layers": (1, 1), "factors": (3,), "heads": 2, **options}
    return Hourglass(HourglassConfig(**options), vocab_size).double().eval()


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("length", [1, 3, 10])
def test_it_is_the_algorithm_of_the_paper(length: int) -> None:
    """Shift right by k - 1, shorten, process, prolong, add."""
    model = hourglass(shortening="plain", upsampling="linear")
    level, x = model.body, torch.randn(2, length, 8, dtype=torch.float64)
    fine = level.before(x)
    shifted = F.pad(fine, (0, 0, 2, 0))
    short = torch.stack([shifted[:, t : t + 3].mean(1) for t in range(0, length, 3)], dim=1)
    z = level.inner(short)
    matrices = level.prolonging.linear.weight.unflatten(0, (3, 8))
    said = torch.stack([z[:, t // 3] @ matrices[t % 3].T for t in range(length)], dim=1)
    close(level(x), level.after(fine + level.prolonging.norm(said)))


@given(
    queries=st.integers(1, 20),
    strides=st.sampled_from([(3, 2, 1), (1, 0, 3), (4, 3, 1), (1, 0, 2)]),
    window=st.none() | st.integers(4, 9),
    data=st.data(),
)
@few
def test_attention_between_rates_is_masked_attention_by_time_in_chunks_or_whole(
    queries: int, strides: tuple[int, int, int], window: int | None, data: st.DataObject
) -> None:
    stride, offset, key_stride = strides
    torch.manual_seed(0)
    layer = RateAttention(
        8,
        2,
        query_stride=stride,
        query_offset=offset,
        key_stride=key_stride,
        rope_base=100.0,
        window=window,
    ).double()

    def keys_by(query: int) -> int:
        """Keys known at the last of so many queries."""
        return ((query - 1) * stride + offset) // key_stride + 1 if query else 0

    x, memory = torch.randn(2, queries, 8).double(), torch.randn(2, keys_by(queries), 8).double()
    whole, _ = layer(x, memory, layer.initial_state(2))
    moments = stride * torch.arange(queries)[:, None] + offset
    back = moments - key_stride * torch.arange(memory.shape[1])
    mask = (back >= 0) & (back < (window or math.inf))
    query = layer.query(x).unflatten(-1, (2, 4)).transpose(1, 2)
    key, value = layer.key_value(memory).unflatten(-1, (2, 2, 4)).permute(2, 0, 3, 1, 4)
    turn = torch.exp(1j * torch.tensor([1.0, 100**-0.5], dtype=torch.float64) * back[..., None])
    pairs = torch.view_as_complex(torch.stack(query.chunk(2, dim=-1), dim=-1))
    others = torch.view_as_complex(torch.stack(key.chunk(2, dim=-1), dim=-1))
    scores = torch.einsum("bhqe,bhse,qse->bhqs", pairs, others.conj(), turn).real / 2
    expected = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value
    close(whole, layer.output(expected.transpose(1, 2).flatten(2)))

    cut = data.draw(st.integers(0, queries - 1)) or queries
    known = keys_by(cut)
    head, state = layer(x[:, :cut], memory[:, :known], layer.initial_state(2))
    assert state[0].numel() * 8 == layer.state_size(2, cut, known)
    if cut < queries:
        tail, _ = layer(x[:, cut:], memory[:, known:], state)
        close(torch.cat((head, tail), dim=1), whole)


@given(
    periods=st.integers(1, 3),
    rest=st.integers(1, 14),
    shortening=kinds,
    upsampling=kinds,
    window=st.sampled_from([None, 5]),
)
@few
def test_a_clip_may_be_cut_after_whole_groups_and_continued_in_either_way(
    periods: int, rest: int, shortening: Any, upsampling: Any, window: int | None
) -> None:
    model = hourglass(
        layers=(1, 1, 1), factors=(3, 2), shortening=shortening, upsampling=upsampling, window=window
    )
    cut = model.period * periods
    tokens = torch.randint(32, (2, cut + rest))
    with torch.no_grad():
        whole = model(tokens)
        head, state = model.resume(tokens[:, :cut], model.initial_state(2))
        tail, end = model.resume(tokens[:, cut:], state)
        close(torch.cat((head, tail), dim=1), whole)
        assert (end is None) == bool(rest % model.period)
        for t in range(cut, cut + rest):
            logits, state = model.step(None if t == cut else tokens[:, t - 1], state)
            close(logits, whole[:, t])


def test_an_inner_level_runs_only_when_it_is_due() -> None:
    model, ran = hourglass(layers=(1, 1, 1), factors=(3, 2)), [0, 0]
    for index, stack in enumerate((model.body.inner.before, model.body.inner.inner)):

        def count(*_: Any, index: int = index) -> None:
            ran[index] += 1

        stack.blocks[0].mlp.register_forward_hook(count)
    state = model.initial_state(1)
    with torch.no_grad():
        for _ in range(12):
            _, state = model.step(torch.tensor([3]), state)
    assert ran == [4, 2]


def test_the_slow_level_sees_beyond_the_windows_of_the_fast_one() -> None:
    model, tokens = hourglass(window=4), torch.randint(32, (1, 60))
    changed = tokens.clone()
    changed[0, 3] = (tokens[0, 3] + 1) % 32
    moved = (model(tokens) - model(changed)).abs().amax(-1)[0]
    assert not moved[:4].any() and moved[50:].all()


def test_in_a_window_the_work_of_the_fast_level_is_linear_in_the_length() -> None:
    def work(length: int) -> float:
        model = hourglass(window=50, factors=(50,)).to("meta")
        with FlopCounter() as counter, torch.no_grad():
            model(torch.zeros(1, length, dtype=torch.long, device="meta"))
        return counter.total

    assert work(2000) == pytest.approx(4 * work(500), rel=0.15)


def test_the_published_model_is_as_large_as_its_note_says() -> None:
    preset = Hourglass.presets["paper"]
    with torch.device("meta"):
        model = Hourglass(parse(HourglassConfig, preset.config), preset.vocab_size)
    millions = round(sum(p.numel() for p in model.parameters()) / 1e6)
    assert preset.note.startswith(f"{millions} M parameters")


def test_it_learns_to_copy_from_the_groups_before() -> None:
    torch.manual_seed(0)
    config = HourglassConfig(width=32, layers=(1, 1), factors=(2,), heads=2)
    model = Hourglass(config, vocab_size=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(60):
        tokens = torch.randint(8, (16, 6)).repeat(1, 3)
        loss = F.cross_entropy(model(tokens)[:, 6:].flatten(0, 1), tokens[:, 6:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * math.log(8)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"width": 30}, "heads"),
        ({"layers": (1, 1, 1)}, "layers"),
        ({"layers": (0, 1)}, "layers"),
        ({"factors": (1,)}, "factors"),
        ({"window": 3, "factors": (4,)}, "window"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        HourglassConfig(**options)
    assert refusal.value.path == (field,)
