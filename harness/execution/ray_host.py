"""The far end of the Ray driver: what runs in an actor.

The driver asks for one message after another (`begin`, then `next`): so that a file's pieces are not made
faster than they are taken away, and because Ray's client (`ray://`) knows no streams.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from harness.errors import HarnessError
from harness.execution.executor import Interrupted
from harness.execution.isolation import Worker, WorkerLost
from harness.execution.ray_folder import ray_folder
from harness.execution.run_trial import Task
from harness.execution.same_code import NODE_NAME, NodeFacts, facts_of
from harness.execution.transfer import Away, Invitation, Talk
from harness.store.record import read_record, write_record

SCRATCH = "HARNESS_SCRATCH"
"""Variable of a node: the folder below which its tasks work, even where the driver's disk is there too."""


class Host:
    """One warm worker, kept from task to task."""

    def __init__(self, threads: int) -> None:
        self.worker = Worker(threads)
        self._talk: Talk | None = None
        self._places = ExitStack()
        self._place: Path | None = None
        self._node = ""

    def ready(self) -> bool:
        return True

    def facts(self) -> NodeFacts:
        """With what this node would run a trial; for a cluster that is not the driver's own."""
        node = ray.get_runtime_context().get_node_id()
        self._node = os.environ[NODE_NAME] = node[:8]  # read where a trial's provenance is written
        return facts_of(node)

    def begin(self, payload: Mapping[str, Any], invitation: Invitation | None) -> dict[str, Any]:
        """Start a task; its first message. The last says how it went: `done`, `stopped`, `lost` or `broken`.

        Args:
            invitation: to the folder as the driver has it; None where it is certain to be on this disk.
        """
        self._talk = self._run(Task.from_payload(payload), invitation)
        return next(self._talk)

    def next(self, answer: bytes | None) -> dict[str, Any]:
        """The next message, once the last one is answered."""
        assert self._talk is not None
        return self._talk.send(answer)

    def stop(self, seconds: float) -> None:
        self.worker.stop(seconds)

    def _run(self, task: Task, invitation: Invitation | None) -> Talk:
        if invitation is None or (not _scratch() and invitation.is_seen(Path(task.folder))):
            yield from self._work(task)
        else:
            yield from self._run_away(task, invitation)

    def _work(self, task: Task) -> Iterator[dict[str, Any]]:
        """Progress, and at last how it went."""
        try:
            yield from self.worker.stream(task)
            yield {"done": True}
        except Interrupted:
            yield {"stopped": True}
        except WorkerLost as error:
            yield {"lost": str(error)}
        except (HarnessError, OSError) as error:
            yield {"broken": str(error)}

    def _run_away(self, task: Task, invitation: Invitation) -> Talk:
        """The same in a folder of this node, whose files go to the driver's."""
        message: dict[str, Any] = {}
        folder = None
        try:
            folder = Path(tempfile.mkdtemp(dir=self._own_place()))
            away = Away(folder)
            yield from away.fetch(invitation.needed)
            there = replace(task, folder=str(folder))
            for message in self._work(there):
                if "progress" in message:
                    yield from away.send_some()
                    yield message
            if "done" in message:
                self._say_where(there)
            yield from away.send_all()
        except OSError as error:  # this node's disk, not the driver's: another may do better
            message = {"broken": str(error)}
        finally:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
        yield {"lost": message["broken"]} if "broken" in message else message

    def _own_place(self) -> Path:
        """Below it are this actor's folders; it goes when the actor does, however that ends."""
        if self._place is None:
            self._place = Path(self._places.enter_context(ray_folder(_scratch())))
        return self._place

    def _say_where(self, task: Task) -> None:
        """A trial may have failed for what this node lacks: data, a compiler."""
        record = read_record(task.record_path)
        if record.status == "failed":
            words = f"{record.error} (on node {self._node}, which works without the driver's disk)"
            write_record(task.record_path, replace(record, error=words))


def _scratch() -> Path | None:
    said = os.environ.get(SCRATCH)
    return Path(said) if said else None
