"""What a suite can say about training. The defaults are the Poolformer paper's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.contracts import require


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """AdamW with warm-up, clipping, the skip-on-explosion rule and an averaged copy of the weights."""

    steps: int = 1000
    """Updates of the parameters, skipped ones included."""
    batch_size: int = 32
    """Clips (or crops) an update."""
    crop: int | None = None
    """Tokens of a random crop of each clip; null: whole clips. Also the context of evaluation."""
    learning_rate: float = 2e-3
    schedule: Literal["constant", "cosine"] = "constant"
    """After the warm-up: constant, or a half cosine to zero at the last step."""
    warmup_steps: int = 1000
    weight_decay: float = 1e-4
    decay: Literal["all", "matrices"] = "all"
    """Which parameters decay: all of them (the paper), or those with two axes or more."""
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = 200.0
    """Gradients are scaled down to this global norm."""
    skip_norm: float | None = 1000.0
    """An update whose gradient norm reaches this (or whose loss is not finite) is skipped whole."""
    ema_decay: float = 0.999
    """Averaged weights, used for all evaluation; 0 evaluates the weights themselves."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    compile: bool = False
    """torch.compile the forward pass and its gradient. What that takes is `compile_seconds`, not
    training time; evaluation is not compiled."""
    validate_every: int = 100
    """Steps between points of the learning curve."""
    validation_clips: int | None = 64
    """Clips of the validation split that a point of the learning curve reads; null: all."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every"):
            require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")
        require(self.learning_rate > 0, "learning_rate", f"must be above 0, got {self.learning_rate}")
        require(self.crop is None or self.crop >= 2, "crop", "must be at least 2 tokens, or null")
        require(self.warmup_steps >= 0, "warmup_steps", "must not be negative")
        require(self.weight_decay >= 0, "weight_decay", "must not be negative")
        require(self.epsilon > 0, "epsilon", "must be above 0")
        for name in ("beta1", "beta2", "ema_decay"):
            require(0 <= getattr(self, name) < 1, name, "must lie in [0, 1)")
        for name in ("clip_norm", "skip_norm"):
            value = getattr(self, name)
            require(value is None or value > 0, name, "must be above 0, or null")
        require(
            self.validation_clips is None or self.validation_clips >= 1,
            "validation_clips",
            "must be at least 1, or null for all",
        )
