"""Ray Tune as a stateless executor: it is given tasks, one a trial, runs them somewhere, and keeps nothing.

Which trials there are and which are done is the harness's own business (the store's), so nothing of Tune's
is ever restored. What fails in a trial becomes its record, in the actor's worker. What fails around it (a
worker, an actor, a node, Ray itself) is met here: the task becomes another Tune trial, on another actor or
another cluster, a few times at most.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError, RayTaskError
from ray.tune.error import TuneError
from ray.tune.search import Searcher

from harness.errors import HarnessError
from harness.execution.executor import Events, Interrupted
from harness.execution.isolation import record_failure, stamp
from harness.execution.ray_cluster import LOCAL, RayCluster
from harness.execution.ray_tune import TaskTrial, fitted
from harness.execution.run_trial import Task
from harness.execution.same_code import check_same
from harness.execution.signals import GRACE_SECONDS, StopAsked
from harness.execution.transfer import Home
from harness.store.record import read_record
from harness.training.stopping import never

ATTEMPTS = 3
"""How often a task is begun when machines fail; the number stands in its record's provenance."""

FUTILE_STARTS = 3
"""How often a cluster, or an actor, is started in vain before the run ends."""

WHOLE_SECONDS = 1.0
"""How often the cluster's processes are looked at."""


class ClusterLost(BaseException):
    """Ray's own processes are gone; no Exception, after which Tune would tidy up in what is not there."""


class RayExecutor:
    """Tasks on a local Ray cluster of its own, or on the one at `address`.

    `slots` tasks of the training lane run side by side, each with `workers` processes of `threads` CPUs
    (and a GPU where the device is one); a task of the exclusive lane has its node for itself.
    """

    def __init__(
        self,
        *,
        slots: int | None,
        threads: int,
        gpu: bool,
        workers: int = 1,
        address: str = LOCAL,
        no_more: StopAsked = never,
    ) -> None:
        self.no_more = no_more
        self.cluster = RayCluster(slots=slots, threads=threads, gpu=gpu, workers=workers, address=address)

    def __enter__(self) -> RayExecutor:
        self.cluster.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.stop()

    def run(self, tasks: Sequence[Task], events: Events, stop: StopAsked) -> None:
        left, futile = list(tasks), 0
        while left:
            crew = _Crew(self.cluster, left, events, stop, self.no_more)
            try:
                crew.work()
                return
            except ConnectionError as error:  # of Ray's client; what else Ray loses is a RayError
                raise HarnessError(
                    f"the Ray cluster at {self.cluster.address} is out of reach ({error}); "
                    "the same command continues"
                ) from None
            except ClusterLost:
                futile = 0 if crew.has_begun else futile + 1
                if futile == FUTILE_STARTS:
                    raise HarnessError("Ray's processes died again and again before a trial began") from None
                left = crew.unfinished()
                self.cluster.stop()
                self.cluster.start()


@dataclass
class _Job:
    """A task that is a trial of Tune's."""

    task: Task
    actor: Any = None
    """Where it has begun."""
    before: tuple[int, int] | None = None
    """Stamp of the task's record when it was given out."""
    home: Home | None = None
    """The task's folder, where the actor may not see it."""


class _Crew:
    """Works through one lane's tasks, as Tune asks for them and tells of them."""

    def __init__(
        self,
        cluster: RayCluster,
        tasks: Iterable[Task],
        events: Events,
        stop: StopAsked,
        no_more: StopAsked = never,
    ) -> None:
        self.cluster, self.events, self.stop, self.no_more = cluster, events, stop, no_more
        self.waiting = deque(tasks)
        self.jobs: dict[str, _Job] = {}
        self.has_begun = False
        self.futile = 0
        self.lane, self.threads = self.waiting[0].lane, self.waiting[0].threads
        self.looked_at = time.monotonic()
        self.stopping_until: float | None = None
        self.broken: Exception | None = None

    @property
    def begun(self) -> list[_Job]:
        return [job for job in self.jobs.values() if job.actor is not None]

    def work(self) -> None:
        """Raises: Interrupted, ClusterLost, HarnessError"""
        try:
            with fitted(
                TaskTrial,
                self.cluster,
                self.lane,
                space={"threads": self.threads},
                callback=_Relay(self),
                search_alg=_Draws(self),
                num_samples=-1,  # as many as are drawn
            ):
                pass
        except (RayError, RuntimeError, TuneError) as error:
            if error is self.broken or not _comes_of_ray(error):
                raise
            raise ClusterLost from None  # or of one object in it, which Tune does not survive either
        finally:
            for job in self.begun:
                _leave(job)

    def unfinished(self) -> list[Task]:
        """After the cluster was lost: what is still to do."""
        for trial in list(self.jobs):
            self._again(trial, "Ray's processes died")
        return list(self.waiting)

    def draw(self, trial: str) -> dict[str, Any] | str | None:
        """The next task for Tune; None where there may be one later."""
        if self.waiting and not self._is_closing():
            self.jobs[trial] = _Job(self.waiting.popleft())
            return {"task": Path(self.jobs[trial].task.folder).name}
        return None if self.jobs else Searcher.FINISHED

    def begin(self, trial: str, actor: Any) -> None:
        """Tune has an actor for the task. Raises: HarnessError for a node with other code or packages."""
        if self._is_closing():
            return
        job, node_id = self.jobs[trial], ""
        if not self.cluster.is_own:  # its own node is the driver's: what another is like has to be asked
            facts = ray.get(actor.facts.remote())
            check_same(facts)
            node_id = facts.node_id
        job.task = self.cluster.fitted(job.task, node_id)
        job.before = stamp(job.task)
        job.home = None if self.cluster.is_own else Home(job.task)
        job.actor = actor
        actor.begin.remote(job.task.payload(), None if job.home is None else job.home.invitation)
        self.has_begun, self.futile = True, 0
        self.events.started(job.task)

    def take(self, trial: str, message: Mapping[str, Any]) -> None:
        """A message of a task that runs; where it is answered, that comes before Tune asks for the next."""
        job = self.jobs[trial]
        answer = None if job.home is None else job.home.answer(message)
        if "progress" in message:
            self.events.progress(job.task, message["progress"], message["text"])
        elif "lost" in message:
            self._again(trial, message["lost"])
        elif "broken" in message:
            raise HarnessError(message["broken"])
        elif "done" in message or "stopped" in message or "held_back" in message:
            _leave(self.jobs.pop(trial))
            if "done" in message:
                self.events.ended(job.task, read_record(job.task.record_path))
        if trial in self.jobs and job.home is not None:
            job.actor.answer.remote(answer)

    def lost(self, trial: str, error: Exception | None) -> None:
        """Raises: HarnessError where no actor can be started"""
        if isinstance(error, RayTaskError):
            raise error  # a defect of ours, with its traceback
        words = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if self.jobs[trial].actor is None:
            self.futile += 1
            if self.futile == FUTILE_STARTS * self.cluster.places(self.lane):
                raise HarnessError(f"no worker can be started: {words}")
        self._again(trial, words)

    def look(self) -> None:
        """Between two events of Tune's. Raises: Interrupted, ClusterLost, and what broke in an event"""
        if self.broken is not None:
            raise self.broken
        now = time.monotonic()
        if self.stopping_until is None and self.stop():
            self.stopping_until = now + GRACE_SECONDS + 1.0
            for job in self.begun:  # to save what it has; waited for, but not for ever
                job.actor.ask_to_stop.remote(GRACE_SECONDS)
        if self.stopping_until is not None and (now > self.stopping_until or not self.begun):
            raise Interrupted
        if now - self.looked_at > WHOLE_SECONDS:
            self.looked_at = now
            if not self.cluster.is_whole():
                raise ClusterLost

    def _is_closing(self) -> bool:
        """What is begun ends; what is lost now is for the next run."""
        return self.stopping_until is not None or self.no_more()

    def _again(self, trial: str, words: str) -> None:
        """A fault around the trial: it runs again, unless it had ended or this happens too often."""
        job = self.jobs.pop(trial)
        task = job.task
        _leave(job)
        if job.actor is None:
            self.waiting.appendleft(task)
        elif stamp(task) != job.before:
            self.events.ended(task, read_record(task.record_path))
        elif task.attempt >= ATTEMPTS:
            self.events.ended(task, record_failure(task, "failed", f"lost {ATTEMPTS} times: {words}"))
        else:
            self.waiting.appendleft(replace(task, attempt=task.attempt + 1))
            self.events.progress(task, 0.0, f"runs again: {words}")


class _Draws(Searcher):
    """Gives Tune the next task whenever it has a place for one."""

    def __init__(self, crew: _Crew) -> None:
        super().__init__()
        self.crew = crew

    def __getstate__(self) -> dict[str, Any]:
        """Tune writes its parts to disk, and a terminal cannot be; nothing is ever read back."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        return self.crew.draw(trial_id)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """What there is to know the callback was told."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing, as above."""

    def restore(self, checkpoint_path: str) -> None:
        """Never called."""


class _Relay(tune.Callback):
    """Tells the crew what happens. What is raised meanwhile Tune would turn into text: it is raised later."""

    def __init__(self, crew: _Crew) -> None:
        self.crew = crew

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        self.crew.look()

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        with self._raised_later():
            self.crew.begin(trial.trial_id, trial.temporary_state.ray_actor)

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict, **info: Any) -> None:
        if message := result.pop("message"):
            with self._raised_later():
                self.crew.take(trial.trial_id, message)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        with self._raised_later():
            self.crew.lost(trial.trial_id, trial.get_pickled_error())

    @contextlib.contextmanager
    def _raised_later(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # An actor that is lost Tune finds out by itself.
            if isinstance(error, RayTaskError) or not isinstance(error, RayError):
                self.crew.broken = self.crew.broken or error


def _leave(job: _Job) -> None:
    if job.home is not None:
        job.home.close()


def _comes_of_ray(error: BaseException | None) -> bool:
    """Whether Ray failed, and nothing of ours in it."""
    while error is not None:
        if isinstance(error, RayError) and not isinstance(error, RayTaskError):
            return True
        error = error.__cause__ or error.__context__
    return False
