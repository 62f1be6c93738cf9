"""Trained models of a results folder, for work that comes after the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from harness import configuration
from harness.errors import HarnessError, did_you_mean
from harness.store.record import Record
from harness.store.store import Store
from harness.suite.trial import Trial, canonical
from harness.training.checkpoint import load_checkpoint
from harness.training.seeds import seed_everything

CHECKPOINT = "checkpoint.safetensors"


class Done(NamedTuple):
    """A trial that was trained well, and where it lies."""

    trial: Trial
    record: Record
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.trial.variant} s{self.trial.seed}"


def trained(store: Store, names: Sequence[str] = ()) -> tuple[list[Done], list[str]]:
    """The trained trials of a results folder, and a word on each that is not.

    `names` choose some: a variant's name (every seed), a key's first digits or a trial folder's name.
    Raises: HarnessError for an unknown name, and when nothing is trained.
    """
    found, notes = [], []
    for trial in _chosen(store, names):
        record, folder = store.record(trial), store.trial_folder(trial)
        if record is None or record.lacks("training"):
            state = record.status if record else "missing"
            notes.append(f"{trial.variant} s{trial.seed}: left out, its training is {state}")
        elif not (folder / CHECKPOINT).is_file():
            notes.append(f"{trial.variant} s{trial.seed}: left out, {folder} holds no {CHECKPOINT}")
        else:
            found.append(Done(trial, record, folder))
    if not found:
        reasons = "; ".join(notes[:4])
        raise HarnessError(f"{store.folder}: holds no trained trial ({reasons}); `harness run` trains them")
    return found, notes


def load_trained(done: Done, dataset: Any, device: torch.device | str) -> nn.Module:
    """The model with its evaluation weights, in evaluation mode.

    Raises: HarnessError for a damaged checkpoint or one of another configuration.
    """
    seed_everything("initialisation", done.trial.seed)
    model = configuration.build("models", done.trial.config["model"], vocab_size=dataset.vocab_size)
    load_checkpoint(done.folder / CHECKPOINT, model)
    return model.to(device).eval()


class Datasets:
    """Data sets by configuration, each built once, with the plugins of whoever asks first."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __call__(self, trial: Trial) -> Any:
        """Raises: DataError, PluginError."""
        trial.load_plugins()
        identity = canonical(trial.config["data"])
        if identity not in self._built:
            self._built[identity] = configuration.build("datasets", trial.config["data"])
        return self._built[identity]


def metric_config(trial: Trial, name: str) -> Any:
    """The configuration of a metric: as the trial's suite says, else of all defaults."""
    for spec in trial.config["measure"]:
        if (spec if isinstance(spec, str) else spec["name"]) == name:
            return configuration.resolve("metrics", spec).config
    return configuration.resolve("metrics", name).config


def _chosen(store: Store, names: Sequence[str]) -> Iterator[Trial]:
    trials = store.planned_trials()
    unknown = set(names)
    for trial in trials:
        fits = {name for name in names if _is_called(trial, store, name)}
        unknown -= fits
        if fits or not names:
            yield trial
    if unknown:
        known = [*{trial.variant: None for trial in trials}, *(trial.short_key for trial in trials)]
        name = sorted(unknown)[0]
        raise HarnessError(f"{store.folder}: has no trial {name!r}; {did_you_mean(name, known)}")


def _is_called(trial: Trial, store: Store, name: str) -> bool:
    by_key = len(name) >= 4 and trial.key.startswith(name)
    return by_key or name in {trial.variant, f"{trial.variant}-s{trial.seed}", store.trial_folder(trial).name}
