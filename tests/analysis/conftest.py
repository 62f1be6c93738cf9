"""A synthetic suite that looks like a real one: 14 variants, 3 seeds, failures, references."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from harness.contracts import Column, FigureData

BASE = "base"
POOLED = (2, 4, 4, 5)

# name: (model, mixer, pooling, layers, final NLL in bits, step in ms, memory in MiB, state in bytes)
VARIANTS: dict[str, tuple] = {
    BASE: ("poolformer", "rg_lru", POOLED, 2, 3.02, 92.0, 210.0, 20_480),
    "pooling=[1,1,1,1]": ("poolformer", "rg_lru", (1, 1, 1, 1), 2, 2.97, 402.0, 870.0, 20_480),
    "pooling=[2,1,1,1]": ("poolformer", "rg_lru", (2, 1, 1, 1), 2, 2.98, 265.0, 560.0, 20_992),
    "pooling=[2,2,2,2]": ("poolformer", "rg_lru", (2, 2, 2, 2), 2, 2.99, 131.0, 290.0, 21_504),
    "pooling=[5,4,4,2]": ("poolformer", "rg_lru", (5, 4, 4, 2), 2, 3.11, 61.0, 140.0, 23_552),
    "mixer=lru": ("poolformer", "lru", POOLED, 2, 3.06, 118.0, 262.0, 40_960),
    "mixer=attention": ("poolformer", "attention", POOLED, 2, 3.04, 150.0, 390.0, 6_400_000),
    "mixer=convolution": ("poolformer", "convolution", POOLED, 2, 3.09, 89.0, 205.0, 61_440),
    "mixer=diagonal_rnn": ("poolformer", "diagonal_rnn", POOLED, 2, 3.05, 97.0, 231.0, 20_480),
    "layers=1": ("poolformer", "rg_lru", POOLED, 1, 3.10, 55.0, 122.0, 10_240),
    "layers=4": ("poolformer", "rg_lru", POOLED, 4, 2.95, 171.0, 402.0, 40_960),
    "transformer": ("transformer", "", None, 6, 3.21, 520.0, 1480.0, 12_288_000),
    "markov": ("markov", "", None, "", 4.12, None, None, 8),
    "unigram": ("unigram", "", None, "", 5.31, None, None, 0),
}
FAILED = {("mixer=attention", 2): "diverged", **{("layers=4", seed): "timeout" for seed in (0, 1, 2)}}

COLUMNS = {
    "parameters": Column(description="trainable numbers"),
    "nll_bits_test": Column(description="test", unit="bits/sample", better="lower"),
    "nll_bits_train": Column(description="train", unit="bits/sample", better="lower"),
    "generalization_gap_bits": Column(description="test - train", unit="bits/sample", better="lower"),
    "train_step_ms": Column(description="median", unit="ms", better="lower"),
    "tokens_per_second": Column(description="speed", unit="samples/s", better="higher"),
    "peak_memory_mib": Column(description="peak", unit="MiB", better="lower"),
    "state_bytes": Column(description="state", unit="B", better="lower"),
    "generate_samples_per_second": Column(description="speed", unit="samples/s", better="higher"),
}


def synthetic_data(
    names: Sequence[str] = tuple(VARIANTS),
    seeds: int = 3,
    failed: dict[tuple[str, int], str] | None = None,
    steps: int = 1000,
) -> FigureData:
    """What the store hands over; a seed's data order shifts all variants alike."""
    failed = FAILED if failed is None else failed
    rows, histories = [], []
    for index, name in enumerate(names):
        for seed in range(seeds):
            key = f"{index:06x}{seed:06x}"
            status = failed.get((name, seed), "ok")
            row, history = _trial(name, VARIANTS[name], seed, index, key, status, steps)
            rows.append(row)
            histories.append(history)
    history = pd.concat(histories, ignore_index=True)
    return FigureData(table=pd.DataFrame(rows), history=history, variants=list(names), base=BASE)


def _trial(
    name: str, truth: tuple, seed: int, index: int, key: str, status: str, steps: int
) -> tuple[dict, pd.DataFrame]:
    model, mixer, pooling, layers, final, step_ms, memory, state = truth
    noise = np.random.default_rng([index, seed])
    final = final + np.random.default_rng(seed).normal(0, 0.02) + noise.normal(0, 0.008)
    step_ms = None if step_ms is None else step_ms * np.exp(noise.normal(0, 0.015))
    gap = max(0.01, 0.04 + 0.2 * (3.2 - final)) + noise.normal(0, 0.003)
    closed_form = step_ms is None
    row = {
        "variant": name,
        "seed": seed,
        "key": key,
        "status": status,
        "error": "" if status == "ok" else f"{status} at step {steps // 2}",
        "model": model,
        "mixer": mixer,
        "pooling": "" if pooling is None else json.dumps(pooling),
        "layers": str(layers),
        "width": "64",
    }
    measured = {
        "parameters": 0 if closed_form else 61_000 * int(layers) + 350 * index,
        "train_steps": 1 if closed_form else steps,
        "nll_bits_train": final - gap,
        "nll_bits_validation": final + noise.normal(0, 0.01),
        "nll_bits_test": final,
        "generalization_gap_bits": gap,
        "train_step_ms": step_ms,
        "tokens_per_second": None if closed_form else 12_800_000 / step_ms,
        "peak_memory_mib": None if closed_form else memory * np.exp(noise.normal(0, 0.01)),
        "memory_method": "process_peak",
        "saved_for_backward_mib": None if closed_form else 0.72 * memory,
        "state_bytes": state,
        "generate_samples_per_second": None
        if closed_form
        else 2_400.0 * 90 / step_ms * np.exp(noise.normal(0, 0.03)),
    }
    row |= measured if status == "ok" else dict.fromkeys(measured)
    row |= {"dataset": "synthetic_digits", "device": "cpu", "threads": 1, "git_dirty": False}
    return row, _history(name, seed, key, final, step_ms, closed_form, status, noise, steps)


def _history(
    name: str,
    seed: int,
    key: str,
    final: float,
    step_ms: float | None,
    closed_form: bool,
    status: str,
    noise: np.random.Generator,
    steps: int,
) -> pd.DataFrame:
    step = np.arange(0, 2 if closed_form else steps + 1, 1 if closed_form else max(1, steps // 20))
    bits = final + (8.0 - final) * np.exp(-((step / steps * 22) ** 0.62)) + noise.normal(0, 0.012, len(step))
    if closed_form:
        bits = np.array([8.0, final])  # before and after the only pass
    if status == "timeout":
        step, bits = step[:9], bits[:9]
    if status == "diverged":
        step, bits = step[:12], bits[:12] + np.r_[np.zeros(9), 0.4, 1.5, 6.0]
    return pd.DataFrame(
        {
            "variant": name,
            "seed": seed,
            "key": key,
            "step": step,
            "seconds": step * (step_ms or 0.0) / 1000 * 1.3,  # other trials shared the machine
            "tokens": step * 12_800,
            "learning_rate": 0.002,
            "nll_bits_train": np.where(step == 0, np.nan, bits - 0.02),
            "nll_bits_validation": bits,
        }
    )


@pytest.fixture(scope="session")
def make_data() -> Callable[..., FigureData]:
    return synthetic_data


@pytest.fixture
def data() -> FigureData:
    return synthetic_data()


@pytest.fixture(scope="session")
def declared_columns() -> dict[str, Column]:
    """The same for fixtures that many tests share; nobody adds to it."""
    return COLUMNS


@pytest.fixture
def columns() -> dict[str, Column]:
    return dict(COLUMNS)
