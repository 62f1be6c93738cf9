"""The curves that the metric leaves in a trial's folder: tidy frames, `series/<name>.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.evaluation.horizon.summary import EVERYTHING, Curve
from harness.store.atomic import write_text

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


def write_series(folder: Path, name: str, rows: Sequence[Mapping[str, Any]], milliseconds: float) -> None:
    """`series/<name>.csv` of the trial's folder; columns in samples stand there in milliseconds as well."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    for column in [column for column in frame if str(column).endswith("_samples")]:
        frame[str(column).replace("_samples", "_ms")] = frame[column] * milliseconds
    path = folder / "series" / f"{name}.csv"
    if frame.empty:
        path.unlink(missing_ok=True)  # of an earlier measurement
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, frame.to_csv(index=False))


def cut_rows(curves: Mapping[str, Curve], strides: Mapping[int, int]) -> list[dict[str, Any]]:
    """Rises of the NLL, over all and over late tokens, by level, or "all", and samples between cuts."""
    return [
        {
            "level": part,
            "stride": strides[int(part)] if part != EVERYTHING else min(strides.values()),
            "distance_samples": every,
            "rise_bits": rises.every,
            "late_bits": rises.late,
        }
        for part, curve in curves.items()
        for every, rises in sorted(curve.items())
    ]


def memory_rows(memory: Mapping[int, np.ndarray], strides: Mapping[int, int]) -> list[dict[str, Any]]:
    """Quantiles of the effective memory by level, over clips and channels."""
    return [
        {"level": level, "stride": strides[level], "quantile": quantile, "memory_samples": samples}
        for level, values in sorted(memory.items())
        for quantile, samples in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)
    ]
