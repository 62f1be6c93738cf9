"""Benchmark and ablation harness for long-sequence models.

The same functions that the command line uses, for notebooks and scripts::

    import harness

    model = harness.build_model({"name": "poolformer", "width": 32})
    suite = harness.load_suite("pooling_ablation")
    table = harness.load_results("results/pooling_ablation")

Nothing is imported until it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "build_model",
    "load_dataset",
    "load_figure_data",
    "load_results",
    "load_suite",
    "load_summary",
    "register",
    "run_suite",
]

_HOMES = {
    "register": "harness.registry",
    "build_model": "harness.api",
    "load_dataset": "harness.api",
    "load_suite": "harness.api",
    "run_suite": "harness.api",
    "load_results": "harness.api",
    "load_summary": "harness.api",
    "load_figure_data": "harness.api",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
