"""A layout as a table for a terminal. Names are printed as they are, never read as markup."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis.layout import Cell, Header, Layout

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

NARROW_UNIT = 8
"""Units longer than this take two lines."""

TITLE = 15
"""Letters of a title on one line."""
KEYS = ("rank", "metric", "variant")
"""Columns that say what a row is of."""
WIDEST = 10_000
"""Columns of a terminal that takes any table."""

SIGNS = {
    "better": ("▲", "green"),
    "worse": ("▼", "red"),
    "indistinguishable": ("≈", "dim"),
    "-": ("", ""),
}


@dataclass(frozen=True)
class TerminalTable:
    """One table where it fits into the width, else several below each other, each saying what its rows are;
    then the layout's notes.

    Rich alone would leave columns out and cut numbers short without a word.
    """

    layout: Layout

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        from rich.text import Text

        for number, columns in enumerate(self._parts(console, options)):
            if number:
                yield Text()
            yield self._table(columns)
        notes = self.layout.notes("Bold", "▲ better, ▼ worse, ≈ indistinguishable")
        yield Text("\n".join(notes), style="table.caption")

    def _parts(self, console: Console, options: ConsoleOptions) -> list[list[int]]:
        """Which columns stand in each table: as many as fit."""
        from rich.measure import Measurement

        headers = self.layout.headers
        keys = [at for at, header in enumerate(headers) if header.name in KEYS]
        parts = [keys]
        for at in range(len(headers)):
            if at in keys:
                continue
            together = sorted([*parts[-1], at])
            needed = Measurement.get(console, options.update(max_width=WIDEST), self._table(together)).maximum
            if needed <= options.max_width or parts[-1] == keys:
                parts[-1] = together
            else:
                parts.append(sorted([*keys, at]))
        return parts

    def _table(self, columns: Sequence[int]) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False, collapse_padding=True
        )
        for header in (self.layout.headers[at] for at in columns):
            table.add_column(
                Text(_title(header)),
                justify="left" if header.words else "right",
                no_wrap=not header.words,
                overflow="fold",
            )
        for row in self.layout.rows:
            table.add_row(*(_cell(row[at]) for at in columns))
        return table


def _title(header: Header) -> str:
    words = f"{header.title}\N{NO-BREAK SPACE}{header.arrow}".strip()
    title = textwrap.fill(words, TITLE, break_long_words=False).replace("\N{NO-BREAK SPACE}", " ")
    unit = header.unit.replace("/", "/\n") if len(header.unit) > NARROW_UNIT else header.unit
    return "\n".join(filter(None, [title, unit]))


def _cell(cell: Cell) -> Text:
    from rich.text import Text

    sign, colour = ("≈", "dim") if cell.tied else SIGNS[cell.verdict]
    text = Text(cell.text, style="bold" if cell.best else "")
    text.append(f" {sign}" if sign else "", style=colour)
    return text
