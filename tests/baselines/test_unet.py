"""U-Nets over time: what each stage is, which skips there are, causality, and cuts anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from baselines.unet import Stage, UNet, UNetConfig
from baselines.unet_stages import Center, FeedForward, Level, Pooled, Residual
from harness.configuration import build
from harness.errors import ConfigError

few = settings(max_examples=15, deadline=None)
lengths = st.integers(1, 40)
layouts = st.sampled_from(
    [{"pooling": (2, 3)}, {"pooling": (3, 2), "unet": True}, {"pooling": ()}, {"pooling": (1, 5)}]
)


class Convolutional(UNet):
    """Short convolutions outside, recurrences at the center: no bit of the future reaches the past."""

    def blocks(self, stage: Stage) -> Iterator[nn.Module]:
        spec = "rg_lru" if stage.center else "convolution"
        for _ in range(self.config.layers):
            mixer = build("mixers", spec, width=stage.width, stride=stage.stride)
            yield Residual(mixer, width=stage.width, dropout=self.config.dropout)
            yield Residual(FeedForward(stage.width, 2 * stage.width), width=stage.width)


class Scale(nn.Module):
    """A block that multiplies by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def unet(**options: Any) -> Convolutional:
    torch.manual_seed(0)
    return Convolutional(UNetConfig(**{"width": 4, "layers": 1, **options}), vocab_size=16).double().eval()


def clips(length: int) -> Tensor:
    return torch.randint(16, (2, length))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


# ------------------------------------------------------------------------------------------- laws


@given(length=lengths, layout=layouts)
@few
@torch.no_grad()
def test_steps_are_the_whole_and_the_state_is_as_large_as_it_says(
    length: int, layout: dict[str, Any]
) -> None:
    model, tokens = unet(**layout), clips(length)
    whole, state = model(tokens), model.initial_state(2)
    assert size(state) == model.state_size(2, 0)
    for t in range(length):
        logits, state = model.step(tokens[:, t - 1] if t else None, state)
        close(logits, whole[:, t])
        assert size(state) == model.state_size(2, t + 1)


@given(length=st.integers(2, 40), layout=layouts, data=st.data())
@few
@torch.no_grad()
def test_a_clip_may_be_cut_anywhere(length: int, layout: dict[str, Any], data: st.DataObject) -> None:
    model, tokens = unet(**layout), clips(length)
    cut = data.draw(st.integers(1, length - 1))
    head, state = model.resume(tokens[:, :cut], model.initial_state(2))
    tail, _ = model.resume(tokens[:, cut:], state)
    close(torch.cat((head, tail), dim=1), model(tokens))
    logits, _ = model.step(None, state)
    close(logits, tail[:, 0])


@given(length=st.integers(2, 40), layout=layouts, data=st.data())
@few
@torch.no_grad()
def test_the_past_does_not_know_the_future_by_a_single_bit(
    length: int, layout: dict[str, Any], data: st.DataObject
) -> None:
    model, tokens = unet(**layout).float(), clips(length)
    t = data.draw(st.integers(1, length - 1))
    before = model(tokens)[:, : t + 1]  # those at t are made of the tokens before t
    tokens[:, t:] = (tokens[:, t:] + 1) % 16
    assert torch.equal(model(tokens)[:, : t + 1], before)


def test_after_a_period_no_step_waits_to_be_pooled() -> None:
    model = unet(pooling=(2, 3), layers=1)
    assert model.period == 6
    _, state = model.resume(clips(12), model.initial_state(2))
    pooled = state["backbone"][0]
    assert pooled["inputs"].shape[1] == pooled["inner"][0]["inputs"].shape[1] == 0
    assert unet(pooling=()).period == 1


def size(state: Any) -> int:
    if isinstance(state, Tensor):
        return state.nbytes
    return sum(size(part) for part in (state.values() if isinstance(state, dict) else state))


# --------------------------------------------------------------------------------------- topology


def test_each_stage_is_asked_for_its_blocks_by_level_width_and_stride() -> None:
    asked: list[Stage] = []

    class Listening(Convolutional):
        def blocks(self, stage: Stage) -> Iterator[nn.Module]:
            asked.append(stage)
            return super().blocks(stage)

    Listening(UNetConfig(width=6, layers=1, pooling=(4, 5), widening=3))
    outer, inner, center = Stage(0, 6, 1, False), Stage(1, 18, 4, False), Stage(2, 54, 20, True)
    assert sorted(asked) == [outer, inner, center]
    asked.clear()
    Listening(UNetConfig(width=6, layers=1, pooling=(4, 5), widening=3, unet=True))
    assert sorted(asked) == [outer, outer, inner, inner, center]


def test_the_center_has_a_skip_around_all_of_it() -> None:
    x = torch.randn(1, 3, 2, dtype=torch.float64)
    close(Center([Scale(2.0), Scale(5.0)])(x), 11 * x)


def test_plain_a_level_adds_its_input_after_the_pooling_and_what_that_gives_at_the_end() -> None:
    level = Level([], Scale(3.0), [Scale(2.0), Scale(5.0)], unet=False)  # type: ignore[arg-type]
    x = torch.randn(1, 3, 2, dtype=torch.float64)
    close(level(x), (3 + 1) * (1 + 10) * x)


def test_a_u_net_adds_to_each_block_on_the_way_up_the_input_of_its_mirror_image() -> None:
    down, up = [Scale(2.0), Scale(3.0)], [Scale(5.0), Scale(7.0)]
    level = Level(down, Scale(11.0), up, unet=True)  # type: ignore[arg-type]
    x = torch.randn(1, 3, 2, dtype=torch.float64)
    below = 11 * 6 + 6  # the inner level, and the skip around it
    close(level(x), ((5 * below + 2) * 7 + 1) * x)


def test_what_is_pooled_comes_back_a_window_later() -> None:
    torch.manual_seed(0)
    pooled = Pooled(Center([]), width=3, coarse_width=5, factor=4).double()
    x = torch.randn(2, 11, 3, dtype=torch.float64).requires_grad_()
    y = pooled(x)
    assert y.shape == x.shape and not y[:, :4].any()
    (gradient,) = torch.autograd.grad(y[0, 5].square().sum(), x)
    assert gradient[0].abs().sum(-1).nonzero().flatten().tolist() == [0, 1, 2, 3]
    window = 2 * (pooled.down_pool(x[:, 4:8].flatten(1)))  # the empty center doubles it
    close(y[:, 8:11], pooled.up_pool(window).unflatten(1, (4, 3))[:, :3])
    assert not pooled(x[:, :3]).any()


def test_a_residual_block_may_have_another_norm() -> None:
    block = Residual(Scale(1.0), width=2, norm=nn.Identity())
    x = torch.randn(1, 3, 2, dtype=torch.float64)
    close(block(x), 2 * x)


# ----------------------------------------------------------------------------------------- limits


def test_a_state_of_step_is_not_resumed_as_it_lacks_a_token() -> None:
    model = unet(pooling=(2,))
    _, state = model.step(None, model.initial_state(1))
    with pytest.raises(ValueError, match="lacks the last token"):
        model.resume(clips(3)[:1], state)


def test_it_resumes_only_where_its_mixers_can() -> None:
    class Stubborn(Convolutional):
        def blocks(self, stage: Stage) -> Iterator[nn.Module]:
            yield Residual(Scale(1.0), width=stage.width)

    assert Stubborn(UNetConfig(pooling=(2,))).resume is None
    assert callable(unet(pooling=(2,)).resume)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"width": 0}, "width"),
        ({"layers": 0}, "layers"),
        ({"widening": 0}, "widening"),
        ({"pooling": (4, 0)}, "pooling"),
        ({"dropout": 1.0}, "dropout"),
        ({"ssm_learning_rate_scale": -1.0}, "ssm_learning_rate_scale"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        UNetConfig(**options)
    assert refusal.value.path == (field,)


def test_clips_shorter_than_a_step_of_the_center_are_refused() -> None:
    UNetConfig(pooling=(4, 4)).check_data(256, 16)
    with pytest.raises(ConfigError, match="multiply to 16, more than the 15 tokens"):
        UNetConfig(pooling=(4, 4)).check_data(256, 15)
