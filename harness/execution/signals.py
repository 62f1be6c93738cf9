"""How a person or a scheduler stops a run: Ctrl-C, SIGTERM, and SIGUSR1, which Slurm sends ahead of time."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

GRACE_SECONDS = 5.0
"""What running trials are given to save what they have."""

LAST_RESORT_SECONDS = 8.0
"""After which a run that has not ended by itself is interrupted wherever it is."""

StopAsked = Callable[[], bool]


class StopRequest:
    """Whether this process has been asked to stop.

    Outside of `deferring` a signal raises KeyboardInterrupt at once. Inside, the first one is only
    noted, for whoever asks ``stop()``; a second one, or a few seconds more, raises. Once `closing`, signals
    change nothing: what is under way then is the end.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.closing = False
        self._deferring = False
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        return 128 + signal.SIGTERM if self.signal == signal.SIGTERM else 128 + signal.SIGINT

    def __enter__(self) -> StopRequest:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    def listen(self) -> None:
        """Set the handlers; again, after something else (Ray, as it starts) has set its own."""
        if threading.current_thread() is not threading.main_thread():
            return  # signals are then the business of whoever runs the main thread
        for number in (*SIGNALS, signal.SIGALRM):
            before = signal.signal(number, self._receive)
            self._before.setdefault(number, before)

    @contextlib.contextmanager
    def deferring(self) -> Iterator[None]:
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def _receive(self, number: int, _: object) -> None:
        first = self.signal is None
        if first and number != signal.SIGALRM:
            self.signal = number
        if self.closing:
            return
        if not (first and self._deferring):
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, LAST_RESORT_SECONDS)
