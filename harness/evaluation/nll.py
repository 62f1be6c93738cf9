"""Negative log-likelihood of whole splits, in bits per sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from harness.contracts import Column, Lane, MetricContext, Split, require
from harness.evaluation.windows import default_batch_tokens, predictions, window_batches
from harness.training.average import evaluating
from harness.training.loss import token_bits, valid
from harness.training.precision import precision

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class NLL:
    """Mean bits per token, and over how many tokens."""

    bits: float
    tokens: int


@torch.no_grad()
def split_nll(
    model: nn.Module,
    split: Split,
    *,
    window: int | None,
    max_clips: int | None,
    device: torch.device | str,
    batch_tokens: int | None = None,
) -> NLL:
    """Bits of all true tokens, summed in float64 and divided once by their number.

    Evaluation mode; float32 (no TF32) or wider; padding masked; no batch dropped. `window` is the
    context in tokens (None: whole clips), `max_clips` evenly spaced clips are read (None: all). The
    result does not depend on `batch_tokens` (of a forward pass) beyond rounding: a window of more is
    read in chunks where the model can carry its state from one to the next.
    """
    limit = batch_tokens or default_batch_tokens(device)
    total = torch.zeros((), dtype=torch.float64, device=device)
    count = torch.zeros((), dtype=torch.int64, device=device)
    with evaluating(model), precision("float32"):
        for tokens, lengths in window_batches(
            split, window=window, max_clips=max_clips, batch_tokens=batch_tokens, device=device
        ):
            for first, logits in predictions(model, tokens, limit):
                chunk = tokens[:, first : first + logits.shape[1]]
                bits = token_bits(logits, chunk).masked_fill(~valid(chunk, lengths - first), 0.0)
                total += bits.sum(dtype=torch.float64)
            count += lengths.sum()
    return NLL(bits=float(total) / int(count), tokens=int(count))


class NegativeLogLikelihood:
    """Negative log-likelihood in bits per sample on train, validation and test."""

    lane: ClassVar[Lane] = "training"
    columns: ClassVar[Mapping[str, Column]] = {
        **{
            f"nll_bits_{name}": Column(
                description=f"negative log-likelihood of the {name} split, averaged weights",
                unit="bits/sample",
                better="lower",
            )
            for name in SPLITS
        },
        "generalization_gap_bits": Column(
            description="nll_bits_test minus nll_bits_train", unit="bits/sample", better="lower"
        ),
        **{
            f"nll_tokens_{name}": Column(description=f"true tokens behind nll_bits_{name}", unit="samples")
            for name in SPLITS
        },
        "train_split_clips": Column(description="clips of the training split", unit="clips"),
        "nll_context": Column(
            description="longest context: clips are cut into windows of this many samples", unit="samples"
        ),
    }

    @dataclass(frozen=True, kw_only=True)
    class Config:
        splits: tuple[str, ...] = SPLITS
        max_clips: int | None = None
        """Evenly spaced clips of validation and of test, the same for every model; null: all."""
        train_clips: int | None = 512
        """The same for the training split."""
        batch_tokens: int | None = None
        """Tokens of a forward pass; null: what suits the device. Changes results only by rounding: longer
        windows are read in chunks by models that can `resume`."""

        def __post_init__(self) -> None:
            for name in self.splits:
                require(name in SPLITS, "splits", f"knows {', '.join(SPLITS)}; got {name!r}")
            for name in ("max_clips", "train_clips", "batch_tokens"):
                value = getattr(self, name)
                require(value is None or value >= 1, name, "must be at least 1, or null")

    def __init__(self, config: Config) -> None:
        self.config = config

    def measure(self, context: MetricContext) -> dict[str, Any]:
        """The context of evaluation is the training crop; whole clips where training has none."""
        window = context.config["train"]["crop"]
        found = {}
        for number, name in enumerate(self.config.splits):
            context.progress(number / len(self.config.splits), f"NLL of {name}")
            found[name] = split_nll(
                context.model,
                context.dataset.splits[name],
                window=window,
                max_clips=self.config.train_clips if name == "train" else self.config.max_clips,
                batch_tokens=self.config.batch_tokens,
                device=context.device,
            )
        columns: dict[str, Any] = {
            "nll_context": min(window or context.dataset.length, context.dataset.length),
            "train_split_clips": len(context.dataset.splits["train"]),
        }
        for name, nll in found.items():
            columns |= {f"nll_bits_{name}": nll.bits, f"nll_tokens_{name}": nll.tokens}
        if {"train", "test"} <= found.keys():
            columns["generalization_gap_bits"] = found["test"].bits - found["train"].bits
        return columns
