"""One trial, one lane: build, train, measure, record. Runs in whatever process it is called in."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import configuration
from harness.contracts import Lane, MetricContext
from harness.errors import HarnessError
from harness.execution.limits import lift_memory_limit
from harness.store.record import LANES, Record, Status, read_record, write_record
from harness.suite.trial import Trial
from harness.training.stopping import ShouldStop, Stopped, never

if TYPE_CHECKING:
    import torch

log = logging.getLogger("harness")

Progress = Callable[[float, str], None]
"""(fraction done in 0..1, a few words such as ``step 120/300, 3.21 bits``)"""


@dataclass(frozen=True)
class Task:
    """What a worker needs to run one lane of one trial."""

    trial: Trial
    lane: Lane
    folder: str
    threads: int = 1
    device: str = "cpu"
    command: str = ""
    """What the user typed, for the record."""
    checkpoint_seconds: float = 60.0
    """A training writes its state for a later process to continue from as often as this."""
    micro_batches: int = 1
    """Parts in which a training works through the batch of an update: two once memory has run out."""
    workers: int = 1
    """Processes, each with `threads` threads and a device of its own, that train together; on one machine.
    All else, and the whole exclusive lane, is done by the first of them alone."""
    memory_gib: float | None = None
    """What its process may hold; None: `memory_share` of the machine's memory, less a reserve."""
    memory_share: float = 1.0
    minutes: float | None = None
    """What it may take before it is ended."""
    keep_curve: bool = False
    """Its learning curve is written at every point of it, for whoever watches, and not only at the end."""
    attempt: int = 1
    """Counts on when a machine, not the trial, failed."""

    def payload(self) -> dict[str, Any]:
        return {**asdict(replace(self, trial=None)), "trial": self.trial.payload()}  # type: ignore[arg-type]

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Task:
        return cls(**{**payload, "trial": Trial.from_payload(payload["trial"])})

    def in_half_batches(self) -> Task | None:
        """The same in less memory; None where it is so already, or no process has more than one clip."""
        if self.lane != "training" or self.micro_batches > 1:
            return None
        if self.trial.config["train"]["batch_size"] <= self.workers:
            return None
        return replace(self, micro_batches=2)

    @property
    def record_path(self) -> Path:
        return Path(self.folder) / "record.json"


def run_task(task: Task, progress: Progress, should_stop: ShouldStop = never) -> Record:
    """Run and record, whatever happens: an exception becomes a record with its error.

    KeyboardInterrupt passes through, and Stopped, which is one, soon after `should_stop` has said so;
    the record then stays as it was.
    """
    import torch

    from harness.execution.training_lane import forget

    torch.set_num_threads(task.threads)
    started = _now()
    device = torch.device(task.device)
    earlier = read_record(task.record_path) if task.lane == "exclusive" else None
    try:
        task.trial.load_plugins()
        status, error, columns = _lane(task, device, progress, should_stop)
    except Exception as failure:
        lift_memory_limit()  # whatever has to be said about it, there must be room to say it
        log.error("%s", traceback.format_exc())
        status, error, columns = _status_of(failure), explain(failure), {}
    record = _record(task, earlier, status, error, columns, _provenance(task, device, columns, started))
    write_record(task.record_path, record)
    if status in {"ok", "diverged"}:
        forget(task)
    return record


def _lane(
    task: Task, device: torch.device, progress: Progress, should_stop: ShouldStop
) -> tuple[Status, str, dict[str, Any]]:
    if task.lane == "training":
        return _train(task, device, progress, should_stop)
    return _time(task, device, _stoppable(progress, should_stop))


def _stoppable(progress: Progress, should_stop: ShouldStop) -> Progress:
    """For measuring, which has nothing to save: it stops where it next reports."""

    def report(fraction: float, text: str) -> None:
        if should_stop():
            raise Stopped
        progress(fraction, text)

    return report


def _train(
    task: Task, device: torch.device, progress: Progress, should_stop: ShouldStop
) -> tuple[Status, str, dict[str, Any]]:
    """Train, write history and checkpoint, measure what may share the machine."""
    from harness.execution.training_lane import train_trial
    from harness.training.checkpoint import save_checkpoint
    from harness.training.history import write_history

    def report(step: int, steps: int, nll_bits: float) -> None:
        progress(0.9 * step / max(steps, 1), f"step {step}/{steps}, {nll_bits:.3f} bits")

    trained = train_trial(task, device, partial(build, task, device), report, should_stop)
    dataset, model, result = trained.dataset, trained.model, trained.result
    folder = Path(task.folder)
    write_history(folder / "history.csv", result.history)
    columns = _dataset_columns(dataset) | result.columns()
    if result.resumes:
        columns["resumes"] = list(result.resumes)
    if result.diverged:
        return "diverged", result.reason, columns
    config = dict(task.trial.config)
    save_checkpoint(folder / "checkpoint.safetensors", model, config=config, step=result.steps)
    measuring = _stoppable(progress, should_stop)
    return (
        "ok",
        "",
        columns | _measure(task, "training", model, dataset, device, measuring, result.micro_batches),
    )


def _time(task: Task, device: torch.device, progress: Progress) -> tuple[Status, str, dict[str, Any]]:
    """Measure what needs the machine for itself, with the trained weights."""
    from harness.training.checkpoint import load_checkpoint

    dataset, model = build(task, device)
    load_checkpoint(Path(task.folder) / "checkpoint.safetensors", model)
    trained = read_record(task.record_path).columns
    # On this one device no more at once than a process had in training: a whole batch may not fit.
    parts = trained.get("gradient_accumulation", 1) * trained.get("workers", 1)
    return "ok", "", _measure(task, "exclusive", model, dataset, device, progress, parts)


def build(task: Task, device: torch.device) -> tuple[Any, Any]:
    from harness.training.seeds import seed_everything

    config = task.trial.config
    dataset = configuration.build("datasets", config["data"])
    seed_everything("initialisation", task.trial.seed)
    model = configuration.build("models", config["model"], vocab_size=dataset.vocab_size)
    return dataset, model.to(device)


def _measure(
    task: Task,
    lane: Lane,
    model: Any,
    dataset: Any,
    device: torch.device,
    progress: Progress,
    micro_batches: int,
) -> dict[str, Any]:
    """Columns of all metrics of a lane."""
    specs = [configuration.resolve("metrics", spec) for spec in task.trial.config["measure"]]
    specs = [spec for spec in specs if spec.cls.lane == lane]
    start = 0.9 if lane == "training" else 0.0
    share = (1.0 - start) / max(len(specs), 1)
    columns: dict[str, Any] = {}
    for number, spec in enumerate(specs):

        def part(fraction: float, text: str, done: float = start + number * share) -> None:
            progress(done + share * fraction, text)

        part(0.0, f"measuring {spec.name}")
        model.eval()
        context = MetricContext(
            model=model,
            dataset=dataset,
            device=device,
            config=task.trial.config,
            seed=task.trial.seed,
            folder=Path(task.folder),
            progress=part,
            micro_batches=micro_batches,
        )
        columns |= spec.cls(spec.config).measure(context)
    if lane == "training":
        columns["scan_backend"] = getattr(model, "scan_backend", "") or ""
    return columns


def _record(
    task: Task,
    earlier: Record | None,
    status: Status,
    error: str,
    columns: dict[str, Any],
    provenance: dict[str, Any],
) -> Record:
    """The new record: the training lane starts afresh, the exclusive lane adds to what it left."""
    if earlier is None:
        record = Record.failure(task.trial, status, error, columns=columns, provenance=provenance)
        return replace(record, lanes=_lanes_done(task)) if status == "ok" else record
    if status != "ok":
        return replace(earlier, status=status, error=error)
    measured = earlier.with_lane(task.lane, columns, provenance)
    return replace(measured, variant=task.trial.variant, status="ok", error="")


def _lanes_done(task: Task) -> tuple[Lane, ...]:
    """After training: the exclusive lane as well, if nothing is to be measured there."""
    specs = (configuration.resolve("metrics", spec) for spec in task.trial.config["measure"])
    return ("training",) if any(spec.cls.lane == "exclusive" for spec in specs) else LANES


def _provenance(task: Task, device: torch.device, columns: dict[str, Any], started: str) -> dict[str, Any]:
    """Of the training lane, on the top level; of the exclusive lane, under its name."""
    from harness.execution.provenance import describe

    found = {
        **describe(device),
        "command": task.command,
        "attempt": task.attempt,
        "started_at": started,
        "finished_at": _now(),
    }
    if task.lane == "exclusive":
        return {"exclusive": found}
    moved: dict[str, Any] = {
        name: columns.pop(name)
        for name in ("dataset_version", "dataset_sha256", "resumes")
        if name in columns
    }
    return {
        **found,
        **moved,
        "dataset": task.trial.config["data"]["name"],
        "scan_backend": columns.pop("scan_backend", ""),
    }


def _dataset_columns(dataset: Any) -> dict[str, Any]:
    return {
        "dataset_version": dataset.provenance.version,
        "dataset_sha256": dataset.provenance.sha256,
    }


def _status_of(failure: Exception) -> Status:
    from harness.training.shortage import ran_out_of_memory

    return "out_of_memory" if ran_out_of_memory(failure) else "failed"


def explain(failure: Exception) -> str:
    """A message for the table; ours are complete, others get their type and their last line."""
    if isinstance(failure, HarnessError):
        return str(failure)
    frame = traceback.extract_tb(failure.__traceback__)[-1]
    return f"{type(failure).__name__}: {failure} ({Path(frame.filename).name}:{frame.lineno})"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
