"""Ray Tune as the runner: how it is asked to run trials, and the far end of a trial that is a task.

Tune is to keep nothing and to say nothing: its files lie in a temporary folder, it writes no logs, and
what a trial does is told by a callback. Signals are the harness's own.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import ray
from ray import tune
from ray.tune.impl import tuner_internal

from harness.contracts import Lane
from harness.execution.ray_cluster import CLIENT, RayCluster
from harness.execution.ray_folder import ray_folder
from harness.execution.ray_host import Host
from harness.execution.same_code import NodeFacts
from harness.execution.transfer import Invitation

logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # every failure of a trial is told by us

STEP_SECONDS = 0.25
"""Longest step of a task's trial: between two steps it hears that it shall stop."""

ENDS = {"done", "stopped", "lost", "broken"}
"""Keys of messages after which a task's trial has ended."""


@contextlib.contextmanager
def fitted(
    trainable: Any,
    cluster: RayCluster,
    lane: Lane,
    *,
    callback: tune.Callback,
    space: Mapping[str, Any],
    max_failures: int = 0,
    **settings: Any,
) -> Iterator[tune.ResultGrid]:
    """What Tune has found, for as long as its files are there.

    Args:
        settings: of `tune.TuneConfig`.
    """
    asked = cluster.request(lane)
    bundle = {"CPU": asked["num_cpus"], "GPU": asked["num_gpus"], **asked.get("resources", {})}
    with ray_folder() as scratch, _tuner_class(cluster, scratch) as tuner_class:
        tuner = tuner_class(
            trainable=tune.with_resources(trainable, tune.PlacementGroupFactory([bundle])),
            param_space=dict(space),
            tune_config=tune.TuneConfig(
                max_concurrent_trials=cluster.places(lane), reuse_actors=True, **settings
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                name=lane,
                verbose=0,
                callbacks=[_SignalsAsBefore(), callback],
                failure_config=tune.FailureConfig(max_failures=max_failures),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_at_end=False),
            ),
        )
        yield tuner.fit()


@contextlib.contextmanager
def _tuner_class(cluster: RayCluster, scratch: str) -> Iterator[Any]:
    """Through Ray's client a Tuner would run on the cluster's head node, where nobody sees its events.

    What is inside of one runs here as well, if it is told to, and told where to put its own files.
    """
    if not cluster.address.startswith(CLIENT):
        yield tune.Tuner
        return
    session = SimpleNamespace(get_session_dir_path=lambda: scratch)
    with (
        patch.object(ray._private.worker, "_global_node", session),
        patch.object(tuner_internal, "run", partial(tune.run, _remote=False)),
    ):
        yield tuner_internal.TunerInternal


class TaskTrial(tune.Trainable):
    """One task at a time in a host that is kept; a step is the next message that matters, or none.

    What a task tells to a driver that need not answer is told on: of what comes within one step, the last.
    So a short task is one step; each costs the driver more than a short task does.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.host = Host(config["threads"])
        self.talk = ThreadPoolExecutor(1)
        self.coming: Future[dict[str, Any]] | None = None
        self.is_answered = False

    def get_auto_filled_metrics(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Nothing: dates and names of machines that Tune would carry along, count and keep for each trial."""
        return {}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def facts(self) -> NodeFacts:
        return self.host.facts()

    def begin(self, payload: Mapping[str, Any], invitation: Invitation | None) -> None:
        self.is_answered = invitation is not None
        self.coming = self.talk.submit(self.host.begin, payload, invitation)

    def answer(self, answer: bytes | None) -> None:
        self.coming = self.talk.submit(self.host.next, answer)

    def ask_to_stop(self, seconds: float) -> None:
        self.host.stop(seconds)

    def step(self) -> dict[str, Any]:
        if self.coming is None:
            return {"message": {"held_back": True}, "done": True}
        message: dict[str, Any] = {}
        until = time.monotonic() + STEP_SECONDS
        while wait([self.coming], max(until - time.monotonic(), 0.0)).done:
            message, self.coming = self.coming.result(), None
            if self.is_answered or not ENDS.isdisjoint(message):
                break
            self.coming = self.talk.submit(self.host.next, None)
        return {"message": message, "done": not ENDS.isdisjoint(message)}

    def cleanup(self) -> None:
        self.host.worker.close()
        self.talk.shutdown(wait=False)


class _SignalsAsBefore(tune.Callback):
    """Tune takes SIGUSR1 for itself, whatever it is told; this takes it back."""

    def __init__(self) -> None:
        self.handler = signal.getsignal(signal.SIGUSR1)

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def setup(self, *_: Any, **info: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR1, self.handler)
