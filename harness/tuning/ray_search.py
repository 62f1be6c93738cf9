"""A search through Ray Tune: its scheduler stops trials, its search algorithm may draw them.

Each Tune trial is one of our trainings, in a process of its own below the actor, as in the final stage;
it reports the points of its learning curve. What fails in a training is a row; Tune sees a trial that
ended with an infinite loss. Nothing is restored from Tune's own state: our search trials have keys and
folders, and one that an earlier search has finished is replayed from its history.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from harness.errors import HarnessError
from harness.execution.executor import Interrupted
from harness.execution.isolation import Worker, WorkerLost
from harness.execution.ray_cluster import RayCluster
from harness.execution.ray_tune import fitted
from harness.execution.run_trial import Task
from harness.training.history import HistoryRow
from harness.tuning.outcome import SearchRow
from harness.tuning.search import Search, with_values
from harness.tuning.watched import Curve, finished_record, row_of

METRIC = "nll_bits_validation"
POLL_SECONDS = 0.05
STOP_SECONDS = 5.0
ATTEMPTS = 2
"""How often a search trial is begun again when its actor or worker dies."""


class RaySearcher:
    """Runs searches on a Ray cluster that is started."""

    def __init__(self, cluster: RayCluster) -> None:
        self.cluster = cluster

    def __call__(
        self, search: Search, tasks: Sequence[Task], watch: Callable[[float, str], None]
    ) -> list[SearchRow]:
        """Raises: HarnessError"""
        folder = Path(tasks[0].folder).parent
        folder.mkdir(parents=True, exist_ok=True)
        self.cluster.check_searchable(folder)
        settings, space = _algorithm(search, tasks)
        trainable: Any = tune.with_parameters(
            SearchTrial, payloads=[task.payload() for task in tasks], steps=search.steps
        )
        run = fitted(
            trainable,
            self.cluster,
            "training",
            space=space,
            callback=_Watcher(search, watch),
            max_failures=ATTEMPTS,
            **settings,
        )
        try:
            with run as found:
                return [
                    _row(search, tasks, number, each)
                    for number, each in enumerate(found[place] for place in range(len(found)))
                ]
        except (RayError, TuneError) as error:
            words = str(error).strip().partition("\n")[0]
            raise HarnessError(
                f"the search of {search.variant.name} broke off ({words}); the same command continues"
            ) from None


def _algorithm(search: Search, tasks: Sequence[Task]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Tune is to do, and what it draws from: numbers of our draws, or optuna's own."""
    scheduler: Any = FIFOScheduler()
    if search.tune.scheduler == "asha":
        scheduler = ASHAScheduler(
            time_attr="step",
            metric=METRIC,
            mode="min",
            max_t=search.steps,
            grace_period=search.grace_steps,
            reduction_factor=search.tune.reduction,
        )
    if search.tune.search == "random":
        return {"scheduler": scheduler}, {"number": tune.grid_search(list(range(len(tasks))))}
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    algorithm = OptunaSearch(metric=METRIC, mode="min", seed=search.tune.seed)
    settings = {"scheduler": scheduler, "search_alg": algorithm, "num_samples": len(tasks)}
    return settings, {path: _domain(drawn) for path, drawn in search.over.items()}


def _domain(drawn: Mapping[str, Any]) -> Any:
    """A distribution in Tune's words."""
    ((kind, said),) = drawn.items()
    match kind:
        case "choice":
            return tune.choice(said)
        case "integers":
            return tune.randint(said[0], said[1] + 1)
        case "log_uniform":
            return tune.loguniform(*said)
        case _:
            return tune.uniform(*said)


class SearchTrial(tune.Trainable):
    """One Tune trial: each step waits for the next point of the learning curve."""

    task: Task
    curve: Curve
    pending: list[HistoryRow]
    thread: threading.Thread

    def setup(  # type: ignore[override]  # with_parameters adds to it
        self, config: dict[str, Any], *, payloads: Sequence[Mapping[str, Any]], steps: int
    ) -> None:
        self.payloads, self.steps = payloads, steps
        self.worker: Worker | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The actor and its warm worker go on with another trial."""
        self._end()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        while True:
            if not self.pending:
                over = not self.thread.is_alive()  # asked first: what it wrote last is read below
                self.pending = self.curve.new_points()
                if not self.pending and over:
                    return self._last(None)
            if self.pending:
                point = self.pending.pop(0)
                if point.step >= self.steps:
                    self.thread.join()  # the record is on disk before Tune may stop the trial
                    return self._last(point)
                return self._report(point)
            time.sleep(POLL_SECONDS)

    def cleanup(self) -> None:
        self._end()
        if self.worker is not None:
            self.worker.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a training keeps its own state in its folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """As above."""

    def _begin(self, config: Mapping[str, Any]) -> None:
        self.task = self._task(config)
        self.worker = self.worker or Worker(self.task.threads)
        self.curve, self.pending = Curve(self.task.folder), []
        self.record, self.lost = finished_record(self.task), ""
        if self.record is None:
            self.curve.forget()
        self.thread = threading.Thread(target=self._train, daemon=True)
        self.thread.start()

    def _task(self, config: Mapping[str, Any]) -> Task:
        if "number" in config:
            return Task.from_payload(self.payloads[config["number"]])
        first = Task.from_payload(self.payloads[0])
        first.trial.load_plugins()
        trial = with_values(first.trial, config)
        folder = os.path.join(os.path.dirname(first.folder), trial.folder_name)  # noqa: PTH118, PTH120
        return Task.from_payload({**first.payload(), "trial": trial.payload(), "folder": folder})

    def _train(self) -> None:
        if self.record is not None:
            return
        assert self.worker is not None
        try:
            self.record = self.worker.run(self.task, lambda fraction, text: None)
        except Interrupted:
            pass  # asked to by `_end`
        except (WorkerLost, HarnessError, OSError) as error:
            self.lost = str(error)

    def _last(self, point: HistoryRow | None) -> dict[str, Any]:
        if self.record is None:
            raise RuntimeError(self.lost or "the training was stopped")  # begun again by Tune, a few times
        known: HistoryRow | None = point or (self.curve.points[-1] if self.curve.points else None)
        report = self._report(known)
        if self.record.status != "ok":
            report |= {METRIC: math.inf, "status": self.record.status, "error": self.record.error}
        return {**report, "done": True}

    def _report(self, point: HistoryRow | None) -> dict[str, Any]:
        return {
            METRIC: math.inf if point is None else point.nll_bits_validation,
            "step": 0 if point is None else point.step,
            "point": None if point is None else vars(point),
            "key": self.task.trial.key,
            "status": "ok",
            "error": "",
        }

    def _end(self) -> None:
        """Really stop: a trial that Tune has given up computes no further."""
        if self.worker is not None and self.thread.is_alive():
            self.worker.stop(STOP_SECONDS)
            self.thread.join(STOP_SECONDS + 1.0)
            if self.thread.is_alive():
                with contextlib.suppress(OSError):
                    self.worker.close()


class _Watcher(tune.Callback):
    """Tells how far the search is."""

    def __init__(self, search: Search, watch: Callable[[float, str], None]) -> None:
        self.search, self.watch = search, watch
        self.steps: dict[str, int] = {}
        self.ended: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Tune writes its callbacks to disk, and a terminal cannot be; nothing is ever read back."""
        return {}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict, **info: Any) -> None:
        self.steps[trial.trial_id] = int(result.get("step", 0))
        self._tell()

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.ended.add(trial.trial_id)
        self._tell()

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.ended.add(trial.trial_id)
        self._tell()

    def _tell(self) -> None:
        of = len(self.search.trials)
        running = [step for trial, step in self.steps.items() if trial not in self.ended]
        done = len(self.ended) + sum(running) / self.search.steps
        self.watch(min(done / of, 1.0), f"{len(self.ended)}/{of} search trials ended")


def _row(search: Search, tasks: Sequence[Task], number: int, found: Any) -> SearchRow:
    """From what Tune has kept of a trial."""
    said: dict[str, Any] = found.metrics or {}
    config: dict[str, Any] = found.config or {}
    number = int(config.get("number", number))
    values = search.values[number] if "number" in config else config
    point = None if said.get("point") is None else HistoryRow(**said["point"])
    status, error = said.get("status", "failed"), said.get("error", "")
    if found.error is not None:
        status, error = "failed", str(found.error).strip().rpartition("\n")[2]
    stopped = status == "ok" and point is not None and point.step < search.steps
    key = said.get("key", tasks[number].trial.key)
    return row_of(number, key, values, point, stopped_early=stopped, status=status, error=error)
