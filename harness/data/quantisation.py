"""Sound as 8-bit tokens and back: the two quantisers, in the two published recipes.

Likelihoods can only be compared between papers when every detail below is the same. Two recipes:

- ``"s4"``: state-spaces/s4 (SaShiMi, Mamba). 1e-6 in the min-max denominator is in units of the
  float waveform. SaShiMi always rescales; min_max off here leaves that one step out.
- ``"poolformer"``: daniel-gallo/ssm (Poolformer). 1e-6 is in units of int16, the linear quantiser
  and the decoding differ by up to one level.

Both quantise u in [0, 1] to Q = 2^bits levels. Mu-law, for a signal x in [-1, 1] with mu = Q - 1:
    u = (sign(x) ln(1 + mu |x + 1e-8|) / ln(1 + mu) + 1) / 2,  token = floor(u (Q - 0.01) + 0.005)
Linear, u = (x + 1) / 2:
    token = floor(u (Q - 0.01) + 0.005)       ("s4")
    token = floor(clip(Q u, 0, Q - 1))        ("poolformer")

Min-max sends digital silence to token 0, not to the middle level.

Shapes: L samples. Everything is computed in float32, as in the originals.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np

Quantiser = Literal["mu_law", "linear"]
Recipe = Literal["s4", "poolformer"]

FULL_SCALE = 2.0**15
"""int16 units in the float unit."""

_MIN_MAX_EPSILON = {"s4": 1e-6, "poolformer": 1e-6 / FULL_SCALE}


def encode(
    waveform: np.ndarray,
    *,
    quantiser: Quantiser = "mu_law",
    min_max: bool = True,
    recipe: Recipe = "s4",
    bits: int = 8,
) -> np.ndarray:
    """Float[..., L] in [-1, 1] (full scale) -> uint8[..., L]; each row is rescaled by itself.

    With `min_max` every row is stretched to span all levels; without, what lies beyond full scale
    is clipped. `bits` is at most 8.
    """
    levels = 1 << bits
    signal = np.asarray(waveform, dtype=np.float32)
    if min_max:
        lowest = signal.min(axis=-1, keepdims=True)
        highest = signal.max(axis=-1, keepdims=True)
        unit = (signal - lowest) / (highest - lowest + np.float32(_MIN_MAX_EPSILON[recipe]))
        signal = 2 * unit - 1
    else:
        signal = signal.clip(-1, 1)
        unit = signal / 2 + np.float32(0.5)
    if quantiser == "mu_law":
        unit = (_compressed(signal, np.float32(levels - 1)) + 1) / 2
    elif recipe == "poolformer":
        return (levels * (signal / 2 + np.float32(0.5))).clip(0, levels - 1).astype(np.uint8)
    return (unit * np.float32(levels - 0.01) + np.float32(0.005)).astype(np.uint8)


def decode(
    tokens: np.ndarray, *, quantiser: Quantiser = "mu_law", recipe: Recipe = "s4", bits: int = 8
) -> np.ndarray:
    """Integer[..., L] -> Float32[..., L] in [-1, 1]. The scale that min-max removed stays removed."""
    return decoding_table(quantiser, recipe, bits)[tokens]


@cache
def decoding_table(quantiser: Quantiser, recipe: Recipe, bits: int = 8) -> np.ndarray:
    """What each token stands for, Float32[2^bits]."""
    levels = 1 << bits
    token = np.arange(levels, dtype=np.float32)
    signal = token / (levels / 2) - 1 if recipe == "s4" else 2 * (token / (levels - 1)) - 1
    if quantiser == "mu_law":
        signal = np.sign(signal) * (np.float32(levels) ** np.abs(signal) - 1) / np.float32(levels - 1)
    signal = signal.astype(np.float32)
    signal.flags.writeable = False  # one array for all callers
    return signal


def _compressed(signal: np.ndarray, mu: np.float32) -> np.ndarray:
    magnitude = np.log1p(mu * np.abs(signal + np.float32(1e-8)))
    return np.sign(signal) * (magnitude / np.log1p(mu))
