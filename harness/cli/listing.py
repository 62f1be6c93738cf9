"""`harness list`: what there is to use, a line each. Imports no plugin and no torch."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from harness.cli.options import JsonOption


class Kind(StrEnum):
    MODELS = "models"
    MIXERS = "mixers"
    DATASETS = "datasets"
    METRICS = "metrics"
    FIGURES = "figures"
    SUITES = "suites"


def add_to(app: typer.Typer) -> None:
    app.command(name="list")(list_)


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    as_json: JsonOption = False,
) -> None:
    """List models, mixers, datasets, metrics, figures or suites.

    Example: harness list models
    """
    found = _suites() if kind is Kind.SUITES else _registered(kind)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    width = max((len(name) for name in found), default=0)
    for name, description in found.items():
        typer.echo(f"{name:<{width}}  {description}")


def _registered(kind: str) -> dict[str, str]:
    from harness import registry

    return {name: registry.describe(kind, name) for name in registry.names(kind)}


def _suites() -> dict[str, str]:
    from harness.suite.source import SuiteError, read_document
    from harness.suite.suite import suite_files

    found = {}
    for name, file in suite_files().items():
        try:
            found[name] = str(read_document(file).data.get("question", ""))
        except (SuiteError, AttributeError) as error:
            found[name] = f"(broken: {error})"
    return found
