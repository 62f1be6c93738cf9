"""Suites of which the truth is known, drawn by the thousand: how often intervals and verdicts are right.

A trial's number is  truth of its variant + effect of its seed, the same for all variants + noise.
Shapes: N seeds, S suites, K variants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.compare import compare
from harness.analysis.compared_rows import Margin
from harness.analysis.results import Results
from harness.analysis.statistics import (
    CONFIDENCE,
    holm,
    interquartile_mean,
    may_be_best,
    smallest_difference,
    stratified_resamples,
    t_interval,
)
from harness.analysis.statistics.paired import p_value
from harness.contracts import Column

Array = NDArray[Any]
Noise = Callable[[np.random.Generator, tuple[int, int, int]], Array]

LEVEL = 1 - CONFIDENCE


def _unequal(random: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    return random.normal(size=shape) * np.geomspace(0.25, 4.0, shape[-1])


def _skewed(random: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    return random.lognormal(0.0, 0.75, shape) - np.exp(0.75**2 / 2)


NOISES: Mapping[str, Noise] = {
    "normal": lambda random, shape: random.normal(size=shape),
    "unequal": _unequal,
    "heavy tails": lambda random, shape: random.standard_t(3, size=shape),
    "skewed": _skewed,
}
"""Shapes of noise: normal; normal with standard deviations from 1/4 to 4 over the variants; Student's t
with 3 degrees of freedom; log-normal with sigma 0.75. Each [N, S, K] with mean 0."""


def coverage(noise: Noise, seeds: int, draws: int, random: np.random.Generator) -> float:
    """How often the 95 % t interval of a mean holds the truth."""
    found = t_interval(noise(random, (seeds, draws, 1)))
    return float(((found.low <= 0) & (found.high >= 0)).mean())


def bootstrap_coverage(seeds: int, draws: int, random: np.random.Generator) -> float:
    """How often the 95 % bootstrap interval of an interquartile mean holds the truth; normal noise."""
    hits = 0
    for draw in range(draws):
        resampled = stratified_resamples(random.normal(size=(seeds, 1)), seed=draw, resamples=500)
        low, high = np.percentile(interquartile_mean(resampled), [100 * LEVEL / 2, 100 - 100 * LEVEL / 2])
        hits += bool(low <= 0 <= high)
    return hits / draws


def false_verdicts(
    noise: Noise, seeds: int, variants: int, suites: int, random: np.random.Generator
) -> tuple[float, float]:
    """Share of suites without any difference in which some variant is called better or worse than the base:
    each comparison asked alone, and corrected as our verdicts are."""
    values = noise(random, (seeds, suites, variants)) + 2 * random.normal(size=(seeds, suites, 1))
    p = p_value(t_interval(values[..., 1:] - values[..., :1]))
    return float((p <= LEVEL).any(axis=-1).mean()), float((holm(p) <= LEVEL).any(axis=-1).mean())


def best_kept(seeds: int, variants: int, suites: int, gap: float, random: np.random.Generator) -> float:
    """How often the variants marked as possibly the best hold the one that is, by `gap` before the next."""
    hits = 0
    for _ in range(suites):
        values = random.normal(size=(seeds, variants)) + gap * (np.arange(variants) > 0)
        frame = pd.DataFrame(values, columns=[f"{variant}" for variant in range(variants)])
        best = frame.mean().idxmin()
        hits += "0" in {best, *may_be_best(frame, best)}
    return hits / suites


def power(seeds: int, comparisons: int, suites: int, random: np.random.Generator) -> float:
    """How often a difference is seen that is said to be seen with 80 %."""
    difference = smallest_difference(1.0, seeds, comparisons=comparisons)
    p = p_value(t_interval(difference + random.normal(size=(seeds, suites))))
    return float((p * comparisons <= LEVEL).mean())


def share_called(
    verdict: str,
    *,
    loss: float,
    noise: float,
    seeds: int,
    variants: int,
    same_seeds: bool,
    tries: int,
    random: np.random.Generator,
    seed_effect: float = 0.02,
    margin: float | None = None,
) -> float:
    """How often `compare` of two runs, whose loss differs by this much, says this of the test NLL, and where
    it is "same", of everything."""
    hits = 0
    margins = {} if margin is None else {"nll_bits_test": Margin(amount=margin)}
    for _ in range(tries):
        effects = random.normal(scale=seed_effect, size=2 * seeds)
        first, second = range(seeds), range(seeds) if same_seeds else range(seeds, 2 * seeds)
        before = results(variants, first, effects, 0.0, noise, random)
        after = results(variants, second, effects, loss, noise, random)
        found = {
            each.metric: each.verdict for each in compare(before, after, margins=margins, resamples=0).metrics
        }
        hits += {*found.values()} == {"same"} if verdict == "same" else found["nll_bits_test"] == verdict
    return hits / tries


COLUMNS = {
    "nll_bits_test": Column(description="test", unit="bits/sample", better="lower"),
    "generalization_gap_bits": Column(description="test - train", unit="bits/sample", better="lower"),
    "train_step_ms": Column(description="median", unit="ms", better="lower"),
    "state_bytes": Column(description="state", unit="B", better="lower"),
}


def results(
    variants: int, seeds: range, effects: Array, loss: float, noise: float, random: np.random.Generator
) -> Results:
    """A run as `compare` reads it: two noisy losses, a time that varies by 3 % and a size that never does."""
    names = [f"variant {number}" for number in range(variants)]
    rows = []
    for number, name in enumerate(names):
        for seed in seeds:
            nll = 3.0 + 0.1 * number + effects[seed] + loss + random.normal(scale=noise)
            rows.append(
                {
                    "variant": name,
                    "seed": seed,
                    "key": f"{number}-{seed}",
                    "status": "ok",
                    "nll_bits_test": nll,
                    "generalization_gap_bits": 0.05 + random.normal(scale=noise),
                    "train_step_ms": 80.0 * np.exp(random.normal(scale=0.03)),
                    "state_bytes": 4096,
                    "dataset": "simulated",
                    "device_name": "simulated",
                }
            )
    configurations: dict[str, dict[str, Any]] = {name: {} for name in names}
    return Results(
        name="simulated",
        table=pd.DataFrame(rows),
        columns=COLUMNS,
        variants=names,
        configurations=configurations,
        shown=[],
    )
