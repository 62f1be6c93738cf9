"""What a trial leaves: one JSON file that says what ran, how it ended and every number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from harness.contracts import Lane
from harness.errors import HarnessError
from harness.store.atomic import write_text
from harness.suite.trial import Trial

SCHEMA_VERSION = 1

Status = Literal["ok", "failed", "diverged", "out_of_memory", "timeout", "interrupted", "missing"]

LANES: tuple[Lane, ...] = get_args(Lane)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One trial's outcome. A table is rebuilt from records alone."""

    key: str
    variant: str
    """The name it ran under; a table names it by the suite at hand."""
    seed: int
    config: Mapping[str, Any]
    status: Status
    error: str = ""
    lanes: tuple[Lane, ...] = ()
    """Lanes whose measurements are in `columns`."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where and with what it ran: device, threads, versions, commit, times."""
    schema_version: int = SCHEMA_VERSION

    @property
    def finished(self) -> bool:
        """Every lane measured, nothing failed: a later run has nothing to do."""
        return self.status == "ok" and set(self.lanes) == set(LANES)

    def lacks(self, lane: Lane) -> bool:
        return lane not in self.lanes

    def with_lane(self, lane: Lane, columns: Mapping[str, Any], provenance: Mapping[str, Any]) -> Record:
        """The record after another lane has been measured."""
        return replace(
            self,
            lanes=tuple(each for each in LANES if each in {*self.lanes, lane}),
            columns={**self.columns, **columns},
            provenance={**self.provenance, **provenance},
        )

    @classmethod
    def failure(cls, trial: Trial, status: Status, error: str, **known: Any) -> Record:
        return cls(
            key=trial.key,
            variant=trial.variant,
            seed=trial.seed,
            config=trial.config,
            status=status,
            error=error,
            **known,
        )


def write_record(path: Path, record: Record) -> None:
    """Atomic. Not-a-number and infinity are written as JSON's null and as text."""
    write_text(path, json.dumps(_encodable(asdict(record)), indent=1, sort_keys=True) + "\n")


def read_record(path: Path) -> Record:
    """Raises: HarnessError for a file that is damaged or of a newer schema."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HarnessError(f"{path}: not a record: {error}") from None
    if not isinstance(data, dict):
        raise HarnessError(f"{path}: not a record")
    version = data.get("schema_version")
    if version not in _UPGRADES and version != SCHEMA_VERSION:
        raise HarnessError(
            f"{path}: schema version {version!r}, this harness reads up to {SCHEMA_VERSION}; update it"
        )
    while data["schema_version"] != SCHEMA_VERSION:
        data = _UPGRADES[data["schema_version"]](data)
    try:
        return Record(**{**data, "lanes": tuple(data["lanes"])})
    except (TypeError, KeyError) as error:
        raise HarnessError(f"{path}: not a record: {error}") from None


_UPGRADES: dict[int, Any] = {}
"""schema version -> function from that version's mapping to the next one's."""


def _encodable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _encodable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(inner) for inner in value]
    if isinstance(value, float):
        if value != value:
            return None
        return value if value not in (float("inf"), float("-inf")) else str(value)
    if hasattr(value, "item"):  # a numpy scalar
        return _encodable(value.item())
    return value
