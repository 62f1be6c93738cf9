"""What one trial trains on: several GPUs, or several processes on CPUs, that share each of its batches."""

from __future__ import annotations

from dataclasses import dataclass

from harness.contracts import require
from harness.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ResourcesConfig:
    """One trial is trained data-parallel on one machine.

    No part of a trial's key, as its loss and updates are those of one process up to the order of sums;
    like `gradient_accumulation`, `workers` stands in a column of the table. Timings of the exclusive lane
    are of one device whatever is said here.
    """

    gpu: int | None = None
    """GPUs for each trial, of a run on GPUs."""
    cpu_workers: int | None = None
    """Processes for each trial, with `--threads` threads each, of a run on CPUs."""

    def __post_init__(self) -> None:
        for name in ("gpu", "cpu_workers"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, f"must be at least 1, or left out, got {value}")

    def workers(self, device: str) -> int:
        """Processes that train one trial, of a run on `cpu` or `cuda`.

        Raises: ConfigError where only the other kind of device was asked for.
        """
        here, elsewhere = ("gpu", "cpu_workers") if device.startswith("cuda") else ("cpu_workers", "gpu")
        asked: int | None = getattr(self, here)
        if asked is None and getattr(self, elsewhere) is not None:
            raise ConfigError(
                elsewhere,
                f"says nothing of a run on {device!r}; say `{here}` as well, keep `resources` in the profile "
                "that it is for, or choose another --device",
            )
        return asked or 1
