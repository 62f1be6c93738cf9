"""Where the trials of a run have their places: on which device, how many side by side, on how much of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness import registry
from harness.errors import ConfigError, HarnessError

if TYPE_CHECKING:
    from harness.execution.run_suite import RunOptions
    from harness.suite.resources import ResourcesConfig
    from harness.suite.suite import Suite
    from harness.suite.trial import Trial


def device_of(options: RunOptions) -> str:
    if options.device is not None:
        return options.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def slots_of(options: RunOptions, workers: int = 1) -> int:
    """Trials side by side, each trained by so many processes."""
    if options.slots is not None:
        return options.slots
    has = _gpus() if _on_gpus(options) else _cpus() // options.threads
    return max(has // workers, 1)


def workers_of(resources: ResourcesConfig | None, options: RunOptions) -> int:
    """Processes that train one trial together, as the suite asks for.

    Raises: HarnessError for more than this machine has, where trials run here. A cluster is asked for what
    it has when it is there.
    """
    if resources is None:
        return 1
    try:
        workers = resources.workers(device_of(options))
    except ConfigError as error:
        raise HarnessError(str(error.under("resources"))) from None
    here = options.serial or options.address == "local"
    if not here or workers == 1:
        return workers
    if _on_gpus(options):
        if workers > _gpus():
            raise HarnessError(f"resources.gpu: {workers} GPUs for each trial, this machine has {_gpus()}")
    elif options.slots is None and workers * options.threads > _cpus():
        raise HarnessError(
            f"resources.cpu_workers: {workers} processes of {options.threads} threads need "
            f"{workers * options.threads} CPUs, this machine has {_cpus()}; --slots 1 runs them all the same"
        )
    return workers


def check_batches(suite: Suite, workers: int) -> None:
    """Raises: HarnessError for a variant whose batch has fewer clips than a trial has processes."""
    for variant in suite.variants:
        size = variant.config["train"]["batch_size"]
        if size < workers and not _is_counted(variant.config["model"]["name"]):
            raise HarnessError(
                f"resources: {workers} processes cannot share the batch of {size} of variant "
                f"{variant.name!r}; raise its train.batch_size, or ask for fewer"
            )


def workers_for(trial: Trial, workers: int) -> int:
    """What is counted is not trained: one process does it."""
    return 1 if _is_counted(trial.config["model"]["name"]) else workers


def _is_counted(model: str) -> bool:
    return hasattr(registry.get("models", model), "fit")


def _on_gpus(options: RunOptions) -> bool:
    return device_of(options).startswith("cuda")


def _gpus() -> int:
    import torch

    return max(torch.cuda.device_count(), 1)


def _cpus() -> int:
    """CPUs that this process may use: a container's share, not the host's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
