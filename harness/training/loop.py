"""Training one model: batches in, a learning curve and evaluation weights out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.contracts import ClosedForm, Dataset
from harness.evaluation.nll import split_nll
from harness.evaluation.windows import window_batches
from harness.training.average import evaluating, load_weights
from harness.training.batches import TrainingBatches
from harness.training.clock import Clock
from harness.training.config import TrainConfig
from harness.training.history import HistoryRow
from harness.training.loss import mean_bits
from harness.training.precision import autocast, precision
from harness.training.seeds import seed_everything
from harness.training.update import Applied, Update

PATIENCE = 50
"""Updates in a row whose loss or gradient is not finite before a run is given up."""

OnProgress = Callable[[int, int, float], None]
"""(step, steps, bits of the last batch)"""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """How a training went. The model itself carries the evaluation weights afterwards."""

    history: Sequence[HistoryRow]
    steps: int
    """Updates made, skipped ones included."""
    tokens: int
    """True tokens trained on."""
    seconds: float
    """On the training clock."""
    skipped_updates: int
    compile_seconds: float | None = None
    """Before the clock started; None: nothing was compiled."""
    diverged: bool = False
    reason: str = ""
    """Why it is said to have diverged."""

    def columns(self) -> dict[str, Any]:
        """For the record."""
        return {
            "train_steps": self.steps,
            "train_tokens": self.tokens,
            "train_seconds": self.seconds,
            "skipped_updates": self.skipped_updates,
            **({} if self.compile_seconds is None else {"compile_seconds": self.compile_seconds}),
        }


def train(
    model: nn.Module,
    dataset: Dataset,
    config: TrainConfig,
    *,
    seed: int,
    device: torch.device | str,
    on_progress: OnProgress | None = None,
) -> TrainingResult:
    """Train `model` (already on `device`), or fit it where it is estimated in closed form.

    Leaves the model in evaluation mode with the averaged weights. A run that diverges returns,
    it does not raise. Raises: PluginError for a model without anything to train.
    """
    device = torch.device(device)
    seed_everything("training", seed)
    training = _Training(model, dataset, config, seed, device)
    if isinstance(model, ClosedForm):
        return training.fit(model)
    return training.run(on_progress or (lambda step, steps, bits: None))


def training_step(update: Update, tokens: Tensor, lengths: Tensor) -> Applied:
    """Forward, backward and update on one batch: Long[B, L], true lengths Long[B]."""
    with precision(update.config.precision):
        return update.apply(batch_loss(update.forward, tokens, lengths, update.config))


def compile_ahead(update: Update, tokens: Tensor, lengths: Tensor) -> float | None:
    """Compile for batches of this shape; the seconds it took, or None where the config does not ask.

    Neither weights nor random states are other afterwards.
    """
    if not update.config.compile:
        return None
    clock = Clock(tokens.device)
    devices = [tokens.device] if tokens.is_cuda else []
    with clock, torch.random.fork_rng(devices), precision(update.config.precision):
        batch_loss(update.forward, tokens, lengths, update.config).backward()
    update.optimizer.zero_grad(set_to_none=True)
    return clock.seconds


def batch_loss(
    forward: Callable[[Tensor], Tensor], tokens: Tensor, lengths: Tensor, config: TrainConfig
) -> Tensor:
    """Mean bits of the batch, to be called inside `precision`."""
    with autocast(config.precision, tokens.device):
        return mean_bits(forward(tokens), tokens, lengths)


class _Training:
    """The state of one training."""

    def __init__(
        self, model: nn.Module, dataset: Dataset, config: TrainConfig, seed: int, device: torch.device
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.config = config
        self.device = device
        self.batches = TrainingBatches(
            dataset.splits["train"],
            batch_size=config.batch_size,
            crop=config.crop,
            seed=seed,
            device=device,
        )
        self.clock = Clock(device)
        self.history: list[HistoryRow] = []
        self.compile_seconds: float | None = None
        self.step = 0
        self.tokens = 0
        self.broken = 0
        """Updates in a row, up to now, that were not finite."""

    def run(self, on_progress: OnProgress) -> TrainingResult:
        update = Update(self.model, self.config)
        self._record(math.nan, math.nan, update.average)
        self.model.train()
        self.compile_seconds = compile_ahead(update, *self.batches[0])
        every, steps = self.config.validate_every, self.config.steps
        while self.step < steps and self.broken < PATIENCE:
            next_point = min((self.step // every + 1) * every, steps)
            rate, bits = self._train_until(next_point, update, on_progress)
            self._record(rate, bits, update.average)
        load_weights(self.model, update.average)
        return self._result(update.skipped, self._divergence(update))

    def fit(self, model: ClosedForm) -> TrainingResult:
        """One pass over the windows that evaluation would cut; a curve of two points."""
        self._record(math.nan, math.nan, {})
        split = self.dataset.splits["train"]
        with self.clock:
            model.fit(
                window_batches(
                    split,
                    window=self.config.crop,
                    max_clips=None,
                    device=self.device,
                )
            )
        self.step, self.tokens = 1, int(split.lengths.sum())
        self._record(math.nan, math.nan, {})
        return self._result(0, self._final_divergence())

    def _train_until(self, step: int, update: Update, on_progress: OnProgress) -> tuple[float, float]:
        """Train up to this step; the last learning rate, and mean bits over the tokens seen."""
        bits, before = 0.0, self.tokens
        with self.clock:
            while self.step < step and self.broken < PATIENCE:
                tokens, lengths = self.batches[self.step]
                applied = training_step(update, tokens, lengths)
                count = int(lengths.sum())
                bits += applied.loss * count
                self.tokens += count
                self.step += 1
                finite = math.isfinite(applied.loss) and math.isfinite(applied.gradient_norm)
                self.broken = 0 if finite else self.broken + 1
                on_progress(self.step, self.config.steps, applied.loss)
        return applied.learning_rate, bits / (self.tokens - before)

    def _record(self, learning_rate: float, train_bits: float, weights: dict[str, Tensor]) -> None:
        """A point of the learning curve, with the averaged weights."""
        with evaluating(self.model, weights):
            validation = split_nll(
                self.model,
                self.dataset.splits["validation"],
                window=self.config.crop,
                max_clips=self.config.validation_clips,
                device=self.device,
            )
        self.history.append(
            HistoryRow(
                step=self.step,
                seconds=self.clock.seconds,
                tokens=self.tokens,
                learning_rate=learning_rate,
                nll_bits_train=train_bits,
                nll_bits_validation=validation.bits,
            )
        )

    def _divergence(self, update: Update) -> str:
        """Why the training failed, or nothing."""
        if self.broken == PATIENCE:
            return f"loss or gradient not finite in {PATIENCE} updates in a row, up to step {self.step}"
        if update.applied == 0:
            return f"all {self.step} updates were skipped: the gradient exploded in each"
        return self._final_divergence()

    def _final_divergence(self) -> str:
        bits = self.history[-1].nll_bits_validation
        return "" if math.isfinite(bits) else f"the validation NLL is {bits} after training"

    def _result(self, skipped: int, reason: str) -> TrainingResult:
        self.model.eval()
        return TrainingResult(
            history=tuple(self.history),
            steps=self.step,
            tokens=self.tokens,
            seconds=self.clock.seconds,
            skipped_updates=skipped,
            compile_seconds=self.compile_seconds,
            diverged=bool(reason),
            reason=reason,
        )
