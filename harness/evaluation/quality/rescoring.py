"""A results folder's clips scored again: after more of them were drawn, or by another protocol.

The record of each trial gets the new columns in place of the old ones, and its provenance says when
and by what command. Nothing is trained and nothing drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import torch

from harness.errors import HarnessError
from harness.evaluation.clip_folder import ClipFolder
from harness.evaluation.clips import clips_folder, weights_sha256
from harness.evaluation.quality.metric import Quality, score_clips
from harness.evaluation.quality.waveforms import Progress
from harness.evaluation.trained import Datasets, Done, load_trained, metric_config
from harness.execution.provenance import command_line, describe
from harness.store.lock import only_one_at_a_time
from harness.store.record import read_record, write_record

METRIC = "quality"


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is different from the suite's own settings of the metric; None: nothing."""

    clips: int | None = None
    extractor: str | None = None
    rejection: str | None = None
    lengths: str | None = None
    resamples: int | None = None

    def over(self, config: Quality.Config) -> Quality.Config:
        """Raises: ConfigError."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        return replace(config, **said)


class Scorable(NamedTuple):
    """A trial with clips of its own weights."""

    done: Done
    clips: ClipFolder
    dataset: Any


def scorable(
    found: Sequence[Done], count: int | None, datasets: Datasets
) -> tuple[list[Scorable], int, list[str]]:
    """The trials that can be scored, on how many clips each, and a word on every other one.

    All are scored on as many clips, since most scores depend on their number: as many as asked for,
    or as the trial with the fewest has.
    Raises: HarnessError where no trial has clips.
    """
    ready, notes = [], []
    for done in found:
        clips = ClipFolder(clips_folder(done.folder))
        dataset = datasets(done.trial)
        if (lack := _lack(done, clips, dataset, count)) is not None:
            notes.append(f"{done.name}: left out, {lack}; `harness sample` draws them")
        else:
            ready.append(Scorable(done, clips, dataset))
    if not ready:
        raise HarnessError(f"no trial has clips to score ({'; '.join(notes[:3])})")
    numbers = [len(each.clips) for each in ready]
    if count is None and min(numbers) < max(numbers):
        notes.append(
            f"scored on {min(numbers)} clips each, the fewest that a trial has; some have {max(numbers)}: "
            f"`harness sample RESULTS --clips {max(numbers)}` gives all as many"
        )
    return ready, count or min(numbers), notes


def rescore(
    ready: Sequence[Scorable],
    count: int,
    changes: Changes,
    *,
    device: torch.device,
    progress: Callable[[Scorable], Progress],
) -> Iterator[tuple[Scorable, Mapping[str, Any]]]:
    """Score one trial after another; its record is written before the next begins."""
    for each in ready:
        config = replace(changes, clips=count).over(metric_config(each.done.trial, METRIC))
        columns = score_clips(
            each.clips,
            each.dataset,
            each.done.trial.config["data"],
            config,
            count=count,
            device=device,
            progress=progress(each),
        )
        _update(each.done, columns, device)
        yield each, columns


def _lack(done: Done, clips: ClipFolder, dataset: Any, count: int | None) -> str | None:
    """What is missing for scoring, or None."""
    if clips.drawing is None or len(clips) < 2:
        return "it has no clips"
    if clips.drawing.weights != weights_sha256(load_trained(done, dataset, "cpu")):
        return "its clips are of other weights than its checkpoint"
    if count is not None and len(clips) < count:
        return f"it has {len(clips)} clips, not {count}"
    return None


def _update(done: Done, columns: Mapping[str, Any], device: torch.device) -> None:
    """The record as it is by now, with these columns in place of all of the metric's."""
    scored = {
        **describe(device),
        "command": command_line(),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = done.folder / "record.json"
    with only_one_at_a_time(done.folder):
        record = read_record(path)
        others = {name: value for name, value in record.columns.items() if name not in Quality.columns}
        write_record(
            path,
            replace(
                record,
                columns={**others, **columns},
                provenance={**record.provenance, METRIC: scored},
            ),
        )
