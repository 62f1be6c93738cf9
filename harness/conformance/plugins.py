"""Put a data set, a metric, a figure or a tracker to the test: is it what the rest of the harness expects?

Each law is a function of a `Plugin` that raises Violation; its name, in words, is the law's.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness import configuration, registry
from harness.conformance.probes import SEED
from harness.conformance.toy import ToyConfig, ToyData, toy_results
from harness.conformance.training import AROUND, SETTINGS
from harness.conformance.verdict import Verdict, Violation, judge
from harness.contracts import Column, MetricContext, NotEnoughData, Provenance, TrackedTrial

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Plugin:
    """A registered class with a configuration for it."""

    cls: Any
    config: Any

    def build(self) -> Any:
        return self.cls(self.config)


def check_plugin(kind: str, name: str) -> list[Verdict]:
    """Check a registered data set, metric, figure or tracker with its defaults, or with each of its examples.

    Raises: ConfigError, PluginError.
    """
    verdicts = []
    for options in tuple(getattr(registry.get(kind, name), "examples", ())) or ({},):
        found = configuration.resolve(kind, {"name": name, **options})
        plugin = Plugin(found.cls, found.config)
        label = f"{name} {dict(options)}" if options else name
        first, *others = LAWS[kind]
        verdicts += judge((first,), plugin, label)
        if verdicts[-1].passed:  # the others need what the first one builds
            verdicts += judge(others, plugin, label)
    return verdicts


# -------------------------------------------------------------------------------------- data sets


def it_can_be_made(plugin: Plugin) -> str:
    """Building it gives three splits and says where they come from."""
    data = plugin.build()
    missing = [name for name in SPLITS if name not in data.splits]
    if missing:
        raise Violation(f"splits lacks {', '.join(missing)}; give it {', '.join(SPLITS)}")
    counts = {name: len(data.splits[name]) for name in SPLITS}
    if empty := [name for name in SPLITS if counts[name] == 0]:
        raise Violation(f"{', '.join(empty)} without clips; every split needs at least one")
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def sizes_are_known_beforehand(plugin: Plugin) -> None:
    """The configuration says length, vocabulary and sample rate, as `plan` asks without any data."""
    data = plugin.build()
    for name in ("length", "vocab_size", "sample_rate"):
        if not hasattr(plugin.config, name):
            raise Violation(f"Config has no {name}; make it a field or a property of Config")
        said, is_ = getattr(plugin.config, name), getattr(data, name)
        if said != is_:
            raise Violation(f"Config says {name} {said}, the data set {is_}; compute both in one place")


def tokens_are_tokens(plugin: Plugin) -> None:
    """Whole numbers of the vocabulary, [N, L], with true lengths from 1 to L and labels or none."""
    data = plugin.build()
    for name, split in data.splits.items():
        tokens, lengths = np.asarray(split.tokens), np.asarray(split.lengths)
        if tokens.ndim != 2 or tokens.shape[1] != data.length:
            raise Violation(
                f"{name}: tokens {list(tokens.shape)}, expected [N, {data.length}]; pad the clips"
            )
        if tokens.dtype.kind not in "iu":
            raise Violation(f"{name}: tokens are {tokens.dtype}; store uint8 or int32")
        if tokens.min() < 0 or tokens.max() >= data.vocab_size:
            raise Violation(
                f"{name}: tokens from {tokens.min()} to {tokens.max()}, the vocabulary has 0 to "
                f"{data.vocab_size - 1}; correct vocab_size or the quantisation"
            )
        if lengths.shape != (len(tokens),) or lengths.min() < 1 or lengths.max() > data.length:
            raise Violation(f"{name}: one length a clip, from 1 to {data.length}; got {lengths[:5]}…")
        if split.labels is not None and len(split.labels) != len(tokens):
            raise Violation(f"{name}: {len(split.labels)} labels for {len(tokens)} clips")


def splits_share_no_clip(plugin: Plugin) -> None:
    """What is tested on was not trained on."""
    data = plugin.build()
    seen: dict[bytes, str] = {}
    for name in SPLITS:
        for row, length in zip(data.splits[name].tokens, data.splits[name].lengths, strict=True):
            clip = np.ascontiguousarray(row[:length]).tobytes()
            if seen.setdefault(clip, name) != name:
                raise Violation(f"{seen[clip]} and {name} share a clip; split before anything is repeated")


def the_same_every_time(plugin: Plugin) -> None:
    """A data set is fixed: two builds give the same tokens, and a key can trust its configuration."""
    first, second = plugin.build(), plugin.build()
    for name in SPLITS:
        if not np.array_equal(first.splits[name].tokens, second.splits[name].tokens):
            raise Violation(f"{name} differs between two builds; draw from a generator with a fixed seed")


def provenance_is_told(plugin: Plugin) -> None:
    """Source, version, licence, checksum and counts, for every record."""
    data = plugin.build()
    provenance = data.provenance
    if not isinstance(provenance, Provenance):
        raise Violation("provenance is no harness.contracts.Provenance")
    if empty := [name for name, value in asdict(provenance).items() if name != "notes" and not value]:
        raise Violation(f"provenance says nothing in {', '.join(empty)}")
    counts = {name: len(data.splits[name]) for name in SPLITS}
    if {name: provenance.clips.get(name) for name in SPLITS} != counts:
        raise Violation(f"provenance counts {dict(provenance.clips)} clips, there are {counts}")


def decoding_works(plugin: Plugin) -> None:
    """Tokens become what they stand for: finite, of the same length, sound within [-1, 1]."""
    data = plugin.build()
    tokens = np.asarray(data.splits["test"].tokens[:2])
    decoded = np.asarray(data.decode(tokens))
    if decoded.shape[: tokens.ndim] != tokens.shape:
        raise Violation(f"decode makes {list(decoded.shape)} of tokens {list(tokens.shape)}")
    if data.sample_rate and (not np.isfinite(decoded).all() or np.abs(decoded).max() > 1.0001):
        raise Violation(f"decoded sound reaches {np.abs(decoded).max():.3g}; keep it within [-1, 1]")


# ---------------------------------------------------------------------------------------- metrics


def it_declares_its_columns(plugin: Plugin) -> None:
    """A lane, and a Column for everything that it measures."""
    if (lane := getattr(plugin.cls, "lane", None)) not in ("training", "exclusive"):
        raise Violation(f'lane is {lane!r}; say "training", or "exclusive" for times and memory')
    columns = getattr(plugin.cls, "columns", None)
    if not isinstance(columns, Mapping) or not columns:
        raise Violation("columns is empty; name each column that measure returns, with a Column")
    for name, column in columns.items():
        if not isinstance(column, Column):
            raise Violation(f"columns[{name!r}] is {column!r}, no harness.contracts.Column")
        if name != name.lower() or not name.isidentifier():
            raise Violation(f"column {name!r}: write lower_snake_case, with the unit in the name")


def it_measures_what_it_declares(plugin: Plugin) -> str:
    """On a small model and data set: declared columns, values that a record can hold, none missing all."""
    values = _measured(plugin)
    if unknown := sorted(set(values) - set(plugin.cls.columns)):
        raise Violation(f"measure returns {', '.join(unknown)}, which columns does not declare")
    if not values:
        raise Violation("measure returns nothing; leave a column out only where it makes no sense")
    for name, value in values.items():
        if hasattr(value, "item") or not isinstance(value, str | int | float | bool | None):
            raise Violation(
                f"{name} is a {type(value).__name__}; return plain numbers, with .item() or float()"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise Violation(f"{name} is {value}; leave a column out where there is no number")
    json.dumps(values)
    return ", ".join(
        f"{name} {value:.4g}" for name, value in values.items() if isinstance(value, int | float)
    )


def it_leaves_the_model_alone(plugin: Plugin) -> None:
    """The next metric finds the weights as they were."""
    before, after = _model(), _model()
    _measured(plugin, after)
    for (name, one), other in zip(before.state_dict().items(), after.state_dict().values(), strict=True):
        if not torch.equal(one, other):
            raise Violation(f"{name} changed; work on copy.deepcopy(context.model)")


def _model() -> Any:
    torch.manual_seed(SEED)
    return configuration.build("models", AROUND, vocab_size=ToyConfig().vocab_size).eval()


def _measured(plugin: Plugin, model: Any = None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        context = MetricContext(
            model=model if model is not None else _model(),
            dataset=ToyData(ToyConfig()),
            device=torch.device("cpu"),
            config={"model": AROUND, "data": asdict(ToyConfig()), "train": asdict(SETTINGS), "measure": []},
            seed=SEED,
            folder=Path(folder),
        )
        return dict(plugin.build().measure(context))


# ---------------------------------------------------------------------------------------- figures


def it_draws(plugin: Plugin) -> str:
    """From two trained variants, a counted one and a failed one, a figure that can be saved."""
    from matplotlib.figure import Figure

    figure = plugin.build()
    try:
        drawn = figure.draw(toy_results())
    except NotEnoughData as reason:
        return f"it has not enough data in two variants and two seeds: {reason}"
    if not isinstance(drawn, Figure):
        raise Violation(f"draw returns a {type(drawn).__name__}; return a matplotlib Figure")
    with tempfile.TemporaryDirectory() as folder:
        drawn.savefig(Path(folder) / "figure.svg")
    return ""


def it_says_when_there_is_nothing_to_draw(plugin: Plugin) -> None:
    """Without any finished trial: NotEnoughData, or an empty figure; never another error."""
    full = toy_results()
    nothing = replace(full, table=full.table.iloc[:0], history=full.history.iloc[:0])
    try:
        plugin.build().draw(nothing)
    except NotEnoughData:
        return
    except Exception as error:
        raise Violation(
            f"without finished trials it raised {type(error).__name__}: {error}; raise "
            f"harness.contracts.NotEnoughData with a message instead"
        ) from None


def its_numbers_are_a_table(plugin: Plugin) -> str:
    """`numbers`, where there is one, is a frame that can be written as CSV."""
    import pandas as pd

    figure = plugin.build()
    if not hasattr(figure, "numbers"):
        return "it has no `numbers`, which is optional"
    try:
        numbers = figure.numbers(toy_results())
    except NotEnoughData:
        return ""
    if not isinstance(numbers, pd.DataFrame):
        raise Violation(f"numbers returns a {type(numbers).__name__}; return a pandas DataFrame")
    return f"{len(numbers)} rows"


# --------------------------------------------------------------------------------------- trackers


def it_takes_logs_of_several_trials_at_a_time(plugin: Plugin) -> None:
    """A trial that ends well, beside one that is stopped, and the first of them again."""
    with tempfile.TemporaryDirectory() as folder:
        tracker = plugin.cls(plugin.config, suite="harness-check", folder=Path(folder))
        trials = [_tracked(name) for name in ("first", "second")]
        logs = [tracker.begin(trial) for trial in trials]
        for step in (0, 10):
            for log in logs:
                log.point(step, {"seconds": 0.1 * step, "nll_bits_train": 5.0 - 0.1 * step})
        logs[0].end("ok", {"nll_bits_test": 4.0}, "")
        logs[1].end("interrupted", {}, "")
        tracker.begin(trials[0]).end("failed", {}, "what went wrong")


def _tracked(name: str) -> TrackedTrial:
    key = hashlib.sha256(name.encode()).hexdigest()
    config = {"model": AROUND, "data": asdict(ToyConfig()), "train": asdict(SETTINGS), "measure": []}
    return TrackedTrial(name=f"{name}-s0", variant=name, seed=0, key=key, config=config)


LAWS: Mapping[str, Sequence[Callable[[Plugin], str | None]]] = {
    "datasets": (
        it_can_be_made,
        sizes_are_known_beforehand,
        tokens_are_tokens,
        splits_share_no_clip,
        the_same_every_time,
        provenance_is_told,
        decoding_works,
    ),
    "metrics": (it_declares_its_columns, it_measures_what_it_declares, it_leaves_the_model_alone),
    "figures": (it_draws, it_says_when_there_is_nothing_to_draw, its_numbers_are_a_table),
    "trackers": (it_takes_logs_of_several_trials_at_a_time,),
}
