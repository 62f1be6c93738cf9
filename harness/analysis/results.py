"""A results folder as comparisons read it: its table, what its columns mean, and what it was asked."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.api import load_results, measured_columns
from harness.contracts import Column
from harness.errors import HarnessError, PluginError
from harness.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Results:
    """`table` has one row a trial; `configurations` one resolved configuration a variant."""

    name: str
    table: pd.DataFrame
    columns: Mapping[str, Column]
    variants: Sequence[str]
    configurations: Mapping[str, Mapping[str, Any]]
    shown: Sequence[str]
    """The columns that the suite chose for its summary."""


def load_folder(folder: str | Path) -> Results:
    """Raises: HarnessError for a folder that no run has written."""
    plan = Store(folder).read_plan()
    for file in plan["plugin_files"]:
        # Without it, what the plugin measured has no unit and no direction; the numbers are all there.
        with contextlib.suppress(PluginError):
            registry.load_plugin(file)
    table = load_results(folder)
    if (table["status"] == "missing").all() and any(Path(folder, "trials").glob("*/record.json")):
        raise HarnessError(
            f"{folder}: its records have other keys than its plan asks for: another version of the protocol "
            "made them, under which a number can mean something else; run the suite again"
        )
    configurations = {variant["name"]: variant["config"] for variant in plan["variants"]}
    return Results(
        name=plan["name"],
        table=table,
        columns=measured_columns(folder),
        variants=[*configurations],
        configurations=configurations,
        shown=plan.get("columns", []),
    )
