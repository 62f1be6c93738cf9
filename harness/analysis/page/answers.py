"""What the statistics say of the suite's question, a sentence or two a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.analysis.layout import decimals, number
from harness.analysis.quantities import Quantity, compact, quantity
from harness.analysis.statistics import Estimate, Verdict
from harness.contracts import Column

NAMED = 4
"""Variants of one verdict that a sentence names; of more it gives the number."""

WORDS: Mapping[Verdict, str] = {
    "better": "better",
    "worse": "worse",
    "indistinguishable": "indistinguishable from it",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A metric and what is known of it."""

    metric: str
    sentence: str
    comparison: str = ""
    """With the base; empty where nobody can say."""


def answers(summary: pd.DataFrame, columns: Mapping[str, Column], base: str) -> list[Answer]:
    """One for each metric of which one direction is better, the leading one first."""
    names = [str(name).removesuffix("_mean") for name in summary.columns if str(name).endswith("_mean")]
    filled = [name for name in names if summary[f"{name}_mean"].notna().any()]
    rows = summary.to_dict("records")
    return [
        _answer(rows, name, what, base)
        for name in compact(filled, columns)
        if (what := quantity(name, columns)).better
    ]


def _answer(rows: Sequence[Mapping[Any, Any]], name: str, what: Quantity, base: str) -> Answer:
    estimates = {row["variant"]: _estimate(row, name) for row in rows}
    digits = decimals(list(estimates.values()))
    best = next((row["variant"] for row in rows if row[f"{name}_standing"] == "best"), None)
    if best is None:
        return Answer(metric=what.label, sentence="No variant has a finite value.")
    superlative = "Lowest" if what.better == "lower" else "Highest"
    unit = f" {what.unit}" if what.unit else ""
    value = f"{number(estimates[best], digits)}{unit}"
    if sum(each.n > 0 for each in estimates.values()) == 1:
        return Answer(metric=what.label, sentence=f"{best}: {value}. No other variant to compare it with.")
    sentence = f"{superlative}: {best}, {value}"
    tied = [row["variant"] for row in rows if row[f"{name}_standing"] == "tied"]
    if estimates[best].n < 2:
        return Answer(
            metric=what.label, sentence=f"{sentence}. One seed: nothing can be concluded from differences."
        )
    sentence += f"; the seeds cannot tell {_list(tied)} from it." if tied else "."
    return Answer(metric=what.label, sentence=sentence, comparison=_comparison(rows, name, base))


def _comparison(rows: Sequence[Mapping[Any, Any]], name: str, base: str) -> str:
    groups: dict[Verdict, list[str]] = {"better": [], "worse": [], "indistinguishable": []}
    for row in rows:
        if row["variant"] != base and row[f"{name}_verdict"] in groups:
            groups[row[f"{name}_verdict"]].append(row["variant"])
    parts = [f"{WORDS[word]}: {_list(found)}" for word, found in groups.items() if found]
    return f"Against {base}, paired by seed: {'; '.join(parts)}." if parts else ""


def _list(variants: Sequence[str]) -> str:
    """``a, b and c``; ``a, b and 7 others``"""
    if len(variants) > NAMED:
        return f"{', '.join(variants[:2])} and {len(variants) - 2} others"
    return " and ".join(filter(None, [", ".join(variants[:-1]), variants[-1]]))


def _estimate(row: Mapping[Any, Any], name: str) -> Estimate:
    mean = row[f"{name}_mean"]
    return Estimate(
        math.nan if mean is None else mean, row[f"{name}_low"], row[f"{name}_high"], row[f"{name}_n"]
    )
