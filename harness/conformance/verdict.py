"""What checking a law yields."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Verdict:
    """One law, checked on one configuration."""

    law: str
    passed: bool
    message: str
    """A failure: what was observed, with figures, and what to do. A pass: a remark, or nothing."""
    subject: str = ""
    """What was checked, with its configuration."""

    def __str__(self) -> str:
        head = f"{'ok' if self.passed else 'BROKEN'}  {self.law}  [{self.subject}]"
        return f"{head}: {self.message}" if self.message else head


class Violation(Exception):
    """Raised by a law; the message says what was observed and what to do about it."""


def judge(
    laws: Iterable[Callable[[T], str | None]], about: T, subject: str, suffix: str = ""
) -> list[Verdict]:
    """Check the laws in turn. Whatever one raises is a failed verdict, never a crash."""
    verdicts = []
    for law in laws:
        try:
            passed, message = True, law(about) or ""
        except Violation as violation:
            passed, message = False, str(violation)
        except Exception as error:
            passed, message = False, f"it raised {type(error).__name__}: {error}{_where(error)}"
        verdicts.append(Verdict(law.__name__.replace("_", " ") + suffix, passed, message, subject))
    return verdicts


def _where(error: BaseException) -> str:
    """The innermost line that is neither an installed package's nor ours: the author's own."""
    ours = str(Path(__file__).parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if "site-packages" not in frame.filename and not frame.filename.startswith(ours):
            return f" ({Path(frame.filename).name}, line {frame.lineno})"
    return ""
