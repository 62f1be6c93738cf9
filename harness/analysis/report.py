"""The report of a suite: the table, its summary, and figures with the numbers behind them.

Everything is made from plain frames and written whole or not at all; the same data give the same
bytes. A figure that cannot be drawn costs one line in the notes and nothing else.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness import configuration
from harness.analysis import style
from harness.analysis.markup import latex, markdown
from harness.analysis.summary import summarise
from harness.contracts import Column, FigureData, NotEnoughData, Spec
from harness.errors import HarnessError
from harness.store.atomic import replacing, write_text
from harness.suite.schema import DEFAULT_FIGURES


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """What was written, relative to the results folder, and what could not be drawn and why."""

    summary: pd.DataFrame
    files: tuple[Path, ...]
    figures: tuple[str, ...]  # names, without suffix
    notes: tuple[str, ...]


def write_report(
    folder: Path,
    data: FigureData,
    *,
    title: str,
    question: str,
    columns: Mapping[str, Column],
    figures: Sequence[Spec] = DEFAULT_FIGURES,
    shown: Sequence[str] = (),
) -> ReportFiles:
    """Write table, summary and figures of a suite into its results folder.

    figures: specs of the registry's `figures`.
    shown: columns of the summary that people read; none: the usual ones.
    Raises: ValueError for a table that cannot be summarised, OSError for a folder that is not writable.
    """
    order = {variant: place for place, variant in enumerate(data.variants)}
    table = data.table.sort_values(
        ["variant", "seed"], key=lambda c: c.map(order) if c.name == "variant" else c, ignore_index=True
    )
    summary = summarise(table, columns, data.variants, data.base)
    words = {"base": data.base, "title": title, "question": question}
    write_text(folder / "table.csv", _csv(table))
    with replacing(folder / "table.parquet") as path:
        _plain_types(table).to_parquet(path, index=False)
    write_text(folder / "summary.csv", _csv(summary))
    write_text(folder / "summary.md", markdown(summary, columns, **words, shown=shown))
    write_text(folder / "summary.tex", latex(summary, columns, **words, shown=shown))
    files = [
        Path(name) for name in ("table.csv", "table.parquet", "summary.csv", "summary.md", "summary.tex")
    ]

    drawn: list[str] = []
    notes = [f"column {name} not shown: no trial has it" for name in shown if f"{name}_mean" not in summary]
    for name, spec in _named(figures):
        try:
            with warnings.catch_warnings(record=True) as remarks:
                warnings.simplefilter("always", UserWarning)  # a missing glyph, a squeezed layout
                written = _write_figure(folder / "figures" / name, spec, data)
            files += [path.relative_to(folder) for path in written]
            drawn.append(name)
            notes += sorted({f"figure {name}: {_one_line(remark.message)}" for remark in remarks})
        except NotEnoughData as reason:
            notes.append(f"figure {name} not drawn: {_one_line(reason)}")
        except Exception as error:  # a stranger's figure may raise anything; the report goes on
            notes.append(f"figure {name} failed: {_explain(error)}")
    _remove_stale(folder / "figures", keep={folder / path for path in files})
    return ReportFiles(summary=summary, files=tuple(files), figures=tuple(drawn), notes=tuple(notes))


def figure_name(spec: Spec) -> str:
    """The spec's name and its options that are not defaults: ``learning_curve_seconds``."""
    name = spec if isinstance(spec, str) else str(spec.get("name", "figure"))
    try:
        config = configuration.resolve("figures", spec).config
    except HarnessError:
        return _safe(name)  # drawing it will fail, under this name
    chosen = [
        getattr(config, field.name)
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != _default(field)
    ]
    return _safe("_".join([name, *map(str, chosen)]))


def _named(specs: Sequence[Spec]) -> Iterator[tuple[str, Spec]]:
    """Each figure once, under a name of its own."""
    seen: list[Any] = []
    names: set[str] = set()
    for spec in specs:
        try:
            identity: Any = configuration.resolve("figures", spec).plain()
        except HarnessError:
            identity = spec
        if identity in seen:
            continue
        seen.append(identity)
        name = figure_name(spec)
        same = (f"{name}_{number}" for number in itertools.count(2))
        while name in names:
            name = next(same)
        names.add(name)
        yield name, spec


def _write_figure(stem: Path, spec: Spec, data: FigureData) -> list[Path]:
    """`stem`.png and .svg, and .csv for a kind that tells its numbers."""
    figure = configuration.build("figures", spec)
    # Frames of its own: whatever a kind adds to them, the next one does not see.
    own = dataclasses.replace(data, table=data.table.copy(), history=data.history.copy())
    with style.paper():
        drawing = figure.draw(own)
    paths = [stem.with_name(f"{stem.name}{suffix}") for suffix in (".png", ".svg")]
    for path in paths:
        with replacing(path) as temporary:
            style.save(drawing, temporary)
    if "matplotlib.pyplot" in sys.modules:  # which keeps every figure made through it
        sys.modules["matplotlib.pyplot"].close(drawing)
    if hasattr(figure, "numbers"):
        paths.append(stem.with_name(f"{stem.name}.csv"))
        write_text(paths[-1], _csv(figure.numbers(own)))
    return paths


def _remove_stale(folder: Path, keep: set[Path]) -> None:
    """Pictures of an earlier report that is no longer drawn, with their numbers; nobody else's files."""
    for suffix in style.SAVED_BY_US:
        for path in sorted(folder.glob(f"*{suffix}")):
            if path not in keep and style.saved_by_us(path):
                path.unlink()
                numbers = path.with_suffix(".csv")
                if numbers not in keep:
                    numbers.unlink(missing_ok=True)


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, lineterminator="\n", float_format=_number)


def _number(value: Any) -> str:
    """Whole numbers without a point: a column of counts is one of floats as soon as one row lacks it, and
    a missing trial must not change the bytes of the others' rows."""
    whole = value.is_integer() and abs(value) < 2**53
    return f"{value:.0f}" if whole else repr(float(value))


def _plain_types(table: pd.DataFrame) -> pd.DataFrame:
    """Parquet wants one type a column; a column of several becomes text."""
    plain = table.copy()
    for name in table:
        if table[name].dropna().map(type).nunique() > 1:
            plain[name] = table[name].map(str, na_action="ignore").astype("str")
    return plain


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "figure"


def _one_line(message: object) -> str:
    return " ".join(str(message).split())


def _explain(error: Exception) -> str:
    """One line that says where to look."""
    if isinstance(error, HarnessError):
        return _one_line(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {_one_line(error)} ({Path(frame.filename).name}, line {frame.lineno})"
