"""Under what circumstances a row was measured: machine, versions, commit, date, command."""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
from datetime import UTC, datetime
from typing import Any

import torch

from harness.execution import provenance


def circumstances(benchmark: str, device: torch.device) -> dict[str, Any]:
    """Columns that are the same for all rows of a run."""
    described = provenance.describe(device)
    names = ("device", "device_name", "torch_version", "python_version", "platform")
    return {
        "benchmark": benchmark,
        **{name: described[name] for name in names},
        "cpu_model": provenance.device_name(torch.device("cpu")),
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
