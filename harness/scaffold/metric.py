"""template_name: how unsure a model is of the next token, on average.

Everything below is yours to change. `harness check template_name.py` says whether it still measures
what it declares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from harness.contracts import Column, Lane, MetricContext, require
from harness.registry import register


@register("metrics", "template_name")
class TemplateName:
    """Mean entropy of the predictions (the line that `harness list metrics` shows)."""

    lane: ClassVar[Lane] = "training"
    """"exclusive" for whatever must have the machine for itself: times and memory."""
    columns: ClassVar[Mapping[str, Column]] = {
        "template_name_bits": Column(
            description="entropy of the predicted distributions on the test split", unit="bits/sample"
        )
    }

    @dataclass(frozen=True, kw_only=True)
    class Config:
        clips: int = 8
        """Of the test split, the first ones."""

        def __post_init__(self) -> None:
            require(self.clips >= 1, "clips", f"must be at least 1, got {self.clips}")

    def __init__(self, config: Config) -> None:
        self.config = config

    @torch.no_grad()
    def measure(self, context: MetricContext) -> dict[str, Any]:
        """Values for the columns; the model is in evaluation mode, with its averaged weights."""
        split = context.dataset.splits["test"]
        bits, count = 0.0, 0
        for tokens, length in zip(
            split.tokens[: self.config.clips], split.lengths[: self.config.clips], strict=True
        ):
            clip = torch.as_tensor(tokens[:length], dtype=torch.long, device=context.device)
            log_p = context.model(clip[None]).double().log_softmax(-1)
            bits -= float((log_p.exp() * log_p).sum()) / math.log(2)
            count += int(length)
        return {"template_name_bits": bits / count}
