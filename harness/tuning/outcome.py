"""What a search has found: a row for every search trial, and which of them is frozen.

`tuned.json` in the results folder holds all searches that are over, each under its own key, so that an
equal one is not run again and a changed one is. `tuning.csv` is the same for people and figures.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.store.atomic import replacing, write_text

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
FROZEN = "tuned.json"
TABLE = "tuning.csv"


@dataclass(frozen=True, kw_only=True)
class SearchRow:
    """One search trial."""

    trial: int
    """Its number in the search, from 0."""
    key: str
    values: Mapping[str, Any]
    steps: int
    """Updates reached, at the last point of its learning curve."""
    nll_bits_validation: float
    """There."""
    stopped_early: bool
    status: str
    """ok for one that ran to its end or was stopped on the way; else how it failed."""
    error: str
    seconds: float
    """Of training."""

    @property
    def usable(self) -> bool:
        return self.status == "ok" and math.isfinite(self.nll_bits_validation)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of one variant's search."""

    variant: str
    key: str
    max_steps: int
    rows: Sequence[SearchRow]

    @property
    def best(self) -> SearchRow | None:
        """The lowest validation NLL of those that ran to the end, of the first where several have it.

        Only where none did, of the stopped ones; None where every search trial failed.
        """
        usable = [row for row in self.rows if row.usable]
        ended = [row for row in usable if not row.stopped_early]
        return min(ended or usable, key=lambda row: (row.nll_bits_validation, row.trial), default=None)

    @property
    def remark(self) -> str:
        """What has to be said of the choice, if anything."""
        best = self.best
        if best is None:
            first = next((row.error for row in self.rows if row.error), "no finite validation NLL")
            return f"no search trial ended well, so it runs with its own settings ({first})"
        return "no search trial ran to its end; the best of those stopped early" if best.stopped_early else ""

    def frozen(self) -> dict[str, Any]:
        """JSON-ready, without the rows: for the plan."""
        best = self.best
        return {
            "key": self.key,
            "values": {} if best is None else dict(best.values),
            "nll_bits_validation": None if best is None else best.nll_bits_validation,
            "search_trial": None if best is None else best.trial,
            "search_trials": len(self.rows),
            "stopped_early": sum(row.stopped_early for row in self.rows),
            "max_steps": self.max_steps,
            "remark": self.remark,
        }


def read_outcomes(folder: Path) -> dict[str, Outcome]:
    """search key -> outcome, of the searches that are over; empty where none is.

    Raises: HarnessError for a file that is damaged.
    """
    path = folder / FROZEN
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise ValueError(f"format {said['format']!r}, this harness reads {FORMAT}")
        outcomes = [_outcome(each) for each in said["searches"]]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HarnessError(f"{path}: holds no searches ({error}); remove it to search again") from None
    return {outcome.key: outcome for outcome in outcomes}


def write_outcomes(folder: Path, outcomes: Iterable[Outcome]) -> None:
    """All of them, whole or not at all."""
    plain = [{**outcome.frozen(), **asdict(outcome)} for outcome in outcomes]
    for outcome in plain:
        for row in outcome["rows"]:
            if not math.isfinite(row["nll_bits_validation"]):
                row["nll_bits_validation"] = None  # JSON knows no infinity
    text = json.dumps({"format": FORMAT, "searches": plain}, indent=1, allow_nan=False)
    write_text(folder / FROZEN, text + "\n")


def write_table(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """`tuning.csv`: one line a search trial of the searches at hand; a column for each setting."""
    settings = list(dict.fromkeys(path for o in outcomes for row in o.rows for path in row.values))
    names = ["variant", "search_trial", *settings, "steps", "max_steps", "nll_bits_validation"]
    names += ["stopped_early", "chosen", "status", "error", "seconds", "key"]
    with replacing(folder / TABLE) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for outcome in outcomes:
            for row in outcome.rows:
                said: dict[str, Any] = asdict(row)
                values = {path: _cell(value) for path, value in said.pop("values").items()}
                about = {
                    "variant": outcome.variant,
                    "search_trial": said.pop("trial"),
                    "max_steps": outcome.max_steps,
                    "chosen": row is outcome.best,
                }
                writer.writerow({**about, **values, **said, "key": row.key[:12]})


def read_table(folder: Path) -> pd.DataFrame | None:
    """`tuning.csv`, or None where nothing was searched."""
    import pandas as pd

    path = folder / TABLE
    return pd.read_csv(path) if path.is_file() else None


def _outcome(said: Mapping[str, Any]) -> Outcome:
    rows = []
    for row in said["rows"]:
        bits = row["nll_bits_validation"]
        rows.append(SearchRow(**{**row, "nll_bits_validation": math.nan if bits is None else bits}))
    return Outcome(variant=said["variant"], key=said["key"], max_steps=said["max_steps"], rows=rows)


def _cell(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else json.dumps(value)
