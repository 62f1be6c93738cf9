"""Which trial a person means: by key, folder, or name and seed."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import HarnessError, did_you_mean
from harness.store.store import Store
from harness.suite.trial import Trial

SHORTEST = 4
"""Digits of a key that are enough, where they are of one trial alone."""


def find_trial(store: Store, text: str) -> Trial:
    """The planned trial whose key begins so, or that is called so: ``variant``, ``variant-s1``, its folder.

    Raises: HarnessError where none or several are.
    """
    trials = store.planned_trials()
    for same in (_named, _keyed):
        found = [trial for trial in trials if same(trial, text)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f"{trial.variant}-s{trial.seed}" for trial in found[:6])
            raise HarnessError(f"{text!r} is several trials of {store.folder}: {names}; name one of them")
    raise HarnessError(f"{store.folder} has no trial {text!r}; {did_you_mean(text, _names(trials))}")


def _named(trial: Trial, text: str) -> bool:
    return text in (trial.variant, f"{trial.variant}-s{trial.seed}", trial.folder_name)


def _keyed(trial: Trial, text: str) -> bool:
    return len(text) >= SHORTEST and trial.key.startswith(text)


def _names(trials: Sequence[Trial]) -> list[str]:
    return [f"{trial.variant}-s{trial.seed}" for trial in trials]
