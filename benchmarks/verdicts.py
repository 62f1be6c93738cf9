"""How often intervals and verdicts are right, on simulated suites of which the truth is known.

Example: python -m benchmarks.verdicts --output verdicts.csv
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from benchmarks import options, output
from benchmarks import verdict_simulations as simulations
from benchmarks.messages import say

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

SEEDS = (2, 3, 5, 10)
VARIANTS = (2, 6, 14)
COMPARED = (1, 4)
NOISE_OF_RUNS = (0.005, 0.01, 0.02, 0.03, 0.04)
"""Bits. Paired differences of two runs have √2 times as much."""


@app.command()
def main(
    suites: Annotated[int, typer.Option("--suites", min=1, help="Simulated suites a line.")] = 10_000,
    tries: Annotated[int, typer.Option("--tries", min=1, help="Pairs of runs to compare a line.")] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of all draws.")] = 0,
    csv: options.OutputOption = None,
) -> None:
    """Coverage of intervals, false verdicts of suites without differences, power, and `harness compare`.

    Example: python -m benchmarks.verdicts --suites 1000
    """
    random = np.random.default_rng(seed)
    rows = []
    for name, part in (("intervals", _intervals), ("verdicts", _verdicts)):
        say(name)
        rows += list(part(suites, random))
    for row in itertools.chain(_compare(tries, random), _visible(tries, np.random.default_rng([seed, 1]))):
        say(", ".join(f"{value}" for value in row.values()))
        rows.append(row)
    table = pd.DataFrame(rows)
    for what, group in table.groupby("what", sort=False):
        output.show_plain(group, str(what), [name for name in table.columns if name != "what"])
    output.write(table, csv)


def _intervals(suites: int, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    for noise, draw in simulations.NOISES.items():
        if noise == "unequal":  # of one variant alone it is the normal one
            continue
        for seeds in SEEDS:
            share = simulations.coverage(draw, seeds, 2 * suites, random)
            yield {"what": "t interval holds the mean", "noise": noise, "seeds": seeds, "share": share}
    for seeds in (3, 5, 10, 20):
        share = simulations.bootstrap_coverage(seeds, max(1, suites // 5), random)
        what = "bootstrap interval holds the interquartile mean"
        yield {"what": what, "noise": "normal", "seeds": seeds, "share": share}


def _verdicts(suites: int, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    for noise, draw in simulations.NOISES.items():
        for seeds in SEEDS:
            for variants in VARIANTS:
                alone, corrected = simulations.false_verdicts(draw, seeds, variants, suites, random)
                yield {
                    "what": "a suite without differences has a false verdict",
                    "noise": noise,
                    "seeds": seeds,
                    "variants": variants,
                    "share": corrected,
                    "share_uncorrected": alone,
                }
    for gap in (0.0, 1.0):
        for seeds in (3, 5):
            share = simulations.best_kept(seeds, 14, max(1, suites // 10), gap, random)
            what = f"the truly best is marked as possibly the best, {gap:g} standard deviations ahead"
            yield {"what": what, "noise": "normal", "seeds": seeds, "variants": 14, "share": share}
    for seeds in SEEDS:
        for comparisons in (1, 13):
            share = simulations.power(seeds, comparisons, suites, random)
            yield {
                "what": "the smallest difference said to be seen with 80 % is seen",
                "noise": "normal",
                "seeds": seeds,
                "variants": comparisons + 1,
                "share": share,
            }


def _compare(tries: int, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    for same_seeds in (False, True):
        for seeds in (3, 5):
            share = simulations.share_called(
                "same",
                loss=0.0,
                noise=0.015,
                seeds=seeds,
                variants=COMPARED[-1],
                same_seeds=same_seeds,
                tries=tries,
                random=random,
            )
            yield {
                "what": "compare says same of all metrics of two runs in which nothing changed",
                "noise": "normal, 0.015 bits",
                "seeds": seeds,
                "variants": COMPARED[-1],
                "same_seeds": "yes" if same_seeds else "no",
                "share": share,
            }
    for same_seeds in (False, True):
        for variants in COMPARED:
            for noise in (0.01, 0.02):
                share = simulations.share_called(
                    "worse",
                    loss=0.05,
                    noise=noise,
                    seeds=5,
                    variants=variants,
                    same_seeds=same_seeds,
                    tries=tries,
                    random=random,
                )
                yield {
                    "what": "compare says worse of a loss of 0.05 bits",
                    "noise": f"normal, {noise:g} bits",
                    "seeds": 5,
                    "variants": variants,
                    "same_seeds": "yes" if same_seeds else "no",
                    "share": share,
                }


def _visible(tries: int, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Which noise lets how many seeds see a loss of 0.05 bits, in one variant run with the same seeds."""
    for noise, seeds in itertools.product(NOISE_OF_RUNS, SEEDS[1:]):
        share = simulations.share_called(
            "worse",
            loss=0.05,
            noise=noise,
            seeds=seeds,
            variants=1,
            same_seeds=True,
            tries=tries,
            random=random,
        )
        yield {
            "what": "compare says worse of a loss of 0.05 bits, by noise and seeds",
            "noise": f"normal, {noise:g} bits",
            "seeds": seeds,
            "variants": 1,
            "same_seeds": "yes",
            "share": share,
        }


if __name__ == "__main__":
    options.main(app, "verdicts")
