"""Errors that are meant for a person: one message, no traceback.

`HarnessError` and its children are caught at the command line and printed as they are;
anything else that escapes is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

Path = tuple[str | int, ...]


class HarnessError(Exception):
    """Something the user can mend. The message says what is wrong and what to do."""

    exit_code = 2


class ConfigError(HarnessError, ValueError):
    """A configuration value that cannot be used.

    `path` leads to the value inside its mapping, e.g. ``("model", "pooling", 2)``; the suite
    loader turns it into file, line and column.
    """

    def __init__(self, path: str | Path, message: str) -> None:
        self.path: Path = (path,) if isinstance(path, str) else tuple(path)
        self.message = message
        super().__init__(f"{dotted(self.path)}: {message}" if self.path else message)

    def under(self, *prefix: str | int) -> ConfigError:
        """The same complaint, seen from an enclosing mapping."""
        return ConfigError((*prefix, *self.path), self.message)


class DataError(HarnessError):
    """A data set that is missing, damaged or not what its config says."""


class PluginError(HarnessError):
    """A plugin that cannot be found, loaded or used."""


def dotted(path: Path) -> str:
    """`("model", "pooling", 2)` as a person writes it: ``model.pooling[2]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A half sentence with the nearest known name, or with all of them when none is near."""
    known = sorted(known)
    near = get_close_matches(str(wrong), known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(known)}" if known else "none is known"
