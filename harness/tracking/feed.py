"""One tracker in a thread of its own: what it cannot do costs one warning, never a trial."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from harness.contracts import Tracker
from harness.errors import HarnessError
from harness.tracking.notice import log

PATIENCE = 60.0
"""Seconds that a tracker may take for one piece of work before a run ends without it."""

Work = Callable[[Tracker], None]


class Feed:
    """Work for a tracker, done in order and elsewhere. After a failure what is left is dropped."""

    def __init__(self, name: str, make: Callable[[], Tracker]) -> None:
        self.name, self._make = name, make
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._put, self._done = 0, 0
        self._failed = False
        self._thread: threading.Thread | None = None

    @property
    def failed(self) -> bool:
        return self._failed

    @property
    def used(self) -> bool:
        return self._thread is not None

    def put(self, work: Work) -> None:
        if self._failed:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"track-{self.name}", daemon=True)
            self._thread.start()
        self._put += 1
        self._work.put(work)

    def wait(self, patience: float = PATIENCE) -> bool:
        """Until all is done; whether it is. `patience`: seconds without anything done until it gives up."""
        done, since = self._done, time.monotonic()
        while not self._failed and self._done < self._put:
            time.sleep(0.01)
            if self._done != done:
                done, since = self._done, time.monotonic()
            elif time.monotonic() - since > patience:
                return False
        return not self._failed

    def close(self, patience: float = PATIENCE) -> None:
        """Wait, and say so where the tracker still has not come to an end."""
        if self._thread is None:
            return
        if not self.wait(patience) and not self._failed:
            self._failed = True
            log.warning(
                "track: %s has not done with %d logs, the next run hands them over", self.name, self._left
            )
        self._work.put(None)
        if not self._failed:
            self._thread.join(patience)

    @property
    def _left(self) -> int:
        return self._put - self._done

    def _run(self) -> None:
        tracker = None
        while (work := self._work.get()) is not None:
            if self._failed:
                continue
            try:
                tracker = tracker or self._make()
                work(tracker)
            except (Exception, SystemExit) as error:
                self._failed = True
                why = str(error) if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}"
                log.warning("track: %s gets no more logs of this run: %s", self.name, " ".join(why.split()))
            self._done += 1
