"""For commands that change trials: a results folder, or the copy of one at a URL that is sent back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.cli.format import console as make_console

if TYPE_CHECKING:
    from harness.store.wanted import Wanted


@contextmanager
def workplace(results: str, wanted: Wanted) -> Iterator[Path]:
    """Its folder, with what is `wanted` of it. Raises: typer.Exit with 4 where not all could be sent."""
    from harness.store.place import UNSENT, working

    console = make_console(stderr=True)
    with working(results, lambda words: console.print(words, highlight=False, markup=False), wanted) as place:
        assert place.folder is not None
        yield place.folder
    if place.unsent:
        raise typer.Exit(UNSENT)
