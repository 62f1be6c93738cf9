"""Ray as a stateless executor: its actors are given tasks, run them somewhere, and keep nothing.

Which trials there are and which are done is the harness's own business (the store's). What fails in a
trial becomes its record, in the actor's worker. What fails around it (a worker, an actor, a node, Ray
itself) is met here: the task runs again, on another actor or another cluster, a few times at most.
Ray Tune's trial runner is not used: it starts trials more slowly, and its restore knows no changed list.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from harness.errors import HarnessError
from harness.execution.executor import Events, Interrupted
from harness.execution.isolation import record_failure, stamp
from harness.execution.ray_cluster import LOCAL, RayCluster
from harness.execution.ray_host import Host
from harness.execution.run_trial import Task
from harness.execution.same_code import NodeFacts, check_same
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


class ClusterLost(Exception):
    """Ray's own processes are gone."""


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
class _Member:
    """An actor, as the driver sees it: starting, idle or busy with a task."""

    actor: Any
    starting: Any
    """Reference that is ready when the actor is; then None."""
    node_id: str = ""
    """Where it is; known of actors on a cluster that is not the driver's own."""
    task: Task | None = None
    message: Any = None
    """Reference to the next message, while busy."""
    before: tuple[int, int] | None = None
    """Stamp of the task's record when it was given out."""
    home: Home | None = None
    """The task's folder, where the actor may not see it."""

    @property
    def source(self) -> Any:
        return self.starting if self.starting is not None else self.message

    def release(self) -> None:
        """Busy no more."""
        self.task = self.message = None
        if self.home is not None:
            self.home.close()
            self.home = None


class _Crew:
    """The actors that work through one lane's tasks."""

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
        self.members: list[_Member] = []
        self.has_begun = False
        self.futile = 0
        lane = self.waiting[0].lane
        self.places = cluster.places(lane)
        self.request = cluster.request(lane)
        self.threads = self.waiting[0].threads
        self.looked_at = time.monotonic()

    @property
    def busy(self) -> list[_Member]:
        return [member for member in self.members if member.task is not None]

    def work(self) -> None:
        """Raises: Interrupted, ClusterLost, HarnessError"""
        try:
            while self.waiting or self.busy:
                if self.stop():
                    self._stop()
                    raise Interrupted
                if self.no_more():  # what is begun ends; a lost one is for the next run
                    self.waiting.clear()
                self._hire()
                self._assign()
                self._listen(0.1)
                self._look_at_cluster()
        finally:
            for member in list(self.members):
                self._dismiss(member)

    def unfinished(self) -> list[Task]:
        """After the cluster was lost: what is still to do."""
        for member in self.busy:
            self._again(member, "Ray's processes died")
        return list(self.waiting)

    def _hire(self) -> None:
        wanted = min(self.places, len(self.waiting) + len(self.busy))
        while len(self.members) < wanted:
            # Two at once, so that `stop` is heard while `run` runs.
            actor: Any = ray.remote(Host).options(**self.request, max_concurrency=2).remote(self.threads)
            # Its own node is the driver's: what another is like has to be asked.
            starting = actor.ready.remote() if self.cluster.is_own else actor.facts.remote()
            self.members.append(_Member(actor, starting))

    def _assign(self) -> None:
        for member in self.members:
            if member.starting is None and member.task is None and self.waiting:
                task = self.cluster.fitted(self.waiting.popleft(), member.node_id)
                member.task, member.before = task, stamp(task)
                member.home = None if self.cluster.is_own else Home(task)
                invitation = member.home.invitation if member.home is not None else None
                member.message = member.actor.begin.remote(task.payload(), invitation)
                self.has_begun = True
                self.events.started(task)

    def _listen(self, seconds: float) -> None:
        """Take at most one message, waiting for it no longer than this."""
        sources = {member.source: member for member in self.members if member.source is not None}
        if not sources:
            return
        ready: list[Any] = ray.wait(list(sources), timeout=seconds)[0]
        for source in ready:
            member = sources[source]
            try:
                message: Any = ray.get(source)
                if member.starting is not None:
                    self._welcome(member, message)
                else:
                    answer = member.home.answer(message) if member.home is not None else None
                    self._take(member, message)
                    if member.task is not None:
                        member.message = member.actor.next.remote(answer)
            except RayTaskError:
                raise  # a defect of ours, with its traceback
            except RayError as error:
                self._lost(member, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")

    def _welcome(self, member: _Member, facts: NodeFacts | bool) -> None:
        """Raises: HarnessError for a node with other code or packages than the driver's"""
        if isinstance(facts, NodeFacts):
            check_same(facts)
            member.node_id = facts.node_id
        member.starting, self.futile = None, 0

    def _take(self, member: _Member, message: Mapping[str, Any]) -> None:
        task = member.task
        assert task is not None
        if "progress" in message:
            self.events.progress(task, message["progress"], message["text"])
        elif "lost" in message:
            self._again(member, message["lost"])
        elif "broken" in message:
            raise HarnessError(message["broken"])
        elif "done" in message or "stopped" in message:
            member.release()
            if "done" in message:
                self.events.ended(task, read_record(task.record_path))

    def _lost(self, member: _Member, words: str) -> None:
        self.members.remove(member)
        if member.task is not None:
            self._again(member, words)
            return
        self.futile += 1
        if self.futile == FUTILE_STARTS * self.places:
            raise HarnessError(f"no worker can be started: {words}")

    def _again(self, member: _Member, words: str) -> None:
        """A fault around the trial: it runs again, unless it had ended or this happens too often."""
        task = member.task
        assert task is not None
        member.release()
        if stamp(task) != member.before:
            self.events.ended(task, read_record(task.record_path))
        elif task.attempt >= ATTEMPTS:
            self.events.ended(task, record_failure(task, "failed", f"lost {ATTEMPTS} times: {words}"))
        else:
            self.waiting.appendleft(replace(task, attempt=task.attempt + 1))
            self.events.progress(task, 0.0, f"runs again: {words}")

    def _look_at_cluster(self) -> None:
        if time.monotonic() - self.looked_at > WHOLE_SECONDS:
            self.looked_at = time.monotonic()
            if not self.cluster.is_whole():
                raise ClusterLost

    def _stop(self) -> None:
        """Ask every running trial to save what it has; wait until they have, not for ever."""
        for member in self.busy:
            member.actor.stop.remote(GRACE_SECONDS)
        end = time.monotonic() + GRACE_SECONDS + 1.0
        while self.busy and time.monotonic() < end and self.cluster.is_whole():
            self._listen(0.1)

    def _dismiss(self, member: _Member) -> None:
        self.members.remove(member)
        member.release()
        ray.kill(member.actor)
