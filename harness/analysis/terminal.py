"""A layout as a table for a terminal. Names are printed as they are, never read as markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.analysis.layout import Cell, Header, Layout

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

NARROW_UNIT = 8
"""Units longer than this take two lines."""

SIGNS = {
    "better": ("▲", "green"),
    "worse": ("▼", "red"),
    "indistinguishable": ("≈", "dim"),
    "-": ("", ""),
}


def as_terminal_table(layout: Layout) -> Table:
    """For 100 columns or more, with its notes below."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

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
        table.add_column(
            Text(_title(header)),
            justify="left" if header.words else "right",
            no_wrap=not header.words,
            overflow="fold",
        )
    for row in layout.rows:
        table.add_row(*map(_cell, row))
    return table


def _title(header: Header) -> str:
    unit = header.unit.replace("/", "/\n") if len(header.unit) > NARROW_UNIT else header.unit
    return "\n".join(filter(None, [f"{header.title} {header.arrow}".strip(), unit]))


def _cell(cell: Cell) -> Text:
    from rich.text import Text

    sign, colour = ("≈", "dim") if cell.tied else SIGNS[cell.verdict]
    text = Text(cell.text, style="bold" if cell.best else "")
    text.append(f" {sign}" if sign else "", style=colour)
    return text
