"""The tuning stage of a suite: what is not searched yet is searched, and the best is laid over each variant.

The result is a suite whose variants say other values, so that all that follows (keys, plan, records) is
as if a person had written them. Only then are trials expanded: every seed of the final stage runs to its
end, and a search trial never gets into the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness import configuration
from harness.errors import HarnessError
from harness.execution.places import workers_of
from harness.execution.run_trial import Task
from harness.store.lock import only_run
from harness.store.store import Store
from harness.suite.settings import Origin
from harness.suite.suite import Suite, Variant, laid_over
from harness.tuning.outcome import FROZEN, Outcome, SearchRow, read_outcomes, write_outcomes, write_table
from harness.tuning.search import Search, searches
from harness.tuning.watched import tidy

if TYPE_CHECKING:
    from harness.execution.run_suite import RunOptions
    from harness.execution.signals import StopRequest
    from harness.suite.resources import ResourcesConfig

FOLDER = "tuning"
"""In the results folder: a store of search trials."""

Watch = Callable[[float, str], None]


class Searcher(Protocol):
    """Runs the trials of one search, by whatever means."""

    def __call__(self, search: Search, tasks: Sequence[Task], watch: Watch) -> list[SearchRow]: ...


@dataclass(frozen=True)
class Tuning:
    """What of a suite's tuning stage is over, and what is to do."""

    folder: Path
    searches: Sequence[Search]
    outcomes: dict[str, Outcome]
    """Of the results folder, those of earlier suites as well; by search key."""
    resources: ResourcesConfig | None = None
    """What each search trial is trained on, as every other."""

    @property
    def missing(self) -> list[Search]:
        return [search for search in self.searches if search.key not in self.outcomes]

    def outcome(self, search: Search) -> Outcome | None:
        return self.outcomes.get(search.key)


def look_up(suite: Suite, folder: Path) -> Tuning:
    """Raises: SuiteError for a search that cannot be, HarnessError for a damaged `tuned.json`."""
    found = searches(suite)
    return Tuning(folder, found, read_outcomes(folder) if found else {}, suite.config.resources)


def tuned(suite: Suite, tuning: Tuning) -> Suite:
    """The suite with what its searches have found laid over its variants."""
    by_name = {search.variant.name: tuning.outcome(search) for search in tuning.searches}
    variants = [_laid(suite, variant, tuning.folder, by_name.get(variant.name)) for variant in suite.variants]
    return dataclasses.replace(suite, variants=variants)


def run_searches(
    tuning: Tuning, options: RunOptions, watch: Watch, stop: StopRequest, waiting: Callable[[], None]
) -> Tuning:
    """Run what is missing, alone in the store; each search that ends is on disk at once.

    Raises: Interrupted, KeyboardInterrupt, HarnessError
    """
    if not tuning.missing:
        _write_table(tuning)
        return tuning
    if tuning.missing[0].tune.search == "optuna" and find_spec("optuna") is None:
        raise HarnessError(
            "tune: search optuna needs the package: pip install 'longseq-harness[tune]', or search: random"
        )
    workers = workers_of(tuning.resources, options)
    for search in tuning.missing:
        configuration.build("datasets", search.variant.config["data"])  # what is wrong is said before it runs
    Store(tuning.folder).make_writable()
    with only_run(tuning.folder, waiting) as waited:
        if waited:  # another run may have searched
            tuning = dataclasses.replace(tuning, outcomes=read_outcomes(tuning.folder))
        missing = tuning.missing
        outcomes = dict(tuning.outcomes)
        store = Store(tuning.folder / FOLDER)
        with _searcher(options, workers, stop) as run:
            for number, search in enumerate(missing):
                if options.time_is_over():
                    break
                rows = run(
                    search,
                    [_task(store, search, each, options, workers) for each in range(len(search.trials))],
                    _part(watch, number, len(missing), search.variant.name),
                )
                outcomes[search.key] = Outcome(
                    variant=search.variant.name, key=search.key, max_steps=search.steps, rows=rows
                )
                write_outcomes(tuning.folder, outcomes.values())
        tidy(store.folder)
    done = dataclasses.replace(tuning, outcomes=outcomes)
    _write_table(done)
    return done


def _write_table(tuning: Tuning) -> None:
    """Of the searches at hand: another profile of the suite may have been searched in between."""
    ended = [tuning.outcomes[s.key] for s in tuning.searches if s.key in tuning.outcomes]
    if ended:
        write_table(tuning.folder, ended)


def _laid(suite: Suite, variant: Variant, folder: Path, outcome: Outcome | None) -> Variant:
    if outcome is None:
        return variant
    frozen = outcome.frozen()
    laid = laid_over(suite, variant, frozen["values"], Origin("tuned", option=f"({folder / FROZEN})"))
    return dataclasses.replace(laid, tuned=frozen)


def _task(store: Store, search: Search, number: int, options: RunOptions, workers: int) -> Task:
    from harness.execution.places import device_of, slots_of, workers_for
    from harness.execution.provenance import command_line

    trial = search.trials[number]
    return Task(
        trial=trial,
        lane="training",
        folder=str(store.trial_folder(trial).resolve()),
        threads=options.threads,
        device=device_of(options),
        command=command_line(),
        memory_gib=options.trial_memory,
        workers=workers_for(trial, workers),
        memory_share=1.0 / slots_of(options, workers),
        minutes=options.trial_minutes,
        checkpoint_seconds=options.checkpoint_seconds,
        keep_curve=True,
    )


@contextmanager
def _searcher(options: RunOptions, workers: int, stop: StopRequest) -> Iterator[Searcher]:
    if options.serial:
        from harness.tuning.serial_search import run_search

        with stop.deferring():
            yield lambda search, tasks, watch: run_search(search, tasks, watch, stop)
        return
    from harness.execution.run_suite import executor_for

    executor = executor_for(options, workers)
    from harness.tuning.ray_search import RaySearcher

    with executor as started:
        stop.listen()  # Ray, as it starts, sets handlers of its own
        yield RaySearcher(started.cluster)  # type: ignore[attr-defined]


def _part(watch: Watch, number: int, of: int, variant: str) -> Watch:
    def part(fraction: float, text: str) -> None:
        watch((number + fraction) / of, f"{variant}: {text}")

    return part
