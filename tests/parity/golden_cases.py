"""Golden cases: a JSON file of facts and, beside it, the arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

KINDS = {  # what a JSON file calls itself -> the fixture that hands it out
    "forward": "forward_case",
    "layer": "layer_case",
    "training_trace": "trace_case",
    "counts_and_init_statistics": "initial_case",
    None: "embedding_case",
}
BUILT = ("poolformer", "poolformer_layers")
TESTED_ELSEWHERE = ("metrics", "rglru", "mamba", "sashimi")


@dataclass(frozen=True)
class Case:
    """One golden case: its JSON file and, beside it, its arrays."""

    path: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())

    @cached_property
    def arrays(self) -> Mapping[str, np.ndarray]:
        with np.load(self.path.with_suffix(".npz"), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays of a prefix, without it: ``under("grad/")``."""
        return {name.removeprefix(prefix): a for name, a in self.arrays.items() if name.startswith(prefix)}


def cases_in(goldens: Path) -> list[Case]:
    return [Case(path) for folder in BUILT for path in sorted((goldens / folder).glob("*.json"))]


def assert_close(
    name: str, found: np.ndarray, expected: np.ndarray, *, relative: float = 0.0, absolute: float = 1e-12
) -> None:
    """To an absolute bound plus one relative to the largest expected value."""
    assert found.shape == expected.shape, f"{name}: shape {found.shape}, expected {expected.shape}"
    error = np.abs(found - expected).max(initial=0.0)
    bound = absolute + relative * np.abs(expected).max(initial=0.0)
    assert error <= bound, f"{name}: differs by {error:.3g}, more than {bound:.3g}"
