"""How a training is asked to stop before its end."""

from __future__ import annotations

from collections.abc import Callable

ShouldStop = Callable[[], bool]
"""Asked after each update; true from the moment on at which the training shall stop."""


class Stopped(KeyboardInterrupt):
    """A trial stopped because it was asked to; what it has done is in its resume file.

    Passes, as a Ctrl-C would, through whatever turns a trial's exceptions into records.
    """


def never() -> bool:
    """Of a training that nobody stops."""
    return False
