"""What the page shows, as plain values: gathered here, laid out by the template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.layout import Header, Layout, lay_out
from harness.analysis.page.answers import Answer, answers
from harness.analysis.page.beside import Beside, beside
from harness.analysis.page.differences import Difference, differences
from harness.analysis.page.listening import REAL_CLIPS, Sounds, sounds_of
from harness.analysis.page.media import Budget, picture
from harness.analysis.page.provenance import Fact, facts
from harness.analysis.page.table import Cell, Table, sortable
from harness.analysis.quantities import compact, quantity
from harness.contracts import Column, FigureData
from harness.evaluation.real_clips import REAL
from harness.store.record import Record
from harness.suite.trial import Trial

LARGEST = 14 * 2**20
"""Bytes of pictures and sounds; with the text around them the page stays below 15 MB."""

SOUNDS = 8 * 2**20
"""Of these, for sounds."""

LOG_LINES = 40
"""Last lines of a failed trial's log."""

FAILURES = 100
"""Failed trials that are shown with their logs; of more, the number."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    name: str
    title: str
    source: str
    numbers: str | None
    """A data URI of its CSV file."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    variant: str
    differences: Sequence[Difference]


@dataclass(frozen=True, kw_only=True)
class Failure:
    variant: str
    seed: int
    key: str
    status: str
    error: str
    log: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """All of it."""

    title: str
    question: str
    profile: str
    base: str
    counts: Sequence[tuple[str, int]]
    """Trials by status, ok first."""
    answers: Sequence[Answer]
    summary: Table
    trials: Table
    figures: Sequence[Drawing]
    sounds: Sequence[Sounds]
    changes: Sequence[Changes]
    failures: Sequence[Failure]
    failures_left_out: int
    published: Beside | None
    facts: Sequence[Fact]
    notes: Sequence[str]


def gather(
    folder: Path,
    data: FigureData,
    pairs: Sequence[tuple[Trial, Record | None, Path]],
    summary: pd.DataFrame,
    columns: Mapping[str, Column],
    *,
    plan: Mapping[str, Any],
    figures: Sequence[str],
    notes: Sequence[str],
    shown: Sequence[str] = (),
) -> Page:
    """From a results folder whose tables and figures have been written.

    pairs: the trials in order, each with its record and its folder. shown: columns of the summary, in
    this order; none: the usual ones.
    """
    notes = list(notes)
    budget = Budget(LARGEST)
    drawings = list(_drawings(folder, figures, budget, notes))
    failed = [pair for pair in pairs if _status(pair[1]) != "ok"]
    return Page(
        title=plan["name"],
        question=plan["question"],
        profile=plan.get("profile") or "",
        base=data.base,
        counts=_counts(record for _, record, _ in pairs),
        answers=answers(summary, columns, data.base),
        summary=_summary(summary, columns, data.base, shown),
        trials=_trials(data.table, columns),
        figures=drawings,
        sounds=_sounds(pairs, Budget(min(SOUNDS, budget.left)), notes),
        changes=_changes(plan["variants"], data.base),
        failures=[_failure(*pair) for pair in failed[:FAILURES]],
        failures_left_out=max(0, len(failed) - FAILURES),
        published=beside(
            data.table, columns, {each["name"]: each["config"] for each in plan["variants"]}, data.base
        ),
        facts=facts(record for _, record, _ in pairs if record is not None),
        notes=notes,
    )


def _status(record: Record | None) -> str:
    return record.status if record is not None else "missing"


def _counts(records: Iterable[Record | None]) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    for record in records:
        found[_status(record)] = found.get(_status(record), 0) + 1
    return sorted(found.items(), key=lambda item: (item[0] != "ok", item[0]))


def _summary(summary: pd.DataFrame, columns: Mapping[str, Column], base: str, shown: Sequence[str]) -> Table:
    layout: Layout = lay_out(summary, columns, base, shown=shown)
    rows = []
    for row, cells in zip(summary.to_dict("records"), layout.rows, strict=True):
        rows.append(
            [
                Cell(
                    text=cell.text,
                    sort=_sort_key(row, header.name, layout),
                    best=cell.best,
                    tied=cell.tied,
                    verdict=cell.verdict,
                )
                for header, cell in zip(layout.headers, cells, strict=True)
            ]
        )
    words = "▲ better, ▼ worse, ≈ indistinguishable"
    return Table(headers=layout.headers, rows=rows, notes=layout.notes("Bold", words))


def _sort_key(row: Mapping[Any, Any], name: str, layout: Layout) -> str:
    if name == "variant":
        return ""
    if name == "n":
        return str(row["n_ok"])
    if name == "difference":
        leading = layout.headers[[header.name for header in layout.headers].index("difference") - 1].name
        return sortable(row[f"{leading}_difference"])
    return sortable(row[f"{name}_mean"])


def _trials(table: pd.DataFrame, columns: Mapping[str, Column]) -> Table:
    """One row a trial: who it is, how it ended, and what the summary shows of it."""
    measured = [
        name
        for name in compact([str(column) for column in table.columns], columns)
        if pd.api.types.is_numeric_dtype(table[name]) and table[name].notna().any()
    ]
    headers = [Header(name, name.capitalize()) for name in ("variant", "seed", "key", "status")]
    for name in measured:
        what = quantity(name, columns)
        headers.append(Header(name, what.label, what.unit, what.arrow))
    rows = [
        [
            *(Cell(text=str(row[name])) for name in ("variant", "seed", "key", "status")),
            *(Cell(text=_plain(row[name]), sort=sortable(row[name])) for name in measured),
        ]
        for row in table.to_dict("records")
    ]
    return Table(headers=headers, rows=rows)


def _plain(value: Any) -> str:
    if value is None or pd.isna(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _drawings(folder: Path, figures: Sequence[str], budget: Budget, notes: list[str]) -> Iterable[Drawing]:
    for name in figures:
        stem = folder / "figures" / name
        source = budget.embed(picture(stem))
        if source is None:
            notes.append(f"figure {name} is left out, the page would grow too large: {stem}.png")
            continue
        title = name.replace("_", " ").capitalize()
        yield Drawing(
            name=name, title=title, source=source, numbers=budget.embed(stem.with_name(f"{name}.csv"))
        )


def _sounds(
    pairs: Sequence[tuple[Trial, Record | None, Path]], budget: Budget, notes: list[str]
) -> list[Sounds]:
    """Real clips of the first trial that kept any, then each variant's, of its first seed that drew."""
    found: list[Sounds] = []
    seen: set[str] = set()
    for trial, _, place in pairs:
        for name, seed, folder in ((REAL_CLIPS, None, REAL), (trial.variant, trial.seed, "samples")):
            if name in seen:
                continue
            sounds, note = sounds_of(name, seed, place / folder, budget)
            if sounds:
                found.append(sounds)
            if note:
                notes.append(note)
            if sounds or note:
                seen.add(name)
    return sorted(found, key=lambda sounds: sounds.name != REAL_CLIPS)


def _changes(variants: Sequence[Mapping[str, Any]], base: str) -> list[Changes]:
    configs = {variant["name"]: variant["config"] for variant in variants}
    if base not in configs:
        return []
    return [
        Changes(variant=name, differences=differences(configs[base], config))
        for name, config in configs.items()
        if name != base
    ]


def _failure(trial: Trial, record: Record | None, folder: Path) -> Failure:
    return Failure(
        variant=trial.variant,
        seed=trial.seed,
        key=trial.short_key,
        status=_status(record),
        error=record.error if record is not None else "",
        log=_end_of(folder / "log.txt"),
    )


def _end_of(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LOG_LINES:])
