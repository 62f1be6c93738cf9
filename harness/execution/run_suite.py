"""A suite from its plan to its report: what is missing is run, lane by lane, then all is written up."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from harness import configuration
from harness.contracts import Lane
from harness.errors import HarnessError
from harness.execution.executor import Events, Executor, Interrupted, SerialExecutor
from harness.execution.places import check_batches, device_of, slots_of, workers_for, workers_of
from harness.execution.plan import Plan, looked_up_again, make_plan, missing_lanes
from harness.execution.provenance import command_line, uncommitted
from harness.execution.run_state import RunState, who_runs
from harness.execution.run_trial import Task
from harness.execution.signals import StopRequest
from harness.store.atomic import remove_leftovers
from harness.store.lock import only_run
from harness.store.record import LANES, Record
from harness.store.store import Store
from harness.suite.suite import Suite
from harness.suite.trial import Trial, canonical
from harness.tracking.tracked import Tracked

log = logging.getLogger("harness")

RESULTS = Path("results")

INCOMPLETE = 3
"""Exit code of a run that was given too little time; the same command continues."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run; nothing here changes a result's key."""

    results: Path | None = None
    """Folder of this suite's results; None: ``results/<suite>`` below the working directory."""
    serial: bool = False
    address: str = "local"
    slots: int | None = None
    """Trials side by side in the training lane; None: one a CPU (a GPU, where there is one)."""
    threads: int = 1
    """torch threads of a trial. Two on a busy machine have been measured far slower than one."""
    device: str | None = None
    """None: cuda where there is a GPU, else cpu."""
    trial_memory: float | None = None
    """GiB that a trial may hold; None: its share of nine tenths of the machine, one part a slot (all of
    them in the exclusive lane)."""
    trial_minutes: float | None = None
    """What each lane of a trial may take; None: no limit."""

    checkpoint_seconds: float = 60.0
    """How often a training saves its state, for a later run to continue from."""
    until: float | None = None
    """From this moment of `time.monotonic` on no trial is begun; those that run end. None: no limit."""

    def time_is_over(self) -> bool:
        return self.until is not None and time.monotonic() >= self.until

    def __post_init__(self) -> None:
        if self.serial and (self.trial_memory is not None or self.trial_minutes is not None):
            raise HarnessError(
                "limits of memory and time need a process of its own for each trial: leave out --serial"
            )


@dataclass
class RunOutcome:
    """How a run ended."""

    folder: Path
    ran: int
    cached: int
    statuses: Counter[str] = field(default_factory=Counter)
    held_back: int = 0
    """Trials with something left to do, because the time that the run was given is over."""
    interrupted: bool = False
    interrupt_code: int = 130
    """128 and the number of the signal: SIGINT, or SIGTERM."""

    @property
    def exit_code(self) -> int:
        if self.interrupted:
            return self.interrupt_code
        if self.held_back:
            return INCOMPLETE
        return 0 if set(self.statuses) <= {"ok"} else 1


def results_folder(suite: Suite, results: Path | None) -> Path:
    return results if results is not None else RESULTS / suite.name


def plan_suite(suite: Suite, options: RunOptions) -> Plan:
    """Raises: HarnessError for `resources` that cannot be had, of what is known before anything runs."""
    store = Store(results_folder(suite, options.results))
    workers = workers_of(suite.config.resources, options)
    check_batches(suite, workers)
    slots = 1 if options.serial else slots_of(options, workers)
    return make_plan(suite, store, slots=slots, workers=workers)


def run_plan(plan: Plan, options: RunOptions, events: Events) -> RunOutcome:
    """Run what is missing, alone in the store. Everything finished is on disk at any moment.

    Raises: HarnessError for data that cannot be had, a results folder that cannot be written, or a
    Ray that does not start; nothing has been written then.
    """
    folder = results_folder(plan.suite, options.results)
    todo = plan.to_run()
    outcome = RunOutcome(folder, ran=len(todo), cached=len(plan.trials) - len(todo))
    with StopRequest() as stop:
        try:
            _prepare_data(planned.trial for planned in todo)
            Store(folder).make_writable()
            with only_run(folder, lambda: events.waiting(who_runs(folder))) as waited:
                store = Store(folder)
                if waited:
                    plan = looked_up_again(plan, store)
                    events.planned(plan)
                _run_lanes(plan, store, options, events, stop)
        except (Interrupted, KeyboardInterrupt):
            outcome.interrupted, outcome.interrupt_code = True, stop.exit_code
    for _, record in Store(folder).records(plan.suite.trials):
        outcome.statuses[_status(record)] += 1
    if options.time_is_over() and not outcome.interrupted:
        outcome.held_back = sum(
            planned.state in {"to run", "to measure"}
            for planned in looked_up_again(plan, Store(folder)).trials
        )
    return outcome


def _run_lanes(plan: Plan, store: Store, options: RunOptions, events: Events, stop: StopRequest) -> None:
    remove_leftovers(store.folder)
    store.write_plan(plan.plain(), plan.suite.document.text)
    with Tracked(store, plan, events) as tracked:
        if plan.to_run():
            _work(plan, store, options, tracked, stop)


def _work(plan: Plan, store: Store, options: RunOptions, events: Events, stop: StopRequest) -> None:
    if patch := uncommitted():
        store.write_patch(patch)
    with RunState(store.folder, plan, events) as told, executor_for(options, plan.workers) as executor:
        stop.listen()
        try:
            with stop.deferring():
                for lane in LANES:
                    executor.run(_tasks(plan, store, lane, options), told, stop)
        finally:
            stop.closing = True


def _prepare_data(trials: Iterable[Trial]) -> None:
    """Build each data set once: what is wrong with it is said before anything runs, and its token
    cache is there when the workers ask for it.

    Where some can be had, the trials of the others fail each for itself, and are rows that say so.
    """
    failures: dict[str, Exception] = {}
    variants: dict[str, set[str]] = {}
    for trial in trials:
        identity = canonical(trial.config["data"])
        if identity not in variants:
            variants[identity] = set()
            try:
                configuration.build("datasets", trial.config["data"])
            except Interrupted:
                raise
            except Exception as error:
                failures[identity] = error
        variants[identity].add(trial.variant)
    if failures and len(failures) == len(variants):
        raise next(iter(failures.values()))
    for identity, failure in failures.items():
        log.warning("the data of %s cannot be had: %s", ", ".join(sorted(variants[identity])), failure)


def _tasks(plan: Plan, store: Store, lane: Lane, options: RunOptions) -> list[Task]:
    """The lane's tasks: for the exclusive lane, of trials whose training went well."""
    tasks = []
    for planned in plan.to_run():
        lanes = missing_lanes(store, planned.trial)
        ready = lane == LANES[0] or LANES[0] not in lanes
        if lane in lanes and ready:
            tasks.append(
                Task(
                    trial=planned.trial,
                    lane=lane,
                    folder=str(store.trial_folder(planned.trial).resolve()),
                    threads=options.threads,
                    device=device_of(options),
                    command=command_line(),
                    memory_gib=options.trial_memory,
                    workers=1 if lane == "exclusive" else workers_for(planned.trial, plan.workers),
                    memory_share=1.0 if lane == "exclusive" else 1.0 / slots_of(options, plan.workers),
                    minutes=options.trial_minutes,
                    checkpoint_seconds=options.checkpoint_seconds,
                    keep_curve=bool(plan.suite.config.trackers),
                )
            )
    return tasks


def executor_for(options: RunOptions, workers: int) -> Executor:
    """For trials that are trained by so many processes each."""
    if options.serial:
        return SerialExecutor(options.time_is_over)
    from harness.execution import ray_environment

    ray_environment.prepare(local=options.address == "local")
    from harness.execution.ray_driver import RayExecutor

    return RayExecutor(
        # How many a cluster that runs already has room for, it says itself.
        slots=slots_of(options, workers) if options.address == "local" else options.slots,
        threads=options.threads,
        workers=workers,
        gpu=device_of(options).startswith("cuda"),
        address=options.address,
        no_more=options.time_is_over,
    )


def _status(record: Record | None) -> str:
    return record.status if record is not None else "missing"
