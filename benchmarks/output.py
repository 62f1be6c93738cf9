"""Where results go: a tidy CSV with the same columns in every benchmark, and a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.messages import say
from harness.cli.format import console
from harness.store.atomic import replacing

COLUMNS = (
    *("benchmark", "name", "what", "status", "note"),
    *("batch", "length", "width", "dtype", "threads"),
    *("median_ms", "iqr_ms", "min_ms", "repetitions", "ours", "ratio_to_ours"),
    *("bytes_moved", "gb_per_s", "ceiling_gb_per_s", "share_of_ceiling", "max_error"),
)
"""The columns of every benchmark, in this order; its own come next, the circumstances last."""

CIRCUMSTANCES = (
    *("package", "package_version", "torch_version", "python_version", "platform"),
    *("device", "device_name", "cpu_model", "load_average", "git_commit", "git_dirty", "date", "command"),
)


def frame(rows: Iterable[Mapping[str, Any]], circumstances: Mapping[str, Any]) -> pd.DataFrame:
    """One row a candidate and size; a column that nobody filled is there and empty."""
    complete = [{**circumstances, **row} for row in rows]
    found = list(dict.fromkeys(name for row in complete for name in row))
    own = [name for name in found if name not in {*COLUMNS, *CIRCUMSTANCES}]
    return pd.DataFrame(complete, columns=[*COLUMNS, *own, *CIRCUMSTANCES])


def write(table: pd.DataFrame, path: Path | None) -> None:
    if path is not None:
        with replacing(path) as temporary:
            table.to_csv(temporary, index=False)
        say(f"wrote {path}")


def groups(table: pd.DataFrame, names: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The parts of a table in which these columns are the same, in order, with their values."""
    for values, part in table.groupby(list(names), sort=False, dropna=False):
        yield dict(zip(names, values, strict=True)), part


HEADINGS = {
    "name": "",
    "median_ms": "median ms",
    "iqr_ms": "iqr",
    "repetitions": "n",
    "ratio_to_ours": "× ours",
    "gb_per_s": "GB/s",
    "share_of_ceiling": "of copy",
    "max_error": "error",
    "max_error_grad": "of gradients",
}


def show(table: pd.DataFrame, title: str, columns: Sequence[str], headings: Mapping[str, str] = {}) -> None:
    """The rows with a time as a table on stdout, and below it a line for every other row and note."""
    show_plain(table[table["median_ms"].notna()], title, columns, headings)
    for words, rows in _remarks(table).items():
        console().print(f"  {', '.join(rows)}: {words}", style="dim", markup=False, highlight=False)


def show_plain(
    table: pd.DataFrame, title: str, columns: Sequence[str], headings: Mapping[str, str] = {}
) -> None:
    """These columns on stdout, without those that are empty throughout."""
    from rich.table import Table

    shown = [name for name in columns if name in table and table[name].notna().any()]
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in shown:
        numeric = pd.api.types.is_numeric_dtype(table[name])
        heading = {**HEADINGS, **headings}.get(name, name)
        drawn.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
    for row in table[shown].itertuples(index=False):
        drawn.add_row(*map(text, row))
    out = console()
    out.print(f"\n{title}", style="bold", markup=False, highlight=False)
    out.print(drawn, markup=False)


def _remarks(table: pd.DataFrame) -> dict[str, list[str]]:
    """What has to be said -> of whom."""
    found: dict[str, list[str]] = {}
    for row in table.to_dict("records"):
        status = "" if row["status"] in {"ok", "ceiling"} else row["status"]
        words = " - ".join(filter(None, (status, row["note"])))
        if words and row["name"] not in found.setdefault(words, []):
            found[words].append(row["name"])
    return found


def text(value: Any) -> str:
    """Three digits of a number, whole ones in full, nothing for what is not known."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    if isinstance(value, int | np.integer) or (isinstance(value, float) and value.is_integer()):
        return f"{value:,.0f}"
    if isinstance(value, float):
        small = value != 0 and abs(value) < 1e-3
        return f"{value:.1e}" if small else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
