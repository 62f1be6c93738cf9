"""How far a long piece of work with data is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.cli.format import duration, quantity

EVERY = 30.0
"""Seconds between two lines where there is no terminal; work that is done sooner says nothing."""

log = logging.getLogger(__name__)

Advance = Callable[[float], None]
"""Told how much is done by now, in the unit of the total."""


@contextmanager
def progress(what: str, total: float | None, unit: str) -> Iterator[Advance]:
    """Yield what is to be called with the amount done: bytes, files, clips.

    `total` is None where nobody knows it; then there is no time left either.
    """
    if sys.stderr.isatty():
        with _bar(what, total, unit) as advance:
            yield advance
    else:
        yield _lines(what, total, unit)


@contextmanager
def _bar(what: str, total: float | None, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[words]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, words="")

        def advance(done: float) -> None:
            bar.update(task, completed=done, words=_of(done, total, unit))

        yield advance


def _lines(what: str, total: float | None, unit: str) -> Advance:
    began = said = time.monotonic()
    first: float | None = None  # a download that is resumed does not begin at nothing

    def advance(done: float) -> None:
        nonlocal said, first
        first = done if first is None else first
        now = time.monotonic()
        if now - said < EVERY:
            return
        said = now
        left = ""
        if total and done > first:
            left = f", about {duration((now - began) * (total - done) / (done - first))} left"
        log.warning("%s: %s%s", what, _of(done, total, unit), left)

    return advance


def _of(done: float, total: float | None, unit: str) -> str:
    """``412 MB of 894 MB``, ``1.2 k of 38.9 k clips``"""
    amounts = [quantity(amount) for amount in (done, total) if amount is not None]
    if unit == "bytes":
        return " of ".join(f"{amount}B" if amount[-1:].isalpha() else f"{amount} B" for amount in amounts)
    return f"{' of '.join(amounts)} {unit}"
