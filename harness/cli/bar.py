"""One long piece of work on the command line: a bar with the time left, or now and then a line in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.cli.format import console as make_console
from harness.cli.format import duration

EVERY = 20.0
"""Seconds between two lines where there is no terminal."""

Progress = Callable[[float, str], None]
"""(fraction done in 0..1, a few words)"""


@contextmanager
def bar(what: str) -> Iterator[Progress]:
    """Yield what is to be called with how far the work is."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    console = make_console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[words]}", markup=False),
    )
    clock = _Clock()
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=1.0, words="")

        def progress(fraction: float, text: str) -> None:
            # Training a classifier knows better how long it takes: it says so itself.
            words = text if text.endswith(" left") else text + clock.left(fraction)
            bars.update(task, completed=fraction, words=words)
            if not console.is_terminal and clock.is_time():
                console.print(f"{what}: {words}", markup=False, highlight=False, soft_wrap=True)

        yield progress


class _Clock:
    """How long the rest takes at the speed so far; another piece of work begins where the fraction falls."""

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()
        self._first = self._last = 0.0

    def left(self, fraction: float) -> str:
        now = time.monotonic()
        if fraction < self._last:
            self._began, self._first = now, fraction
        self._last = fraction
        done = fraction - self._first
        if done < 0.01 or fraction >= 1 or now - self._began < 1:
            return ""
        return f", about {duration((now - self._began) * (1 - fraction) / done)} left"

    def is_time(self) -> bool:
        now = time.monotonic()
        if now - self._said < EVERY:
            return False
        self._said = now
        return True
