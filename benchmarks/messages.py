"""What a benchmark says while it runs: lines on stderr with the seconds since it began."""

from __future__ import annotations

import sys
import time

_start = time.monotonic()


def say(text: str) -> None:
    sys.stderr.write(f"[{time.monotonic() - _start:5.0f} s] {text}\n")
    sys.stderr.flush()
