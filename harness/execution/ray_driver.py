"""Ray Tune as a stateless executor: it is given keys, it runs them somewhere, it keeps nothing.

Which trials there are and which are done is the harness's own business (the store's), so Tune's
experiment state, restore and loggers are not used and its session folder is deleted. The only file
that imports ray; call `ray_environment.prepare` before importing it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray
from ray import tune

from harness.errors import HarnessError
from harness.execution.executor import Events, Interrupted
from harness.execution.isolation import Worker
from harness.execution.run_trial import Task
from harness.store.record import Record, read_record, write_record

LOCAL = "local"

DONE = "done"
"""The text of a trial's last report."""

OBJECT_STORE_BYTES = 100 * 2**20
"""No large object goes through Ray."""


class RayExecutor:
    """Tasks on a local Ray cluster of its own, or on the one at `address`.

    `slots` tasks of the training lane run side by side, each with `threads` CPUs (and a GPU where
    the device is one); a task of the exclusive lane takes all slots.
    """

    def __init__(self, *, slots: int, threads: int, gpu: bool, address: str = LOCAL) -> None:
        self.slots, self.threads, self.gpu, self.address = slots, threads, gpu, address
        self._temporary: str | None = None

    def __enter__(self) -> RayExecutor:
        options: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": "ERROR",
            "configure_logging": True,
        }
        if self.address == LOCAL:
            # A short path: Ray puts sockets below it, whose names may have 107 bytes at most.
            self._temporary = tempfile.mkdtemp(prefix="hr-")
            options |= {
                "address": LOCAL,  # explicit: RAY_ADDRESS must not send a laptop's suite elsewhere
                "num_cpus": self.slots * self.threads,
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "_temp_dir": self._temporary,
            }
        else:
            options["address"] = self.address
        try:
            with _without_output():
                ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            self.__exit__()
            raise HarnessError(f"Ray does not start ({self.address}): {error}") from None
        self._check_resources()
        return self

    def __exit__(self, *_: object) -> None:
        with _without_output():
            ray.shutdown()
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def run(self, tasks: Sequence[Task], events: Events) -> None:
        if not tasks:
            return
        exclusive = tasks[0].lane == "exclusive"
        by_key = {task.trial.key: task for task in tasks}
        listener = _Listener(by_key, events)
        storage = tempfile.mkdtemp(prefix="hr-tune-")
        try:
            tuner = tune.Tuner(
                tune.with_resources(
                    tune.with_parameters(
                        _run_one, payloads={key: task.payload() for key, task in by_key.items()}
                    ),
                    self._resources(exclusive),
                ),
                param_space={"key": tune.grid_search(list(by_key))},
                tune_config=tune.TuneConfig(
                    reuse_actors=True,  # an actor's start costs seconds, a trial's may not
                    max_concurrent_trials=1 if exclusive else self.slots,
                ),
                run_config=tune.RunConfig(
                    name="harness", storage_path=storage, verbose=0, callbacks=[listener], log_to_file=False
                ),
            )
            with _without_output():
                results = tuner.fit()
        finally:
            shutil.rmtree(storage, ignore_errors=True)
        self._settle(by_key, listener, results, events)

    def _settle(self, by_key: Mapping[str, Task], listener: _Listener, results: Any, events: Events) -> None:
        """Tasks that Ray lost get a record that says so; tasks it never ran mean an interruption."""
        errors = {
            (result.config or {}).get("key"): result.error for result in results if result.error is not None
        }
        for key, task in by_key.items():
            if key in listener.finished:
                continue
            if key not in errors:
                raise Interrupted
            last_line = str(errors[key]).strip().splitlines()[-1]
            record = Record.failure(task.trial, "failed", f"Ray lost the trial: {last_line}")
            write_record(task.record_path, record)
            events.ended(task, record)

    def _resources(self, exclusive: bool) -> dict[str, float]:
        cpus = self.threads * (self.slots if exclusive and self.address == LOCAL else 1)
        return {"cpu": cpus, "gpu": 1} if self.gpu else {"cpu": cpus}

    def _check_resources(self) -> None:
        """A request that can never be met would wait for ever."""
        has = ray.cluster_resources()
        for name, amount in (("CPU", self.threads), ("GPU", 1 if self.gpu else 0)):
            if amount > has.get(name, 0):
                self.__exit__()
                raise HarnessError(
                    f"a trial needs {amount} {name}, the Ray cluster has {has.get(name, 0):g} in all"
                )


_worker: Worker | None = None
"""One warm worker an actor, kept from trial to trial."""


def _run_one(config: Mapping[str, Any], payloads: Mapping[str, Any]) -> None:
    """The Tune trainable: hand the task to this actor's worker, pass its progress on."""
    global _worker
    task = Task.from_payload(payloads[config["key"]])
    if _worker is None or _worker.threads != task.threads:
        _worker = Worker(task.threads)
    _worker.run(task, lambda fraction, text: tune.report({"fraction": fraction, "text": text}))
    tune.report({"fraction": 1.0, "text": DONE})


class _Listener(tune.Callback):
    """Turns Tune's trial results into Events."""

    def __init__(self, by_key: Mapping[str, Task], events: Events) -> None:
        self.by_key, self.events = by_key, events
        self.finished: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune saves its callbacks for a restore that we never do

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.events.started(self.by_key[trial.config["key"]])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        task = self.by_key[trial.config["key"]]
        if result["text"] == DONE:
            self.finished.add(task.trial.key)
            self.events.ended(task, read_record(task.record_path))
        else:
            self.events.progress(task, result["fraction"], result["text"])


@contextlib.contextmanager
def _without_output() -> Iterator[None]:
    """Ray prints banners and tables of its own; our progress goes to stderr, its words nowhere."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):  # noqa: PTH123
        yield
