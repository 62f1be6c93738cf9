"""Under what circumstances a row was measured: machine, versions, commit, date, command."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import sys
from datetime import UTC, datetime
from typing import Any

import torch

from harness.execution import provenance


def load_average() -> float | None:
    """Processes that wanted to run during the last minute, where the system tells."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not on Windows
        return None


LOAD_AT_START = load_average()
BUSY = 0.5
"""Processes of others that make timings doubtful."""


def busy() -> str | None:
    """A warning where others were running when this process began; else None."""
    if LOAD_AT_START is None or LOAD_AT_START < BUSY:
        return None
    return (
        f"others are running: load average {LOAD_AT_START:.1f} on {os.cpu_count()} CPUs, timings are doubtful"
    )


def circumstances(benchmark: str, device: torch.device) -> dict[str, Any]:
    """Columns that are the same for all rows of a run."""
    described = provenance.describe(device)
    names = ("device", "device_name", "torch_version", "python_version", "platform")
    return {
        "benchmark": benchmark,
        **{name: described[name] for name in names},
        "cpu_model": provenance.device_name(torch.device("cpu")),
        "load_average": LOAD_AT_START,
        "git_commit": described["git_commit"],
        "git_dirty": described["git_dirty"],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", f"benchmarks.{benchmark}", *sys.argv[1:]]),
    }


def version_of(distribution: str) -> str:
    """Of an installed package; empty for none."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
