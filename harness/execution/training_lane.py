"""The training of one trial: continued where an earlier process left it, in smaller parts if it must be."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness import __version__, configuration
from harness.execution.provenance import device_name, git_state
from harness.execution.together import together
from harness.training.config import TrainConfig
from harness.training.history import HISTORY, write_history
from harness.training.loop import OnProgress, train
from harness.training.result import TrainingResult
from harness.training.resume import ResumeFile
from harness.training.shortage import clear_memory, ran_out_of_memory
from harness.training.stopping import ShouldStop

if TYPE_CHECKING:
    from harness.execution.run_trial import Task

log = logging.getLogger("harness")

RESUME_FILE = "resume.safetensors"


@dataclass(frozen=True)
class Trained:
    """What a trial is measured with."""

    dataset: Any
    model: Any
    result: TrainingResult


def train_trial(
    task: Task,
    device: torch.device,
    build: Callable[[], tuple[Any, Any]],
    on_progress: OnProgress,
    should_stop: ShouldStop,
) -> Trained:
    """Train a trial's model; where memory runs out, once more with its batches in two parts.

    `build` makes the data set and the model, untrained: an attempt that failed leaves nothing that the
    next one could use but its resume file.

    Raises: Stopped, once the state is on disk; whatever the model raises.
    """
    config = configuration.parse(TrainConfig, task.trial.config["train"])
    try:
        return _attempt(task, config, device, build, on_progress, should_stop)
    except Exception as failure:
        smaller = task.in_half_batches()
        if smaller is None or not ran_out_of_memory(failure):
            raise
        log.warning("out of memory: %s", failure)
    # Out of the handler, whose exception would keep the attempt's frames and all that they hold.
    clear_memory(device)
    return _attempt(smaller, config, device, build, on_progress, should_stop)


def _attempt(
    task: Task,
    config: TrainConfig,
    device: torch.device,
    build: Callable[[], tuple[Any, Any]],
    on_progress: OnProgress,
    should_stop: ShouldStop,
) -> Trained:
    parts = task.micro_batches
    if parts > 1:
        log.warning(
            "trains once more, its batches of %d in %d parts: memory ran out", config.batch_size, parts
        )
    with together(task, device) as meet:
        dataset, model = build()
        result = train(
            model,
            dataset,
            config,
            seed=task.trial.seed,
            device=device,
            on_progress=on_progress,
            resume=_resume_file(task, device),
            should_stop=should_stop,
            micro_batches=parts,
            on_point=partial(write_history, Path(task.folder) / HISTORY) if task.keep_curve else None,
            ranks=meet(),
        )
    return Trained(dataset, model, result)


def _resume_file(task: Task, device: torch.device) -> ResumeFile:
    """Continued by the same trial alone, with the same torch on the same kind of device.

    Another commit or processor continues it all the same, as it would reuse a finished trial: the
    record says so.
    """
    return ResumeFile(
        Path(task.folder) / RESUME_FILE,
        identity={
            "key": task.trial.key,
            "harness": __version__,
            "torch": torch.__version__,
            "device": device.type,
        },
        written_by={
            "device_name": device_name(device),
            "threads": torch.get_num_threads(),
            "workers": task.workers,
            **git_state(),
        },
        every=task.checkpoint_seconds,
    )


def forget(task: Task) -> None:
    """The trial has its result: nobody will continue its training."""
    (Path(task.folder) / RESUME_FILE).unlink(missing_ok=True)
