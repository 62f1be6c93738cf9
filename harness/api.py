"""The Python API: what the command line does, for notebooks and scripts.

Import these from `harness` itself. Every function raises children of `harness.errors.HarnessError`
for whatever the caller can mend.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import configuration
from harness.errors import HarnessError
from harness.execution.executor import Silence
from harness.execution.run_suite import RunOptions, plan_suite, results_folder, run_plan
from harness.execution.spending import keep_to_budget
from harness.store.place import fetched, working
from harness.store.remote import RemoteError
from harness.store.store import Store
from harness.store.table import SeriesFrames, build_history, build_table
from harness.store.wanted import for_a_report, records
from harness.suite.suite import Suite, load_suite
from harness.tuning.outcome import read_table

if TYPE_CHECKING:
    import pandas as pd

    from harness.contracts import Column, Dataset, FigureData
    from harness.store.record import Record
    from harness.suite.trial import Trial

log = logging.getLogger("harness")

__all__ = [
    "build_model",
    "load_dataset",
    "load_figure_data",
    "load_results",
    "load_suite",
    "load_summary",
    "run_suite",
]


def build_model(config: str | Mapping[str, Any], *, vocab_size: int = 256) -> Any:
    """A freshly initialised model: ``build_model({"name": "poolformer", "width": 64})``.

    Returns a `contracts.SequenceModel`. Seed torch first for a repeatable one.
    Raises: ConfigError, PluginError.
    """
    return configuration.build("models", config, vocab_size=vocab_size)


def load_dataset(config: str | Mapping[str, Any]) -> Dataset:
    """A data set, generated or found: ``load_dataset({"name": "fsdd", "seconds": 0.5})``.

    Raises: ConfigError, DataError, PluginError.
    """
    return configuration.build("datasets", config)


def run_suite(
    suite: str | Path | Suite,
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    results: str | Path | None = None,
    serial: bool = False,
    slots: int | None = None,
    threads: int = 1,
    device: str | None = None,
    address: str = "local",
    trial_memory: float | None = None,
    trial_minutes: float | None = None,
) -> pd.DataFrame:
    """Run what is missing of a suite and return its table; failed trials are rows with a status.

    `results`: a folder, or a URL that it is sent to as it grows (docs/stores.md).
    Raises: HarnessError; RemoteError, once all is done, where not everything could be sent;
    KeyboardInterrupt when interrupted, with everything finished on disk.
    """
    loaded = suite if isinstance(suite, Suite) else load_suite(suite, profile=profile, overrides=overrides)
    options = RunOptions(
        serial=serial,
        slots=slots,
        threads=threads,
        device=device,
        address=address,
        trial_memory=trial_memory,
        trial_minutes=trial_minutes,
    )
    with working(results, log.warning) as place:
        options = replace(options, results=place.folder)
        keep_to_budget(loaded, options)
        if loaded.config.tune is not None:
            loaded = _tuned(loaded, options)
        outcome = run_plan(plan_suite(loaded, options), options, Silence())
        if outcome.interrupted:
            raise KeyboardInterrupt
    if place.unsent:
        raise RemoteError(place.unsent)
    return load_results(outcome.folder)


def _tuned(suite: Suite, options: RunOptions) -> Suite:
    """After its tuning stage. Raises: KeyboardInterrupt when interrupted."""
    from harness.execution.executor import Interrupted
    from harness.execution.signals import StopRequest
    from harness.tuning.stage import look_up, run_searches, tuned

    tuning = look_up(suite, results_folder(suite, options.results))
    try:
        with StopRequest() as stop:
            done = run_searches(tuning, options, lambda fraction, text: None, stop, lambda: None)
    except Interrupted:
        raise KeyboardInterrupt from None
    return tuned(suite, done)


def load_results(path: str | Path) -> pd.DataFrame:
    """The table of a results folder or the URL of one, rebuilt from its records: one row a trial.

    Raises: HarnessError for a folder that no run has written, RemoteError for a URL that cannot be read.
    """
    store = Store(fetched(path, records))
    return build_table(store.records(store.planned_trials()))


def load_figure_data(path: str | Path) -> FigureData:
    """Table, learning curves and series of a results folder, as figures read them."""
    store = Store(fetched(path, for_a_report))
    return figure_data(store, store.records(store.planned_trials()))


def figure_data(store: Store, pairs: Sequence[tuple[Trial, Record | None]]) -> FigureData:
    """The same, of records that have been read."""
    from harness.contracts import FigureData

    trials = [trial for trial, _ in pairs]
    plan = store.read_plan()
    return FigureData(
        table=build_table(pairs),
        history=build_history(store, trials),
        variants=[variant["name"] for variant in plan["variants"]],
        base=plan["base"],
        series=SeriesFrames(store, trials),
        folders={trial.short_key: store.trial_folder(trial) for trial in trials},
        tuning=read_table(store.folder),
        columns=measured_columns(store.folder),
    )


def load_summary(path: str | Path) -> pd.DataFrame:
    """One row a variant of a results folder: means, intervals, differences to the base, verdicts.

    See `harness.analysis.summary.summarise` for its columns.
    """
    from harness.analysis.summary import summarise

    data = load_figure_data(path)
    return summarise(data.table, data.columns, data.variants, data.base)


def measured_columns(path: str | Path) -> dict[str, Column]:
    """What the metrics of a results folder say of their columns: unit, direction, description."""
    columns: dict[str, Column] = {}
    for variant in Store(fetched(path, records)).read_plan()["variants"]:
        for spec in variant["config"]["measure"]:
            try:
                columns |= configuration.resolve("metrics", spec).cls.columns
            except HarnessError:
                continue  # a metric of a plugin that is not here: its columns go without a unit
    return columns
