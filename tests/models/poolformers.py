"""Small Poolformers with random settings, for the tests of the model and of long contexts."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from models.poolformer import Poolformer, PoolformerConfig

VOCABULARY = 10

mixers = st.sampled_from(
    ["rg_lru", "lru", "diagonal_rnn", "convolution", {"name": "attention", "heads": 2, "window": 3}]
)


@st.composite
def models(draw: st.DrawFn) -> Poolformer:
    """A small Poolformer with random levels and options, in float64."""
    pooling = tuple(draw(st.lists(st.integers(1, 5), max_size=3)))
    layers = (*(draw(st.integers(0, 2)) for _ in pooling), draw(st.integers(1, 2)))
    counts = st.tuples(*(st.integers(0, 2) for _ in pooling))
    down = draw(st.none() | st.integers(0, 2) | counts)
    each_down = layers[:-1] if down is None else (down,) * len(pooling) if isinstance(down, int) else down
    listed = [max(counts) for counts in zip(layers, (*each_down, 0), strict=True)]
    kind = draw(st.sampled_from(["linear", "convolution", "average", "subsample"]))
    learned = kind in ("linear", "convolution")
    norm = draw(st.sampled_from(["layer", "rms", "none"]))
    # without a norm, products of products of large branches leave the range of numbers
    initializations = ["scaled", "constant", *(["plain"] if norm != "none" else [])]
    config = PoolformerConfig(
        width=4,
        pooling=pooling,
        layers=layers,
        down_layers=down,
        mixer=tuple(tuple(draw(mixers) for _ in range(count)) for count in listed),
        temporal_convolution=draw(st.sampled_from([None, "convolution"])),
        widening=draw(st.integers(1, 2)) if learned else 1,
        pooling_kind=kind,
        pool_groups=draw(st.sampled_from([None, 1, 2])) if learned else None,
        skip=draw(st.sampled_from(["short", "long", "both", "none"])),
        gating=draw(st.booleans()),
        norm=norm,
        embedding=draw(st.sampled_from(["sinusoidal", "table", "mlp"])),
        initialization=draw(st.sampled_from(initializations)),
        dropout=0.0,
    )
    torch.manual_seed(draw(st.integers(0, 99)))
    return Poolformer(config, VOCABULARY).double()


def tokens(batch: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randint(0, VOCABULARY, (batch, length), generator=generator)
