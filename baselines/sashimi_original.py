"""The weights of the authors' stand-alone SaShiMi (state-spaces/s4, models/sashimi/sashimi.py), and ours.

Their backbone has `d_layers`, `c_layers` and `u_layers`: the way down from the outside inwards, the center,
and the way up from the inside outwards. Their linear maps are convolutions of one step, [out, in, 1]. A
window of their pooling has the steps of each channel side by side, ours the channels of each step.
Embedding and head are not in that file.

C is the one array that is not merely laid out otherwise, see `models.original.s4`.

Shapes: D width, E coarse width, P pooling factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.unet import UNet
from baselines.unet_stages import Center, FeedForward, Level
from harness.errors import HarnessError
from models.original.s4 import LENGTH, OURS, load_original_s4

Layout = Callable[[Tensor], Tensor]
Array = tuple[str, str, Layout]
"""Their name, our parameter's name, and what is ours laid out as theirs."""


def arrays_of(model: UNet) -> Iterator[Array]:
    """All parameters of the backbone and of the norm after it; C as if it meant the same."""
    levels: list[tuple[str, Level]] = []
    stage, ours = model.backbone, "backbone"
    while isinstance(stage, Level):
        levels.append((ours, stage))
        stage, ours = stage.pooled.inner, f"{ours}.pooled.inner"
    place = 0
    for name, level in levels:
        for number, block in enumerate(level.down):
            yield from _block(block, f"d_layers.{place + number}", f"{name}.down.{number}")
        place += len(level.down) + 1
        linear = f"{name}.pooled.down_pool"
        yield f"d_layers.{place - 1}.linear.weight", f"{linear}.weight", _columns_of(level.pooled.factor)
        yield f"d_layers.{place - 1}.linear.bias", f"{linear}.bias", _same
    assert isinstance(stage, Center)
    for number, block in enumerate(stage.blocks):
        yield from _block(block, f"c_layers.{number}", f"{ours}.blocks.{number}")
    for place, (name, level) in enumerate(reversed(levels)):
        for part in ("weight", "bias"):
            rows = _rows_of(level.pooled.factor)
            yield f"u_layers.{place}.0.linear.{part}", f"{name}.pooled.up_pool.{part}", rows
        for number, block in enumerate(level.up, start=1):
            yield from _block(block, f"u_layers.{place}.{number}", f"{name}.up.{number - 1}")
    yield from _norm("norm", "norm")


def to_original(model: UNet, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by our parameters' names (weights, gradients) under their names, in their layout.

    But for axes of size 1, of which theirs have some more.
    """
    return {theirs: layout(values[ours]) for theirs, ours, layout in arrays_of(model)}


@torch.no_grad()
def load_original_sashimi(model: UNet, arrays: Mapping[str, np.ndarray]) -> None:
    """Copies the authors' arrays into the backbone and its norm, keeping the precision of ours.

    Raises: HarnessError naming the arrays that are missing, left over, or of another shape.
    """
    known = {theirs: (ours, layout) for theirs, ours, layout in arrays_of(model)}
    given = {name for name in arrays if not name.endswith(LENGTH)}
    if wrong := sorted(known.keys() ^ given):
        raise HarnessError(f"not the weights of this SaShiMi: missing or not used {', '.join(wrong[:5])}")
    for theirs, (ours, layout) in known.items():
        parameter, array = model.get_parameter(ours), torch.as_tensor(np.asarray(arrays[theirs]))
        places = layout(torch.arange(parameter.numel()).view(parameter.shape))  # in ours, of theirs
        if array.squeeze().shape != places.squeeze().shape:
            raise HarnessError(f"{theirs} has shape {list(array.shape)}, ours {list(places.shape)}")
        parameter.view(-1)[places.flatten()] = array.flatten().to(parameter)
    for theirs, (ours, _) in known.items():
        if ours.endswith(".ssm.c"):
            layer, prefix = ours.removesuffix(".ssm.c"), theirs.removesuffix("layer.kernel.C")
            own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
            load_original_s4(model.get_submodule(layer), own)  # type: ignore[arg-type]


def _block(block: Any, theirs: str, ours: str) -> Iterator[Array]:
    yield from _norm(f"{theirs}.norm", f"{ours}.norm")
    theirs, ours = f"{theirs}.layer", f"{ours}.layer"
    if isinstance(block.layer, FeedForward):
        for their_name, our_name in (("ff.0.0", "input"), ("ff.2", "output")):
            for part in ("weight", "bias"):
                yield f"{theirs}.{their_name}.{part}", f"{ours}.{our_name}.{part}", _same
    else:
        for their_name, our_name in OURS.items():
            yield f"{theirs}.{their_name}", f"{ours}.{our_name}", _same


def _norm(theirs: str, ours: str) -> Iterator[Array]:
    for part in ("weight", "bias"):
        yield f"{theirs}.{part}", f"{ours}.{part}", _same


def _same(x: Tensor) -> Tensor:
    return x


def _columns_of(factor: int) -> Layout:
    """[E, P D] -> [E, D P]."""
    return lambda weight: weight.unflatten(1, (factor, -1)).mT.flatten(1)


def _rows_of(factor: int) -> Layout:
    """[P D, ...] -> [D P, ...]."""
    return lambda x: x.unflatten(0, (factor, -1)).transpose(0, 1).flatten(0, 1)
