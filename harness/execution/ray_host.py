"""The far end of the Ray driver: what runs in an actor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import HarnessError
from harness.execution.executor import Interrupted
from harness.execution.isolation import Worker, WorkerLost
from harness.execution.run_trial import Task


class Host:
    """One warm worker, kept from task to task."""

    def __init__(self, threads: int) -> None:
        self.worker = Worker(threads)

    def ready(self) -> bool:
        return True

    def run(self, payload: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Progress of a task, and at last how it went: `done`, `stopped`, `lost` or `broken`."""
        try:
            yield from self.worker.stream(Task.from_payload(payload))
            yield {"done": True}
        except Interrupted:
            yield {"stopped": True}
        except WorkerLost as error:
            yield {"lost": str(error)}
        except (HarnessError, OSError) as error:
            yield {"broken": str(error)}

    def stop(self, seconds: float) -> None:
        self.worker.stop(seconds)
