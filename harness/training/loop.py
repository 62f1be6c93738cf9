"""Training one model: batches in, a learning curve and evaluation weights out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor, nn

from harness.contracts import ClosedForm, Dataset
from harness.errors import HarnessError
from harness.evaluation.nll import split_nll
from harness.evaluation.windows import window_batches
from harness.training.average import evaluating, load_weights
from harness.training.batches import TrainingBatches
from harness.training.clock import Clock
from harness.training.config import TrainConfig
from harness.training.history import HistoryRow
from harness.training.position import Position
from harness.training.ranks import ALONE, Ranks
from harness.training.result import TrainingResult
from harness.training.resume import ResumeFile
from harness.training.seeds import seed_everything
from harness.training.snapshot import Snapshot, restore, share, take
from harness.training.step import compile_ahead, training_step
from harness.training.stopping import ShouldStop, Stopped, never
from harness.training.update import Update

log = logging.getLogger("harness")

PATIENCE = 50
"""Updates in a row whose loss or gradient is not finite before a run is given up."""

OnProgress = Callable[[int, int, float], None]
"""(step, steps, bits of the last batch)"""

OnPoint = Callable[[Sequence[HistoryRow]], None]
"""(the learning curve so far)"""


def train(
    model: nn.Module,
    dataset: Dataset,
    config: TrainConfig,
    *,
    seed: int,
    device: torch.device | str,
    on_progress: OnProgress | None = None,
    resume: ResumeFile | None = None,
    should_stop: ShouldStop = never,
    micro_batches: int = 1,
    on_point: OnPoint | None = None,
    ranks: Ranks = ALONE,
) -> TrainingResult:
    """Train `model` (already on `device`), or fit it where it is estimated in closed form.

    Leaves the model in evaluation mode with the averaged weights. A run that diverges returns,
    it does not raise.

    Args:
        resume: where the state is written to, and continued from: on a CPU with the bits that a
            training never interrupted ends with. A model in closed form starts again.
        should_stop: asked after each update.
        micro_batches: parts of a batch, see `training_step`; as many as were when the state was
            written, where those were more.
        on_point: told after each point of the learning curve.
        ranks: the processes that train this model together, each of which calls this. `resume`,
            `should_stop`, `on_progress` and `on_point` are the first one's alone, and so is the result:
            one that stops ends the others. A model in closed form is fitted by one process.

    Raises: PluginError for a model without anything to train; Stopped, once the state is written;
        ExchangeFailed where another rank is gone; HarnessError where the ranks drift apart.
    """
    device = torch.device(device)
    seed_everything("training", seed)
    if isinstance(model, ClosedForm):
        return _Training(model, dataset, config, seed, device).fit(model)
    training = _Training(
        model, dataset, config, seed, device, resume, should_stop, micro_batches, on_point, ranks
    )
    return training.run(on_progress or (lambda step, steps, bits: None))


class _Training:
    """The state of one training."""

    def __init__(
        self,
        model: nn.Module,
        dataset: Dataset,
        config: TrainConfig,
        seed: int,
        device: torch.device,
        resume: ResumeFile | None = None,
        should_stop: ShouldStop = never,
        micro_batches: int = 1,
        on_point: OnPoint | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.config = config
        self.device = device
        self.resume = resume
        self.should_stop = should_stop
        self.on_point = on_point
        self.seed = seed
        self.ranks = ranks
        self.batches = TrainingBatches(
            dataset.splits["train"],
            batch_size=config.batch_size,
            crop=config.crop,
            seed=seed,
            device=device,
        )
        self.clock = Clock(device)
        self.at = Position(micro_batches=micro_batches)

    def run(self, on_progress: OnProgress) -> TrainingResult:
        update = Update(self.model, self.config, self.ranks)
        self._continue(update)
        if self.ranks.count > 1:
            self.at = Position.from_plain(share(update, self.device, asdict(self.at), self.ranks))
        anew = not self.at.history
        if anew:
            self._record(update.average)
        self.model.train()
        compile_seconds = compile_ahead(update, *self.batches[0], micro_batches=self.at.micro_batches)
        self.ranks.wait()  # the clock counts nobody's compiling
        if anew:  # compiling once more to continue is not the model's cost
            self.at.compile_seconds = compile_seconds
        while not self._over():
            self._train_on(update, on_progress)
            self._save(update)
            if self._at_point():
                self._record(update.average)
        if self.resume is not None and self.resume.written:  # measuring what was trained may take long too
            self.resume.write(self._snapshot(update))
        load_weights(self.model, update.average)
        return self._result(update.skipped, self._divergence(update))

    def fit(self, model: ClosedForm) -> TrainingResult:
        """One pass over the windows that evaluation would cut; a curve of two points."""
        self._record({})
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
        self.at.step, self.at.tokens, self.at.bits = 1, int(split.lengths.sum()), math.nan
        self._record({})
        return self._result(0, self._final_divergence())

    def _train_on(self, update: Update, on_progress: OnProgress) -> None:
        """Train up to the next point of the curve, or until something else has to be done."""
        at = self.at
        with self.clock:
            while not self._at_point():
                tokens, lengths = self.batches[at.step]
                self.ranks.seed(self.seed, at.step)
                applied = training_step(update, tokens, lengths, micro_batches=at.micro_batches)
                count = int(lengths.sum())
                at.bits += applied.loss * count
                at.tokens += count
                at.step += 1
                at.learning_rate = applied.learning_rate
                finite = math.isfinite(applied.loss) and math.isfinite(applied.gradient_norm)
                at.broken = 0 if finite else at.broken + 1
                on_progress(at.step, self.config.steps, applied.loss)
                if self.should_stop() or (self.resume is not None and self.resume.due()):
                    return

    def _at_point(self) -> bool:
        """Whether a point of the curve is due: at every interval, and where training ends."""
        at = self.at
        ends = at.step >= self.config.steps or at.broken >= PATIENCE
        return not self._recorded() and (ends or at.step % self.config.validate_every == 0)

    def _over(self) -> bool:
        return self._recorded() and (self.at.step >= self.config.steps or self.at.broken >= PATIENCE)

    def _recorded(self) -> bool:
        return self.at.history[-1].step == self.at.step

    def _save(self, update: Update) -> None:
        """Write the state where that is due. Raises: Stopped where that is asked for."""
        stop = self.should_stop()
        if self.resume is not None and (stop or self.resume.due()):
            self.resume.write(self._snapshot(update))
        if stop:
            log.info("stopped at step %d of %d", self.at.step, self.config.steps)
            raise Stopped

    def _snapshot(self, update: Update) -> Snapshot:
        self.at.seconds = self.clock.seconds
        return take(update, self.device, asdict(self.at))

    def _continue(self, update: Update) -> None:
        """Take up what an earlier process has left, if that is of use."""
        if self.resume is None or (snapshot := self.resume.read()) is None:
            return
        try:
            restore(snapshot, update, self.device)
        except HarnessError as error:
            self.resume.ignore(error)
            return
        asked = self.at.micro_batches
        self.at = Position.from_plain(snapshot.numbers["position"])
        self.at.micro_batches = max(self.at.micro_batches, asked)
        self.clock.seconds = self.at.seconds
        log.info(
            "continues at step %d of %d, after %.0f s of training",
            *(self.at.step, self.config.steps, self.at.seconds),
        )

    def _record(self, weights: dict[str, Tensor]) -> None:
        """A point of the learning curve, with the averaged weights."""
        self.ranks.check_equal(self.model)
        validation_bits = self._validate(weights) if self.ranks.is_first else math.nan
        at = self.at
        since = at.tokens - (at.history[-1].tokens if at.history else 0)
        at.history.append(
            HistoryRow(
                step=at.step,
                seconds=self.clock.seconds,
                tokens=at.tokens,
                learning_rate=at.learning_rate,
                nll_bits_train=at.bits / since if since else math.nan,
                nll_bits_validation=validation_bits,
            )
        )
        at.bits = 0.0
        if self.on_point is not None:
            self.on_point(at.history)

    def _validate(self, weights: dict[str, Tensor]) -> float:
        with evaluating(self.model, weights):
            validation = split_nll(
                self.model,
                self.dataset.splits["validation"],
                window=self.config.crop,
                max_clips=self.config.validation_clips,
                device=self.device,
            )
        return validation.bits

    def _divergence(self, update: Update) -> str:
        """Why the training failed, or nothing."""
        if self.at.broken == PATIENCE:
            return f"loss or gradient not finite in {PATIENCE} updates in a row, up to step {self.at.step}"
        if update.applied == 0:
            return f"all {self.at.step} updates were skipped: the gradient exploded in each"
        return self._final_divergence()

    def _final_divergence(self) -> str:
        bits = self.at.history[-1].nll_bits_validation
        return "" if math.isfinite(bits) else f"the validation NLL is {bits} after training"

    def _result(self, skipped: int, reason: str) -> TrainingResult:
        self.model.eval()
        return TrainingResult(
            history=tuple(self.at.history),
            steps=self.at.step,
            tokens=self.at.tokens,
            seconds=self.clock.seconds,
            skipped_updates=skipped,
            compile_seconds=self.at.compile_seconds,
            micro_batches=self.at.micro_batches,
            workers=self.ranks.count,
            resumes=() if self.resume is None else self.resume.resumes,
            diverged=bool(reason),
            reason=reason,
        )
