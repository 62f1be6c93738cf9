"""What a model costs: time and memory of a training step, FLOPs, parameters, size of the state."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from harness import configuration
from harness.contracts import ClosedForm, Column, Lane, MetricContext, require
from harness.evaluation.flops import build_to_count, count_parameters, flops_per_token
from harness.evaluation.memory import MIB, PeakMemory, SavedForBackward
from harness.evaluation.timing import repeat
from harness.training.batches import TrainingBatches
from harness.training.config import TrainConfig
from harness.training.precision import precision
from harness.training.seeds import seed_everything
from harness.training.step import batch_loss, compile_ahead, training_step
from harness.training.update import Update

BATCHES = 4
"""Batches that the timed steps take turns with; drawn and moved beforehand, so not timed."""


class Efficiency:
    """Training step time, memory, FLOPs per token, parameters, size of the recurrent state."""

    lane: ClassVar[Lane] = "exclusive"
    columns: ClassVar[Mapping[str, Column]] = {
        "parameters": Column(description="numbers in the parameters; shared ones once, complex ones twice"),
        "flops_per_token": Column(
            description="multiplications plus additions of a forward pass per token, at the training context",
            unit="FLOP",
            better="lower",
        ),
        "state_bytes": Column(
            description="recurrent state of one clip after its whole length", unit="B", better="lower"
        ),
        "train_step_ms": Column(
            description="median time of forward, backward and update on one batch, on one device however "
            "many trained; in as many parts as gradient_accumulation and workers say",
            unit="ms",
            better="lower",
        ),
        "train_step_ms_iqr": Column(description="interquartile range of the same steps", unit="ms"),
        "train_steps_timed": Column(description="how many steps the median is of"),
        "tokens_per_second": Column(
            description="true tokens of a batch divided by train_step_ms", unit="samples/s", better="higher"
        ),
        "peak_memory_mib": Column(
            description="most memory in use during training steps, less what was in use before the "
            "weights, optimiser and averaged weights of training were made",
            unit="MiB",
            better="lower",
        ),
        "memory_method": Column(description="how peak_memory_mib was measured"),
        "saved_for_backward_mib": Column(
            description="kept by autograd for the backward pass of one batch, or of one of the parts that "
            "gradient_accumulation and workers count, parameters aside",
            unit="MiB",
            better="lower",
        ),
    }

    @dataclass(frozen=True, kw_only=True)
    class Config:
        seconds: float = 2.0
        """Time budget of the timed steps."""
        min_steps: int = 5
        """Steps that are timed even where they take longer than that."""
        warmup_steps: int = 2

        def __post_init__(self) -> None:
            require(self.seconds >= 0, "seconds", "must not be negative")
            require(self.min_steps >= 1, "min_steps", "must be at least 1")
            require(self.warmup_steps >= 0, "warmup_steps", "must not be negative")

    def __init__(self, config: Config) -> None:
        self.config = config

    def measure(self, context: MetricContext) -> dict[str, Any]:
        """A model in closed form has no training step: those columns are absent."""
        train = configuration.parse(TrainConfig, context.config["train"])
        length = min(train.crop or context.dataset.length, context.dataset.length)
        on_meta = build_to_count(context.config["model"], vocab_size=context.dataset.vocab_size)
        model: Any = context.model
        columns = {
            "parameters": count_parameters(model),
            "flops_per_token": flops_per_token(on_meta, length),
            "state_bytes": model.state_size(1, context.dataset.length),
        }
        return columns if isinstance(model, ClosedForm) else columns | self._training(context, train)

    def _training(self, context: MetricContext, train: TrainConfig) -> dict[str, Any]:
        """Full training steps on a copy of the model, at the trial's own batch size and crop, in as many
        parts as it trained in."""
        seed_everything("training", context.seed)
        batches = TrainingBatches(
            context.dataset.splits["train"],
            batch_size=train.batch_size,
            crop=train.crop,
            seed=context.seed,
            device=context.device,
        )
        drawn = [batches[number] for number in range(BATCHES)]
        turns = itertools.cycle(drawn)
        with PeakMemory(context.device) as memory:
            model = copy.deepcopy(context.model).train()
            update = Update(model, train)
            compile_ahead(update, *drawn[0], micro_batches=context.micro_batches)
            seconds = repeat(
                lambda: training_step(update, *next(turns), micro_batches=context.micro_batches),
                device=context.device,
                seconds=self.config.seconds,
                at_least=self.config.min_steps,
                warmup=self.config.warmup_steps,
            )
        saved = SavedForBackward(model)
        with precision(train.precision), saved:
            tokens, lengths = (part.tensor_split(context.micro_batches)[0] for part in drawn[0])
            batch_loss(model, tokens, lengths, train)
        lower, median, upper = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
        count = float(np.mean([int(lengths.sum()) for _, lengths in drawn]))
        return {
            "train_step_ms": 1e3 * median,
            "train_step_ms_iqr": 1e3 * (upper - lower),
            "train_steps_timed": len(seconds),
            "tokens_per_second": count / median,
            "peak_memory_mib": memory.bytes / MIB,
            "memory_method": memory.method,
            "saved_for_backward_mib": saved.bytes / MIB,
        }
