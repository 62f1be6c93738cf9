"""What a plugin implements: SequenceModel, TemporalMixer, Dataset, Metric, Figure, Tracker.

The ground floor: everything stands on this file, it imports nothing heavy, and a plugin needs no
other (besides `harness.registry.register`). Contracts are protocols: nothing has to be inherited.

Shapes: B batch, L length, D width, V vocabulary, N clips.

A registered class owns its configuration: a frozen, keyword-only dataclass in the class attribute
`Config`, whose defaults are the defaults of a suite. Value checks go into `__post_init__` and call
`require`; types are checked against the annotations when a suite is read. A field annotated
``Annotated[Spec, Component("mixers")]`` holds another registered thing.

The first line of a class's docstring is what `harness list` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from harness.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    import torch
    from matplotlib.figure import Figure as MatplotlibFigure
    from torch import Tensor

State = Any
"""What a model or mixer carries from step to step: tensors in any nesting of tuples, lists, dicts."""

Spec = str | Mapping[str, Any]
"""How a configuration names a registered thing: ``"rg_lru"`` or ``{"name": "rg_lru", "hidden": 64}``."""

Lane = Literal["training", "exclusive"]


@dataclass(frozen=True)
class Component:
    """Annotation of a config field that holds a Spec (or a list of them) of this registry kind."""

    kind: str


def require(condition: bool, field_name: str, message: str) -> None:
    """Refuse a configuration value; the suite loader adds file and line.

    Raises: ConfigError
    """
    if not condition:
        raise ConfigError(field_name, message)


# ---------------------------------------------------------------------------------------- models


@runtime_checkable
class SequenceModel(Protocol):
    """An autoregressive model over tokens; in practice a `torch.nn.Module`.

    Built as ``Model(config, vocab_size=V)``. `forward(tokens)[:, t]` predicts `tokens[:, t]` from
    `tokens[:, :t]` alone: the shift and the start token are inside. Any L >= 1 and B >= 1 work.
    The laws it must keep are in `harness.conformance`.

    Optional attributes
        examples: small config mappings on which the laws are checked (default: one, all defaults).
        resume(tokens, state) -> (logits, state): the next tokens, Long[B, L], after a state that
            `initial_state` or `resume` returned -> their logits, Float[B, L, V], and a state that `step`
            or `resume` continues. Chunks give what the whole sequence gives, and long clips are
            evaluated so, in memory that does not grow with them. None where an instance cannot.
        period: chunks of `resume` but the last are multiples of it (default 1); the state after a
            chunk of another length may be None.
        scan_backend: name of the recurrence kernel in use, recorded in every row.
        drawer(batch_size): a faster way to draw than `step`, see `Drawer`.
        kernels(): static; the kernels that it can compute with, each with the reason why not on this
            machine, or None; what `harness doctor` shows.
        optimizer_groups() -> list[ParameterGroup]: parameters that train differently.
        presets: published configurations by name, "paper" the main one, see `Preset`.
        complexity: (in training, in generation), how the work a token grows, in letters that
            docs/models.md explains: ("D² + L D", "D² + L D").
        fit(batches): for models estimated in closed form, see `ClosedForm`.
        mixers() -> Sequence[PlacedMixer]: the layers along time with their level and stride, for
            measurements of one level (default: every `TemporalMixer` inside is a level of its own, in
            the order of the modules, at the sample rate).
    A config may have ``check_data(vocab_size, length)``, which raises ConfigError for settings that
    cannot work on such data (a pooling product longer than the clip, say).
    """

    Config: ClassVar[type]

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> logits Float[B, L, V]."""
        ...

    def initial_state(self, batch_size: int) -> State: ...

    def step(self, token: Tensor | None, state: State) -> tuple[Tensor, State]:
        """The previous token Long[B] (None at the start) -> logits Float[B, V] of the next."""
        ...

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps."""
        ...


class Drawer(Protocol):
    """A model's own way to draw clips faster than by its `step`, from the same distribution.

    Made by the optional method ``drawer(batch_size) -> Drawer | None`` of a SequenceModel: for as many
    clips from their start, with the weights that the model has then. None: there is no such way for
    this model on this device.
    """

    backend: str
    """Its name, recorded in the row."""

    def draw(self, uniforms: Tensor, *, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
        """The next L tokens, by a number of [0, 1) each, and what the model thinks of them.

        Float64[B, L] -> Long[B, L], and nats Float64[B] in the distribution untempered and whole.
        A token is the first at which the running sum of probabilities exceeds its number.
        """
        ...


@runtime_checkable
class ClosedForm(Protocol):
    """A model that is counted or solved, not trained by gradients."""

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """One pass over the training split: (tokens Long[B, L], true lengths Long[B]) each."""
        ...


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters with a learning-rate factor of their own, and with or without weight decay."""

    parameters: Sequence[Tensor]
    learning_rate_scale: float = 1.0
    weight_decay: bool = True


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published configuration of a model: what a suite says as ``{name: sashimi, preset: paper}``."""

    config: Mapping[str, Any]
    """Fields of the model's Config that differ from its defaults."""
    source: str
    """Paper and table, or file of the authors' code."""
    parameters: int | None = None
    """Published number of parameters; None where no source states it."""
    vocab_size: int = 256
    """Vocabulary that this number is of."""
    train: Mapping[str, Any] = field(default_factory=dict)
    """The published settings of training, as in a suite's `train`."""
    note: str = ""
    """What differs from the published model, and why."""


@runtime_checkable
class TemporalMixer(Protocol):
    """The layer that exchanges information along time. Causal.

    Built as ``Mixer(config, width=D, stride=S)`` where S is the number of input samples that one
    step of this level spans (1 at the sample rate). Drops into any level of Poolformer.

    Optional attributes
        examples: as those of a model.
        resume(x, state) -> (y, state): the next steps, Float[B, L, D] for any L >= 1, after a state
            that `initial_state`, `step` or `resume` returned (None: the start): what the whole
            sequence gives, differentiable through the state. A model needs it of all its mixers to
            evaluate or train on long clips in chunks. The state may be a view.
        log_decays(x) -> Float[B, L, N], or Float[N] where it is the same at every step: log |a| of the
            factors by which the steps of Float[B, L, D], from the start, forget the N channels of the
            state, for recurrences that multiply it; None for an instance that does not.
    """

    Config: ClassVar[type]

    def forward(self, x: Tensor) -> Tensor:
        """Float[B, L, D] -> Float[B, L, D]; output t sees inputs up to and including t."""
        ...

    def initial_state(self, batch_size: int) -> State: ...

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, D] -> Float[B, D]."""
        ...

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps of this level."""
        ...


@dataclass(frozen=True, kw_only=True)
class PlacedMixer:
    """A layer along time inside a model, and where it stands: one of what `SequenceModel.mixers` lists."""

    layer: Any
    """The module that the model calls: `forward(x)` -> y or `resume(x, state)` -> (y, state), as of a
    `TemporalMixer`; x and y may be several tensors Float[B, L, ...] in a tuple."""
    level: int
    """From 0, the level at the sample rate; in a model without levels, the number of the layer."""
    stride: int = 1
    """Samples between two of its steps."""
    resume: Callable[[Any, State], tuple[Any, State]] | None = None
    """For a layer whose `forward(x, …)` gives (y, …) and takes more than x: what continues it for the
    steps of x after a state (None: the start), (x, state) -> (y, state)."""


def can_resume(module: Any) -> bool:
    """Whether a model or mixer has `resume`, an optional part of its contract."""
    return callable(getattr(module, "resume", None))


# -------------------------------------------------------------------------------------- data sets


@dataclass(frozen=True, kw_only=True)
class Split:
    """Clips of one split. `tokens` may be memory-mapped: do not assume it fits in memory."""

    tokens: np.ndarray  # uint8 or int32 [N, L], padded
    lengths: np.ndarray  # int64 [N], true lengths, 1 <= length <= L
    labels: np.ndarray | None = None  # int64 [N]

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where data came from, in words and numbers that go into every record."""

    source: str
    version: str
    licence: str
    sha256: str
    clips: Mapping[str, int]
    notes: Sequence[str] = ()


class Dataset(Protocol):
    """Built as ``Dataset(config)``, which may download, generate and cache.

    `Config` has the properties `length` (tokens of a padded clip), `vocab_size` and `sample_rate`,
    so that `plan` can answer without touching data.
    Raises DataError for whatever is wrong with files.

    Optional attributes, for `harness data`
        label_names: what the labels 0, 1, … stand for.
        located(config) -> str: static; where the files are on this machine, or how to get them.
        files_sha256: of the list of files and the split of each.
        verify() -> list[str]: reads everything again; what was found right, DataError otherwise.
    """

    Config: ClassVar[type]
    vocab_size: int
    sample_rate: int | None
    length: int
    splits: Mapping[str, Split]  # train, validation, test
    provenance: Provenance

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens [..., L] -> what they stand for (a waveform in [-1, 1], Float[..., L], for audio)."""
        ...


# ---------------------------------------------------------------------------------------- metrics


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column that a metric fills. `better` is None where neither direction is."""

    description: str
    unit: str = ""
    better: Literal["lower", "higher"] | None = None


@dataclass(frozen=True, kw_only=True)
class MetricContext:
    """All that a metric may look at."""

    model: torch.nn.Module  # evaluation weights (EMA), evaluation mode
    dataset: Dataset
    device: torch.device
    config: Mapping[str, Any]  # the trial's resolved configuration
    seed: int
    folder: Path  # the trial's folder; samples go below it
    progress: Callable[[float, str], None] = lambda fraction, text: None
    micro_batches: int = 1  # parts in which a batch was trained: more than one where memory ran out


class Metric(Protocol):
    """Built as ``Metric(config)``. `lane` "exclusive" for whatever must not share the machine."""

    Config: ClassVar[type]
    lane: ClassVar[Lane]
    columns: ClassVar[Mapping[str, Column]]

    def measure(self, context: MetricContext) -> dict[str, Any]:
        """Values for (a subset of) `columns`."""
        ...


# ---------------------------------------------------------------------------------------- figures


@dataclass(frozen=True, kw_only=True)
class FigureData:
    """What a figure draws from: plain frames, so that it can be drawn again without the records."""

    table: pd.DataFrame  # one row a trial
    history: pd.DataFrame  # learning curves: key, variant, seed, step, seconds, tokens, nll_bits_…
    variants: Sequence[str]  # in the order of the suite
    base: str
    series: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """What metrics left in the trials' folders, `series/<name>.csv` by name: one tidy frame of all trials,
    with `variant`, `seed` and `key` in front; read when asked for."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """key -> the trial's folder, for figures of what a frame cannot hold: drawn clips."""
    tuning: pd.DataFrame | None = None
    """Search trials of the tuning stage, where there was one: `tuning.csv`, one row each."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """What metrics say of the table's columns: unit, and which direction is better."""


class NotEnoughData(Exception):
    """Raised by a figure that cannot be drawn; its message is printed in one line."""


class Figure(Protocol):
    """Built as ``Figure(config)``; draws one matplotlib figure.

    Optional: ``numbers(data) -> DataFrame``, what the figure shows, written as CSV beside it.
    """

    Config: ClassVar[type]

    def draw(self, data: FigureData) -> MatplotlibFigure:
        """Raises NotEnoughData."""
        ...


# --------------------------------------------------------------------------------------- trackers


@dataclass(frozen=True, kw_only=True)
class TrackedTrial:
    """A trial as trackers see it."""

    name: str  # readable, safe in a path, of this trial alone
    variant: str
    seed: int
    key: str
    config: Mapping[str, Any]  # complete


class TrialLog(Protocol):
    """The log of one trial, while it grows."""

    def point(self, step: int, values: Mapping[str, float]) -> None:
        """Of the learning curve, steps rising: seconds, tokens, learning_rate, nll_bits_train, …"""
        ...

    def end(self, status: str, columns: Mapping[str, float], error: str) -> None:
        """The last call. `columns`: the numbers of the trial's row in the table."""
        ...


class Tracker(Protocol):
    """Built as ``Tracker(config, suite=name, folder=folder)``: logs of trials for another tool.

    Called in a thread of its own, for several trials at a time. Whatever it raises is one warning, and
    the end of its logs for that run. What it keeps on disk goes below `folder`.
    """

    Config: ClassVar[type]

    def begin(self, trial: TrackedTrial) -> TrialLog:
        """A new log; it replaces what there is of this trial."""
        ...


# ------------------------------------------------------------------------------------------ FLOPs


@dataclass
class _FlopTally:
    count: float = 0.0


_tally: ContextVar[_FlopTally | None] = ContextVar("flop_tally", default=None)


def report_flops(count: float) -> None:
    """Called by layers whose work torch's FLOP counter does not see: scans, FFTs, fused attention.

    `count` is the forward pass's multiplications plus additions. Free when nobody counts.
    """
    tally = _tally.get()
    if tally is not None:
        tally.count += count


def only_counted(like: Tensor) -> bool:
    """Whether nobody will look at the values of what is computed from such a tensor.

    True on the meta device and inside `counting_flops`: a layer may return whatever has the right
    shape, and should not compile a kernel first.
    """
    return like.is_meta or _tally.get() is not None


@contextmanager
def counting_flops() -> Iterator[_FlopTally]:
    """Collect what `report_flops` is told inside the block."""
    tally = _FlopTally()
    token = _tally.set(tally)
    try:
        yield tally
    finally:
        _tally.reset(token)
