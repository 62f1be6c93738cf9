"""Hawk and Griffin: exact generation, local attention, caches of the size they say, and they learn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines.griffin import Griffin, GriffinConfig, Hawk, HawkConfig
from baselines.local_attention import CACHE_BLOCK, Cache, LocalAttention, rotate_half
from harness.configuration import parse
from harness.errors import ConfigError
from harness.evaluation.flop_counter import FlopCounter
from models.mixers.recurrent_block import RecurrentBlock, RecurrentBlockConfig

few = settings(max_examples=20, deadline=None)
lengths, windows = st.integers(1, 40), st.integers(1, 12)


def griffin(vocab_size: int = 32, **options: Any) -> Griffin:
    torch.manual_seed(0)
    options = {"width": 16, "layers": 3, "heads": 2, "window": 5, **options}
    return Griffin(parse(GriffinConfig, options), vocab_size).double().eval()


def attention(window: int = 5, width: int = 16, heads: int = 2) -> LocalAttention:
    torch.manual_seed(0)
    return LocalAttention(width=width, heads=heads, window=window).double()


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


@torch.no_grad()
def stepped(layer: LocalAttention, x: Tensor, state: Cache) -> tuple[Tensor, list[Cache]]:
    outputs, states = [], []
    for one in x.unbind(1):
        y, state = layer.step(one, state)
        outputs.append(y)
        states.append(state)
    return torch.stack(outputs, dim=1), states


# -------------------------------------------------------------------------------- local attention


@given(length=lengths, window=windows, heads=st.sampled_from([1, 2, 4]))
@few
def test_attention_is_a_softmax_over_the_window_of_all_heads_queries_on_one_key(
    length: int, window: int, heads: int
) -> None:
    layer, x = attention(window, heads=heads), randn(2, length, 16)
    query = rotate_half(layer.proj_q(x).unflatten(-1, (heads, -1)).transpose(1, 2))
    key, value = rotate_half(layer.proj_k(x)).unsqueeze(1), layer.proj_v(x).unsqueeze(1)
    back = torch.arange(length)[:, None] - torch.arange(length)
    scores = query @ key.mT / math.sqrt(16 / heads)
    scores = scores.masked_fill((back < 0) | (back > window), -torch.inf)
    expected = layer.proj_final((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
    close(layer(x), expected)


@given(length=st.integers(2, 40), window=windows, data=st.data())
@few
def test_attention_may_be_cut_anywhere_and_continued_in_either_way(
    length: int, window: int, data: st.DataObject
) -> None:
    layer, x = attention(window), randn(2, length, 16)
    cut = data.draw(st.integers(1, length - 1))
    whole, end = layer.resume(x, None)
    head, state = layer.resume(x[:, :cut], None)
    tail, last = layer.resume(x[:, cut:], state)
    close(torch.cat((head, tail), dim=1), whole)
    close(last.slots, end.slots)
    steps, states = stepped(layer, x[:, cut:], state)
    close(steps, whole[:, cut:])
    close(states[-1].slots, end.slots)


def test_attention_sees_as_many_steps_before_the_current_one_as_the_window_says() -> None:
    layer, x = attention(window=5), randn(1, 20, 16).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x)[0, 15].sum(), x)
    seen = gradient[0].abs().sum(-1).nonzero().flatten()
    assert seen.tolist() == [10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize("window", [300, 1000])
def test_stepping_is_exact_beyond_blocks_of_the_cache_and_of_queries(window: int) -> None:
    layer, x = attention(window), randn(1, 2 * CACHE_BLOCK + 140, 16)
    steps, states = stepped(layer, x, layer.initial_state(1))
    close(steps, layer(x))
    for length in (1, CACHE_BLOCK, CACHE_BLOCK + 1, window, window + 1, window + 2, x.shape[1]):
        if length <= x.shape[1]:
            slots, filled = states[length - 1]
            assert filled == length
            assert slots.untyped_storage().nbytes() == layer.state_size(1, length)
    assert layer.state_size(1, 0) == layer.initial_state(1).slots.numel() == 0
    assert layer.state_size(1, 10**6) == 2 * (window + 1) * 8 * 8


def test_the_cache_is_written_in_place_and_copied_once_a_block() -> None:
    layer = attention(window=2 * CACHE_BLOCK)
    _, states = stepped(layer, randn(1, 3 * CACHE_BLOCK, 16), layer.initial_state(1))
    assert len({state.slots.data_ptr() for state in states}) == 3


@given(place=st.integers(0, 100_000), distance=st.integers(0, 2000))
@few
def test_rotated_products_depend_on_the_distance_alone(place: int, distance: int) -> None:
    query, key = randn(1, 16), randn(1, 16)
    near = rotate_half(query, distance) @ rotate_half(key).mT
    close(rotate_half(query, place + distance) @ rotate_half(key, place).mT, near)
    assert torch.equal(rotate_half(query, place)[:, 8:], query[:, 8:])


# ----------------------------------------------------------------------------------- whole models


@given(length=st.integers(2, 30), window=windows, data=st.data())
@settings(max_examples=10, deadline=None)
def test_a_clip_read_in_chunks_or_generated_is_that_of_forward(
    length: int, window: int, data: st.DataObject
) -> None:
    model, tokens = griffin(window=window), torch.randint(32, (2, length))
    cut = data.draw(st.integers(1, length - 1))
    with torch.no_grad():
        whole = model(tokens)
        head, state = model.resume(tokens[:, :cut], model.initial_state(2))
        tail, _ = model.resume(tokens[:, cut:], state)
        close(torch.cat((head, tail), dim=1), whole)
        for t in range(cut, length):  # from the state that `resume` has left as it was
            logits, state = model.step(None if t == cut else tokens[:, t - 1], state)
            close(logits, whole[:, t])


def test_a_state_of_step_is_not_resumed_as_it_lacks_a_token() -> None:
    model = griffin()
    _, state = model.step(None, model.initial_state(1))
    with pytest.raises(ValueError, match="lacks the token"):
        model.resume(torch.zeros(1, 3, dtype=torch.long), state)


def test_the_first_prediction_is_after_silence() -> None:
    model = griffin()
    tokens = torch.tensor([[3, 9]])
    _, start = model.initial_state(1)
    after_silence, _ = model.resume(tokens, (torch.tensor([16]), start))
    close(model(tokens), after_silence)


def test_every_third_mixer_of_griffin_attends_and_none_of_hawk() -> None:
    def kinds(model: Hawk) -> list[str]:
        return ["r" if isinstance(block.mixer, RecurrentBlock) else "a" for block in model.blocks]

    assert kinds(griffin(layers=7)) == list("rrarrar")
    assert kinds(griffin(layers=3, pattern=["attention", "recurrent"])) == list("ara")
    assert kinds(Hawk(HawkConfig(width=16, layers=4))) == list("rrrr")


def test_it_has_as_many_parameters_as_recurrentgemma_2b() -> None:
    config = GriffinConfig(width=2560, layers=26, heads=10, recurrent=RecurrentBlockConfig(blocks=10))
    with torch.device("meta"):
        model = Griffin(config, vocab_size=256_000)
    assert sum(p.numel() for p in model.parameters()) == 2_682_862_080


def test_a_head_of_its_own_a_factor_and_a_cap_are_options() -> None:
    def count(model: Hawk) -> int:
        return sum(p.numel() for p in model.parameters())

    assert count(griffin(tied=False)) - count(griffin()) == 32 * 16
    tokens = torch.randint(32, (1, 1))
    scaled, plain = griffin(), griffin(scale_embedding=False)
    close(scaled.embedder(tokens), 4 * plain.embedder(tokens))
    free, capped = griffin(), griffin(logits_cap=0.5)
    close(capped(tokens), 0.5 * torch.tanh(free(tokens) / 0.5))


def test_the_last_matrix_of_every_branch_starts_with_variance_two_by_layers() -> None:
    torch.manual_seed(0)
    config = GriffinConfig(width=128, layers=8, heads=2, recurrent=RecurrentBlockConfig(hidden=192))
    for block in Griffin(config).blocks:
        recurrent = isinstance(block.mixer, RecurrentBlock)
        last = block.mixer.linear_out if recurrent else block.mixer.proj_final
        for linear in (last, block.mlp_block.ffw_down):
            assert linear.weight.var().item() == pytest.approx(2 / 8 / linear.in_features, rel=0.1)
        assert block.mlp_block.ffw_up.w.var().item() == pytest.approx(1 / 128, rel=0.1)


@pytest.mark.parametrize("length", [1, 40, 300])
def test_every_product_is_counted_once_on_every_device(length: int) -> None:
    config = GriffinConfig(width=32, layers=3, heads=4, window=40)
    counts = []
    for device in ("cpu", "meta"):
        model = Griffin(config, vocab_size=64).to(device)
        tokens = torch.zeros(2, length, dtype=torch.long, device=device)
        with FlopCounter() as counter, torch.no_grad():
            model(tokens)
        counts.append(counter.total)
    assert counts[0] == pytest.approx(counts[1])
    D, channels, blocks, steps = 32, 32, 4, 2 * length
    recurrent = 3 * D * channels + 2 * channels**2 // blocks + channels  # two operations a weight, and a scan
    mlp, attends = 3 * D * 3 * D, 2 * D * D + 2 * D * 8
    weights = 2 * recurrent + 3 * mlp + attends + D * 64
    convolution = 2 * 4 * channels * (length > 1)  # a product and a sum for a single step are not counted
    seen = (counts[0] / 2 / steps - weights - convolution) / (2 * D)  # keys a query is given
    assert min(length, 41) / 2 <= seen <= 81


def test_under_autocast_it_runs_and_states_stay_as_large_as_they_say() -> None:
    model, tokens = griffin().float(), torch.randint(32, (2, 12))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        logits, state = model.resume(tokens, model.initial_state(2))
        _, state = model.step(None, state)
    torch.testing.assert_close(logits.float(), model(tokens), rtol=0.2, atol=0.2)
    slots = [block.slots for block in state[1] if isinstance(block, Cache)]
    assert slots and all(one.dtype == torch.float32 for one in slots)


@pytest.mark.parametrize("mixer", ["recurrent", "attention"])
def test_it_learns_to_copy_from_three_steps_back(mixer: str) -> None:
    model = griffin(vocab_size=8, width=32, layers=1, pattern=[mixer]).float().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        tokens = torch.randint(8, (16, 3)).repeat(1, 4)
        loss = F.cross_entropy(model(tokens)[:, 3:].flatten(0, 1), tokens[:, 3:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * math.log(8)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"width": 30, "heads": 4}, ("heads",)),
        ({"width": 24, "heads": 4}, ("heads",)),
        ({"layers": 0}, ("layers",)),
        ({"window": 0}, ("window",)),
        ({"pattern": ()}, ("pattern",)),
        ({"dropout": 1.0}, ("dropout",)),
        ({"logits_cap": 0.0}, ("logits_cap",)),
        ({"recurrent": RecurrentBlockConfig(blocks=3)}, ("recurrent", "blocks")),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_name(
    options: dict[str, Any], path: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as refusal:
        GriffinConfig(**options)
    assert refusal.value.path == path


def test_options_of_the_recurrent_block_are_read_and_refused_where_they_stand() -> None:
    config = parse(GriffinConfig, {"recurrent": {"ring_of": "decay", "hidden": 96}})
    assert config.recurrent == RecurrentBlockConfig(ring_of="decay", hidden=96)
    for options in ({"hiden": 96}, {"kernel": 0}):
        with pytest.raises(ConfigError) as refusal:
            parse(GriffinConfig, {"recurrent": options})
        assert refusal.value.path == ("recurrent", *options)
