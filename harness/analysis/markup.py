"""A layout in Markdown and in LaTeX (booktabs). Names are escaped: they come from users."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.analysis.layout import Cell, Header, Layout, lay_out
from harness.contracts import Column

if TYPE_CHECKING:
    import pandas as pd

VERDICTS = "better, worse or indistinguishable (≈)"

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: f"{{{character}}}" for character in "[]*"},  # options, where they follow a line end
    "±": r"$\pm$",
    "−": "$-$",
    "≈": r"$\approx$",
    "Δ": r"$\Delta$",
    "∞": r"$\infty$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "→": r"$\to$",
    "≤": r"$\le$",
}


def markdown(
    summary: pd.DataFrame,
    columns: Mapping[str, Column],
    *,
    base: str,
    title: str,
    question: str,
    shown: Sequence[str] = (),
) -> str:
    """A page: title, question, table, and how to read it."""
    layout = lay_out(summary, columns, base, shown=shown)
    blocks = [f"# {escape_markdown(title)}", escape_markdown(question), markdown_table(layout)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def latex(
    summary: pd.DataFrame,
    columns: Mapping[str, Column],
    *,
    base: str,
    title: str,
    question: str,
    shown: Sequence[str] = (),
) -> str:
    """A `table` environment with booktabs rules, ready for ``\\input``."""
    return latex_table(lay_out(summary, columns, base, shown=shown), title=title, heading=question)


def markdown_table(layout: Layout) -> str:
    """The table and below it how to read it, a paragraph each."""
    align = [":---" if header.words else "---:" for header in layout.headers]
    rows = [[escape_markdown(_heading(header)) for header in layout.headers], align]
    rows += [[_markdown_cell(cell) for cell in row] for row in layout.rows]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join([table, *(escape_markdown(note) for note in layout.notes("Bold", VERDICTS))])


def latex_table(layout: Layout, *, title: str, heading: str = "") -> str:
    """`heading` opens the caption; `title` stands in for it, and names the label."""
    rows = [" & ".join(_latex_cell(cell) for cell in row) + r" \\" for row in layout.rows]
    notes = " ".join(escape_latex(note) for note in layout.notes("Bold", VERDICTS))
    caption = f"{escape_latex(heading or f'{title}.')} {notes}"
    label = re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-")
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}[t]",
            r"\centering",
            r"\footnotesize",
            rf"\begin{{tabular}}{{{''.join('l' if header.words else 'r' for header in layout.headers)}}}",
            r"\toprule",
            " & ".join(escape_latex(f"{header.title} {header.arrow}".strip()) for header in layout.headers)
            + r" \\",
            " & ".join(escape_latex(_unit(header)) for header in layout.headers) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{label}}}",
            r"\end{table}",
            "",
        ]
    )


def escape_markdown(text: str) -> str:
    """Text that reads the same in a table cell of any Markdown dialect, HTML included."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|#~$])", r"\\\1", text)


def escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _heading(header: Header) -> str:
    return " ".join(filter(None, [header.title, _unit(header), header.arrow]))


def _unit(header: Header) -> str:
    return f"({header.unit})" if header.unit else ""


def _plain(cell: Cell) -> str:
    if cell.verdict == "indistinguishable" or cell.tied:
        return f"{cell.text} ≈"
    return cell.text if cell.verdict == "-" else f"{cell.text} {cell.verdict}"


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(_plain(cell))
    return f"**{text}**" if cell.best else text


def _latex_cell(cell: Cell) -> str:
    text = escape_latex(_plain(cell))
    return rf"\textbf{{{text}}}" if cell.best else text
