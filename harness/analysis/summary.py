"""One row a variant: how many trials succeeded, and every measured column with its uncertainty.

The frame is tidy and complete, for the CSV file and for further work; people read the compact form
that `layout` makes of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from harness.analysis.layout import lay_out
from harness.analysis.quantities import quantity
from harness.analysis.statistics import (
    best_of,
    by_seed,
    check_one_row_a_trial,
    estimate,
    paired_difference,
    verdict,
)
from harness.contracts import Column

if TYPE_CHECKING:
    from rich.table import Table

SETTINGS = frozenset({"seed", "layers", "width", "threads", "train_steps", "train_tokens"})
"""Numeric columns of a table that were chosen, not measured."""

NARROW_UNIT = 8
"""Units longer than this take two lines in a terminal."""


def summarise(
    table: pd.DataFrame, columns: Mapping[str, Column], variants: Sequence[str], base: str
) -> pd.DataFrame:
    """One row a variant, in the order given. Columns:

    variant, n_ok, n_not_ok, not_ok (how often which status), and for each measured column `x`:
        x_mean, x_low, x_high, x_n: mean and 95 % t interval over the successful seeds
        x_difference, …_low, …_high, x_pairs: to the base, paired by seed
        x_verdict: better, worse, indistinguishable, or - where nobody can say
        x_standing: best; tied, where the interval of the paired difference to the best holds zero

    Raises: ValueError for a table with rows that do not belong, or with two rows for one trial.
    """
    check_one_row_a_trial(table, variants)
    parts = [_counts(table, variants)]
    parts += [_measured(table, name, columns, variants, base) for name in measured(table)]
    return pd.concat(parts, axis="columns").reset_index(names="variant")


def measured(table: pd.DataFrame) -> list[str]:
    """The measured columns: numbers that were not settings, and that some successful trial has."""
    ok = table[table["status"] == "ok"]
    return [
        str(name)
        for name in table.columns
        if name not in SETTINGS
        and is_numeric_dtype(table[name])
        and not is_bool_dtype(table[name])
        and ok[name].notna().any()
    ]


def _counts(table: pd.DataFrame, variants: Sequence[str]) -> pd.DataFrame:
    rows = {}
    for variant in variants:
        statuses = Counter(table.loc[table["variant"] == variant, "status"])
        ok = statuses.pop("ok", 0)
        why = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
        rows[variant] = {"n_ok": ok, "n_not_ok": statuses.total(), "not_ok": why}
    return pd.DataFrame.from_dict(rows, orient="index")


def _measured(
    table: pd.DataFrame, name: str, columns: Mapping[str, Column], variants: Sequence[str], base: str
) -> pd.DataFrame:
    better = quantity(name, columns).better
    values = by_seed(table, name).reindex(columns=[*variants])
    means = {variant: estimate(values[variant]).mean for variant in variants}
    best = best_of(means, better)
    rows = {}
    for variant in variants:
        own = estimate(values[variant])
        row: dict[str, Any] = dict(zip(("mean", "low", "high", "n"), own, strict=True))
        if base in values and variant != base:
            difference = paired_difference(values[variant], values[base])
            parts = ("difference", "difference_low", "difference_high", "pairs")
            row |= dict(zip(parts, difference, strict=True))
            row["verdict"] = verdict(difference, better)
        else:
            row |= {"pairs": 0, "verdict": "-"}
        row["standing"] = ""
        if variant == best:
            row["standing"] = "best"
        elif best is not None:
            to_best = paired_difference(values[variant], values[best])
            row["standing"] = "tied" if verdict(to_best, better) == "indistinguishable" else ""
        rows[variant] = row
    order = ["mean", "low", "high", "n", "difference", "difference_low", "difference_high"]
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame = frame.reindex(columns=[*order, "pairs", "verdict", "standing"])
    return frame.add_prefix(f"{name}_")


def terminal_table(summary: pd.DataFrame, columns: Mapping[str, Column], *, base: str) -> Table:
    """The compact summary for a terminal of 100 columns or more. Names are printed as they are."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    layout = lay_out(summary, columns, base, narrow=True)
    signs = {
        "better": ("▲", "green"),
        "worse": ("▼", "red"),
        "indistinguishable": ("≈", "dim"),
        "-": ("", ""),
    }
    table = Table(
        caption=Text("\n".join(layout.notes("Bold", "▲ better, ▼ worse, ≈ indistinguishable"))),
        caption_justify="left",
        box=SIMPLE_HEAD,
        header_style="bold",
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for header in layout.headers:
        unit = header.unit.replace("/", "/\n") if len(header.unit) > NARROW_UNIT else header.unit
        title = "\n".join(filter(None, [f"{header.title} {header.arrow}".strip(), unit]))
        left = header.name == "variant"
        table.add_column(Text(title), justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for row in layout.rows:
        cells = []
        for cell in row:
            text = Text(cell.text, style="bold" if cell.best else "")
            sign, colour = signs[cell.verdict]
            text.append(f" {'≈' if cell.tied else sign}".rstrip(), style=colour if not cell.tied else "dim")
            cells.append(text)
        table.add_row(*cells)
    return table
