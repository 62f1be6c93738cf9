"""Where on this machine a data set's files may lie: a folder that was named, or HARNESS_DATA."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import DataError

log = logging.getLogger(__name__)

Holds = Callable[[Path], bool]
"""Whether an existing folder looks like the data set: complete or not, that is judged later."""


def find_folder(
    path: str, layouts: Sequence[str], holds: Holds, what: str, *, quiet: bool = False
) -> Path | None:
    """The data set's folder below `path`, or else below $HARNESS_DATA; None where nobody named one.

    `layouts` are relative folders, "." for the named folder itself, tried in this order. HARNESS_DATA
    is one place for all sets: that it lacks this one is a warning, unless `quiet`.
    Raises: DataError when `path` is given and holds nothing of the kind, or cannot be read.
    """
    if path:
        place = Path(path).expanduser()
        if not place.is_dir():
            raise DataError(f"there is no folder {place} (path of the data set)")
        found = _first(place, layouts, holds)
        if found is None:
            raise DataError(f"{place} holds no {what}; expected {_expected(layouts)} in it")
        return found
    name = os.environ.get("HARNESS_DATA")
    if not name:
        return None
    found = _first(Path(name).expanduser(), layouts, holds)
    if found is None and not quiet:
        log.warning("HARNESS_DATA=%s holds no %s; looking among the downloads", name, layouts[0])
    return found


def _first(place: Path, layouts: Sequence[str], holds: Holds) -> Path | None:
    try:
        return next(
            (place / layout for layout in layouts if (place / layout).is_dir() and holds(place / layout)),
            None,
        )
    except OSError as error:
        raise DataError(f"cannot read {error.filename} (below {place}): {error.strerror}") from None


def _expected(layouts: Sequence[str]) -> str:
    return " or ".join("its files" if layout == "." else layout for layout in layouts)
