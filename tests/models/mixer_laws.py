"""What holds for every mixer that can resume, in float64, where only rounding excuses a difference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from harness.configuration import build


def mixer(spec: dict[str, Any], width: int = 8) -> Any:
    """What starts at zero is filled: behind a zero every law would hold."""
    torch.manual_seed(0)
    layer = build("mixers", spec, width=width, stride=1).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3)
    return layer


def randn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype)


def tensors(state: Any) -> Iterator[Tensor]:
    for part in [state] if isinstance(state, Tensor) else state:
        yield from [part] if isinstance(part, Tensor) else tensors(part)


def rollout(layer: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    outputs = []
    for x_t in x.unbind(1):
        y, state = layer.step(x_t, state)
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


def with_gradients(run: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
    """The results of a function, and the gradients of its inputs."""
    inputs = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    results = run(**inputs)
    sum((torch.linspace(-1, 1, r.numel(), dtype=r.dtype) * r.flatten()).sum() for r in results).backward()
    return [*results, *(value.grad for value in inputs.values())]


def assert_steps_equal_the_whole(layer: Any, x: Tensor) -> None:
    """And the state is as large as it says, keeps no other memory alive, and ends the same."""
    y, state = rollout(layer, x, layer.initial_state(len(x)))
    whole, last = layer.resume(x, None)
    torch.testing.assert_close(y, whole, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(list(tensors(state)), list(tensors(last)), rtol=1e-11, atol=1e-12)
    for found in (state, last):
        held = sum(tensor.untyped_storage().nbytes() for tensor in tensors(found))
        assert held == layer.state_size(len(x), x.shape[1])


def assert_chunks_equal_the_whole(layer: Any, x: Tensor, cut: int) -> None:
    """Outputs, and the gradients that cross the cut by way of the state alone."""
    found = []
    for cuts in ((), (cut,)):
        layer.zero_grad()
        inputs, state, outputs = x.clone().requires_grad_(), None, []
        for part in torch.tensor_split(inputs, cuts, dim=1):
            y, state = layer.resume(part, state)
            outputs.append(y)
        torch.cat(outputs, dim=1)[:, cut:].square().sum().backward()
        found.append([torch.cat(outputs, dim=1), inputs.grad, *(p.grad for p in layer.parameters())])
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-11)


def assert_the_past_stays(layer: Any, x: Tensor, t: int) -> None:
    """Not one bit of it knows what comes at t and later."""
    before = layer(x)[:, :t]
    x[:, t:] += 1
    assert torch.equal(layer(x)[:, :t], before)


def assert_gradients_reach_everything(layer: Any, x: Tensor) -> None:
    x.requires_grad_()
    layer(x).square().sum().backward()
    for name, tensor in {**dict(layer.named_parameters()), "x": x}.items():
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0, name


def assert_the_state_is_wide(layer: Any, x: Tensor) -> None:
    """Under bfloat16 parameters and inputs, and under autocast, the state stays in float32."""
    layer.bfloat16()
    x = x.bfloat16()
    y, state = layer.resume(x, layer.initial_state(len(x)))
    assert y.dtype == torch.bfloat16
    states = [state, layer.initial_state(len(x)), layer.step(x[:, 0], state)[1]]
    layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        states.append(layer.resume(x.float(), None)[1])
    assert {tensor.dtype for tensor in tensors(states)} == {torch.float32}
