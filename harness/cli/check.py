"""`harness check`: is a plugin, ours or a stranger's, what the harness expects?"""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.format import console as make_console
from harness.errors import HarnessError, did_you_mean


def add_to(app: typer.Typer) -> None:
    app.command(name="check")(check)


def check(
    what: Annotated[
        str, typer.Argument(help="A plugin file (my_model.py), or the name of something registered.")
    ],
) -> None:
    """Check a plugin: a model's or mixer's laws (causality, forward equals step, any length, …) and
    ten steps of training; a data set's splits, a metric's columns, a figure's drawing.

    Example: harness check my_model.py
    """
    from harness.conformance import check_registered

    console = make_console()
    passed, failed = 0, 0
    for kind, name in _subjects(what):
        heading = ""
        for verdict in check_registered(kind, name):
            if verdict.subject != heading:
                heading = verdict.subject
                console.print(f"{kind[:-1]} {heading}", style="bold", markup=False, highlight=False)
            mark, style = ("ok  ", "green") if verdict.passed else ("FAIL", "red")
            console.print(f"  {mark} {verdict.law}", style=style, markup=False, highlight=False)
            if verdict.message:
                console.print(f"       {verdict.message}", markup=False, highlight=False)
            passed, failed = passed + verdict.passed, failed + (not verdict.passed)
    verdict_line = f"{passed} checks passed" if not failed else f"{failed} of {passed + failed} checks failed"
    console.print(verdict_line, style="bold", markup=False, highlight=False)
    if failed:
        raise typer.Exit(1)


def _subjects(what: str) -> list[tuple[str, str]]:
    """(kind, name) of what is to be checked."""
    from harness import registry

    if what.endswith(".py"):
        from harness.conformance import registered_by

        return registered_by(what)
    found = [(kind, what) for kind in registry.KINDS if what in registry.names(kind)]
    if not found:
        known = [name for kind in registry.KINDS for name in registry.names(kind)]
        raise HarnessError(f"nothing registered is called {what!r}; {did_you_mean(what, known)}")
    return found
