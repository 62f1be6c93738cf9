"""Published numbers, and whether one may stand beside a number of ours.

`published.csv` holds what others report, with where it stands and how it was measured. A number that rests
on one third-party transcription of a paper is named in `unconfirmed`; what nobody could read is left
out. Parameters are as the sources round them. What the sources call inception score is in the column of
the definition behind it: `inception_score_sashimi` for the published SC09 script (see
`harness.evaluation.quality.inception`).

Two numbers are comparable if they answer one question in one way: same recordings, same tokens, all of
the test set; for scores of drawn clips also the same classifier, number and choice of clips.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_name("published.csv")

LIKELIHOOD = ("nll_bits_test",)
QUALITY = ("fid", "inception_score", "inception_score_sashimi", "modified_inception_score", "am_score", "ndb")
"""Scores of drawn clips by a classifier; named as the columns of our tables."""
HUMAN = (
    *("human_agreement", "human_quality", "human_intelligibility"),
    *("human_fidelity", "human_musicality"),
)
"""Agreement of listeners on the digit (kappa), and mean opinion scores from 1 to 5."""
QUANTITIES = (*LIKELIHOOD, *QUALITY, *HUMAN)

SAMPLES_TOLERANCE = 0.1
"""Relative difference in the number of clips up to which scores are compared: FID's bias goes with 1/N."""
TEST_SET_FID = 0.05
"""The most that the test set may score for the classifier to pass for the published one, which gives 0.02."""
TEST_SET_TOLERANCE = 0.02
"""Relative, of the test set's inception score: 8.33 by the published classifier."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What one source reports of one model; None where it says nothing."""

    model: str
    """The name that the model has here, where it is here."""
    parameters: int | None
    dataset: str
    dataset_version: str | None
    nll_bits_test: float | None
    fid: float | None
    inception_score: float | None
    inception_score_sashimi: float | None
    modified_inception_score: float | None
    am_score: float | None
    ndb: float | None
    human_agreement: float | None
    human_quality: float | None
    human_intelligibility: float | None
    human_fidelity: float | None
    human_musicality: float | None
    sample_rate: int | None
    length: int | None
    """Samples of a clip."""
    quantiser: str | None
    extractor: str | None
    """Whose classifier: sashimi's (98.08 % right on the test set) or diffwave's (98.76 %)."""
    samples: int | None
    """Clips that were scored."""
    rejection: str | None
    source: str
    unconfirmed: str | None
    """Quantities that rest on one third-party transcription of the source."""
    note: str | None

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.model}"

    def value(self, quantity: str) -> float | None:
        """Raises: KeyError for what is no quantity."""
        if quantity not in QUANTITIES:
            raise KeyError(quantity)
        return getattr(self, quantity)

    def values(self) -> dict[str, float]:
        """The quantities that the source reports."""
        found = {quantity: self.value(quantity) for quantity in QUANTITIES}
        return {quantity: value for quantity, value in found.items() if value is not None}

    def confirmed(self, quantity: str) -> bool:
        return quantity not in (self.unconfirmed or "").split()


@cache
def published(dataset: str | None = None) -> tuple[Published, ...]:
    """All rows, or those of a data set, in the order of the file."""
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = [_typed(row) for row in csv.DictReader(file)]
    return tuple(row for row in rows if dataset in (None, row.dataset))


def _typed(row: Mapping[str, str]) -> Published:
    types = {"str": str, "int": int, "float": float}
    found: dict[str, Any] = {}
    for field in fields(Published):
        text, kind = row[field.name], str(field.type).removesuffix(" | None")
        found[field.name] = types[kind](text) if text else None
    return Published(**found)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How numbers of ours were measured; None where a row does not say."""

    dataset: str | None = None
    dataset_version: str | None = None
    sample_rate: int | None = None
    length: int | None = None
    quantiser: str | None = None
    min_max: bool | None = None
    test_clips: int | None = None
    """Clips of the test set that the likelihood was read on, where they were limited."""
    context: int | None = None
    """Longest context of the likelihood, in samples."""
    extractor: str | None = None
    """Name and hash of the classifier, as in the column `quality_extractor`."""
    samples: int | None = None
    rejection: str | None = None
    lengths: str | None = None
    """full: clips were scored as they were drawn; data: cut to the lengths of recordings."""
    test_set_fid: float | None = None
    test_set_inception_score: float | None = None
    """Of the test set itself, by the published script's definition."""

    @classmethod
    def of(cls, row: Mapping[str, Any], config: Mapping[str, Any]) -> Protocol:
        """From a row of a table and the trial's resolved configuration."""
        data = config.get("data", {})
        rate, seconds = data.get("sample_rate"), data.get("seconds")
        nll: Mapping[str, Any] = next(
            (metric for metric in config.get("measure", ()) if metric.get("name") == "nll"), {}
        )
        return cls(
            dataset=data.get("name") or _present(row.get("dataset")),
            dataset_version=_present(row.get("dataset_version")),
            sample_rate=rate,
            length=round(rate * seconds) if rate and seconds else None,
            quantiser=data.get("quantiser"),
            min_max=data.get("min_max"),
            test_clips=nll.get("max_clips"),
            context=_present(row.get("nll_context")),
            extractor=_present(row.get("quality_extractor")),
            samples=_present(row.get("quality_samples")),
            rejection=_present(row.get("quality_rejection")),
            lengths=_present(row.get("quality_lengths")),
            test_set_fid=_present(row.get("fid_test_set")),
            test_set_inception_score=_present(row.get("inception_score_sashimi_test_set")),
        )


def _present(value: Any) -> Any:
    """A cell of a table, or None for an empty one (NaN is not equal to itself)."""
    return None if value is None or value != value or value == "" else value


class Comparison(NamedTuple):
    """Whether a published number may stand beside ours; why not, or what to keep in mind."""

    comparable: bool
    reason: str


def comparable(row: Published, protocol: Protocol, quantity: str = "nll_bits_test") -> Comparison:
    """Of one quantity; all reasons against it, or the reservations where there is none."""
    if row.value(quantity) is None:
        return Comparison(False, f"{row.name} has no published {quantity}")
    if quantity in HUMAN:
        return Comparison(False, "listeners judged the published clips; nobody judged ours")
    against = _of_data(row, protocol)
    against += (
        _of_likelihood(row, protocol) if quantity in LIKELIHOOD else _of_quality(row, protocol, quantity)
    )
    if against:
        return Comparison(False, "; ".join(against))
    reservations = [
        *([] if row.confirmed(quantity) else ["the number rests on one third-party transcription"]),
        *([row.note] if row.note else []),
    ]
    return Comparison(True, "; ".join(reservations))


def _of_data(row: Published, protocol: Protocol) -> list[str]:
    """Other recordings or other samples of them."""
    against = []
    if protocol.dataset != row.dataset:
        return [f"ours is on {protocol.dataset or 'an unknown data set'}, theirs on {row.dataset}"]
    version = protocol.dataset_version
    if version is None:
        against.append("our version of the data set is not recorded")
    elif version.startswith("part of"):
        against.append(f"ours is on {version}")
    elif row.dataset_version is not None and version != row.dataset_version:
        against.append(f"ours is on {version}, theirs on {row.dataset_version}")
    return [*against, *_different("samples a second", protocol.sample_rate, row.sample_rate)]


def _of_likelihood(row: Published, protocol: Protocol) -> list[str]:
    """Other tokens, or less of the test set or of the context."""
    against = [
        *_different("samples a clip", protocol.length, row.length),
        *_different("quantisation", protocol.quantiser, row.quantiser),
    ]
    if not protocol.min_max:
        against.append("our clips are not stretched to span all levels, theirs are")
    if protocol.test_clips is not None:
        against.append(f"ours is on {protocol.test_clips:g} clips of the test set, theirs on all")
    if protocol.context is not None and row.length is not None and protocol.context < row.length:
        against.append(f"ours sees {protocol.context:g} samples of context, theirs {row.length:g}")
    return against


def _of_quality(row: Published, protocol: Protocol, quantity: str) -> list[str]:
    """Another classifier, number or choice of clips."""
    against = _of_classifier(row, protocol)
    if row.quantiser is not None:
        against += _different("quantisation", protocol.quantiser, row.quantiser)
    if row.rejection is None or row.samples is None:
        against.append(f"{row.source} does not say how many clips were scored, nor how they were chosen")
        return against
    if protocol.lengths != "full":
        against.append("our clips were cut to the lengths of recordings, theirs are whole")
    against += _different("rejection by likelihood", protocol.rejection, row.rejection)
    ours = protocol.samples
    if ours is None or abs(ours / row.samples - 1) > SAMPLES_TOLERANCE:
        drawn = "an unknown number of" if ours is None else f"{ours:g}"
        against.append(f"ours is of {drawn} clips, theirs of {row.samples:g}")
    if quantity == "inception_score":
        against.append("which definition their script has is not known")
    return against


def _of_classifier(row: Published, protocol: Protocol) -> list[str]:
    """The published weights have no known hash; what they make of the test set identifies them."""
    ours = protocol.extractor
    if row.extractor != "sashimi":
        return [f"theirs is by a classifier that was not published ({row.extractor}'s)"]
    if ours is None or not ours.startswith("published"):
        return [f"ours is by the classifier {ours or 'of an unknown name'}, theirs by the published one"]
    test = next(r for r in published(row.dataset) if r.extractor == "sashimi" and r.model == "test set")
    fid, score, expected = (
        protocol.test_set_fid,
        protocol.test_set_inception_score,
        test.inception_score_sashimi,
    )
    if fid is None or score is None:
        return ["our classifier is not proved to be theirs: it has not scored the test set"]
    assert expected is not None and test.fid is not None
    if fid > TEST_SET_FID or abs(score / expected - 1) > TEST_SET_TOLERANCE:
        return [
            f"our classifier is not theirs: it gives the test set FID {fid:.3f} and inception score "
            f"{score:.2f}, theirs {test.fid:.2f} and {expected:.2f}"
        ]
    return []


def _different(what: str, ours: Any, theirs: Any) -> list[str]:
    if ours == theirs:
        return []
    return [f"{what}: ours {'not recorded' if ours is None else ours}, theirs {theirs}"]
