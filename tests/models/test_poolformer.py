"""Poolformer: the laws of a sequence model for any levels, and its settings."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from poolformers import VOCABULARY, models, tokens
from torch import Tensor

from harness.configuration import plain, resolve
from harness.errors import ConfigError
from models.poolformer import Poolformer, PoolformerConfig
from models.skip_block import SkipBlock, TemporalStack

few = settings(max_examples=25, deadline=None)


def size(state: Any) -> int:
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    return sum(size(part) for part in (state.values() if isinstance(state, dict) else state))


@given(model=models(), length=st.integers(1, 50))
@few
@torch.no_grad()
def test_stepping_equals_the_whole_sequence_and_the_state_is_as_large_as_it_says(
    model: Poolformer, length: int
) -> None:
    x = tokens(2, length)
    state, logits = model.initial_state(2), []
    for t in range(length):
        assert size(state) == model.state_size(2, t)
        out, state = model.step(x[:, t - 1] if t else None, state)
        logits.append(out)
    torch.testing.assert_close(torch.stack(logits, dim=1), model(x), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("length", "options"),
    [
        (1000, {}),
        (300, {"pooling_kind": "convolution", "pool_groups": 4, "skip": "both", "mixer": "lru"}),
        (301, {"pooling_kind": "average", "skip": "long", "mixer": {"name": "attention", "window": 30}}),
        (1, {"pooling_kind": "subsample", "skip": "none", "mixer": "attention"}),
    ],
)
@torch.no_grad()
def test_stepping_equals_the_whole_sequence_in_single_precision(length: int, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = resolve("models", {"name": "poolformer", "width": 16, "pooling": [2, 5], "layers": 1, **options})
    model, x = Poolformer(config.config, VOCABULARY).eval(), tokens(1, length)
    state, logits = model.initial_state(1), []
    for t in range(length):
        out, state = model.step(x[:, t - 1] if t else None, state)
        logits.append(out)
    torch.testing.assert_close(torch.stack(logits, dim=1), model(x), rtol=0, atol=1e-5)


@given(model=models(), length=st.integers(1, 2000), data=st.data())
@few
@torch.no_grad()
def test_logits_do_not_know_their_own_token_or_later_ones_by_a_single_bit(
    model: Poolformer, length: int, data: st.DataObject
) -> None:
    x = tokens(2, length)
    t = data.draw(st.integers(0, length - 1))
    before = model(x)[:, : t + 1]
    x[:, t:] = (x[:, t:] + 1) % VOCABULARY
    assert torch.equal(model(x)[:, : t + 1], before)


@given(model=models(), length=st.integers(2, 50), data=st.data())
@few
@torch.no_grad()
def test_a_shorter_clip_has_the_logits_of_the_longer_one(
    model: Poolformer, length: int, data: st.DataObject
) -> None:
    x = tokens(2, length)
    cut = data.draw(st.integers(1, length))
    torch.testing.assert_close(model(x[:, :cut]), model(x)[:, :cut], rtol=1e-11, atol=1e-12)


@given(model=models(), length=st.integers(1, 30))
@few
@torch.no_grad()
def test_clips_of_a_batch_do_not_know_each_other(model: Poolformer, length: int) -> None:
    x = tokens(3, length)
    alone = torch.cat([model(row.unsqueeze(0)) for row in x])
    torch.testing.assert_close(alone, model(x), rtol=1e-11, atol=1e-12)


@given(model=models())
@few
def test_gradients_reach_every_parameter(model: Poolformer) -> None:
    length = 3 * math.prod(model.config.pooling)
    model(tokens(3, length)).square().sum().backward()
    missed = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missed == []


def test_an_inner_level_runs_only_when_its_window_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Poolformer(PoolformerConfig(width=8, pooling=(2, 3), layers=1), VOCABULARY)
    calls = {0: 0, 1: 0, 2: 0}

    def counted(level: int, step: Any) -> Any:
        def call(*arguments: Any) -> Any:
            calls[level] += 1
            return step(*arguments)

        return call

    level: Any = model.body
    for depth in range(3):
        monkeypatch.setattr(level, "step", counted(depth, level.step))
        level = getattr(level, "inner", None)
    state = model.initial_state(1)
    for _ in range(13):
        _, state = model.step(torch.tensor([3]), state)
    assert calls == {0: 13, 1: 6, 2: 2}


# --------------------------------------------------------------------------------- settings


RECURRENCE = {"name": "rg_lru", "hidden": 256, "blocks": 32}


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 7_272_704),
        ({"mixer": {**RECURRENCE, "complex": False}}, 7_355_648),
        ({"pool_groups": 1}, 7_761_792),
        ({"temporal_convolution": "convolution"}, 9_056_000),
        ({"gating": False}, 5_489_408),
        ({"width": 64, "mixer": RECURRENCE}, 2_507_520),
        ({"width": 256, "mixer": RECURRENCE}, 23_880_960),
    ],
)
def test_the_template_and_its_variants_have_the_known_numbers_of_parameters(
    options: dict[str, Any], count: int
) -> None:
    with torch.device("meta"):
        model = Poolformer(PoolformerConfig(**options))
    assert sum(p.numel() for p in model.parameters()) == count


def test_without_pooling_there_is_one_stack_and_with_factors_of_one_there_are_skip_blocks() -> None:
    assert isinstance(Poolformer(PoolformerConfig(width=8, pooling=(), layers=1)).body, TemporalStack)
    affine = Poolformer(PoolformerConfig(width=8, pooling=(1, 1), layers=1)).body
    assert isinstance(affine, SkipBlock) and isinstance(affine.inner, SkipBlock)
    assert affine.down_pool.weight.numel() == 8


def test_a_level_may_list_the_mixer_of_each_layer_and_the_up_side_reverses_it() -> None:
    config = resolve(
        "models",
        {
            "name": "poolformer",
            "width": 8,
            "pooling": [2],
            "layers": [2, 1],
            "mixer": [["convolution", "rg_lru"], "lru"],
        },
    ).config
    body = Poolformer(config).body
    assert kinds(body.down) == ["Convolution", "RGLRU"]
    assert kinds(body.up) == ["RGLRU", "Convolution"]
    assert kinds(body.inner) == ["LRU"]


def kinds(side: TemporalStack) -> list[str]:
    return [type(block.layer).__name__ for block in side][::2]


def test_down_up_and_bottom_have_as_many_layers_as_each_is_given() -> None:
    def counts(**options: Any) -> list[list[int]]:
        level: Any = Poolformer(PoolformerConfig(width=8, **options)).body
        found = []
        while isinstance(level, SkipBlock):
            found.append([len(level.down) // 2, len(level.up) // 2])
            level = level.inner
        return [*found, [len(level) // 2]]

    assert counts(pooling=(2, 2), layers=1) == [[1, 1], [1, 1], [1]]
    assert counts(pooling=(2, 2), layers=(2, 1, 3)) == [[2, 2], [1, 1], [3]]
    assert counts(pooling=(2, 2), layers=2, down_layers=0) == [[0, 2], [0, 2], [2]]
    assert counts(pooling=(2, 2), layers=(0, 1, 4), down_layers=(2, 3)) == [[2, 0], [3, 1], [4]]
    assert counts(pooling=(), layers=2, down_layers=()) == [[2]]


def test_the_side_with_fewer_layers_has_the_first_of_the_listed_mixers() -> None:
    listed = (("convolution", "rg_lru", "lru"), "lru")
    config = PoolformerConfig(width=8, pooling=(2,), layers=(2, 1), down_layers=3, mixer=listed)
    body = Poolformer(config).body
    assert kinds(body.down) == ["Convolution", "RGLRU", "LRU"]
    assert kinds(body.up) == ["RGLRU", "Convolution"]


@pytest.mark.parametrize("skip", ["short", "long", "both", "none"])
def test_a_skip_goes_around_the_pooling_or_around_the_whole_level(skip: Any) -> None:
    body = Poolformer(PoolformerConfig(width=8, pooling=(2,), layers=1, dropout=0.0, skip=skip)).body
    x = torch.randn(2, 6, 8)
    down = body.down(x)
    pooled = body.up_pool(body.inner(body.down_pool(down)))
    expected = {
        "short": body.up(down + pooled),
        "long": x + body.up(pooled),
        "both": x + body.up(down + pooled),
        "none": body.up(pooled),
    }
    torch.testing.assert_close(body(x), expected[skip])


def variances(**options: Any) -> list[float]:
    """Of the last maps of a block above and of one at the bottom, and of the up-pooling, times fan-in."""
    torch.manual_seed(0)
    config = PoolformerConfig(width=128, pooling=(2,), layers=3, pool_groups=2, **options)
    body = Poolformer(config).body
    maps = (body.up[1].output.weight, 256), (body.inner[1].output.weight, 256), (body.up_pool.weight, 128)
    return [weight.var().item() * fan_in for weight, fan_in in maps]


def test_the_initial_output_variance_counts_the_branches_of_a_level() -> None:
    assert variances() == pytest.approx([1 / 13, 1 / 6, 1 / 13], rel=0.03)
    assert variances(down_layers=0) == pytest.approx([1 / 7, 1 / 6, 1 / 7], rel=0.03)
    assert variances(down_layers=1) == pytest.approx([1 / 9, 1 / 6, 1 / 9], rel=0.03)


@pytest.mark.parametrize("initialization", ["plain", "constant"])
def test_otherwise_the_initial_output_variance_is_that_of_any_map(initialization: Any) -> None:
    assert variances(initialization=initialization) == pytest.approx([1, 1, 1], rel=0.03)


def test_a_constant_scales_every_residual_branch() -> None:
    torch.manual_seed(0)
    plain, constant = (
        Poolformer(PoolformerConfig(width=8, pooling=(2,), layers=1, dropout=0.0, initialization=name))
        for name in ("plain", "constant")
    )
    constant.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 8)
    blocks = zip(
        (*plain.body.down, *plain.body.inner, *plain.body.up),
        (*constant.body.down, *constant.body.inner, *constant.body.up),
        strict=True,
    )
    for one, other in blocks:
        torch.testing.assert_close(other(x) - x, (one(x) - x) / 8)


@pytest.mark.parametrize("options", Poolformer.examples)
def test_the_examples_survive_the_way_through_their_plain_form(options: dict[str, Any]) -> None:
    found = resolve("models", {"name": "poolformer", **options})
    again = resolve("models", {"name": "poolformer", **plain(found.config)})
    assert again.config == found.config


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"pooling": [2, 0]}, "pooling"),
        ({"pooling": [-2]}, "pooling"),
        ({"layers": [1, 2]}, "layers"),
        ({"layers": 0}, "layers"),
        ({"layers": [1, 1, 1, 1, 0]}, "layers"),
        ({"layers": [1, 1, -1, 1, 1]}, "layers"),
        ({"down_layers": -1}, "down_layers"),
        ({"down_layers": [1, 1, 1, 1, 1]}, "down_layers"),
        ({"mixer": ["rg_lru", "lru"]}, "mixer"),
        ({"mixer": [["rg_lru"]] * 5}, "mixer"),
        ({"mixer": [["rg_lru"], *["lru"] * 4], "layers": 1, "down_layers": 2}, "mixer"),
        ({"width": 7}, "width"),
        ({"widening": [2]}, "widening"),
        ({"pool_groups": 3}, "pool_groups"),
        ({"pool_groups": 0}, "pool_groups"),
        ({"pooling_kind": "average", "pool_groups": 1}, "pool_groups"),
        ({"pooling_kind": "subsample", "widening": 2}, "widening"),
        ({"pooling_kind": "average", "widening": [1, 1, 1, 2]}, "widening"),
        ({"pooling_kind": "maximum"}, "pooling_kind"),
        ({"skip": "wide"}, "skip"),
        ({"initialization": "zero"}, "initialization"),
        ({"dropout": 1.0}, "dropout"),
        ({"expand": 0}, "expand"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("models", {"name": "poolformer", **options})
    assert caught.value.path == (field,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [1, 2]}, "one for each of 5 levels (4 pooling factors and the bottom), got 2"),
        ({"down_layers": [1, 2]}, "needs one number, or one for each of the 4 factors, got 2"),
        (
            {"mixer": [["lru"], *["lru"] * 4], "down_layers": 2},
            "level 0 has 2 layers down and 4 up, but 1 mixers are listed for it",
        ),
        ({"mixer": [["lru"], *["lru"] * 4]}, "level 0 has 4 layers, but 1 mixers are listed for it"),
        ({"pooling_kind": "average", "pool_groups": 4}, "average pooling has no maps to divide into blocks"),
        ({"pooling_kind": "average", "widening": 2}, "average pooling keeps the width: must be 1, got 2"),
    ],
)
def test_a_refusal_says_what_does_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolve("models", {"name": "poolformer", **options})


def test_an_option_of_a_mixer_that_does_not_fit_its_width_is_refused_by_name() -> None:
    config = PoolformerConfig(width=8, mixer={"name": "attention", "heads": 3})
    with pytest.raises(ConfigError, match=r"^mixer\.heads: "):
        Poolformer(config)


def test_a_pooling_longer_than_the_clip_is_refused() -> None:
    config = PoolformerConfig()
    config.check_data(256, 160)
    with pytest.raises(ConfigError, match="multiply to 160, more than the 159 tokens"):
        config.check_data(256, 159)


@pytest.mark.parametrize(
    ("mixer", "names"),
    [
        ({"name": "lru", "scan": "chunked"}, "chunked"),
        ([{"name": "lru", "scan": "chunked"}, {"name": "mamba", "scan": "lanes"}], "chunked, lanes"),
        ("attention", ""),
    ],
)
def test_a_row_records_the_backends_of_the_mixers_that_have_any(mixer, names) -> None:
    found = resolve("models", {"name": "poolformer", "width": 8, "pooling": [2], "layers": 1, "mixer": mixer})
    assert found.cls(found.config).scan_backend == names
