"""From records to tidy frames: one row a trial, and the learning curves of all trials."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import configuration
from harness.errors import HarnessError
from harness.store.record import Record
from harness.store.store import Store
from harness.suite.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = ("variant", "seed", "key", "status", "error")
CONFIGURATION = ("model", "mixer", "pooling", "layers", "width", "length")
PROVENANCE = (
    *("dataset", "dataset_version", "device", "device_name", "threads", "precision", "scan_backend"),
    *("torch_version", "git_commit", "git_dirty", "started_at"),
)
MEASURED_FIRST = (
    *("parameters", "train_steps", "train_tokens", "flops_per_token"),
    *("nll_bits_train", "nll_bits_validation", "nll_bits_test", "generalization_gap_bits"),
    *("train_step_ms", "tokens_per_second", "peak_memory_mib", "saved_for_backward_mib", "state_bytes"),
    *("generate_samples_per_second", "train_seconds"),
)
"""Columns that come first among the measured ones; the rest follow in alphabetical order."""


def build_table(pairs: Iterable[tuple[Trial, Record | None]]) -> pd.DataFrame:
    """One row a trial, in order; a trial without a record has status `missing`."""
    import pandas as pd

    rows = [_row(trial, record) for trial, record in pairs]
    measured = {name for row in rows for name in row}
    first = [*IDENTITY, *CONFIGURATION, *(name for name in MEASURED_FIRST if name in measured)]
    last = [name for name in PROVENANCE if name in measured]
    rest = sorted(measured - {*first, *last})
    return pd.DataFrame(rows, columns=[*first, *rest, *last])


def build_history(store: Store, trials: Iterable[Trial]) -> pd.DataFrame:
    """The learning curves of all trials that left one, with `variant`, `seed` and `key` in front."""
    import pandas as pd

    frames = []
    for trial in trials:
        path = store.trial_folder(trial) / "history.csv"
        if path.is_file():
            frames.append(_of_trial(trial, path))
    if not frames:
        columns = ["step", "seconds", "tokens", "learning_rate", "nll_bits_train", "nll_bits_validation"]
        return pd.DataFrame(columns=["variant", "seed", "key", *columns])
    return pd.concat(frames, ignore_index=True)


class SeriesFrames(Mapping[str, "pd.DataFrame"]):
    """name -> the frames `series/<name>.csv` of all trials that left one, read when first asked for."""

    def __init__(self, store: Store, trials: Sequence[Trial]) -> None:
        self._files: dict[str, list[tuple[Trial, Path]]] = {}
        for trial in trials:
            for path in sorted((store.trial_folder(trial) / "series").glob("*.csv")):
                self._files.setdefault(path.stem, []).append((trial, path))
        self._read: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        import pandas as pd

        if name not in self._read:
            self._read[name] = pd.concat(
                [_of_trial(trial, path) for trial, path in self._files[name]], ignore_index=True
            )
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _of_trial(trial: Trial, path: Path) -> pd.DataFrame:
    """A trial's CSV file, with what tells it from those of others in front."""
    import pandas as pd

    frame = pd.read_csv(path)
    frame.insert(0, "key", trial.short_key)
    frame.insert(0, "seed", trial.seed)
    frame.insert(0, "variant", trial.variant)
    return frame


def _row(trial: Trial, record: Record | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "variant": trial.variant,
        "seed": trial.seed,
        "key": trial.short_key,
        "status": record.status if record else "missing",
        "error": record.error.strip().partition("\n")[0] if record else "",
        **_configuration(trial.config),
    }
    if record:
        row |= {**record.columns}
        row |= {name: record.provenance[name] for name in PROVENANCE if name in record.provenance}
    return row


def _configuration(config: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that say what ran; lists as JSON text, empty where a model has no such setting."""
    model = config["model"]
    return {
        "model": model["name"],
        "mixer": _names(model.get("mixer")),
        "pooling": _text(model.get("pooling")),
        "layers": _text(model.get("layers")),
        "width": _text(model.get("width")),
        "length": _length(config),
        "precision": config["train"]["precision"],
    }


def _length(config: Mapping[str, Any]) -> int | None:
    """Tokens of a clip in training; None of a plugin's data set that is not loaded and says no length."""
    try:
        whole = int(configuration.resolve("datasets", config["data"]).config.length)
    except HarnessError:
        whole = config["data"].get("length")
        if not isinstance(whole, int):
            return None
    return min(config["train"].get("crop") or whole, whole)


def _names(spec: Any) -> str:
    if isinstance(spec, list):
        return ", ".join(_names(each) for each in spec)
    # A mapping without a name is the configuration of a model's only kind of mixer.
    return str(spec.get("name", "")) if isinstance(spec, Mapping) else _text(spec)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
