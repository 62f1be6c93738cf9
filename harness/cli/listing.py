"""`harness list`: what there is to use, a line each. Imports no plugin and no torch, but for presets."""

from __future__ import annotations

import dataclasses
import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from harness.cli.options import JsonOption


class Kind(StrEnum):
    MODELS = "models"
    PRESETS = "presets"
    MIXERS = "mixers"
    DATASETS = "datasets"
    METRICS = "metrics"
    FIGURES = "figures"
    TRACKERS = "trackers"
    SUITES = "suites"
    PUBLISHED = "published"


def add_to(app: typer.Typer) -> None:
    app.command(name="list")(list_)


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    as_json: JsonOption = False,
) -> None:
    """List models, their presets, mixers, datasets, metrics, figures, trackers, suites or published numbers.

    Example: harness list models
    """
    match kind:
        case Kind.SUITES:
            found = _suites()
        case Kind.PRESETS:
            found = _presets()
        case Kind.PUBLISHED:
            found = _published()
        case _:
            found = _registered(kind)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    width = max((len(name) for name in found), default=0)
    in_words = _numbers_in_words if kind is Kind.PUBLISHED else _in_words
    for name, description in found.items():
        text = in_words(description) if isinstance(description, dict) else description
        typer.echo(f"{name:<{width}}  {text}{_presets_of(name) if kind is Kind.MODELS else ''}")
    if kind is Kind.PUBLISHED:
        typer.echo("\n?  rests on one third-party transcription of the source")


def _registered(kind: str) -> dict[str, Any]:
    from harness import registry

    return {name: registry.describe(kind, name) for name in registry.names(kind)}


def _presets() -> dict[str, Any]:
    """``model/preset`` -> its source, count, note and settings. Imports every model."""
    from harness import registry
    from harness.errors import PluginError

    found = {}
    for name in registry.names("models"):
        try:
            presets = getattr(registry.get("models", name), "presets", {})
        except PluginError as error:
            found[name] = {"source": f"(broken: {error})", "parameters": None, "note": ""}
            continue
        for preset, content in presets.items():
            found[f"{name}/{preset}"] = json.loads(json.dumps(dataclasses.asdict(content)))
    return found


def _presets_of(model: str) -> str:
    from harness import registry

    names = registry.preset_names(model)
    return f" [presets: {', '.join(names)}]" if names else ""


def _in_words(preset: dict[str, Any]) -> str:
    count = preset["parameters"]
    return f"{preset['source']}; {'no published count' if count is None else f'{count:,} parameters'}"


def _published() -> dict[str, Any]:
    """``data set/model`` -> what is reported of it, where, and how it was measured."""
    from harness.analysis.published import published

    return {row.name: dataclasses.asdict(row) for row in published()}


def _numbers_in_words(row: dict[str, Any]) -> str:
    """Numbers, `?` behind those that rest on one third-party transcription, and where they stand."""
    from harness.analysis.published import QUANTITIES

    unconfirmed = (row["unconfirmed"] or "").split()
    numbers = ", ".join(
        f"{quantity} {row[quantity]:g}{'?' if quantity in unconfirmed else ''}"
        for quantity in QUANTITIES
        if row[quantity] is not None
    )
    return f"{numbers}; {row['source']}"


def _suites() -> dict[str, Any]:
    from harness.suite.source import SuiteError, read_document
    from harness.suite.suite import suite_files

    found = {}
    for name, file in suite_files().items():
        try:
            found[name] = str(read_document(file).data.get("question", ""))
        except (SuiteError, AttributeError) as error:
            found[name] = f"(broken: {error})"
    return found
