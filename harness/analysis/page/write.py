"""Lays the page out and writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.page.content import Page, gather
from harness.contracts import Column, FigureData
from harness.store.atomic import write_text
from harness.store.record import Record
from harness.suite.trial import Trial

NAME = "report.html"
HERE = Path(__file__).parent


def write_page(
    folder: Path,
    data: FigureData,
    pairs: Sequence[tuple[Trial, Record | None, Path]],
    summary: pd.DataFrame,
    columns: Mapping[str, Column],
    *,
    plan: Mapping[str, Any],
    figures: Sequence[str] = (),
    notes: Sequence[str] = (),
    shown: Sequence[str] = (),
) -> Path:
    """Write `report.html` into a results folder; the same data give the same bytes.

    pairs: the trials in order, each with its record and its folder. figures: names of those drawn.
    shown: columns of the summary, in this order; none: the usual ones.
    Raises: OSError for a folder that is not writable.
    """
    page = gather(folder, data, pairs, summary, columns, plan=plan, figures=figures, notes=notes, shown=shown)
    write_text(folder / NAME, render(page))
    return folder / NAME


def render(page: Page) -> str:
    """The page as HTML; every value is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template("page.html.jinja")
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    return template.render(page=page, style=style, script=script)
