"""How fast a model generates clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.contracts import Column, Lane, MetricContext, require
from harness.evaluation.sampling import Sampler
from harness.training.average import evaluating
from harness.training.clock import now
from harness.training.precision import precision
from harness.training.seeds import generator, seed_everything

CHUNK = 16
"""Steps between looks at the clock, at least; on a GPU each look waits for the device."""


class Generation:
    """Speed of ancestral sampling."""

    lane: ClassVar[Lane] = "exclusive"
    columns: ClassVar[Mapping[str, Column]] = {
        "generate_samples_per_second": Column(
            description="samples drawn per second, all clips of the batch together",
            unit="samples/s",
            better="higher",
        ),
        "generate_batch": Column(description="clips generated side by side"),
        "generate_backend": Column(description="how: by the model's `step`, or its own faster way"),
        "generate_steps": Column(
            description="samples of each clip behind the speed, from its start; models with a growing "
            "state slow down further on",
            unit="samples",
        ),
        "real_time_factor": Column(
            description="seconds of audio generated per second, all clips of the batch together",
            better="higher",
        ),
    }

    @dataclass(frozen=True, kw_only=True)
    class Config:
        batch: int = 8
        seconds: float = 2.0
        """Time budget."""
        warmup_steps: int = 16

        def __post_init__(self) -> None:
            require(self.batch >= 1, "batch", "must be at least 1")
            require(self.seconds >= 0, "seconds", "must not be negative")
            require(self.warmup_steps >= 0, "warmup_steps", "must not be negative")

    def __init__(self, config: Config) -> None:
        self.config = config

    def measure(self, context: MetricContext) -> dict[str, Any]:
        """Clips are generated from their start, at most to the data set's length."""
        seed_everything("sampling", context.seed)
        with evaluating(context.model), precision("float32"):
            if self.config.warmup_steps:
                self._sampler(context).draw(self.config.warmup_steps)
            sampler = self._sampler(context)
            steps, seconds = self._draw(sampler, context)
        speed = self.config.batch * steps / seconds
        columns = {
            "generate_samples_per_second": speed,
            "generate_batch": self.config.batch,
            "generate_backend": sampler.backend,
            "generate_steps": steps,
        }
        rate = context.dataset.sample_rate
        return columns | {"real_time_factor": speed / rate} if rate else columns

    def _draw(self, sampler: Sampler, context: MetricContext) -> tuple[int, float]:
        """Steps made within the budget, at least one chunk of them, and the seconds they took."""
        steps, period = 0, getattr(context.model, "period", 1)
        start = now(context.device)
        while (seconds := now(context.device) - start) < self.config.seconds or steps == 0:
            chunk = min(max(CHUNK, period), context.dataset.length - steps)
            if chunk == 0:
                break
            sampler.draw(chunk)
            steps += chunk
        return steps, seconds

    def _sampler(self, context: MetricContext) -> Sampler:
        draws = generator("sampling", context.seed, context.device)
        return Sampler(context.model, self.config.batch, generator=draws)  # type: ignore[arg-type]
