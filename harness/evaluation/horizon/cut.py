"""By intervention: what is lost when the states of one level start afresh every k samples.

    rise(level, k) = NLL with every mixer of the level restarted at samples phi, phi + k, phi + 2k, …
                     - NLL as it is                                              (bits per sample)

The weights, the other levels and the shifts of the pooling stay as they are. A causal layer that is
restarted equals the layer on separate, shorter sequences, from the start of each: time is folded
into the batch, [B, L, D] -> [B S, M, D] for S segments of at most M steps, which is exact for any
layer and any k. A layer whose step spans s samples restarts at its first step at or after a cut.

Right after a cut much is lost that would soon be known again, so that even a short memory shows in the
mean over all tokens, its rise falling as 1/k. `late` tokens, those in the second half of the way to the
next cut, have at least k/2 samples of the level's past and at most k: what their NLL rises by, only a
memory of more than k/2 can be worth.

The phase phi differs from batch to batch, spread evenly over [0, k) (a golden-ratio sequence), so that
no position is favoured: right after a cut little is remembered, right before the next as much as k.

Shapes: B batch, L steps of a layer, S segments, M steps of the longest, D width.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from harness.contracts import PlacedMixer, State
from harness.evaluation.horizon.levels import Original, Steps, first_of, map_steps, replaced
from harness.training.loss import token_bits, valid

GOLDEN = 0.6180339887498949
"""Its multiples, modulo 1, spread as evenly as any sequence can that is not known to end."""


def distances(length: int) -> list[int]:
    """The powers of two below the length of the longest window: cuts further apart cut nothing."""
    return [2**power for power in range(max(length - 1, 0).bit_length())]


def phase_of(batch: int, every: int, start: float) -> int:
    """The samples before the first cut of a batch, below `every`."""
    return int((start + batch * GOLDEN) % 1.0 * every)


def late(length: int, *, every: int, phase: int = 0) -> Tensor:
    """Bool[T]: the tokens that come half the way to the next cut or more after one."""
    since = torch.arange(length) - (phase or every)  # a cut at the start cuts nothing
    return (since >= 0) & (since % every >= every // 2)


def segment_starts(steps: int, *, stride: int, every: int, phase: int = 0) -> Tensor:
    """Long[S]: the first step of each segment, 0 first, of a layer that makes so many steps."""
    cuts = torch.arange(phase, max(steps * stride, phase), every)
    starts = torch.unique(torch.cat((torch.zeros(1, dtype=torch.long), -(-cuts // stride))))
    return starts[starts < steps]


def restarted(original: Original, x: Steps, starts: Tensor) -> tuple[Steps, State]:
    """A layer's outputs when it knows nothing from before the segment that a step is in."""
    if len(starts) == 1:
        return original(x, None)
    like = first_of(x)
    batch, steps = like.shape[:2]
    starts = starts.to(like.device)
    ends = torch.cat((starts[1:], starts.new_tensor([steps])))
    longest = int((ends - starts).max())
    within = torch.arange(longest, device=like.device)
    # Shorter segments go on into the next; a causal layer does not look there, and nobody reads it.
    index = (starts[:, None] + within).clamp(max=steps - 1)
    folded = map_steps(lambda part: part[:, index].flatten(0, 1), x)
    y, state = original(folded, None)
    time = torch.arange(steps, device=like.device)
    segment = torch.searchsorted(starts, time, right=True) - 1
    place = segment * longest + time - starts[segment]
    return map_steps(lambda part: part.unflatten(0, (batch, -1)).flatten(1, 2)[:, place], y), state


class Rises(NamedTuple):
    """Of the NLL by cuts so many samples apart, in bits per sample."""

    every: float
    """Over all tokens."""
    late: float
    """Over the late ones; NaN where there are none."""


@dataclass
class RiseSums:
    """Bits lost, and over how many tokens."""

    bits: float = 0.0
    tokens: int = 0
    late_bits: float = 0.0
    late_tokens: int = 0

    def add(self, rises: Tensor, lengths: Tensor, *, every: int, phase: int) -> None:
        """Of one batch, Float[B, T] with 0 for padding, and its true lengths."""
        after = late(rises.shape[1], every=every, phase=phase).to(rises.device)
        self.bits += float(rises.sum(dtype=torch.float64))
        self.tokens += int(lengths.sum())
        self.late_bits += float(rises[:, after].sum(dtype=torch.float64))
        self.late_tokens += int((valid(rises, lengths) & after).sum())

    def means(self) -> Rises:
        late = self.late_bits / self.late_tokens if self.late_tokens else math.nan
        return Rises(self.bits / self.tokens, late)


def cut_bits(
    model: nn.Module,
    tokens: Tensor,
    lengths: Tensor,
    mixers: Sequence[PlacedMixer],
    *,
    levels: Collection[int],
    every: int,
    phase: int = 0,
) -> Tensor:
    """Bits of each token, Float[B, T] (0 for padding), with these levels cut every so many samples."""

    def run(placed: PlacedMixer, original: Original, x: Steps) -> tuple[Steps, State]:
        steps = first_of(x).shape[1]
        return restarted(original, x, segment_starts(steps, stride=placed.stride, every=every, phase=phase))

    with replaced([placed for placed in mixers if placed.level in levels], run):
        return masked_bits(model, tokens, lengths)


def masked_bits(model: nn.Module, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Bits of each token, Float[B, T], 0 for padding."""
    bits = token_bits(model(tokens), tokens)
    return bits.masked_fill(~valid(tokens, lengths), 0.0)
