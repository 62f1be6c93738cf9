"""`harness check`: do a model or mixer, ours or a stranger's, keep the laws?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.format import console as make_console
from harness.errors import HarnessError


def add_to(app: typer.Typer) -> None:
    app.command(name="check")(check)


def check(
    what: Annotated[
        str, typer.Argument(help="A plugin file (my_model.py), or the name of a model or mixer.")
    ],
) -> None:
    """Check models and mixers against the laws: causality, forward equals step, any length, …

    Example: harness check my_model.py
    """
    from harness.conformance import check_mixer, check_model

    console = make_console()
    failures = 0
    for kind, name in _subjects(what):
        heading = ""
        for verdict in (check_model if kind == "models" else check_mixer)(name):
            if verdict.subject != heading:
                heading = verdict.subject
                console.print(heading, style="bold", markup=False, highlight=False)
            mark, style = ("ok  ", "green") if verdict.passed else ("FAIL", "red")
            console.print(f"  {mark} {verdict.law}", style=style, markup=False, highlight=False)
            if verdict.message:
                console.print(f"       {verdict.message}", markup=False, highlight=False)
            failures += not verdict.passed
    if failures:
        raise typer.Exit(1)


def _subjects(what: str) -> list[tuple[str, str]]:
    """(kind, name) of what is to be checked."""
    from harness import registry

    if what.endswith(".py"):
        before = {kind: set(registry.names(kind)) for kind in ("models", "mixers")}
        registry.load_plugin(Path(what))
        new = [(kind, name) for kind in before for name in registry.names(kind) if name not in before[kind]]
        if not new:
            raise HarnessError(f'{what} registers no model and no mixer; does it use @register("models", …)?')
        return new
    found = [(kind, what) for kind in ("models", "mixers") if what in registry.names(kind)]
    if not found:
        from harness.errors import did_you_mean

        known = [*registry.names("models"), *registry.names("mixers")]
        raise HarnessError(f"no model or mixer is called {what!r}; {did_you_mean(what, known)}")
    return found
