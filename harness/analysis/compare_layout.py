"""A comparison as people and machines read it: one sentence a verdict, a table, remarks; and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.analysis.compare import SEVERITY, Comparison, MetricVerdict
from harness.analysis.compared_rows import MEAN, TRIALS, Row
from harness.analysis.layout import Cell, Header, Layout
from harness.analysis.markup import escape_markdown, markdown_table
from harness.analysis.numbers import decimals, number
from harness.analysis.quantities import quantity
from harness.contracts import Column

HEADERS = [
    Header("metric", "Metric", words=True),
    Header("variant", "Variant", words=True),
    Header("before", "A"),
    Header("after", "B"),
    Header("difference", "B − A"),
    Header("n", "n"),
    Header("p", "p"),
    Header("verdict", "Verdict", words=True),
]


@dataclass(frozen=True)
class ComparisonLayout(Layout):
    remarks: Sequence[str] = ()

    def notes(self, best: str, verdicts: str) -> list[str]:
        return [*self.remarks]


def sentences(comparison: Comparison, columns: Mapping[str, Column]) -> list[str]:
    """``Worse: Test NLL (13 of 14 variants), Gap.``, a line for each verdict that was given."""
    lines = []
    for verdict in SEVERITY:
        found = [metric for metric in comparison.metrics if metric.verdict == verdict]
        if found:
            words = ", ".join(_with_count(metric, columns) for metric in found)
            lines.append(f"{verdict.capitalize()}: {words}.")
    return lines


def lay_out_comparison(
    comparison: Comparison, columns: Mapping[str, Column], *, everything: bool = False
) -> ComparisonLayout:
    """The first row of each metric, and those that say something else than "same"; or all of them."""
    cells: list[list[Cell]] = []
    hidden = 0
    for metric in comparison.metrics:
        rows = [row for row in comparison.rows if row.metric == metric.metric]
        shown = rows if everything else _telling(rows)
        hidden += len(rows) - len(shown)
        cells += _cells(shown, columns)
    return ComparisonLayout(HEADERS, cells, remarks=_remarks(comparison, columns, hidden))


def markdown_comparison(
    comparison: Comparison,
    columns: Mapping[str, Column],
    *,
    before: str,
    after: str,
    everything: bool = False,
) -> str:
    """For a pull request."""
    layout = lay_out_comparison(comparison, columns, everything=everything)
    title = f"## {escape_markdown(after)} against {escape_markdown(before)}"
    said = [f"**{escape_markdown(line)}**" for line in sentences(comparison, columns)]
    return "\n\n".join([title, *said, markdown_table(layout)]) + "\n"


def plain(comparison: Comparison) -> dict[str, Any]:
    """JSON-ready: every row and verdict, not-a-number as null."""
    found: dict[str, Any] = _nulls(asdict(comparison))
    return found


def _telling(rows: Sequence[Row]) -> list[Row]:
    first = rows[:1] if rows and rows[0].metric != TRIALS else []
    silent = {("same", "")} | {(row.verdict, row.reason) for row in first if row.verdict == "unknown"}
    return [*first, *(row for row in rows[len(first) :] if (row.verdict, row.reason) not in silent)]


def _with_count(metric: MetricVerdict, columns: Mapping[str, Column]) -> str:
    total = sum(metric.variants.values())
    own = metric.variants.get(metric.verdict, 0)
    label = _label(metric.metric, columns)
    if own == total:
        return label
    return f"{label} ({own} of {total} variants)" if own else f"{label} (the mean over variants)"


def _label(metric: str, columns: Mapping[str, Column]) -> str:
    return "Trials that succeeded" if metric == TRIALS else quantity(metric, columns).label


def _cells(rows: Sequence[Row], columns: Mapping[str, Column]) -> list[list[Cell]]:
    digits = decimals([side for row in rows for side in (row.before, row.after)])
    fine = decimals([row.difference for row in rows])
    return [
        [
            Cell(_heading(row, columns)),
            Cell("mean of the variants" if row.variant == MEAN else row.variant),
            Cell(_share(row.before) if row.metric == TRIALS else number(row.before, digits)),
            Cell(_share(row.after) if row.metric == TRIALS else number(row.after, digits)),
            Cell("" if row.metric == TRIALS else number(row.difference, fine, signed=True)),
            Cell(_counts(row)),
            Cell(_p(row.p_corrected)),
            Cell(row.verdict, best=row.verdict in {"better", "worse"}),
        ]
        for row in rows
    ]


def _heading(row: Row, columns: Mapping[str, Column]) -> str:
    what = quantity(row.metric, columns)
    if row.metric == TRIALS:
        return _label(row.metric, columns)
    return f"{what.with_unit} {what.arrow}".strip()


def _share(trials: Any) -> str:
    return "" if math.isnan(trials.mean) else f"{trials.mean * trials.n:.0f}/{trials.n}"


def _counts(row: Row) -> str:
    if row.metric == TRIALS:
        return ""
    return f"{row.difference.n} pairs" if row.paired else f"{row.before.n} + {row.after.n}"


def _p(p: float) -> str:
    if math.isnan(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _remarks(comparison: Comparison, columns: Mapping[str, Column], hidden: int) -> list[str]:
    lines = [
        f"{comparison.trials_before} trials in A, {comparison.trials_after} in B; {comparison.pairs} are "
        f"paired by variant and seed, {comparison.equal_keys} of these have the same key.",
        "Mean ± half width of the 95 % t interval over seeds; p is corrected for all rows of this "
        "comparison (Holm).",
    ]
    known = [metric for metric in comparison.metrics if not math.isnan(metric.improvement)]
    if known:
        chances = ", ".join(f"{_label(each.metric, columns)} {_chance(each)}" for each in known)
        lines.append(f"Chance that a trial of B does better than one of A of the same variant: {chances}.")
    reasons: dict[str, list[str]] = {}
    for row in comparison.rows:
        if row.reason:
            name = row.variant or "mean of the variants"
            reasons.setdefault(f"{_label(row.metric, columns)}: {row.reason}", []).append(name)
    for reason, variants in reasons.items():
        lines.append(f"{reason} ({', '.join(variants) if len(variants) <= 3 else f'{len(variants)} rows'}).")
    lines += [f"{note[:1].upper()}{note[1:]}." for note in comparison.notes]
    if hidden:
        lines.append(f"{hidden} rows that say nothing else are not shown; --all shows them.")
    return lines


def _chance(metric: MetricVerdict) -> str:
    interval = ""
    if not math.isnan(metric.improvement_low):
        interval = f" ({metric.improvement_low:.2f} to {metric.improvement_high:.2f})"
    return f"{metric.improvement:.2f}{interval}"


def _nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _nulls(inner) for key, inner in value.items()}
    if hasattr(value, "_asdict"):
        return _nulls(value._asdict())
    if isinstance(value, list | tuple):
        return [_nulls(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
