"""Sends what a command makes in the copy of a store, while it works and at its end.

A store that cannot be reached stops nothing: that is said once, results are kept in the copy, and go when it
can be reached again, by this command or the next one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from harness.errors import HarnessError
from harness.store.lease import Lease
from harness.store.mirror import Mirror

SEND_SECONDS = 10.0
"""How often it is looked whether there is something to send."""

LAST_TRIES = 3
PAUSE_SECONDS = 2.0

HURRY_SECONDS = 5.0
"""For what is left when a command is interrupted."""


class Uplink:
    """A thread beside the command; `close` ends it.

    Args:
        say: called from that thread with a sentence for the user.
    """

    def __init__(self, mirror: Mirror, lease: Lease, say: Callable[[str], None]) -> None:
        self.mirror = mirror
        self.lease = lease
        self.say = say
        self._ending = threading.Event()
        self._wrong: Exception | None = None
        self._cut_off = False
        self._thread = threading.Thread(target=self._run, name="harness-uplink", daemon=True)
        self._thread.start()

    def close(self, *, hurry: bool) -> str:
        """Send what is left; returns why not everything went, in words, or nothing.

        Raises: whatever went wrong that is no fault of the store's.
        """
        self._ending.set()
        self._thread.join(HURRY_SECONDS if hurry else None)
        if self._thread.is_alive():
            return f"{self.mirror.remote.url}: there was no time to send all; {self._kept}"
        if self._wrong is None:
            return ""
        if isinstance(self._wrong, HarnessError | OSError):
            return f"{self._wrong}; {self._kept}"
        raise self._wrong

    @property
    def _kept(self) -> str:
        return f"all results are in {self.mirror.folder}, and the same command sends what is missing"

    def _run(self) -> None:
        try:
            while not self._ending.wait(SEND_SECONDS):
                try:
                    self._send(ended_only=True)
                except (HarnessError, OSError) as error:
                    self._tell(error)
            self._send_the_rest()
        except Exception as error:
            self._wrong = error

    def _send(self, *, ended_only: bool) -> None:
        if not self.lease.is_mine():
            raise HarnessError(
                f"{self.mirror.remote.url}: another run has taken it over while this one was cut off, so "
                "nothing more is sent"
            )
        self.mirror.push(ended_only=ended_only)
        if self._cut_off:
            self._cut_off = False
            self.say(f"{self.mirror.remote.url} is reached again")

    def _tell(self, error: Exception) -> None:
        if not self._cut_off:
            self.say(f"{error}. The run goes on; results are kept in {self.mirror.folder}")
        self._cut_off = True

    def _send_the_rest(self) -> None:
        for tried in range(1, LAST_TRIES + 1):
            try:
                self._send(ended_only=False)
                self.lease.give_back()
                return
            except (HarnessError, OSError):
                if tried == LAST_TRIES:
                    raise
                time.sleep(PAUSE_SECONDS)
