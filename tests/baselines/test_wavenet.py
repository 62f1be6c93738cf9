"""WaveNet: against a convolution spelled out, silence before the start, rings exact, the published size."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines.wavenet import WaveNet, WaveNetConfig
from harness.configuration import parse
from harness.errors import ConfigError
from harness.evaluation.flop_counter import FlopCounter

few = settings(max_examples=12, deadline=None)


def wavenet(vocab_size: int = 32, **options: Any) -> WaveNet:
    torch.manual_seed(0)
    options = {"width": 6, "hidden": 5, "skip": 24, "end": 16, "layers": 3, "blocks": 2, **options}
    return WaveNet(WaveNetConfig(**options), vocab_size).double().eval()


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def filled(model: torch.nn.Module) -> torch.nn.Module:
    """With weights that anyone can write down again."""
    with torch.no_grad():
        for index, p in enumerate(model.parameters()):
            values = torch.arange(p.numel(), dtype=torch.float64) * (index + 1)
            p.copy_(values.cos().view_as(p) / p[0].numel() ** 0.5)
    return model


def spelled_out(model: WaveNet, tokens: Tensor) -> Tensor:
    """The model over a receptive field of start tokens and the clip, by torch's convolutions and a sum."""
    config, kernel = model.config, model.config.kernel
    before = F.pad(tokens[:, :-1], (config.receptive_field, 0), value=model.start_token)
    x = model.start(model.embedding(before)).mT
    total = torch.zeros(())
    for index, (gate, dilation) in enumerate(zip(model.gates, config.dilations, strict=True)):
        weight = gate.weight.unflatten(1, (kernel, -1)).mT
        values, gates = F.conv1d(x, weight, dilation=dilation).chunk(2, dim=1)
        z = values.tanh() * gates.sigmoid()
        skip = model.skip.weight.chunk(len(config.dilations), dim=1)[index]
        total = total + (skip @ z)[..., -tokens.shape[1] :]
        if index < len(model.residuals):
            x = x[..., -z.shape[2] :] + model.residuals[index].weight @ z
    return model.end(total.mT)


@given(length=st.integers(1, 40), kernel=st.integers(2, 4))
@few
def test_it_is_dilated_convolutions_over_start_tokens_and_the_clip(length: int, kernel: int) -> None:
    model, tokens = wavenet(kernel=kernel), torch.randint(32, (2, length))
    close(model(tokens), spelled_out(model, tokens))


def test_outputs_are_those_of_the_compared_code() -> None:
    """state-spaces/s4 @ e757cef, src/models/baselines/wavenet.py, in float64 with these weights."""
    sizes = {"width": 6, "hidden": 5, "skip": 8, "end": 7, "embedding": 256, "layers": 3, "blocks": 2}
    model = filled(WaveNet(WaveNetConfig(**sizes, readout=True), 256).double())
    tokens = (torch.arange(48) ** 2 * 5 % 256)[None]
    expected = [
        [1.0527833292017734, -0.327897438410496, -0.29830528879915835],
        [1.0527636821070996, -0.3279174861419387, -0.29832214614979774],
        [1.0527229683508452, -0.32795926481709925, -0.2983566962922901],
    ]
    close(model(tokens)[0, [0, 9, 47]][:, [0, 100, 255]], torch.tensor(expected, dtype=torch.float64))


@given(length=st.integers(3, 60), kernel=st.integers(2, 3), data=st.data())
@few
def test_a_clip_may_be_cut_anywhere_and_continued_in_either_way(
    length: int, kernel: int, data: st.DataObject
) -> None:
    model, tokens = wavenet(kernel=kernel), torch.randint(32, (2, length))
    cut = data.draw(st.integers(1, length - 1))
    with torch.no_grad():
        whole = model(tokens)
        head, state = model.resume(tokens[:, :cut], model.initial_state(2))
        tail, _ = model.resume(tokens[:, cut:], state)
        close(torch.cat((head, tail), dim=1), whole)
        for t in range(cut, length):
            logits, state = model.step(None if t == cut else tokens[:, t - 1], state)
            close(logits, whole[:, t])


def test_an_output_sees_the_receptive_field_and_no_more() -> None:
    model = wavenet(layers=3, blocks=2)
    field = model.config.receptive_field
    assert field == 1 + 2 * 7
    tokens = torch.randint(32, (1, field + 6))
    before = model(tokens)[0, -1]
    for back, seen in ((field, True), (field + 1, False)):
        changed = tokens.clone()
        changed[0, -1 - back] += 1
        changed %= 32
        assert torch.equal(model(changed)[0, -1], before) != seen


def test_a_ring_is_written_in_place_and_a_step_costs_the_same_whatever_came_before() -> None:
    model = wavenet()
    state = model.initial_state(1)
    places = [ring.data_ptr() for ring in state[1]]
    with torch.no_grad():
        for _ in range(40):
            with FlopCounter() as counter:
                _, state = model.step(torch.tensor([3]), state)
    assert [ring.data_ptr() for ring in state[1]] == places
    assert counter.total == 2 * sum(p.numel() for p in model.parameters() if p.ndim == 2) - 2 * 32 * 24


def test_the_published_model_sees_4093_samples_and_has_all_parameters_that_are_read() -> None:
    preset = WaveNet.presets["paper"]
    config = parse(WaveNetConfig, preset.config)
    assert config.receptive_field == 4093
    with torch.device("meta"):
        model = WaveNet(config, preset.vocab_size)
    unread = 64 * 64  # the last layer's residual map
    assert sum(p.numel() for p in model.parameters()) == 4_244_480 - unread
    assert preset.parameters == pytest.approx(4_244_480, rel=0.002)


def test_it_learns_to_copy_from_seven_steps_back() -> None:
    torch.manual_seed(0)
    model = WaveNet(WaveNetConfig(width=16, layers=3, blocks=1), vocab_size=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(120):
        tokens = torch.randint(8, (16, 7)).repeat(1, 3)
        loss = F.cross_entropy(model(tokens)[:, 7:].flatten(0, 1), tokens[:, 7:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * math.log(8)


@pytest.mark.parametrize(
    ("options", "field"), [({"width": 0}, "width"), ({"kernel": 1}, "kernel"), ({"skip": 0}, "skip")]
)
def test_a_configuration_that_cannot_work_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        WaveNetConfig(**options)
    assert refusal.value.path == (field,)
